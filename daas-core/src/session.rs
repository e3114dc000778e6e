//! The record of one desktop, from request to proof of destruction.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::configurator::{Account, GuestFacts};
use crate::error::{Error, Kind, Operation, Result};
use crate::event::{NewEvent, What};
use crate::idle::Evidence;
use crate::ids::{Label, Organisation, SessionId, Version};
use crate::ledger::Ledger;
use crate::machine::Reservation;
use crate::owner::Owner;
use crate::template::{Lifetime, Template};

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// A desktop that runs.
    Running,
    /// A desktop without power, its disk kept.
    Stopped,
    /// Nothing left.
    Gone,
}

/// Where a session really is. Only the engine changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Accepted; waits for room or for its time.
    Queued,
    /// Its machine is being made and given power.
    Creating,
    /// Its guest is being configured, for nobody in particular yet.
    Preparing,
    /// Prepared and kept for whoever asks.
    Pooled,
    /// Its guest is being made its owner's.
    Assigning,
    /// In use, or to be used.
    Ready,
    /// Its machine is losing power.
    Stopping,
    /// Without power.
    Stopped,
    /// Its machine is getting power again.
    Starting,
    /// Its machine loses power and gets it again.
    Restarting,
    /// Its machine is being destroyed, its effects retracted.
    Destroying,
    /// Its machine vanished.
    Lost,
    /// The engine gave up; an operator must look.
    Parked,
    /// Nothing is left; the record is a tombstone.
    Ended,
}

impl Phase {
    /// All phases.
    pub const ALL: [Self; 14] = [
        Self::Queued,
        Self::Creating,
        Self::Preparing,
        Self::Pooled,
        Self::Assigning,
        Self::Ready,
        Self::Stopping,
        Self::Stopped,
        Self::Starting,
        Self::Restarting,
        Self::Destroying,
        Self::Lost,
        Self::Parked,
        Self::Ended,
    ];

    /// The one transition table: whether a session may go from `self` to `next`.
    pub fn may_become(self, next: Self) -> bool {
        use Phase::{
            Assigning, Creating, Destroying, Ended, Lost, Parked, Pooled, Preparing, Queued, Ready,
            Restarting, Starting, Stopped, Stopping,
        };
        match (self, next) {
            (Ended, _) => false,
            // Whatever it was doing, a session can be wished gone, lose its machine or be given up.
            (_, Destroying) => self != Destroying,
            (Queued | Destroying, Lost) => false,
            (_, Lost) => self != Lost,
            (_, Parked) => self != Parked,
            // Only what has no machine, or has been proved to have none, may end.
            (Queued | Destroying, Ended) => true,
            (_, Ended) => false,
            (Queued, Creating) => true,
            (Creating | Starting | Restarting, Preparing | Assigning | Ready) => true,
            (Preparing, Pooled | Assigning | Ready) => true,
            (Pooled, Assigning | Ready) => true,
            (Assigning, Ready) => true,
            (
                Creating | Preparing | Pooled | Assigning | Ready | Starting | Restarting | Lost
                | Parked,
                Stopping,
            ) => true,
            (Stopping, Stopped) => true,
            (Stopping | Stopped | Ready | Lost | Parked, Starting) => true,
            (Ready, Restarting) | (Restarting, Starting) => true,
            // A machine that was missing, given up, or stopped before it was ever there.
            (Lost | Parked | Stopping | Stopped, Creating) => true,
            // The reserved id turned out to be somebody else's: back to the queue for another.
            (Creating, Queued) => true,
            _ => false,
        }
    }

    /// The phase's name as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Creating => "creating",
            Self::Preparing => "preparing",
            Self::Pooled => "pooled",
            Self::Assigning => "assigning",
            Self::Ready => "ready",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Restarting => "restarting",
            Self::Destroying => "destroying",
            Self::Lost => "lost",
            Self::Parked => "parked",
            Self::Ended => "ended",
        }
    }

    /// Whether the session is still on its way to its first `Ready`.
    pub fn is_coming(self) -> bool {
        matches!(self, Self::Queued | Self::Creating | Self::Preparing | Self::Assigning)
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// As wished by its user, an operator or a rule.
    Destroyed,
    /// It never became, or did not stay, what was asked for.
    Failed {
        /// Why.
        reason: String,
    },
}

