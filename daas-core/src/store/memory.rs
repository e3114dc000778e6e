//! Sessions in memory: for tests, embedding and as the plainest reading of the contract.

mod audit;
mod keys;
mod log;
mod pruning;
mod second_factors;
mod sign_ins;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;

use self::audit::{AuditRows, MemoryAudit};
use self::keys::MemoryKeys;
use self::log::Log;
use self::pruning::Retired;
use self::second_factors::MemorySecondFactors;
use self::sign_ins::MemorySignIns;
use super::query::{parse_token, token};
use super::quota::{Quotas, Scope, Usage};
use super::{
    Change, Claim, EventFilter, Filter, Inserted, Leased, NewSession, Next, Page, Prune, Pruned,
    SessionStore, Sessions, Tally,
};
use crate::access::{ApiKey, KeyStore, SecondFactor, SecondFactorStore, SignIn, SignInStore};
use crate::activity::Activity;
use crate::audit::AuditStore;
use crate::error::{Error, Kind, Operation, Result};
use crate::event::Event;
use crate::ids::{BackendName, Cursor, DeploymentId, Fence, Holder, SessionId, Version};
use crate::owner::Owner;
use crate::session::{Phase, Session};

/// A store that forgets when the process ends.
#[derive(Debug)]
pub struct MemoryStore {
    deployment: DeploymentId,
    state: Arc<Mutex<State>>,
    newest: watch::Sender<Cursor>,
}

#[derive(Debug, Default)]
struct State {
    rows: BTreeMap<SessionId, Row>,
    log: Log,
    /// By owner and key: which session it was, and when.
    idempotency: HashMap<(String, String), (SessionId, Timestamp)>,
    keys: BTreeMap<String, ApiKey>,
    sign_ins: BTreeMap<String, SignIn>,
    second_factors: BTreeMap<Owner, SecondFactor>,
    retired: Retired,
    audit: AuditRows,
}

#[derive(Debug)]
struct Row {
    session: Session,
    activity: Activity,
    due: Option<Timestamp>,
    fence: Fence,
    lease: Option<(Holder, Timestamp)>,
}

impl Row {
    /// When it can be taken: under a lease when that ends, else when it is due.
    fn due_at(&self) -> Option<Timestamp> {
        self.lease.as_ref().map_or(self.due, |(_, end)| Some(*end))
    }
}

impl MemoryStore {
    /// An empty store of a new deployment.
    pub fn new() -> Self {
        Self::of(DeploymentId::mint())
    }

