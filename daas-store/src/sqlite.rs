//! The session store in an SQLite file: a pool of readers and one writer.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use daas_core::Result;
use daas_core::access::{KeyStore, SecondFactorStore, SignInStore};
use daas_core::activity::Activity;
use daas_core::audit::AuditStore;
use daas_core::clock::{Clock, SystemClock};
use daas_core::event::Event;
use daas_core::ids::{BackendName, Cursor, DeploymentId, Fence, Holder, SessionId, Version};
use daas_core::session::{Phase, Session};
use daas_core::store::{
    Change, Claim, EventFilter, Filter, Inserted, Leased, NewSession, Page, Prune, Pruned,
    SessionStore, Sessions, Tally,
};
use jiff::Timestamp;
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{Row, SqlitePool};
use tokio::sync::watch;

use crate::audit::SqliteAudit;
use crate::error::Failure;
use crate::keys::SqliteKeys;
use crate::rows::{count, decode, millisecond};
use crate::second_factors::SqliteSecondFactors;
use crate::sign_ins::SqliteSignIns;
use crate::write::{self, claim, insert, leases, prune, small, update};
use crate::writer::{Writer, newest_event};
use crate::{list, open, rows, sql};

/// How many reads may run at once.
const READERS_MAX: u32 = 4;

/// Sessions in an SQLite file. One process has it open at a time.
#[derive(Debug)]
pub struct SqliteStore {
    deployment: DeploymentId,
    readers: SqlitePool,
    writer: Arc<Writer>,
}

impl SqliteStore {
    /// Opens the store in the file `path`, which is made if it is absent; its directory must be
    /// there. Beside it lie `<path>.lock`, `<path>-wal` and `<path>-shm`.
    ///
    /// # Errors
    ///
    /// Each names the file and the way out, and leaves the file as it was: `Conflict` when another
    /// process has it open; `Invalid` when the directory is missing, the file is no store of ours
    /// or was written by a newer program; `Denied` without permission; `Internal` when it is
    /// damaged; `Unavailable` otherwise.
    pub async fn open(path: impl AsRef<Path>) -> Result<Arc<Self>> {
        let path = path.as_ref();
        Self::open_file(path).await.map_err(|failure| failure.opening(path))
    }

    /// Ends the store once everything queued is written; after that every call is `Unavailable`.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// How many transactions were committed, and how many operations were in them.
    pub fn written(&self) -> (u64, u64) {
        self.writer.written().counts()
    }

    async fn open_file(path: &Path) -> Result<Arc<Self>, Failure> {
        let lock = open::lock(path)?;
        open::examine(path).await?;
        let mut db = open::writer(path, SystemClock.now()).await?;
        let row = sql::DEPLOYMENT.query().fetch_one(&mut db).await?;
        let id: String = row.try_get(0)?;
        let deployment = DeploymentId::new(id.clone())
            .map_err(|_| Failure::Senseless { what: "deployment id", value: id })?;
        let newest = newest_event(&mut db).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .connect_lazy_with(open::options(path).read_only(true));
        let writer = Arc::new(Writer::start(db, lock, newest));
        Ok(Arc::new(Self { deployment, readers, writer }))
    }
}

#[async_trait]
impl SessionStore for SqliteStore {
    async fn deployment(&self) -> Result<DeploymentId> {
        Ok(self.deployment.clone())
    }

    async fn insert(&self, new: NewSession) -> Result<Inserted> {
        self.writer.run(insert::Insert(new)).await
    }

    async fn get(&self, id: &SessionId) -> Result<Option<Session>> {
        let get = sql::SESSION_GET.query().bind(id.as_str().to_owned());
        let row = get.fetch_optional(&self.readers).await.map_err(Failure::from)?;
        Ok(row.as_ref().map(rows::session).transpose()?)
    }

    async fn list(&self, filter: &Filter, page: &Page) -> Result<Sessions> {
        list::sessions(&self.readers, filter, page).await
    }

    async fn update(&self, change: Change) -> Result<Version> {
        self.writer.run(update::Update(change)).await
    }