/// One-shot acts are counted, so that none is lost and none is done twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarts {
    /// How many were asked for.
    pub wanted: u32,
    /// How many were done.
    pub done: u32,
}

/// The tries of the step at hand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// How many have failed in a row.
    pub failed: u32,
    /// When the next one may begin.
    pub next_at: Option<Timestamp>,
    /// Why the last one failed.
    pub last_error: Option<String>,
}

/// The record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Minted before anything exists; the machine's host name.
    pub id: SessionId,
    /// Counts the writes.
    pub version: Version,
    /// The organisation it belongs to and is counted for.
    pub organisation: Organisation,
    /// Whose it is; a pooled one is nobody's yet.
    pub owner: Option<Owner>,
    /// What its owner calls it.
    pub label: Option<Label>,
    /// The template as it was when the session was asked for.
    pub template: Template,
    /// Whether it outlives its use.
    pub lifetime: Lifetime,
    /// What was asked for.
    pub goal: Goal,
    /// Where it really is.
    pub phase: Phase,
    /// Why it is there, for people.
    pub reason: String,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
    /// It is not made before this.
    pub not_before: Option<Timestamp>,
    /// It ends at this.
    pub not_after: Option<Timestamp>,
    /// When room was found and its making began.
    pub started_at: Option<Timestamp>,
    /// When it first was ready.
    pub ready_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How it ended, or is going to.
    pub outcome: Option<Outcome>,
    /// Time granted beyond the template's limits.
    #[serde(with = "humantime_serde")]
    pub extension: Duration,
    /// The machine id and room decided on.
    pub reservation: Option<Reservation>,
    /// Reservations that turned out to be somebody else's; looked at again before the end.
    pub past_reservations: Vec<Reservation>,
    /// Whether the machine has been seen. From then on absence is loss.
    pub seen: bool,
    /// The guest's address as last seen.
    pub address: Option<IpAddr>,
    /// The local account asked for.
    pub account: Option<Account>,
    /// Whether the guest has been prepared.
    pub prepared: bool,
    /// Whether the guest has been made its owner's.
    pub assigned: bool,
    /// Why it was handed over though it could not be configured; absent: it was configured.
    #[serde(default)]
    pub unconfigured: Option<String>,
    /// What was learnt about the guest.
    pub facts: GuestFacts,
    /// What it caused outside its machine.
    pub ledger: Ledger,
    /// Restarts asked for and done.
    pub restarts: Restarts,
    /// Tries of the step at hand.
    pub attempts: Attempts,
    /// When its machine was first found without power though it should run.
    pub power_off_since: Option<Timestamp>,
    /// The verdict's evidence with which it was last warned or ended.
    pub evidence: Option<Evidence>,
    /// Counts the guest's tokens: an older one is worthless.
    pub token_generation: u32,
    /// Names of the machine's snapshots, oldest first.
    pub snapshots: Vec<String>,
}

impl Session {
    /// Enters `phase` because of `reason`, and tells the event. Staying where it is only changes
    /// the reason. A transition outside the table is a bug and an `Internal` error.
    pub fn enter(
        &mut self,
        phase: Phase,
        reason: impl Into<String>,
        now: Timestamp,
    ) -> Result<Option<NewEvent>> {
        let reason = reason.into();
        let from = self.phase;
        if from == phase {
            self.reason = reason;
            return Ok(None);
        }
        if !from.may_become(phase) {
            return Err(Error::new(
                Kind::Internal,
                Operation::Request,
                &self.id,
                format!("{from} may not become {phase} ({reason})"),
            ));
        }
        self.phase = phase;
        self.reason.clone_from(&reason);
        self.attempts = Attempts::default();
        match phase {
            Phase::Ready => self.ready_at = self.ready_at.or(Some(now)),
            Phase::Ended => self.ended_at = Some(now),
            _ => {}
        }
        Ok(Some(NewEvent { at: now, what: What::Phase { from, to: phase, reason } }))
    }

