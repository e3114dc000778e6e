//! What may be forgotten: the question and the answer of [`SessionStore::prune`].
//!
//! [`SessionStore::prune`]: super::SessionStore::prune

use jiff::Timestamp;

use crate::error::{Error, Kind, Operation};
use crate::ids::{Cursor, SessionId};

/// What is old, and how much of it goes in one portion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prune {
    /// Sessions that ended before this time go, with their events, activity and keys.
    pub ended_before: Timestamp,
    /// Idempotency keys of sessions asked for before this time go, the sessions stay.
    pub keys_before: Timestamp,
    /// At most this many rows: sessions, events and keys alike.
    pub limit: usize,
}

/// What one portion was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Sessions.
    pub sessions: usize,
    /// Events of pruned sessions.
    pub events: usize,
    /// Idempotency keys.
    pub keys: usize,
}

impl Pruned {
    /// Rows in all. None: nothing old is left. Fewer than the limit do not tell that: the events of
    /// a session go in the portion after its own.
    pub fn rows(&self) -> usize {
        self.sessions + self.events + self.keys
    }
}

impl std::ops::AddAssign for Pruned {
    fn add_assign(&mut self, more: Self) {
        self.sessions += more.sessions;
        self.events += more.events;
        self.keys += more.keys;
    }
}

/// The answer to a reader of all events whose cursor is before `newest`, the newest pruned event.
pub fn cursor_too_old(after: Cursor, newest: Cursor) -> Error {
    let why = format!(
        "events up to {} are no longer kept; look at the sessions, then read on after that",
        newest.0
    );
    Error::new(Kind::NotFound, Operation::Store, format!("events after {}", after.0), why)
}

/// The answer to a reader of the events of `session`, which was pruned.
pub fn events_gone(session: &SessionId) -> Error {
    let why = "it ended so long ago that its events are no longer kept";
    Error::new(Kind::NotFound, Operation::Store, session, why)
}
