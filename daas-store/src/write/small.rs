//! Activity and API keys.

use async_trait::async_trait;
use daas_core::access::ApiKey;
use daas_core::activity::Activity;
use daas_core::ids::SessionId;
use daas_core::{Error, Kind, Operation, Result};
use sqlx::SqliteConnection;

use super::not_found;
use crate::error::Failure;
use crate::rows::encode;
use crate::sql;
use crate::writer::Write;

/// [`daas_core::store::SessionStore::put_activity`].
pub(crate) struct PutActivity {
    pub(crate) id: SessionId,
    pub(crate) activity: Activity,
}

#[async_trait]
impl Write for PutActivity {
    type Answer = ();

    async fn write(&self, db: &mut SqliteConnection) -> Result<()> {
        let put = sql::ACTIVITY_PUT.query().bind(self.id.as_str().to_owned());
        let put = put.bind(encode("activity", &self.activity)?).execute(db).await;
        if put.map_err(Failure::from)?.rows_affected() == 0 {
            return Err(not_found(&self.id));
        }
        Ok(())
    }
}

/// [`daas_core::access::KeyStore::add_key`].
pub(crate) struct AddKey(pub(crate) ApiKey);

#[async_trait]
impl Write for AddKey {
    type Answer = ();

    async fn write(&self, db: &mut SqliteConnection) -> Result<()> {
        let ApiKey { name, hash, .. } = &self.0;
        let there = sql::KEY_THERE.query().bind(name.clone()).bind(hash.clone());
        if there.fetch_optional(&mut *db).await.map_err(Failure::from)?.is_some() {
            let why = "there is a key of that name";
            return Err(Error::new(Kind::Conflict, Operation::Store, name, why));
        }
        let add = sql::KEY_INSERT.query().bind(name.clone()).bind(hash.clone());
        let add = add.bind(encode("API key", &self.0)?);
        add.execute(db).await.map_err(Failure::from)?;
        Ok(())
    }
}

/// [`daas_core::access::KeyStore::revoke_key`].
pub(crate) struct RevokeKey(pub(crate) String);

#[async_trait]
impl Write for RevokeKey {
    type Answer = bool;

    async fn write(&self, db: &mut SqliteConnection) -> Result<bool> {
        let delete = sql::KEY_DELETE.query().bind(self.0.clone()).execute(db).await;
        Ok(delete.map_err(Failure::from)?.rows_affected() == 1)
    }
}
