//! One session in hand: passes over it until it has to wait for longer than it is worth holding.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tracing::{debug, warn};

use super::board::Notice;
use super::decide::{Seen, decide};
use super::{Inner, execute};
use crate::clock::later;
use crate::error::{Error, Kind, Recovery, Result};
use crate::event::{NewEvent, What};
use crate::idle::{Action, Evidence, Moment, Verdict};
use crate::ids::Fence;
use crate::machine::{Observation, Underway, Wake};
use crate::progress::Progress;
use crate::session::{Goal, Phase, Session};
use crate::store::{Change, Leased, Next};

/// The longest wait during which a session is kept in hand; it holds no slot meanwhile.
const HOLD_MAX: Duration = Duration::from_secs(3);

/// One session under a lease.
pub(super) struct Worker {
    pub(super) inner: Arc<Inner>,
    pub(super) session: Session,
    pub(super) fence: Fence,
    pub(super) seen: Option<Seen>,
    /// Whether a machine was ordered since it was last looked at: it may be there by now.
    pub(super) ordered: bool,
    signal: Arc<Notify>,
}

/// What a step leads to.
pub(super) enum Flow {
    /// Decide again.
    Again,
    /// Wait, then decide again.
    After(Duration),
    /// Wait for the backend, then ask it again. Kept in hand, but in no slot.
    Underway(Underway),
    /// Give the session back; due again then, or when somebody wishes something.
    Leave(Option<Timestamp>),
}

/// Why a step did not come to its end.
pub(super) enum Stop {
    /// It failed.
    Failed(Error),
    /// What is wished changed meanwhile; decide again.
    Overtaken,
    /// The lease or the record is no longer ours to write.
    Lost,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Worker {
    pub(super) fn new(inner: Arc<Inner>, leased: Leased, signal: Arc<Notify>) -> Self {
        inner.note_held(&leased.session);
        let Leased { session, fence } = leased;
        Self { inner, session, fence, seen: None, ordered: false, signal }
    }

    /// Works on the session until it is given back.
    pub(super) async fn run(mut self) {
        loop {
            let flow = match self.pass().await {
                Ok(flow) => flow,
                Err(Stop::Lost) => return,
                Err(Stop::Overtaken) => match self.reread().await {
                    Ok(()) => Flow::Again,
                    Err(_) => return,
                },
                Err(Stop::Failed(error)) => match self.failed(error).await {
                    Ok(flow) => flow,
                    Err(_) => return,
                },
            };
            match flow {
                Flow::Again => {}
                Flow::After(wait) if wait <= HOLD_MAX => {
                    if self.pause(wait, &Wake::default()).await.is_err() {
                        return;
                    }
                }
                Flow::Underway(Underway { check_after, wake, .. }) => {
                    if self.pause(check_after, &wake).await.is_err() {
                        return;
                    }
                }
                Flow::After(wait) => {
                    let due = later(self.inner.now(), wait);
                    return self.leave(Some(due)).await;
                }
                Flow::Leave(due) => return self.leave(due).await,
            }
        }
    }

    /// Waits until the time is over, the bell rings, or somebody wishes something.
    async fn pause(&mut self, wait: Duration, wake: &Wake) -> Result<(), Stop> {
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            () = wake.heard() => Ok(()),
            () = self.signal.notified() => self.reread().await,
        }
    }

    async fn pass(&mut self) -> Result<Flow, Stop> {
        if self.session.phase == Phase::Ended {
            return Ok(Flow::Leave(None));
        }
        let now = self.inner.now();
        self.note_coming();
        if self.ordered && self.session.goal == Goal::Gone {
            // What was absent before the order proves nothing after it.
            self.seen = None;
        }
        let backing_off = self.session.attempts.next_at.is_some_and(|next| next > now);
        if self.seen.is_none() && !backing_off {
            self.seen = Some(self.look().await?);
            self.ordered = false;
        }
        self.note_sight().await?;
        let verdict = self.verdict(now).await?;
        let seen = self.seen.as_ref().unwrap_or(&Seen::NoReservation);
        let (step, reason) = decide(&self.session, seen, &verdict, self.inner.limits(), now);
        debug!(session = %self.session.id, phase = %self.session.phase, ?step, reason, "decided");
        self.tell(&reason);
        execute::execute(self, step, reason, &verdict).await
    }