    /// An empty store of the deployment `id`.
    pub fn of(deployment: DeploymentId) -> Self {
        Self { deployment, state: Arc::default(), newest: watch::Sender::new(Cursor(0)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, state: &State) {
        let newest = state.log.newest();
        self.newest.send_if_modified(|cursor| {
            let news = *cursor != newest;
            *cursor = newest;
            news
        });
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn live(&self) -> impl Iterator<Item = &Session> {
        self.rows.values().map(|row| &row.session).filter(|s| s.is_live())
    }

    fn check_unique(&self, session: &Session) -> Result<()> {
        let conflict =
            |what: String| Err(Error::new(Kind::Conflict, Operation::Store, &session.id, what));
        for other in self.live().filter(|other| other.id != session.id) {
            if session.label.is_some()
                && session.label == other.label
                && session.owner == other.owner
            {
                return conflict(format!(
                    "its owner has a live session with that label, {}",
                    other.id
                ));
            }
            for mine in session.reservations() {
                let held = other.reservations().any(|theirs| {
                    theirs.machine == mine.machine && theirs.provisioner == mine.provisioner
                });
                if held {
                    return conflict(format!("machine {} is held by {}", mine.machine, other.id));
                }
            }
        }
        Ok(())
    }

    fn check_quotas(&self, quotas: &Quotas, session: &Session) -> Result<()> {
        for (scope, quota) in quotas.limited() {
            let counts = |other: &&Session| match scope {
                Scope::Owner => other.owner == session.owner,
                Scope::Organisation => other.organisation == session.organisation,
                Scope::Template => other.template.name == session.template.name,
                Scope::All => true,
            };
            let live = self.live().filter(|other| other.id != session.id).filter(counts);
            let usage = live.fold(Usage::default(), |usage, other| Usage {
                sessions: usage.sessions + 1,
                cores: usage.cores + u64::from(other.template.cores),
                memory_mib: usage.memory_mib + other.template.memory_mib,
            });
            quota.admit(scope, usage, session)?;
        }
        Ok(())
    }

    fn held(&mut self, id: &SessionId, fence: Fence) -> Option<&mut Row> {
        self.rows.get_mut(id).filter(|row| row.fence == fence && row.lease.is_some())
    }
}

fn not_found(id: &SessionId) -> Error {
    Error::new(Kind::NotFound, Operation::Store, id, "no such session")
}

#[async_trait]
impl SessionStore for MemoryStore {
    async fn deployment(&self) -> Result<DeploymentId> {
        Ok(self.deployment.clone())
    }

    async fn insert(&self, new: NewSession) -> Result<Inserted> {
        let mut state = self.state();
        let owner = new.session.owner.as_ref().map(ToString::to_string).unwrap_or_default();
        let key = new.idempotency_key.map(|key| (owner, key));
        if let Some((before, _)) = key.as_ref().and_then(|key| state.idempotency.get(key)) {
            let row = state.rows.get(before).ok_or_else(|| not_found(before))?;
            return Ok(Inserted::Before(Box::new(row.session.clone())));
        }
        let session = new.session;
        if state.rows.contains_key(&session.id) || state.retired.contains(&session.id) {
            let taken = "the session id is taken";
            return Err(Error::new(Kind::Conflict, Operation::Store, &session.id, taken));
        }
        state.check_unique(&session)?;
        state.check_quotas(&new.quotas, &session)?;
        if let Some(key) = key {
            state.idempotency.insert(key, (session.id.clone(), session.created_at));
        }
        state.log.append(&session, new.events);
        let row = Row {
            session: session.clone(),
            activity: Activity::default(),
            due: Some(session.created_at),
            fence: Fence(0),
            lease: None,
        };
        state.rows.insert(session.id.clone(), row);
        self.tell(&state);
        Ok(Inserted::New(Box::new(session)))
    }

    async fn get(&self, id: &SessionId) -> Result<Option<Session>> {
        Ok(self.state().rows.get(id).map(|row| row.session.clone()))
    }

    async fn list(&self, filter: &Filter, page: &Page) -> Result<Sessions> {
        let state = self.state();
        let after = page.after.as_deref().map(parse_token).transpose()?;
        let mut sessions: Vec<&Session> = state
            .rows
            .values()
            .map(|row| &row.session)
            .filter(|s| filter.passes(s))
            .filter(|s| after.as_ref().is_none_or(|after| (s.created_at, s.id.clone()) < *after))
            .collect();
        sessions.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
        let more = sessions.len() > page.limit;
        sessions.truncate(page.limit);
        let next = if more { sessions.last().map(|s| token(s)) } else { None };
        Ok(Sessions { sessions: sessions.into_iter().cloned().collect(), next })
    }

    async fn update(&self, change: Change) -> Result<Version> {
        let mut state = self.state();
        let mut session = change.session;
        let id = session.id.clone();
        let row = state.rows.get(&id).ok_or_else(|| not_found(&id))?;
        let conflict = |why: &str| Err(Error::new(Kind::Conflict, Operation::Store, &id, why));
        if row.session.version != session.version {
            return conflict("the record was changed meanwhile; read it again");
        }
        if change.fence.is_some_and(|fence| row.fence != fence || row.lease.is_none()) {
            return conflict("the lease was lost");
        }
        state.check_unique(&session)?;
        session.version = session.version.next();
        let version = session.version;
        state.log.append(&session, change.events);
        let row = state.rows.get_mut(&id).ok_or_else(|| not_found(&id))?;
        match change.next {
            Next::Hold => {}
            Next::Release(due) => {
                row.lease = None;
                row.due = row.due.or(due);
            }
            Next::DueNow => row.due = Some(session.updated_at),
        }
        row.session = session;
        self.tell(&state);
        Ok(version)
    }

    async fn take_due(
        &self,
        holder: &Holder,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Leased>> {
        let mut state = self.state();
        let mut due: Vec<&mut Row> = state
            .rows
            .values_mut()
            .filter(|row| row.due_at().is_some_and(|due| due <= now))
            .collect();
        due.sort_by_key(|row| row.due_at());
        let taken = due.into_iter().take(limit).map(|row| {
            row.fence = Fence(row.fence.0 + 1);
            row.due = None;
            row.lease = Some((holder.clone(), until));
            Leased { session: row.session.clone(), fence: row.fence }
        });
        Ok(taken.collect())
    }

    async fn next_due(&self) -> Result<Option<Timestamp>> {
        let state = self.state();
        Ok(state.rows.values().filter_map(Row::due_at).min())
    }

    async fn renew(
        &self,
        holder: &Holder,
        held: &[(SessionId, Fence)],
        until: Timestamp,
    ) -> Result<Vec<SessionId>> {
        let mut state = self.state();
        let mut kept = Vec::with_capacity(held.len());
        for (id, fence) in held {
            if let Some(row) = state.held(id, *fence)
                && let Some((who, end)) = &mut row.lease
                && who == holder
            {
                *end = until;
                kept.push(id.clone());
            }
        }
        Ok(kept)
    }

    async fn release(&self, id: &SessionId, fence: Fence, due: Option<Timestamp>) -> Result<()> {
        if let Some(row) = self.state().held(id, fence) {
            row.lease = None;
            row.due = row.due.or(due);
        }
        Ok(())
    }

    async fn hasten(&self, id: &SessionId, at: Timestamp) -> Result<()> {
        if let Some(row) = self.state().rows.get_mut(id) {
            row.due = Some(row.due.map_or(at, |due| due.min(at)));
        }
        Ok(())
    }

    async fn claim(&self, claim: Claim) -> Result<Option<Session>> {
        let mut state = self.state();
        let pooled = state.live().filter(|s| {
            s.phase == Phase::Pooled && s.owner.is_none() && s.template.name == claim.template
        });
        let Some(mut session) = pooled.min_by_key(|s| s.ready_at).cloned() else {
            return Ok(None);
        };
        session.owner = Some(claim.owner);
        session.organisation = claim.organisation;
        state.check_quotas(&claim.quotas, &session)?;
        session.version = session.version.next();
        session.updated_at = claim.now;
        let id = session.id.clone();
        let row = state.rows.get_mut(&id).ok_or_else(|| not_found(&id))?;
        row.session = session.clone();
        row.due = Some(claim.now);
        self.tell(&state);
        Ok(Some(session))
    }

    async fn events(
        &self,
        after: Cursor,
        filter: &EventFilter,
        limit: usize,
    ) -> Result<Vec<Event>> {
        let state = self.state();
        if let Some(session) = filter.session.as_ref().filter(|id| state.retired.contains(id)) {
            return Err(super::prune::events_gone(session));
        }
        state.log.after(after, filter, limit)
    }

    fn watch(&self) -> watch::Receiver<Cursor> {
        self.newest.subscribe()
    }

    async fn put_activity(&self, id: &SessionId, activity: &Activity) -> Result<()> {
        let mut state = self.state();
        let row = state.rows.get_mut(id).ok_or_else(|| not_found(id))?;
        row.activity = activity.clone();
        Ok(())
    }

    async fn activity(&self, id: &SessionId) -> Result<Activity> {
        Ok(self.state().rows.get(id).map(|row| row.activity.clone()).unwrap_or_default())
    }

    async fn reserved(&self, provisioner: &BackendName) -> Result<Vec<Session>> {
        let state = self.state();
        let held = |s: &&Session| s.reservations().any(|r| &r.provisioner == provisioner);
        Ok(state.live().filter(held).cloned().collect())
    }

    async fn prune(&self, old: &Prune) -> Result<Pruned> {
        Ok(self.state().prune(old))
    }

    async fn retired(&self, id: &SessionId) -> Result<bool> {
        Ok(self.state().retired.contains(id))
    }

    async fn tally(&self) -> Result<Tally> {
        let state = self.state();
        let mut tally = state.retired.tally();
        for session in state.rows.values().map(|row| &row.session) {
            tally.created += 1;
            if session.is_live() {
                *tally.by_phase.entry(session.phase).or_default() += 1;
            } else {
                pruning::count_end(&mut tally, session);
            }
        }
        Ok(tally)
    }

    fn keys(&self) -> Arc<dyn KeyStore> {
        Arc::new(MemoryKeys(Arc::clone(&self.state)))
    }

    fn sign_ins(&self) -> Arc<dyn SignInStore> {
        Arc::new(MemorySignIns(Arc::clone(&self.state)))
    }

    fn audit(&self) -> Arc<dyn AuditStore> {
        Arc::new(MemoryAudit(Arc::clone(&self.state)))
    }

    fn second_factors(&self) -> Arc<dyn SecondFactorStore> {
        Arc::new(MemorySecondFactors(Arc::clone(&self.state)))
    }
}
