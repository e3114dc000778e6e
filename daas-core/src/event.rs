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
        /// When.
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