    /// Keeps count of the desktops on their way: more of them make each take longer.
    fn note_coming(&self) {
        let Session { id, goal, phase, template, .. } = &self.session;
        if *goal == Goal::Running && phase.is_coming() {
            self.inner.estimates.note(id, &template.name);
        } else {
            self.inner.estimates.forget(id);
        }
    }

    /// Looks at the machine. The doubts of a look are part of its answer.
    pub(super) async fn look(&mut self) -> Result<Seen, Stop> {
        let Some(reservation) = self.session.reservation.clone() else {
            return Ok(Seen::NoReservation);
        };
        let inner = Arc::clone(&self.inner);
        let provisioner = Arc::clone(inner.provisioner(&self.session)?);
        let deadline = inner.limits().observe_deadline;
        let look = async {
            let _slot = inner.observe_calls.acquire().await;
            tokio::time::timeout(deadline, provisioner.observe(&reservation)).await
        };
        let observed = self.unless_overtaken(look).await?.unwrap_or_else(|_| {
            Observation::Unknown(format!("no answer within {} s", deadline.as_secs()))
        });
        Ok(Seen::Observed(observed))
    }

    /// Keeps in the record what a first or a changed sight tells: it is part of the identity.
    pub(super) async fn note_sight(&mut self) -> Result<(), Stop> {
        let Some(Seen::Observed(Observation::Present(machine))) = &self.seen else {
            return Ok(());
        };
        let mut news = false;
        if let Some(reservation) = &mut self.session.reservation {
            // A machine without its mark yet may still turn out to be somebody else's.
            let proved = machine.session.as_ref() == Some(&self.session.id);
            if proved && !self.session.seen {
                self.session.seen = true;
                news = true;
            }
            if proved && reservation.uuid.is_none() && machine.uuid.is_some() {
                reservation.uuid.clone_from(&machine.uuid);
                news = true;
            }
            if reservation.place != machine.place {
                reservation.place.clone_from(&machine.place);
                news = true;
            }
        }
        if machine.address.is_some() && self.session.address != machine.address {
            self.session.address = machine.address;
            news = true;
        }
        if machine.power == crate::machine::Power::Running
            && self.session.power_off_since.take().is_some()
        {
            news = true;
        }
        if news { self.save(Vec::new(), Next::Hold).await } else { Ok(()) }
    }

    async fn verdict(&self, now: Timestamp) -> Result<Verdict, Stop> {
        if self.session.phase != Phase::Ready || self.session.goal != Goal::Running {
            return Ok(keep(now, self.inner.limits().observe_period));
        }
        let activity = self.inner.store().activity(&self.session.id).await?;
        let when = Moment { now, listening_since: self.inner.listening_since };
        Ok(self.inner.parts.policy.verdict(&self.session, &activity, when))
    }

    /// Writes the record. After a conflict it is read anew: someone wished something meanwhile.
    pub(super) async fn save(&mut self, events: Vec<NewEvent>, next: Next) -> Result<(), Stop> {
        self.session.updated_at = self.inner.now();
        let session = self.session.clone();
        let change = Change { session, fence: Some(self.fence), events, next };
        match self.inner.store().update(change).await {
            Ok(version) => {
                self.session.version = version;
                Ok(())
            }
            Err(error) if error.kind() == Kind::Conflict => Err(Stop::Overtaken),
            Err(error) => {
                warn!(session = %self.session.id, error = error.chain(), "cannot write the record");
                Err(Stop::Lost)
            }
        }
    }

