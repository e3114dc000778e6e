//! The decision: from a record and what is observed to one step. Pure: no I/O, no await, no clock.

use std::time::Duration;

use jiff::Timestamp;

use super::limits::Limits;
use crate::clock::{between, later};
use crate::idle::{Action, Verdict};
use crate::machine::{Machine, Observation, Power};
use crate::session::{Goal, Outcome, Phase, Session};
use crate::template::{AddressFrom, Lifetime, OnFailure};

/// What is known of a session's machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing was reserved yet.
    NoReservation,
    /// It was looked at, or just made.
    Observed(Observation),
}

/// What to do next. One at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing before this time.
    Wait(Timestamp),
    /// Nothing until somebody wishes something.
    Rest,
    /// Choose a machine id and a place, and write them down.
    Reserve,
    /// Make the machine be there with this power, in this phase.
    Ensure(Power, Phase),
    /// Configure the guest for nobody in particular.
    Prepare,
    /// Make the guest its owner's.
    Assign,
    /// Knock at the guest; enter `Ready` when it answers.
    Knock,
    /// Change the record only: it is its owner's though it could not be configured.
    HandOver,
    /// Change the record only: enter this phase.
    Enter(Phase),
    /// Change the record only: the machine has no power though it should.
    NotePowerOff,
    /// Change the record only: it has lost its power for the restarts asked for.
    NoteRestarted,
    /// Change what is wished.
    Wish(Goal, Option<Outcome>),
    /// Tell the user that it is going to end.
    Warn,
    /// Look at a silent guest from outside.
    Probe,
    /// Destroy the machine.
    Destroy,
    /// Prove the oldest past reservation to be empty or somebody else's.
    ClearPast,
    /// Retract the youngest effect.
    Retract,
    /// Nothing is left: end the record.
    End,
}

/// Why, for people.
pub type Reason = String;

/// What to do about `session`, and why.
///
/// `seen` is what is known of its machine, `verdict` what the idle policy says of it.
pub fn decide(
    session: &Session,
    seen: &Seen,
    verdict: &Verdict,
    limits: &Limits,
    now: Timestamp,
) -> (Step, Reason) {
    if session.phase == Phase::Ended {
        return (Step::Rest, "it has ended".into());
    }
    if let Some(next) = session.attempts.next_at
        && next > now
    {
        let why = session.attempts.last_error.clone().unwrap_or_else(|| "tried again soon".into());
        return (Step::Wait(next), why);
    }
    match session.goal {
        Goal::Gone => toward_gone(session, seen, limits, now),
        Goal::Stopped => toward_stopped(session, seen, limits, now),
        Goal::Running => toward_running(session, seen, verdict, limits, now),
    }
}

fn toward_gone(session: &Session, seen: &Seen, limits: &Limits, now: Timestamp) -> (Step, Reason) {
    match seen {
        Seen::Observed(Observation::Unknown(why)) => in_doubt(why, limits, now),
        Seen::Observed(Observation::Present(_)) => {
            (Step::Destroy, "its machine is being removed".into())
        }
        Seen::NoReservation | Seen::Observed(Observation::Absent) => {
            if !session.past_reservations.is_empty() {
                (Step::ClearPast, "earlier reservations are checked".into())
            } else if let Some(effect) = session.ledger.next() {
                (Step::Retract, format!("{} {} is being removed", effect.kind, effect.key))
            } else if matches!(session.phase, Phase::Queued | Phase::Destroying) {
                (Step::End, "nothing is left of it".into())
            } else {
                // Cancelled before its machine was made, or its machine vanished.
                (Step::Enter(Phase::Destroying), "nothing is left of it".into())
            }
        }
    }
}

fn toward_stopped(
    session: &Session,
    seen: &Seen,
    limits: &Limits,
    now: Timestamp,
) -> (Step, Reason) {
    match seen {
        Seen::NoReservation => (Step::Rest, "stopped before it was made".into()),
        Seen::Observed(Observation::Unknown(why)) => in_doubt(why, limits, now),
        Seen::Observed(Observation::Absent) if session.phase == Phase::Lost => lost_rest(),
        Seen::Observed(Observation::Absent) if session.seen => lost(),
        Seen::Observed(Observation::Absent) => {
            (Step::Ensure(Power::Stopped, session.phase), "its machine is being made".into())
        }
        Seen::Observed(Observation::Present(machine)) => match (machine.power, session.phase) {
            (Power::Stopped, Phase::Stopped) => {
                (Step::Wait(later(now, limits.observe_period)), "it is stopped".into())
            }
            (Power::Stopped, Phase::Stopping) => (Step::Enter(Phase::Stopped), "stopped".into()),
            (Power::Stopped, _) => (Step::Enter(Phase::Stopping), "it has no power".into()),
            // Somebody started it behind our back: what was asked for counts.
            (Power::Running, Phase::Stopped) => {
                (Step::Enter(Phase::Starting), "it was started on the hypervisor".into())
            }
            (Power::Running, _) => {
                (Step::Ensure(Power::Stopped, Phase::Stopping), "it is being stopped".into())
            }
        },
    }
}

