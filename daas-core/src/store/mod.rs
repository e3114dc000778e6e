//! The fourth trait: where sessions are kept.

pub mod memory;
pub mod prune;
pub mod query;
pub mod quota;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;

pub use self::prune::{Prune, Pruned};
pub use self::query::{EventFilter, Filter, Page, Sessions, Tally};
use self::quota::Quotas;
use crate::access::{KeyStore, SecondFactorStore, SignInStore};
use crate::activity::Activity;
use crate::audit::AuditStore;
use crate::error::Result;
use crate::event::{Event, NewEvent};
use crate::ids::{
    BackendName, Cursor, DeploymentId, Fence, Holder, Organisation, SessionId, TemplateName,
    Version,
};
use crate::owner::Owner;
use crate::session::Session;

/// Keeps sessions, their leases, events and activity.
///
/// # Contract
///
/// Every write is one transaction, durable before the method answers, and either whole or absent:
/// a record and its events never part. Writes are conditional on the record's version, and on the
/// lease's fence where one is given. A method interrupted before its answer may or may not have
/// written; the caller reads anew. All answers hold for one moment; nothing is cached here.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait SessionStore: Debug + Send + Sync {
    /// This deployment's id.
    ///
    /// - *Does*: reads the id minted when the store was made.
    /// - *Already so*: always the same.
    /// - *Absent*: never; a store without one is corrupt.
    /// - *Interrupted*: nothing to undo.
    /// - *Errors*: `Unavailable`, `Internal` for a corrupt store.
    async fn deployment(&self) -> Result<DeploymentId>;

    /// Adds a session, due at once.
    ///
    /// - *Does*: checks `quotas` and writes record and events in one transaction.
    /// - *Already so*: with an idempotency key that this owner used before, answers that session
    ///   and writes nothing.
    /// - *Absent*: does not apply.
    /// - *Interrupted*: written whole or not at all; the idempotency key makes a repeat safe.
    /// - *Errors*: `Conflict` for a session id that was ever used, a label live for this owner or a
    ///   machine id that another live record holds; `Exhausted` over a quota, naming it.
    async fn insert(&self, new: NewSession) -> Result<Inserted>;

    /// The session of that id, live or ended.
    ///
    /// - *Does*: reads it.
    /// - *Already so*: changes nothing.
    /// - *Absent*: `None`.
    /// - *Interrupted*: nothing to undo.
    /// - *Errors*: `Unavailable`.
    async fn get(&self, id: &SessionId) -> Result<Option<Session>>;

    /// A page of sessions, youngest first.
    ///
    /// - *Does*: reads at most `page.limit` that pass `filter`, and the token of the next page.
    /// - *Already so*: changes nothing.
    /// - *Absent*: an empty page.
    /// - *Interrupted*: nothing to undo.
    /// - *Errors*: `Invalid` for a token that is not ours.
    async fn list(&self, filter: &Filter, page: &Page) -> Result<Sessions>;

    /// Replaces a record.
    ///
    /// - *Does*: writes `change.session` under the version after `change.session.version`, with its
    ///   events, its next due time and its lease, in one transaction; answers the new version.
    /// - *Already so*: does not apply; a version is used once.
    /// - *Absent*: `NotFound`.
    /// - *Interrupted*: written whole or not at all.
    /// - *Errors*: `Conflict` when version or fence are not the present ones, or a reservation's
    ///   machine id is held by another live record.
    async fn update(&self, change: Change) -> Result<Version>;

    /// Takes sessions whose due time has come and that nobody holds, or whose lease ran out.
    ///
    /// - *Does*: leases at most `limit` of them to `holder` until `until`, each under a new, greater
    ///   fence, longest due first, and clears their due times: one that is set while the lease runs
    ///   is somebody's wish and survives the lease. Two takers never get the same session.
    /// - *Already so*: a session under a running lease is not taken, also not by its holder.
    /// - *Absent*: an empty list.
    /// - *Interrupted*: what was leased to nobody's knowledge is due again when the lease ends.
    /// - *Errors*: `Unavailable`.
    async fn take_due(
        &self,
        holder: &Holder,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Leased>>;

    /// When the next session is due that nobody holds, or the next lease ends.
    ///
    /// - *Does*: reads it.
    /// - *Already so*: changes nothing.
    /// - *Absent*: `None` when nothing will ever be due.
    /// - *Interrupted*: nothing to undo.
    /// - *Errors*: `Unavailable`.
    async fn next_due(&self) -> Result<Option<Timestamp>>;

    /// Prolongs leases.
    ///
    /// - *Does*: moves the end of those leases that `holder` still has under the named fence to
    ///   `until`, and answers these.
    /// - *Already so*: harmless.
    /// - *Absent*: a lost lease is not among the answered ones; its work must be cancelled.
    /// - *Interrupted*: the leases end earlier.
    /// - *Errors*: `Unavailable`.
    async fn renew(
        &self,
        holder: &Holder,
        held: &[(SessionId, Fence)],
        until: Timestamp,
    ) -> Result<Vec<SessionId>>;

    /// Gives a lease back without a change of the record.
    ///
    /// - *Does*: ends the lease; the session is due at `due`, or at the time that was set while the
    ///   lease ran.
    /// - *Already so*: a lease that is not held under `fence` is left alone.
    /// - *Absent*: likewise.
    /// - *Interrupted*: the lease ends by itself.
    /// - *Errors*: `Unavailable`.
    async fn release(&self, id: &SessionId, fence: Fence, due: Option<Timestamp>) -> Result<()>;

    /// Makes a session due at `at` or earlier, without a change of the record.
    ///
    /// - *Does*: sets the due time, also under a running lease, which it outlives.
    /// - *Already so*: an earlier due time stays.
    /// - *Absent*: harmless.
    /// - *Interrupted*: set or not.
    /// - *Errors*: `Unavailable`.
    async fn hasten(&self, id: &SessionId, at: Timestamp) -> Result<()>;

    /// Gives a pooled session of `template` to `owner`.
    ///
    /// - *Does*: picks the longest ready one, atomically, writes its owner and makes it due.
    /// - *Already so*: does not apply; each call claims another.
    /// - *Absent*: `None` when the pool is empty.
    /// - *Interrupted*: claimed or not; never claimed by two.
    /// - *Errors*: `Exhausted` over a quota.
    async fn claim(&self, claim: Claim) -> Result<Option<Session>>;

    /// Events after a cursor, oldest first.
    ///
    /// - *Does*: reads at most `limit`. An event that was committed later never has a smaller
    ///   cursor than one that could be read before.
    /// - *Already so*: changes nothing.
    /// - *Absent*: an empty list.
    /// - *Interrupted*: nothing to undo.
    /// - *Errors*: `NotFound` where events that the reader has not seen were pruned: for one
    ///   session, when its record was; for all, after a cursor older than the newest pruned event,
    ///   also `Cursor(0)`. Such a reader looks at the sessions as they are and reads on after the
    ///   cursor of [`Self::watch`]. `Unavailable`.
    async fn events(&self, after: Cursor, filter: &EventFilter, limit: usize)
    -> Result<Vec<Event>>;

    /// The newest event's cursor and its changes: a wake-up for readers of [`Self::events`] and for
    /// the engine. It never goes back, also when that event is pruned or the store opened anew.
    fn watch(&self) -> watch::Receiver<Cursor>;

    /// Replaces the last values known of a session's use. Never touches the record.
    ///
    /// - *Does*: writes them.
    /// - *Already so*: harmless.
    /// - *Absent*: `NotFound` for a session that is not there.
    /// - *Interrupted*: written or not.
    /// - *Errors*: `Unavailable`.
    async fn put_activity(&self, id: &SessionId, activity: &Activity) -> Result<()>;

    /// The last values known of a session's use.
    ///
    /// - *Does*: reads them.
    /// - *Already so*: changes nothing.
    /// - *Absent*: the default, when nothing is known.
    /// - *Interrupted*: nothing to undo.
    /// - *Errors*: `Unavailable`.
    async fn activity(&self, id: &SessionId) -> Result<Activity>;

    /// Every live session that holds a reservation at `provisioner`.
    ///
    /// - *Does*: reads them all; for the start and for the sweep.
    /// - *Already so*: changes nothing.
    /// - *Absent*: an empty list.
    /// - *Interrupted*: nothing to undo.
    /// - *Errors*: `Unavailable`.
    async fn reserved(&self, provisioner: &BackendName) -> Result<Vec<Session>>;

    /// Removes what is over and old: a portion of it, in one transaction.
    ///
    /// - *Does*: removes at most `old.limit` of these and answers how many: sessions that ended
    ///   long ago, each with its activity and idempotency key, the longest ended first; the events
    ///   of such sessions, once their record is gone; idempotency keys that are old themselves. The
    ///   id of such a session is kept for ever, alone: it is [`Self::retired`], and
    ///   [`Self::insert`] refuses it. A live session is never touched, whatever its age, and its
    ///   events stay whole.
    /// - *Already so*: answers zeros.
    /// - *Absent*: likewise.
    /// - *Interrupted*: the portion is removed whole or not at all; the next call goes on.
    /// - *Errors*: `Unavailable`.
    async fn prune(&self, old: &Prune) -> Result<Pruned>;

    /// Whether a session of that id has been pruned: it ended, and more is not known of it.
    ///
    /// - *Does*: reads it; a machine that bears such an id is an orphan.
    /// - *Already so*: once true, true for ever.
    /// - *Absent*: false, as for a session whose record is there.
    /// - *Interrupted*: nothing to undo.
    /// - *Errors*: `Unavailable`.
    async fn retired(&self, id: &SessionId) -> Result<bool>;

    /// Counts over all sessions, those that were pruned included, for metrics.
    ///
    /// - *Does*: reads them, without touching every record.
    /// - *Already so*: changes nothing.
    /// - *Absent*: zeros.
    /// - *Interrupted*: nothing to undo.
    /// - *Errors*: `Unavailable`.
    async fn tally(&self) -> Result<Tally>;

    /// Where API keys are kept, in the same store.
    fn keys(&self) -> Arc<dyn KeyStore>;

    /// Where sign-ins are kept, in the same store.
    fn sign_ins(&self) -> Arc<dyn SignInStore>;

    /// Where the audit log is kept, in the same store.
    fn audit(&self) -> Arc<dyn AuditStore>;

    /// Where second factors are kept, in the same store.
    fn second_factors(&self) -> Arc<dyn SecondFactorStore>;
}