    /// Awaits `work`, but not past a change of what is wished.
    pub(super) async fn unless_overtaken<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, Stop> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                () = self.signal.notified() => {
                    let Ok(Some(now)) = self.inner.store().get(&self.session.id).await else {
                        continue;
                    };
                    if now.goal != self.session.goal {
                        return Err(Stop::Overtaken);
                    }
                }
            }
        }
    }

    async fn reread(&mut self) -> Result<(), Stop> {
        // What was seen, was seen with another record in hand: it may have reserved meanwhile.
        self.seen = None;
        match self.inner.store().get(&self.session.id).await {
            Ok(Some(session)) => {
                let written = session.version != self.session.version;
                self.session = session;
                // A conflict without a newer record is a lost lease.
                if written { Ok(()) } else { self.still_held().await }
            }
            Ok(None) => Err(Stop::Lost),
            Err(error) => {
                warn!(session = %self.session.id, error = error.chain(), "cannot read the record");
                Err(Stop::Lost)
            }
        }
    }

    async fn still_held(&self) -> Result<(), Stop> {
        let held = [(self.session.id.clone(), self.fence)];
        let until = later(self.inner.now(), self.inner.limits().lease);
        match self.inner.store().renew(&self.inner.holder, &held, until).await {
            Ok(kept) if kept.len() == 1 => Ok(()),
            _ => Err(Stop::Lost),
        }
    }

    /// Notes a failure and when to try again.
    async fn failed(&mut self, error: Error) -> Result<Flow, Stop> {
        let now = self.inner.now();
        self.seen = None;
        let reason = error.chain();
        let attempts = &mut self.session.attempts;
        attempts.failed = match error.recovery() {
            Recovery::Retry | Recovery::Reread => attempts.failed.saturating_add(1),
            // Trying again cannot help; on the way out there is no other way, though.
            Recovery::Fail => {
                attempts.failed.saturating_add(1).max(self.inner.limits().attempts_max)
            }
        };
        let wait = self.inner.limits().backoff(attempts.failed);
        attempts.next_at = Some(later(now, wait));
        attempts.last_error = Some(reason.clone());
        let attempt = attempts.failed;
        warn!(session = %self.session.id, attempt, error = reason, "a step failed");
        self.tell(&reason);
        let given_up = self.session.goal == Goal::Running
            && attempt >= self.inner.limits().attempts_max
            && self.session.phase != Phase::Parked;
        if given_up {
            // Decided at once: nobody is served by waiting for what will not be tried.
            self.session.attempts.next_at = None;
        }
        let event = NewEvent { at: now, what: What::Failed { attempt, reason } };
        match self.save(vec![event], Next::Hold).await {
            Ok(()) if given_up => Ok(Flow::Again),
            Ok(()) => Ok(Flow::After(wait)),
            Err(Stop::Overtaken) => self.reread().await.map(|()| Flow::Again),
            Err(stop) => Err(stop),
        }
    }

    async fn leave(self, due: Option<Timestamp>) {
        let id = &self.session.id;
        if let Err(error) = self.inner.store().release(id, self.fence, due).await {
            warn!(session = %id, error = error.chain(), "cannot give back the lease; it will expire");
        }
        if self.session.phase == Phase::Ended {
            self.inner.board.clear(id);
        }
    }

    /// What is being done, for people.
    pub(super) fn tell(&self, what: &str) {
        let notice = Notice { what: what.to_owned(), fraction: None, at: self.inner.now() };
        self.inner.board.put(&self.session.id, notice);
    }

    /// Progress that appears on the board.
    pub(super) fn progress(&self) -> Progress {
        let (inner, id) = (Arc::clone(&self.inner), self.session.id.clone());
        Progress::to(move |step| {
            let notice = Notice { what: step.what, fraction: step.fraction, at: inner.now() };
            inner.board.put(&id, notice);
        })
    }
}

/// The verdict on what no policy is asked about.
fn keep(now: Timestamp, period: Duration) -> Verdict {
    Verdict {
        action: Action::Keep,
        until: later(now, period),
        evidence: Evidence {
            rule: "in_use".to_owned(),
            measured_seconds: 0,
            limit_seconds: 0,
            reported_at: None,
            passed_at: None,
        },
    }
}