fn toward_running(
    session: &Session,
    seen: &Seen,
    verdict: &Verdict,
    limits: &Limits,
    now: Timestamp,
) -> (Step, Reason) {
    if let Some(step) = overdue(session, limits, now) {
        return unconfigured(session, seen, step);
    }
    match seen {
        Seen::NoReservation => match session.not_before {
            Some(start) if start > now => (Step::Wait(start), format!("it begins at {start}")),
            _ => (Step::Reserve, "room is being found".into()),
        },
        Seen::Observed(Observation::Unknown(why)) => in_doubt(why, limits, now),
        Seen::Observed(Observation::Absent) if session.phase == Phase::Lost => {
            still_lost(session, limits, now)
        }
        Seen::Observed(Observation::Absent) if session.seen => lost(),
        Seen::Observed(Observation::Absent) => {
            (Step::Ensure(Power::Running, Phase::Creating), "its machine is being made".into())
        }
        Seen::Observed(Observation::Present(machine)) => {
            with_machine(session, machine, verdict, limits, now)
        }
    }
}

/// What ends a session whatever its machine does: its time, or too many failures.
fn overdue(session: &Session, limits: &Limits, now: Timestamp) -> Option<(Step, Reason)> {
    if matches!(session.phase, Phase::Parked) {
        return Some((Step::Rest, session.reason.clone()));
    }
    if let Some(end) = session.not_after
        && end <= now
    {
        let goal = end_of(session);
        return Some((Step::Wish(goal, None), format!("its time ended at {end}")));
    }
    let coming = session.ready_at.is_none();
    let deadline = session.template.creation_deadline;
    if let Some(started) = session.started_at
        && coming
        && between(started, now) >= deadline
    {
        let why = session.attempts.last_error.as_deref().unwrap_or("no error was reported");
        let reason = format!("not ready {} s after it was begun: {why}", deadline.as_secs());
        return Some(give_up(session, reason));
    }
    if session.attempts.failed >= limits.attempts_max && session.phase != Phase::Lost {
        let why = session.attempts.last_error.as_deref().unwrap_or("no error was reported");
        let reason = format!("given up after {} tries: {why}", session.attempts.failed);
        return Some(give_up(session, reason));
    }
    None
}

/// What giving up means: an ephemeral desktop goes, a personal one is left for an operator.
pub(super) fn give_up(session: &Session, reason: String) -> (Step, Reason) {
    match session.lifetime {
        Lifetime::Ephemeral => {
            let outcome = Outcome::Failed { reason: reason.clone() };
            (Step::Wish(Goal::Gone, Some(outcome)), reason)
        }
        Lifetime::Personal => (Step::Enter(Phase::Parked), reason),
    }
}

/// What the template wishes instead of giving up a desktop that cannot be configured.
fn unconfigured(session: &Session, seen: &Seen, (step, reason): (Step, Reason)) -> (Step, Reason) {
    let configuring = matches!(session.phase, Phase::Preparing | Phase::Assigning);
    let given_up = matches!(step, Step::Wish(Goal::Gone, Some(Outcome::Failed { .. })));
    if !(configuring && given_up) {
        return (step, reason);
    }
    let up =
        matches!(seen, Seen::Observed(Observation::Present(machine)) if is_up(session, machine));
    match session.template.on_failure {
        OnFailure::Keep => (Step::Enter(Phase::Parked), reason),
        OnFailure::HandOver if up && session.owner.is_some() => (Step::HandOver, reason),
        OnFailure::Destroy | OnFailure::HandOver => (step, reason),
    }
}

fn with_machine(
    session: &Session,
    machine: &Machine,
    verdict: &Verdict,
    limits: &Limits,
    now: Timestamp,
) -> (Step, Reason) {
    let running = machine.power == Power::Running;
    match session.phase {
        Phase::Ready if !running => no_power(session, limits, now),
        Phase::Ready => in_use(session, verdict, limits, now),
        Phase::Pooled if session.owner.is_none() && running => {
            (Step::Wait(later(now, limits.observe_period)), "kept for whoever asks".into())
        }
        Phase::Restarting if running => {
            (Step::Ensure(Power::Stopped, Phase::Restarting), "it is being restarted".into())
        }
        Phase::Restarting => (Step::NoteRestarted, "it starts again".into()),
        Phase::Stopping | Phase::Stopped => (Step::Enter(Phase::Starting), "asked for".into()),
        Phase::Lost => (Step::Enter(Phase::Creating), "its machine is there again".into()),
        Phase::Queued | Phase::Creating | Phase::Starting if !is_up(session, machine) => {
            let phase =
                if session.phase == Phase::Starting { Phase::Starting } else { Phase::Creating };
            (Step::Ensure(Power::Running, phase), "its machine is starting".into())
        }
        // Configuring took so long that the machine went away under it.
        Phase::Preparing | Phase::Assigning | Phase::Pooled if !is_up(session, machine) => {
            (Step::Ensure(Power::Running, session.phase), "its machine is starting".into())
        }
        _ => configure(session),
    }
}

