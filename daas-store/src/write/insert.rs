//! Adding a session.

use async_trait::async_trait;
use daas_core::Result;
use daas_core::store::{Inserted, NewSession};
use sqlx::{Row, SqliteConnection};

use super::{check_label, check_quotas, conflict, hold, not_found, put, read, record, retired};
use crate::error::Failure;
use crate::rows::{millisecond, owner_columns, session_id};
use crate::sql;
use crate::writer::Write;

/// [`daas_core::store::SessionStore::insert`].
pub(crate) struct Insert(pub(crate) NewSession);

#[async_trait]
impl Write for Insert {
    type Answer = Inserted;

    async fn write(&self, db: &mut SqliteConnection) -> Result<Inserted> {
        let NewSession { session, quotas, events, idempotency_key } = &self.0;
        let (realm, name) = owner_columns(session.owner.as_ref());
        if let Some(key) = idempotency_key {
            let before = sql::IDEMPOTENCY_GET.query().bind(realm.clone()).bind(name.clone());
            let before = before.bind(key.clone()).fetch_optional(&mut *db).await;
            if let Some(row) = before.map_err(Failure::from)? {
                let id = session_id(row.try_get(0).map_err(Failure::from)?)?;
                let session = read(db, &id).await?.ok_or_else(|| not_found(&id))?;
                return Ok(Inserted::Before(Box::new(session)));
            }
        }
        if read(db, &session.id).await?.is_some() || retired(&mut *db, &session.id).await? {
            return Err(conflict(&session.id, "the session id is taken"));
        }
        check_label(db, session).await?;
        check_quotas(db, quotas, session, None).await?;
        put(db, &sql::SESSION_INSERT, session).await?;
        hold(db, session).await?;
        let id = session.id.as_str();
        let due = sql::DUE_INSERT.query().bind(id.to_owned());
        let due = due.bind(millisecond(session.created_at)).execute(&mut *db).await;
        due.map_err(Failure::from)?;
        if let Some(key) = idempotency_key {
            let put = sql::IDEMPOTENCY_PUT.query().bind(realm).bind(name).bind(key.clone());
            put.bind(id.to_owned())
                .bind(millisecond(session.created_at))
                .execute(&mut *db)
                .await
                .map_err(Failure::from)?;
        }
        record(db, session, events).await?;
        Ok(Inserted::New(Box::new(session.clone())))
    }
}
