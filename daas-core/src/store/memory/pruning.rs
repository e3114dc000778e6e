//! Forgetting what is over and old.

use std::collections::{HashSet, VecDeque};

use jiff::Timestamp;

use super::State;
use crate::clock::between;
use crate::ids::SessionId;
use crate::session::Session;
use crate::store::{Prune, Pruned, Tally};

/// What is kept of pruned sessions.
#[derive(Debug, Default)]
pub(super) struct Retired {
    ids: HashSet<SessionId>,
    /// Those whose events are still in the log.
    with_events: VecDeque<SessionId>,
    tally: Tally,
}

impl Retired {
    pub(super) fn contains(&self, id: &SessionId) -> bool {
        self.ids.contains(id)
    }

    /// Counts over the pruned sessions.
    pub(super) fn tally(&self) -> Tally {
        self.tally.clone()
    }
}

/// Counts an ended session's end.
pub(super) fn count_end(tally: &mut Tally, session: &Session) {
    let ended = session.ended_at.unwrap_or(session.created_at);
    tally.ended += 1;
    tally.ended_seconds += between(session.created_at, ended).as_secs_f64();
}

impl State {
    pub(super) fn prune(&mut self, old: &Prune) -> Pruned {
        let events = self.prune_events(old.limit);
        let keys = self.prune_keys(old.keys_before, old.limit - events);
        let sessions = self.prune_sessions(old.ended_before, old.limit - events - keys);
        Pruned { sessions, events, keys }
    }

    fn prune_events(&mut self, limit: usize) -> usize {
        let mut pruned = 0;
        while pruned < limit
            && let Some(session) = self.retired.with_events.front()
        {
            pruned += self.log.remove(session, limit - pruned);
            if pruned < limit {
                self.retired.with_events.pop_front();
            }
        }
        pruned
    }

    fn prune_keys(&mut self, before: Timestamp, limit: usize) -> usize {
        let old = self.idempotency.iter().filter(|(_, (_, used))| *used < before);
        let old: Vec<_> = old.map(|(key, _)| key.clone()).take(limit).collect();
        for key in &old {
            self.idempotency.remove(key);
        }
        old.len()
    }

    fn prune_sessions(&mut self, before: Timestamp, limit: usize) -> usize {
        let ended = self.rows.values().map(|row| &row.session).filter(|s| !s.is_live());
        let mut old: Vec<_> = ended
            .filter_map(|s| Some((s.ended_at.filter(|ended| *ended < before)?, s.id.clone())))
            .collect();
        old.sort();
        old.truncate(limit);
        for (_, id) in &old {
            if let Some(row) = self.rows.remove(id) {
                self.retired.tally.created += 1;
                count_end(&mut self.retired.tally, &row.session);
            }
            self.idempotency.retain(|_, (session, _)| session != id);
            self.retired.ids.insert(id.clone());
            self.retired.with_events.push_back(id.clone());
        }
        old.len()
    }
}
