//! Taking, prolonging and giving back leases.

use async_trait::async_trait;
use daas_core::ids::{Fence, Holder, SessionId};
use daas_core::store::Leased;
use daas_core::{Error, Result};
use jiff::Timestamp;
use sqlx::{Row, SqliteConnection};
use tracing::error;

use crate::error::Failure;
use crate::rows::{count, decode, encode, millisecond, number};
use crate::sql;
use crate::writer::Write;

/// [`daas_core::store::SessionStore::take_due`].
pub(crate) struct TakeDue {
    pub(crate) holder: Holder,
    pub(crate) now: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) limit: usize,
}

#[async_trait]
impl Write for TakeDue {
    type Answer = Vec<Leased>;

    async fn write(&self, db: &mut SqliteConnection) -> Result<Vec<Leased>> {
        let due = sql::DUE_TAKEN.query().bind(millisecond(self.now));
        let due = due.bind(number(self.limit as u64)).fetch_all(&mut *db).await;
        let (mut taken, mut ids) = (Vec::new(), Vec::new());
        for row in due.map_err(Failure::from)? {
            let id: String = row.try_get(0).map_err(Failure::from)?;
            let fence: i64 = row.try_get(1).map_err(Failure::from)?;
            // One that cannot be read must not keep all others from being taken: it is leased to
            // nobody's knowledge, and told of again when the lease ends.
            match decode("session", row.try_get(2).map_err(Failure::from)?) {
                Ok(session) => taken.push(Leased { session, fence: Fence(count(fence) + 1) }),
                Err(failure) => {
                    error!(session = id, error = Error::from(failure).chain(), "left alone");
                }
            }
            ids.push(id);
        }
        if !ids.is_empty() {
            let take = sql::DUE_TAKE.query().bind(self.holder.0.clone());
            let take = take.bind(millisecond(self.until)).bind(encode("session ids", &ids)?);
            take.execute(&mut *db).await.map_err(Failure::from)?;
        }
        Ok(taken)
    }
}

/// [`daas_core::store::SessionStore::renew`].
pub(crate) struct Renew {
    pub(crate) holder: Holder,
    pub(crate) held: Vec<(SessionId, Fence)>,
    pub(crate) until: Timestamp,
}

#[async_trait]
impl Write for Renew {
    type Answer = Vec<SessionId>;

    async fn write(&self, db: &mut SqliteConnection) -> Result<Vec<SessionId>> {
        let mut kept = Vec::with_capacity(self.held.len());
        for (id, fence) in &self.held {
            let renew = sql::DUE_RENEW.query().bind(id.as_str().to_owned()).bind(number(fence.0));
            let renew = renew.bind(self.holder.0.clone()).bind(millisecond(self.until));
            if renew.execute(&mut *db).await.map_err(Failure::from)?.rows_affected() == 1 {
                kept.push(id.clone());
            }
        }
        Ok(kept)
    }
}

/// [`daas_core::store::SessionStore::release`].
pub(crate) struct Release {
    pub(crate) id: SessionId,
    pub(crate) fence: Fence,
    pub(crate) due: Option<Timestamp>,
}

#[async_trait]
impl Write for Release {
    type Answer = ();

    async fn write(&self, db: &mut SqliteConnection) -> Result<()> {
        let release = sql::DUE_RELEASE.query().bind(self.id.as_str().to_owned());
        let release = release.bind(number(self.fence.0)).bind(self.due.map(millisecond));
        release.execute(db).await.map_err(Failure::from)?;
        Ok(())
    }
}

/// [`daas_core::store::SessionStore::hasten`].
pub(crate) struct Hasten {
    pub(crate) id: SessionId,
    pub(crate) at: Timestamp,
}

#[async_trait]
impl Write for Hasten {
    type Answer = ();

    async fn write(&self, db: &mut SqliteConnection) -> Result<()> {
        let hasten = sql::DUE_HASTEN.query().bind(self.id.as_str().to_owned());
        hasten.bind(millisecond(self.at)).execute(db).await.map_err(Failure::from)?;
        Ok(())
    }
}
