//! Activity.

use async_trait::async_trait;
use daas_core::Result;
use daas_core::activity::Activity;
use daas_core::ids::SessionId;
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
