//! Adding a session.

use async_trait::async_trait;
use daas_core::Result;
use daas_core::store::{Inserted, NewSession};
use sqlx::{Row, SqliteConnection};

use super::batch::Batch;
use super::{check_label, check_quotas, conflict, hold, not_found, put, read, record};
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
        let taken = sql::SESSION_TAKEN.query().bind(session.id.as_str().to_owned());
        if taken.fetch_optional(&mut *db).await.map_err(Failure::from)?.is_some() {
            return Err(conflict(&session.id, "the session id is taken"));
        }
        check_label(db, session).await?;
        check_quotas(db, quotas, session, None).await?;
        let mut batch = Batch::default();
        put(&mut batch, &sql::SESSION_INSERT, session)?;
        hold(db, &mut batch, session, &[]).await?;
        let id = session.id.as_str();
        let created_at = millisecond(session.created_at);
        batch.add(&sql::DUE_INSERT).bind(id.to_owned()).bind(created_at);
        if let Some(key) = idempotency_key {
            batch.add(&sql::IDEMPOTENCY_PUT).bind(realm).bind(name).bind(key.clone());
            batch.bind(id.to_owned()).bind(created_at);
        }
        record(&mut batch, session, events)?;
        batch.run(db).await?;
        Ok(Inserted::New(Box::new(session.clone())))
    }
}
