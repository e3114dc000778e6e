//! Giving a pooled session to somebody.

use async_trait::async_trait;
use daas_core::Result;
use daas_core::session::Session;
use daas_core::store;
use sqlx::SqliteConnection;

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
        put(db, &sql::SESSION_UPDATE, &session).await?;
        let due = sql::DUE_SET.query().bind(session.id.as_str().to_owned());
        due.bind(millisecond(*now)).execute(&mut *db).await.map_err(Failure::from)?;
        Ok(Some(session))
    }
}
