//! The writer of a chain: takes notes, numbers and chains them, and has them stored many at a time.
//!
//! INVARIANT: what [`AuditLog::write`] has answered is durable. INVARIANT: the chain goes on from what
//! the store holds: after a write whose outcome is unknown, that is read before anything else.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

use super::act::Act;
use super::chain::{Head, SignedHead, Writer};
use super::entry::{Entry, Note};
use super::key::{AuditKey, PublicKey};
use super::{AuditStore, Chain};
use crate::clock::{Clock, earlier};
use crate::error::{Error, Kind, Operation, Result};
use crate::ids::DeploymentId;

/// How many notes may wait; then callers wait for a place.
const QUEUE_MAX: usize = 4_096;
/// How many entries share one write.
const BATCH_MAX: usize = 128;
/// How many results are kept while they cannot be written.
const BACKLOG_MAX: usize = 4_096;
/// How long the store may take.
const STORE_DEADLINE: Duration = Duration::from_secs(10);
/// How often it is tried again to write results.
const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// How often old entries are looked for, while running.
const PRUNE_PERIOD: Duration = Duration::from_secs(6 * 3_600);
/// How many entries of a chain go at once.
const PRUNED_AT_ONCE: u64 = 10_000;
/// How many chains one entry vouches for.
const LINKS_MAX: usize = 64;

/// How the log is signed and how long it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditSettings {
    /// The head is signed after so many entries. Default 64.
    pub sign_entries: u64,
    /// And after so long, when there is anything new. Default 60 s.
    #[serde(with = "humantime_serde")]
    pub sign_period: Duration,
    /// Older entries are removed. Default 400 days.
    #[serde(with = "humantime_serde")]
    pub kept: Duration,
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self {
            sign_entries: 64,
            sign_period: Duration::from_secs(60),
            kept: Duration::from_secs(400 * 24 * 3_600),
        }
    }
}

/// How a log stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogState {
    /// Its newest entry.
    pub head: Head,
    /// Up to which number it is signed.
    pub signed: u64,
    /// Why nothing can be written, while that is so.
    pub failing: Option<String>,
    /// Results that wait to be written.
    pub waiting: usize,
    /// Results that were lost, and that no entry tells of yet.
    pub lost: u64,
}

/// Writes one chain. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AuditLog {
    jobs: mpsc::Sender<Job>,
    state: Arc<Mutex<LogState>>,
    /// Results that found no place in the queue.
    unqueued: Arc<AtomicU64>,
    public: PublicKey,
    store: Arc<dyn AuditStore>,
    deployment: DeploymentId,
    clock: Arc<dyn Clock>,
}

/// A note and when it was made, which may be long before it is written.
#[derive(Debug, Clone)]
struct Timed(Timestamp, Box<Note>);

#[derive(Debug)]
enum Job {
    Write(Timed, oneshot::Sender<Result<u64>>),
    Leave(Timed),
    Prune(Timestamp, oneshot::Sender<Result<u64>>),
    Close(oneshot::Sender<()>),
}

