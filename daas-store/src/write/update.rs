//! Replacing a record.

use async_trait::async_trait;
use daas_core::Result;
use daas_core::ids::Version;
use daas_core::store::{Change, Next};
use sqlx::{Row, SqliteConnection};

use super::{check_label, conflict, hold, not_found, put, record};
use crate::error::Failure;
use crate::rows::{count, millisecond};
use crate::sql;
use crate::writer::Write;

/// [`daas_core::store::SessionStore::update`].
pub(crate) struct Update(pub(crate) Change);

#[async_trait]
impl Write for Update {
    type Answer = Version;

    async fn write(&self, db: &mut SqliteConnection) -> Result<Version> {
        let Change { session, fence, events, next } = &self.0;
        let id = &session.id;
        let state = sql::SESSION_STATE.query().bind(id.as_str().to_owned());
        let row = state.fetch_optional(&mut *db).await.map_err(Failure::from)?;
        let row = row.ok_or_else(|| not_found(id))?;
        let version: i64 = row.try_get(0).map_err(Failure::from)?;
        let present: i64 = row.try_get(1).map_err(Failure::from)?;
        let held: bool = row.try_get(2).map_err(Failure::from)?;
        if count(version) != session.version.0 {
            return Err(conflict(id, "the record was changed meanwhile; read it again"));
        }
        if fence.is_some_and(|fence| fence.0 != count(present) || !held) {
            return Err(conflict(id, "the lease was lost"));
        }
        check_label(db, session).await?;
        let mut session = session.clone();
        session.version = session.version.next();
        put(db, &sql::SESSION_UPDATE, &session).await?;
        hold(db, &session).await?;
        record(db, &session, events).await?;
        let id = session.id.as_str().to_owned();
        let moved = match next {
            Next::Hold => None,
            Next::Release(due) => {
                Some(sql::DUE_GIVE_BACK.query().bind(id).bind(due.map(millisecond)))
            }
            Next::DueNow => {
                Some(sql::DUE_SET.query().bind(id).bind(millisecond(session.updated_at)))
            }
        };
        if let Some(moved) = moved {
            moved.execute(&mut *db).await.map_err(Failure::from)?;
        }
        Ok(session.version)
    }
}