/// A session to add.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// The record; its version is 1.
    pub session: Session,
    /// The quotas to check, in the same transaction.
    pub quotas: Quotas,
    /// What to write to the event log.
    pub events: Vec<NewEvent>,
    /// The caller's key: the same owner's second request with it is the first one's.
    pub idempotency_key: Option<String>,
}

/// What [`SessionStore::insert`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inserted {
    /// The session was added.
    New(Box<Session>),
    /// The idempotency key was used before, for this session.
    Before(Box<Session>),
}

impl Inserted {
    /// The session, new or not.
    pub fn into_session(self) -> Session {
        let (Self::New(session) | Self::Before(session)) = self;
        *session
    }
}

/// A record to replace.
#[derive(Debug, Clone)]
pub struct Change {
    /// The record as it is to be; its version is the one that was read.
    pub session: Session,
    /// The lease under which it was read; absent for requests of people.
    pub fence: Option<Fence>,
    /// What to write to the event log.
    pub events: Vec<NewEvent>,
    /// What becomes of lease and due time.
    pub next: Next,
}

/// What becomes of a record's lease and due time after a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The lease is kept; the engine goes on with this session.
    Hold,
    /// The lease is given back; due again at this time, or never, or at the time that was set while
    /// the lease ran.
    Release(Option<Timestamp>),
    /// Somebody else's lease is left as it is; due at once.
    DueNow,
}

/// A session under a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    /// The record as of now.
    pub session: Session,
    /// The lease's number.
    pub fence: Fence,
}

/// A wish for a pooled session.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Of which template.
    pub template: TemplateName,
    /// For whom.
    pub owner: Owner,
    /// In which organisation.
    pub organisation: Organisation,
    /// The quotas to check.
    pub quotas: Quotas,
    /// Now.
    pub now: Timestamp,
}