/// Whether the machine is as far as the hypervisor brings it, and proved to be this session's.
pub(super) fn is_up(session: &Session, machine: &Machine) -> bool {
    let addressed = session.template.address_from == AddressFrom::None || machine.address.is_some();
    let proved = machine.session.as_ref() == Some(&session.id);
    machine.power == Power::Running && addressed && proved && machine.lock.is_none()
}

fn configure(session: &Session) -> (Step, Reason) {
    let configured = session.template.configurator.is_some();
    if configured && !session.prepared {
        (Step::Prepare, "the desktop is being prepared".into())
    } else if session.owner.is_none() {
        match session.phase {
            Phase::Preparing => (Step::Enter(Phase::Pooled), "kept for whoever asks".into()),
            _ => (Step::Enter(Phase::Preparing), "no preparation is needed".into()),
        }
    } else if configured && !session.assigned {
        (Step::Assign, "the desktop is being made its user's".into())
    } else {
        (Step::Knock, "the desktop is starting".into())
    }
}

fn no_power(session: &Session, limits: &Limits, now: Timestamp) -> (Step, Reason) {
    let Some(since) = session.power_off_since else {
        return (Step::NotePowerOff, "its machine has no power".into());
    };
    let grace = limits.power_off_grace;
    if between(since, now) < grace {
        return (Step::Wait(later(since, grace)), "its machine has no power".into());
    }
    (Step::Wish(end_of(session), None), "it was shut down from inside".into())
}

fn in_use(session: &Session, verdict: &Verdict, limits: &Limits, now: Timestamp) -> (Step, Reason) {
    if session.restarts.done < session.restarts.wanted {
        return (Step::Enter(Phase::Restarting), "a restart was asked for".into());
    }
    let why = verdict.evidence.to_string();
    match verdict.action {
        Action::Destroy | Action::Stop => {
            // Whatever a policy says: a personal desktop's disk is never its to take.
            let goal = match verdict.action {
                Action::Destroy => end_of(session),
                _ => Goal::Stopped,
            };
            (Step::Wish(goal, None), why)
        }
        Action::Warn if !warned(session, verdict) => (Step::Warn, why),
        Action::Warn => (Step::Wait(verdict.until), why),
        Action::Probe => (Step::Probe, why),
        Action::Keep => {
            let next = later(now, limits.observe_period).min(verdict.until.max(soon(now)));
            (Step::Wait(next), why)
        }
    }
}

fn warned(session: &Session, verdict: &Verdict) -> bool {
    session.evidence.as_ref().is_some_and(|e| {
        let now = &verdict.evidence;
        (e.rule == now.rule) && e.reported_at == now.reported_at && e.passed_at == now.passed_at
    })
}

fn soon(now: Timestamp) -> Timestamp {
    later(now, Duration::from_secs(1))
}

/// What the end of its use means: for a personal desktop never its destruction.
fn end_of(session: &Session) -> Goal {
    match session.lifetime {
        Lifetime::Ephemeral => Goal::Gone,
        Lifetime::Personal => Goal::Stopped,
    }
}

fn lost() -> (Step, Reason) {
    (Step::Enter(Phase::Lost), "its machine vanished from the hypervisor".into())
}

fn lost_rest() -> (Step, Reason) {
    (Step::Rest, "its machine vanished from the hypervisor".into())
}

fn still_lost(session: &Session, limits: &Limits, now: Timestamp) -> (Step, Reason) {
    match session.lifetime {
        Lifetime::Personal => lost_rest(),
        Lifetime::Ephemeral => {
            let end = later(session.updated_at, limits.lost_grace);
            if end > now {
                (Step::Wait(end), "its machine vanished; it may come back".into())
            } else {
                let reason = "its machine vanished from the hypervisor".to_owned();
                (Step::Wish(Goal::Gone, Some(Outcome::Failed { reason: reason.clone() })), reason)
            }
        }
    }
}

fn in_doubt(why: &str, limits: &Limits, now: Timestamp) -> (Step, Reason) {
    let wait = (limits.backoff_first * 4).min(limits.backoff_max);
    (Step::Wait(later(now, wait)), format!("the hypervisor does not tell: {why}"))
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
