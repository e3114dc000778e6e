//! Replacing a record.

use async_trait::async_trait;
use daas_core::Result;
use daas_core::ids::{SessionId, Version};
use daas_core::store::{Change, Next};
use sqlx::{Row, SqliteConnection};

use super::batch::Batch;
use super::{Held, check_label, conflict, hold, not_found, put, record};
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
        let before = State::read(db, id).await?.ok_or_else(|| not_found(id))?;
        if before.version != session.version.0 {
            return Err(conflict(id, "the record was changed meanwhile; read it again"));
        }
        if fence.is_some_and(|fence| fence.0 != before.fence || !before.leased) {
            return Err(conflict(id, "the lease was lost"));
        }
        check_label(db, session).await?;
        let mut session = session.clone();
        session.version = session.version.next();
        let mut batch = Batch::default();
        put(&mut batch, &sql::SESSION_UPDATE, &session)?;
        hold(db, &mut batch, &session, &before.held).await?;
        record(&mut batch, &session, events)?;
        let id = session.id.as_str().to_owned();
        match next {
            Next::Hold => &mut batch,
            Next::Release(due) => {
                batch.add(&sql::DUE_GIVE_BACK).bind(due.map(millisecond)).bind(id)
            }
            Next::DueNow => batch.add(&sql::DUE_SET).bind(millisecond(session.updated_at)).bind(id),
        };
        batch.run(db).await?;
        Ok(session.version)
    }
}

/// What is there before the change.
struct State {
    version: u64,
    fence: u64,
    leased: bool,
    held: Vec<Held>,
}

impl State {
    async fn read(db: &mut SqliteConnection, id: &SessionId) -> Result<Option<Self>, Failure> {
        // A row for each machine held, one with NULLs for none.
        let rows = sql::SESSION_STATE.query().bind(id.as_str().to_owned()).fetch_all(db).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let mut state = Self {
            version: count(row.try_get(0)?),
            fence: count(row.try_get(1)?),
            leased: row.try_get(2)?,
            held: Vec::new(),
        };
        for row in &rows {
            if let (Some(provisioner), Some(machine)) = (row.try_get(3)?, row.try_get(4)?) {
                state.held.push((provisioner, machine));
            }
        }
        Ok(Some(state))
    }
}
