//! The event log in memory.

use crate::error::Result;
use crate::event::{Event, NewEvent};
use crate::ids::{Cursor, SessionId};
use crate::session::Session;
use crate::store::EventFilter;
use crate::store::prune::cursor_too_old;

#[derive(Debug, Default)]
pub(super) struct Log {
    /// In the order of their cursors, which have gaps where events were pruned.
    events: Vec<Event>,
    newest: Cursor,
    newest_pruned: Cursor,
}

impl Log {
    pub(super) fn append(&mut self, session: &Session, events: Vec<NewEvent>) {
        for event in events {
            self.newest = Cursor(self.newest.0 + 1);
            self.events.push(Event {
                cursor: self.newest,
                at: event.at,
                session: session.id.clone(),
                owner: session.owner.clone(),
                organisation: session.organisation.clone(),
                what: event.what,
            });
        }
    }

    /// The cursor of the newest event there ever was.
    pub(super) fn newest(&self) -> Cursor {
        self.newest
    }

    pub(super) fn after(
        &self,
        after: Cursor,
        filter: &EventFilter,
        limit: usize,
    ) -> Result<Vec<Event>> {
        // One session's events are whole while its record is there.
        if filter.session.is_none() && after < self.newest_pruned {
            return Err(cursor_too_old(after, self.newest_pruned));
        }
        let start = self.events.partition_point(|event| event.cursor <= after);
        let passes = |event: &&Event| {
            filter.session.as_ref().is_none_or(|id| &event.session == id)
                && filter.owner.as_ref().is_none_or(|o| event.owner.as_ref() == Some(o))
                && filter.organisation.as_ref().is_none_or(|o| &event.organisation == o)
        };
        Ok(self.events[start..].iter().filter(passes).take(limit).cloned().collect())
    }

    /// Removes the oldest events of `session`, `limit` at most; how many.
    pub(super) fn remove(&mut self, session: &SessionId, limit: usize) -> usize {
        let mut removed = 0;
        let newest_pruned = &mut self.newest_pruned;
        self.events.retain(|event| {
            let goes = removed < limit && &event.session == session;
            if goes {
                removed += 1;
                *newest_pruned = event.cursor.max(*newest_pruned);
            }
            !goes
        });
        removed
    }
}