impl AuditLog {
    /// Begins a chain: its first entry, which vouches for the chains before it, is written and signed.
    ///
    /// # Errors
    /// `Invalid` for settings that cannot be meant; those of the store.
    pub async fn open(
        store: Arc<dyn AuditStore>,
        deployment: DeploymentId,
        key: AuditKey,
        clock: Arc<dyn Clock>,
        settings: AuditSettings,
    ) -> Result<Self> {
        if settings.sign_entries == 0 || settings.sign_period.is_zero() || settings.kept.is_zero() {
            let why = "sign_entries, sign_period and kept must be more than nothing";
            return Err(Error::invalid(Operation::Start, "audit", why));
        }
        let writer = Writer::mint();
        let hash = writer.genesis(&deployment);
        let head = Head { writer, number: 0, hash };
        let state = LogState { head: head.clone(), signed: 0, failing: None, waiting: 0, lost: 0 };
        let state = Arc::new(Mutex::new(state));
        let (public, unqueued) = (key.public(), Arc::<AtomicU64>::default());
        let mut chain = Keeper {
            store: Arc::clone(&store),
            deployment: deployment.clone(),
            key,
            clock: Arc::clone(&clock),
            settings,
            state: Arc::clone(&state),
            unqueued: Arc::clone(&unqueued),
            head,
            signed: 0,
            signed_at: Instant::now(),
            pruned_at: Instant::now(),
            backlog: VecDeque::new(),
            attempt: None,
            lost: 0,
        };
        let chains = chain.store.chains().await?;
        let loose = chains.into_iter().filter(|c| c.linked < c.head.number);
        let links: Vec<Head> = loose.map(|c| c.head).take(LINKS_MAX).collect();
        chain.add(&[chain.own(Note { links, ..Note::own(Act::LogOpened) })], 0).await?;
        chain.sign().await?;
        chain.tell();
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(chain.serve(queue));
        Ok(Self { jobs, state, unqueued, public, store, deployment, clock })
    }