    /// Wishes `goal`; tells the event if that is news. A session wished gone stays so.
    pub fn wish(
        &mut self,
        goal: Goal,
        by: impl Into<String>,
        reason: impl Into<String>,
        evidence: Option<Evidence>,
        now: Timestamp,
    ) -> Option<NewEvent> {
        if self.goal == goal || self.goal == Goal::Gone || self.phase == Phase::Ended {
            return None;
        }
        self.goal = goal;
        self.attempts = Attempts::default();
        self.evidence.clone_from(&evidence);
        let (by, reason) = (by.into(), reason.into());
        Some(NewEvent { at: now, what: What::Goal { goal, by, reason, evidence } })
    }

    /// Whether the record may still change.
    pub fn is_live(&self) -> bool {
        self.phase != Phase::Ended
    }

    /// Every reservation it holds, the present one first.
    pub fn reservations(&self) -> impl Iterator<Item = &Reservation> {
        self.reservation.iter().chain(&self.past_reservations)
    }

    /// How long the making took, once ready.
    pub fn time_to_ready(&self) -> Option<Duration> {
        self.ready_at.map(|ready| crate::clock::between(self.created_at, ready))
    }
}

#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;
    use crate::ids::SessionPrefix;

    /// A session of the plainest kind, just asked for.
    pub(crate) fn new_session(at: Timestamp) -> Session {
        let template =
            Template::new("lab".parse().expect("name"), "fake".parse().expect("name"), "image");
        Session::new(
            SessionId::mint(&SessionPrefix::default()),
            template,
            Some(Owner { realm: "lab".into(), name: "alice".into() }),
            Organisation::default(),
            at,
        )
    }

    /// A session that became ready at `at`.
    pub(crate) fn ready_session(at: Timestamp) -> Session {
        let mut session = new_session(at);
        for phase in [Phase::Creating, Phase::Ready] {
            session.enter(phase, "test", at).expect("allowed");
        }
        session
    }
}

impl Session {
    /// A session just asked for.
    pub fn new(
        id: SessionId,
        template: Template,
        owner: Option<Owner>,
        organisation: Organisation,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            version: Version(1),
            organisation,
            owner,
            label: None,
            lifetime: template.lifetime,
            template,
            goal: Goal::Running,
            phase: Phase::Queued,
            reason: "asked for".to_owned(),
            created_at: now,
            updated_at: now,
            not_before: None,
            not_after: None,
            started_at: None,
            ready_at: None,
            ended_at: None,
            outcome: None,
            extension: Duration::ZERO,
            reservation: None,
            past_reservations: Vec::new(),
            seen: false,
            address: None,
            account: None,
            prepared: false,
            assigned: false,
            unconfigured: None,
            facts: GuestFacts::default(),
            ledger: Ledger::default(),
            restarts: Restarts::default(),
            attempts: Attempts::default(),
            power_off_since: None,
            evidence: None,
            token_generation: 1,
            snapshots: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_700_000_000).expect("in range")
    }

    #[test]
    fn nothing_leaves_ended_and_every_phase_can_be_left_for_destruction() {
        for from in Phase::ALL {
            assert!(!Phase::Ended.may_become(from), "{from}");
            assert!(!from.may_become(from), "{from} to itself is no transition");
            let destroyable = !matches!(from, Phase::Ended | Phase::Destroying);
            assert_eq!(from.may_become(Phase::Destroying), destroyable, "{from}");
        }
    }

    #[test]
    fn only_what_has_no_machine_may_end() {
        for from in Phase::ALL {
            let may = matches!(from, Phase::Queued | Phase::Destroying);
            assert_eq!(from.may_become(Phase::Ended), may, "{from}");
        }
    }

    #[test]
    fn a_forbidden_transition_is_refused_and_changes_nothing() {
        let mut session = tests_support::new_session(now());
        let before = session.clone();
        assert!(session.enter(Phase::Ready, "jump", now()).is_err());
        assert_eq!(session, before);
    }

    #[test]
    fn a_session_wished_gone_stays_so() {
        let mut session = tests_support::ready_session(now());
        assert!(session.wish(Goal::Gone, "alice", "asked", None, now()).is_some());
        assert!(session.wish(Goal::Running, "alice", "asked", None, now()).is_none());
        assert_eq!(session.goal, Goal::Gone);
    }

    #[test]
    fn a_record_survives_json() {
        let session = tests_support::ready_session(now());
        let json = serde_json::to_string(&session).expect("serialises");
        assert_eq!(serde_json::from_str::<Session>(&json).expect("reads back"), session);
    }
}
