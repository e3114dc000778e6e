//! Giving a pooled session to somebody.

use async_trait::async_trait;
use daas_core::Result;
use daas_core::session::Session;
use daas_core::store;
use sqlx::SqliteConnection;

use super::batch::Batch;
use super::{check_label, check_quotas, put};
use crate::error::Failure;
use crate::rows::millisecond;
use crate::sql;
use crate::writer::Write;

/// [`daas_core::store::SessionStore::claim`].
pub(crate) struct Claim(pub(crate) store::Claim);

#[async_trait]
impl Write for Claim {
    type Answer = Option<Session>;

    async fn write(&self, db: &mut SqliteConnection) -> Result<Option<Session>> {
        let store::Claim { template, owner, organisation, quotas, now } = &self.0;
        let pooled = sql::SESSION_POOLED.query().bind(template.as_str().to_owned());
        let row = pooled.fetch_optional(&mut *db).await.map_err(Failure::from)?;
        let Some(before) = row.as_ref().map(crate::rows::session).transpose()? else {
            return Ok(None);
        };
        let mut session = before.clone();
        session.owner = Some(owner.clone());
        session.organisation = organisation.clone();
        check_label(db, &session).await?;
        check_quotas(db, quotas, &session, Some(&before)).await?;
        session.version = session.version.next();
        session.updated_at = *now;
        let mut batch = Batch::default();
        put(&mut batch, &sql::SESSION_UPDATE, &session)?;
        let id = session.id.as_str().to_owned();
        batch.add(&sql::DUE_SET).bind(millisecond(*now)).bind(id);
        batch.run(db).await?;
        Ok(Some(session))
    }
}