    /// Has `note` written; its number once it is durable.
    ///
    /// # Errors
    /// `Unavailable`: it could not be written, or it is not known whether it was. What was to follow
    /// must not be done.
    pub async fn write(&self, note: Note) -> Result<u64> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(Job::Write(self.timed(note), reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Has `note`, the result of something that was asked, written soon. It is kept while that cannot
    /// be; a crash loses it.
    pub async fn leave(&self, note: Note) {
        if self.jobs.send(Job::Leave(self.timed(note))).await.is_err() {
            error!("a result is missing from the audit log: it was closed");
        }
    }

    /// The same for those who cannot wait: when the queue is full the result is lost, and said to be.
    pub fn leave_now(&self, note: Note) {
        if self.jobs.try_send(Job::Leave(self.timed(note))).is_err() {
            self.unqueued.fetch_add(1, Ordering::Relaxed);
            error!("a result is missing from the audit log: too many wait to be written");
        }
    }

    /// Removes entries older than `before`, after an entry that says which; how many.
    pub async fn prune(&self, before: Timestamp) -> Result<u64> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(Job::Prune(before, reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Writes what is left, ends the chain and signs it. Nothing can be written afterwards.
    pub async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        // A log that is closed already has nothing left to do.
        if self.jobs.send(Job::Close(reply)).await.is_ok() {
            let _ = answer.await;
        }
    }

    fn timed(&self, note: Note) -> Timed {
        Timed(self.clock.now(), Box::new(note))
    }

    /// How it stands.
    pub fn state(&self) -> LogState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What its signatures are checked with.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Whose log it is.
    pub fn deployment(&self) -> &DeploymentId {
        &self.deployment
    }

    /// Where it is kept.
    pub fn store(&self) -> &Arc<dyn AuditStore> {
        &self.store
    }
}

fn closed() -> Error {
    Error::new(Kind::Unavailable, Operation::Store, "audit log", "it is closed")
}

async fn in_time<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(STORE_DEADLINE, work).await.unwrap_or_else(|_| {
        let why = format!("no answer within {} s", STORE_DEADLINE.as_secs());
        Err(Error::new(Kind::Unavailable, Operation::Store, "audit log", why))
    })
}

/// The chain and what is to be done for it.
struct Keeper {
    store: Arc<dyn AuditStore>,
    deployment: DeploymentId,
    key: AuditKey,
    clock: Arc<dyn Clock>,
    settings: AuditSettings,
    state: Arc<Mutex<LogState>>,
    unqueued: Arc<AtomicU64>,
    head: Head,
    signed: u64,
    signed_at: Instant,
    pruned_at: Instant,
    /// Results that are not written yet.
    backlog: VecDeque<Timed>,
    /// The head there would be, had the last write succeeded, and how much of the backlog was in it.
    attempt: Option<(Head, usize)>,
    lost: u64,
}

impl Keeper {
    async fn serve(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut jobs = Vec::with_capacity(BATCH_MAX);
        loop {
            let wait = self.next_turn();
            let asked = tokio::select! {
                count = queue.recv_many(&mut jobs, BATCH_MAX) => count > 0,
                () = tokio::time::sleep_until(wait) => true,
            };
            let (mut writes, mut prunes, mut ends) = (Vec::new(), Vec::new(), Vec::new());
            for job in jobs.drain(..) {
                match job {
                    Job::Write(note, reply) => writes.push((note, reply)),
                    Job::Leave(note) => self.put_by(note),
                    Job::Prune(before, reply) => prunes.push((before, reply)),
                    Job::Close(reply) => ends.push(reply),
                }
            }
            self.turn(writes).await;
            for (before, reply) in prunes {
                let _ = reply.send(self.prune(before).await);
            }
            self.keep_house().await;
            if !asked || !ends.is_empty() {
                self.end().await;
                for reply in ends {
                    let _ = reply.send(());
                }
                return;
            }
        }
    }

    /// When something is to be done though nobody asks.
    fn next_turn(&self) -> Instant {
        let prune = self.pruned_at + PRUNE_PERIOD;
        let sign = self.signed_at + self.settings.sign_period;
        let sign = if self.signed < self.head.number { sign } else { prune };
        let retry = Instant::now() + RETRY_PERIOD;
        let retry = if self.backlog.is_empty() && self.lost == 0 { prune } else { retry };
        prune.min(sign.max(Instant::now())).min(retry)
    }

    fn own(&self, note: Note) -> Timed {
        Timed(self.clock.now(), Box::new(note))
    }

    fn put_by(&mut self, note: Timed) {
        if self.backlog.len() < BACKLOG_MAX {
            self.backlog.push_back(note);
        } else {
            self.lost += 1;
        }
    }

    /// Writes what waits and what is asked for; answers the latter.
    async fn turn(&mut self, writes: Vec<(Timed, oneshot::Sender<Result<u64>>)>) {
        self.lost += self.unqueued.swap(0, Ordering::Relaxed);
        if writes.is_empty() && self.backlog.is_empty() && self.lost == 0 {
            return;
        }
        let (notes, replies): (Vec<Timed>, Vec<_>) = writes.into_iter().unzip();
        match self.write(notes).await {
            Ok(first) => {
                for (number, reply) in (first..).zip(replies) {
                    let _ = reply.send(Ok(number));
                }
                self.locked().failing = None;
            }
            Err(failure) => {
                error!(error = failure.chain(), "the audit log cannot be written");
                let why = "the audit log cannot be written, and without it nothing is done";
                for reply in replies {
                    let refused = Error::new(Kind::Unavailable, Operation::Store, "audit log", why);
                    let _ = reply.send(Err(refused.because(failure.clone())));
                }
                self.locked().failing = Some(failure.chain());
            }
        }
        self.tell();
    }

    /// Writes the backlog and then `notes`; the number of the first of these.
    async fn write(&mut self, notes: Vec<Timed>) -> Result<u64> {
        self.settle().await?;
        let mut all: Vec<Timed> = self.backlog.iter().cloned().collect();
        let waited = all.len();
        if self.lost > 0 {
            let subject = Some(self.lost.to_string());
            all.push(self.own(Note { subject, ..Note::own(Act::LogLost) }));
        }
        let first = self.head.number + 1 + all.len() as u64;
        all.extend(notes);
        self.add(&all, waited).await?;
        self.backlog.drain(..waited);
        self.lost = 0;
        Ok(first)
    }

    /// Finds out what became of a write whose outcome is not known.
    async fn settle(&mut self) -> Result<()> {
        let Some((attempt, waited)) = self.attempt.clone() else { return Ok(()) };
        let chains = in_time(self.store.chains()).await?;
        let ours = |chain: &&Chain| chain.head.writer == self.head.writer;
        let there = chains.iter().find(ours).map(|chain| &chain.head);
        if there == Some(&attempt) {
            self.head = attempt;
            self.backlog.drain(..waited);
            self.lost = 0;
        } else if there.is_some_and(|there| there != &self.head) {
            let why =
                "its chain has entries that are not ours; stop the program and find out whose";
            return Err(Error::new(Kind::Internal, Operation::Store, "audit log", why));
        }
        self.attempt = None;
        Ok(())
    }

    /// Adds `notes` to the chain, the first `from_backlog` of which wait in the backlog.
    async fn add(&mut self, notes: &[Timed], from_backlog: usize) -> Result<()> {
        let mut head = self.head.clone();
        let mut entries = Vec::with_capacity(notes.len());
        for Timed(at, note) in notes {
            let entry = Entry::after(&head, note, *at);
            head = entry.head();
            entries.push(entry);
        }
        self.attempt = Some((head.clone(), from_backlog));
        in_time(self.store.append(&entries)).await?;
        self.attempt = None;
        self.head = head;
        Ok(())
    }

    async fn keep_house(&mut self) {
        let new = self.head.number - self.signed;
        let due = self.signed_at + self.settings.sign_period <= Instant::now();
        if (new >= self.settings.sign_entries || (new > 0 && due))
            && let Err(failure) = self.sign().await
        {
            // Tried again after the period; the entries are there.
            self.signed_at = Instant::now();
            warn!(error = failure.chain(), "the audit log could not be signed");
        }
        if self.pruned_at + PRUNE_PERIOD <= Instant::now() {
            self.pruned_at = Instant::now();
            let before = earlier(self.clock.now(), self.settings.kept);
            match self.prune(before).await {
                Ok(0) => {}
                Ok(entries) => info!(entries, "old entries of the audit log were removed"),
                Err(failure) => {
                    warn!(error = failure.chain(), "old entries of the audit log stay");
                }
            }
        }
        self.tell();
    }

    async fn sign(&mut self) -> Result<()> {
        let head = self.head.clone();
        let signed = SignedHead::new(&self.key, &self.deployment, head, self.clock.now());
        in_time(self.store.sign(&signed)).await?;
        // The program's log is kept elsewhere as a rule: there it tells of a log that was cut.
        info!(head = %self.head, "the audit log was signed");
        (self.signed, self.signed_at) = (self.head.number, Instant::now());
        Ok(())
    }

    /// INVARIANT: entries are removed only after a signed entry has named the last of them.
    async fn prune(&mut self, before: Timestamp) -> Result<u64> {
        let marks = in_time(self.store.aged(before, PRUNED_AT_ONCE)).await?;
        // The newest entry of the own chain stays, whatever its age: others follow it.
        let keeps = |mark: &Head| mark.writer != self.head.writer || mark.number < self.head.number;
        let marks: Vec<Head> = marks.into_iter().filter(keeps).collect();
        if marks.is_empty() {
            return Ok(0);
        }
        self.settle().await?;
        let note = Note { links: marks.clone(), ..Note::own(Act::LogPruned) };
        self.add(&[self.own(note)], 0).await?;
        self.sign().await?;
        in_time(self.store.forget(&marks)).await
    }

    async fn end(&mut self) {
        self.turn(Vec::new()).await;
        let closing = async {
            self.settle().await?;
            self.add(&[self.own(Note::own(Act::LogClosed))], 0).await?;
            self.sign().await
        };
        if let Err(failure) = closing.await {
            error!(error = failure.chain(), "the audit log was not closed as it should");
        }
        if !self.backlog.is_empty() {
            error!(results = self.backlog.len(), "results are missing from the audit log");
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        let mut state = self.locked();
        state.head.clone_from(&self.head);
        state.signed = self.signed;
        state.waiting = self.backlog.len();
        state.lost = self.lost;
    }
}
