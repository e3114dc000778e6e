//! Events: what happened to sessions, written in the transaction of the change itself.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::idle::Evidence;
use crate::ids::{Cursor, Organisation, SessionId};
use crate::owner::Owner;
use crate::session::{Goal, Phase};

/// Something that happened to a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the log.
    pub cursor: Cursor,
    /// When it happened.
    pub at: Timestamp,
    /// To which session.
    pub session: SessionId,
    /// Whose session.
    pub owner: Option<Owner>,
    /// Of which organisation.
    pub organisation: Organisation,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// The session was asked for.
    Requested {
        /// The template's name.
        template: String,
    },
    /// It went from one phase to another.
    Phase {
        /// Where it was.
        from: Phase,
        /// Where it is.
        to: Phase,
        /// Why, for people.
        reason: String,
    },
    /// What is wished changed.
    Goal {
        /// The new wish.
        goal: Goal,
        /// Who wished it: an owner, `idle`, `engine`.
        by: String,
        /// Why, for people.
        reason: String,
        /// For a verdict: what it was decided on.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        evidence: Option<Evidence>,
    },
    /// The session is going to end soon.
    Warning {
        /// When. Not `at` in JSON: that is when the event happened.
        #[serde(rename = "ends_at")]
        at: Timestamp,
        /// What that is decided on.
        evidence: Evidence,
    },
    /// A step failed; it is tried again, or given up.
    Failed {
        /// Which try it was, from 1.
        attempt: u32,
        /// Why.
        reason: String,
    },
    /// Something people should know.
    Note {
        /// What.
        text: String,
    },
}

/// An event before the log has given it a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub what: What,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_event_survives_json() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let evidence = Evidence {
            rule: "idle".into(),
            measured_seconds: 1,
            limit_seconds: 2,
            reported_at: Some(at(1)),
            passed_at: None,
        };
        for what in [
            What::Requested { template: "lab".into() },
            What::Phase { from: Phase::Queued, to: Phase::Creating, reason: "room".into() },
            What::Goal {
                goal: Goal::Gone,
                by: "idle".into(),
                reason: "unused".into(),
                evidence: Some(evidence.clone()),
            },
            What::Warning { at: at(99), evidence },
            What::Failed { attempt: 2, reason: "away".into() },
            What::Note { text: "noted".into() },
        ] {
            let event = Event {
                cursor: Cursor(7),
                at: at(5),
                session: "desktop-aaaaaaa".parse().expect("an id"),
                owner: None,
                organisation: Organisation::default(),
                what,
            };
            let json = serde_json::to_string(&event).expect("serialises");
            let back: Event = serde_json::from_str(&json).expect("reads back");
            assert_eq!(back, event, "{json}");
        }
    }
}