    async fn take_due(
        &self,
        holder: &Holder,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Leased>> {
        // Nearly always nothing is due: that is found out without a write.
        let any = sql::DUE_ANY.query().bind(millisecond(now));
        if limit == 0 || any.fetch_optional(&self.readers).await.map_err(Failure::from)?.is_none() {
            return Ok(Vec::new());
        }
        self.writer.run(leases::TakeDue { holder: holder.clone(), now, until, limit }).await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>> {
        let row = sql::DUE_NEXT.query().fetch_optional(&self.readers).await;
        let Some(row) = row.map_err(Failure::from)? else { return Ok(None) };
        Ok(Some(rows::timestamp(row.try_get(0).map_err(Failure::from)?)?))
    }

    async fn renew(
        &self,
        holder: &Holder,
        held: &[(SessionId, Fence)],
        until: Timestamp,
    ) -> Result<Vec<SessionId>> {
        let renew = leases::Renew { holder: holder.clone(), held: held.to_vec(), until };
        self.writer.run(renew).await
    }

    async fn release(&self, id: &SessionId, fence: Fence, due: Option<Timestamp>) -> Result<()> {
        self.writer.run(leases::Release { id: id.clone(), fence, due }).await
    }

    async fn hasten(&self, id: &SessionId, at: Timestamp) -> Result<()> {
        self.writer.run(leases::Hasten { id: id.clone(), at }).await
    }

    async fn claim(&self, claim: Claim) -> Result<Option<Session>> {
        self.writer.run(claim::Claim(claim)).await
    }

    async fn events(
        &self,
        after: Cursor,
        filter: &EventFilter,
        limit: usize,
    ) -> Result<Vec<Event>> {
        list::events(&self.readers, after, filter, limit).await
    }

    fn watch(&self) -> watch::Receiver<Cursor> {
        self.writer.watch()
    }

    async fn put_activity(&self, id: &SessionId, activity: &Activity) -> Result<()> {
        let put = small::PutActivity { id: id.clone(), activity: activity.clone() };
        self.writer.run(put).await
    }

    async fn activity(&self, id: &SessionId) -> Result<Activity> {
        let get = sql::ACTIVITY_GET.query().bind(id.as_str().to_owned());
        let row = get.fetch_optional(&self.readers).await.map_err(Failure::from)?;
        let Some(row) = row else { return Ok(Activity::default()) };
        Ok(decode("activity", row.try_get(0).map_err(Failure::from)?)?)
    }

    async fn reserved(&self, provisioner: &BackendName) -> Result<Vec<Session>> {
        let reserved = sql::SESSIONS_RESERVED.query().bind(provisioner.as_str().to_owned());
        let found = reserved.fetch_all(&self.readers).await.map_err(Failure::from)?;
        Ok(found.iter().map(rows::session).collect::<Result<_, Failure>>()?)
    }

    async fn prune(&self, old: &Prune) -> Result<Pruned> {
        self.writer.run(prune::Prune(old.clone())).await
    }

    async fn retired(&self, id: &SessionId) -> Result<bool> {
        Ok(write::retired(&self.readers, id).await?)
    }

    async fn tally(&self) -> Result<Tally> {
        Ok(read_tally(&self.readers).await?)
    }

    fn keys(&self) -> Arc<dyn KeyStore> {
        Arc::new(SqliteKeys::new(self.readers.clone(), Arc::clone(&self.writer)))
    }

    fn sign_ins(&self) -> Arc<dyn SignInStore> {
        Arc::new(SqliteSignIns::new(self.readers.clone(), Arc::clone(&self.writer)))
    }

    fn audit(&self) -> Arc<dyn AuditStore> {
        Arc::new(SqliteAudit::new(self.readers.clone(), Arc::clone(&self.writer)))
    }

    fn second_factors(&self) -> Arc<dyn SecondFactorStore> {
        Arc::new(SqliteSecondFactors::new(self.readers.clone(), Arc::clone(&self.writer)))
    }
}

async fn read_tally(readers: &SqlitePool) -> Result<Tally, Failure> {
    // One transaction: both tables as of one moment.
    let mut moment = readers.begin().await?;
    let total = sql::TOTAL.query().fetch_one(&mut *moment).await?;
    let phases = sql::PHASES.query().fetch_all(&mut *moment).await?;
    moment.rollback().await?;
    let mut tally = Tally {
        created: count(total.try_get(0)?),
        ended: count(total.try_get(1)?),
        ended_seconds: std::time::Duration::from_millis(count(total.try_get(2)?)).as_secs_f64(),
        ..Tally::default()
    };
    for row in phases {
        let (name, sessions): (String, u64) = (row.try_get(0)?, count(row.try_get(1)?));
        let phase = Phase::ALL.into_iter().find(|phase| phase.as_str() == name);
        let phase = phase.ok_or(Failure::Senseless { what: "phase", value: name })?;
        if phase != Phase::Ended && sessions > 0 {
            tally.by_phase.insert(phase, sessions);
        }
    }
    Ok(tally)
}
