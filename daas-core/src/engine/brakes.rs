//! Brakes: what keeps a bug or a wrong clock from making or removing machines without end.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::between;
use crate::ids::SessionId;

/// The brakes' settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BrakeRules {
    /// Machines of ours in any state, as the hypervisor counts them. Default 200.
    pub machines_max: usize,
    /// Machines made per minute. Default 600.
    pub creations_per_minute: u32,
    /// Machines destroyed per minute. Default 600.
    pub destructions_per_minute: u32,
    /// The share of all machines that one sweep may remove as orphans, 0 to 1. Default 0.25.
    pub sweep_share_max: f64,
    /// As many orphans may always be removed in a sweep, whatever the share. Default 5.
    pub sweep_removals_free: usize,
}

impl Default for BrakeRules {
    fn default() -> Self {
        Self {
            machines_max: 200,
            creations_per_minute: 600,
            destructions_per_minute: 600,
            sweep_share_max: 0.25,
            sweep_removals_free: 5,
        }
    }
}

/// Whether one more may be made now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Yes; it has been counted.
    Admitted,
    /// Not yet.
    Wait {
        /// The place in the queue, from 1.
        place: usize,
        /// Why.
        why: String,
    },
}

/// The brakes of one engine.
#[derive(Debug)]
pub struct Brakes {
    rules: BrakeRules,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Machines with our mark that no live record of this process reserves.
    unreserved: usize,
    queue: BTreeSet<(Timestamp, SessionId)>,
    /// Admitted, but not among the reservations yet.
    pending: usize,
    creations: Bucket,
    destructions: Bucket,
}

impl Brakes {
    /// Brakes with these settings.
    pub fn new(rules: BrakeRules) -> Self {
        Self { rules, state: Mutex::default() }
    }

    /// The settings.
    pub fn rules(&self) -> &BrakeRules {
        &self.rules
    }

    /// Notes how many machines the hypervisor lists that no reservation explains.
    pub fn note_unreserved(&self, machines: usize) {
        self.state().unreserved = machines;
    }

    /// Asks for room for `id`, asked for at `created_at`, while `reserved` reservations are held.
    /// Those who asked earlier go first. Who is admitted must call [`Brakes::settle`] once its
    /// reservation is counted, or has failed.
    pub fn admit(
        &self,
        id: &SessionId,
        created_at: Timestamp,
        reserved: usize,
        now: Timestamp,
    ) -> Admission {
        let mut state = self.state();
        let me = (created_at, id.clone());
        state.queue.insert(me.clone());
        let ahead = state.queue.range(..&me).count();
        let machines = reserved + state.unreserved + state.pending;
        let room = self.rules.machines_max.saturating_sub(machines);
        let place = ahead + 1;
        if place > room {
            let why = format!("{machines} of {} machines are in use", self.rules.machines_max);
            return Admission::Wait { place, why };
        }
        if !state.creations.take(self.rules.creations_per_minute, now) {
            let rate = self.rules.creations_per_minute;
            return Admission::Wait { place, why: format!("{rate} machines a minute are made") };
        }
        state.queue.remove(&me);
        state.pending += 1;
        Admission::Admitted
    }

    /// Ends an admission: the machine is among the reservations now, or never will be.
    pub fn settle(&self) {
        let mut state = self.state();
        state.pending = state.pending.saturating_sub(1);
    }

    /// Takes `id` out of the queue: it no longer waits.
    pub fn leave(&self, id: &SessionId, created_at: Timestamp) {
        self.state().queue.remove(&(created_at, id.clone()));
    }

    /// The place of `id` in the queue, from 1; absent when it does not wait.
    pub fn place(&self, id: &SessionId, created_at: Timestamp) -> Option<usize> {
        let state = self.state();
        let me = (created_at, id.clone());
        state.queue.contains(&me).then(|| state.queue.range(..&me).count() + 1)
    }

    /// How many wait.
    pub fn queued(&self) -> usize {
        self.state().queue.len()
    }

    /// Whether one more machine may be destroyed now; if so it has been counted.
    pub fn may_destroy(&self, now: Timestamp) -> bool {
        self.state().destructions.take(self.rules.destructions_per_minute, now)
    }

    /// Whether a sweep may remove `orphans` of `machines`.
    pub fn may_sweep(&self, orphans: usize, machines: usize) -> bool {
        orphans <= self.rules.sweep_removals_free
            || orphans as f64 <= machines as f64 * self.rules.sweep_share_max
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A token bucket that holds one minute's worth.
#[derive(Debug, Default)]
struct Bucket {
    used: f64,
    at: Option<Timestamp>,
}

impl Bucket {
    fn take(&mut self, per_minute: u32, now: Timestamp) -> bool {
        let capacity = f64::from(per_minute);
        let passed = self.at.map_or(Duration::ZERO, |at| between(at, now));
        self.used = (self.used - passed.as_secs_f64() / 60.0 * capacity).max(0.0);
        self.at = Some(now);
        if self.used + 1.0 > capacity {
            return false;
        }
        self.used += 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SessionPrefix;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).expect("in range")
    }

    fn id() -> SessionId {
        SessionId::mint(&SessionPrefix::default())
    }

    #[test]
    fn those_who_asked_first_are_served_first() {
        let brakes = Brakes::new(BrakeRules { machines_max: 2, ..BrakeRules::default() });
        let (old, young) = (id(), id());
        assert!(matches!(brakes.admit(&old, at(1), 2, at(9)), Admission::Wait { place: 1, .. }));
        assert!(matches!(brakes.admit(&young, at(2), 2, at(9)), Admission::Wait { place: 2, .. }));
        // One machine went; the younger asks first, and must still wait for the older.
        assert!(matches!(brakes.admit(&young, at(2), 1, at(9)), Admission::Wait { place: 2, .. }));
        assert_eq!(brakes.admit(&old, at(1), 1, at(9)), Admission::Admitted);
        let admitted_but_not_reserved_yet = brakes.admit(&young, at(2), 1, at(9));
        assert!(matches!(admitted_but_not_reserved_yet, Admission::Wait { place: 1, .. }));
        brakes.settle();
        assert_eq!(brakes.place(&young, at(2)), Some(1));
        brakes.leave(&young, at(2));
        assert_eq!(brakes.queued(), 0);
    }

    #[test]
    fn machines_that_no_record_explains_count() {
        let brakes = Brakes::new(BrakeRules { machines_max: 3, ..BrakeRules::default() });
        brakes.note_unreserved(3);
        assert!(matches!(brakes.admit(&id(), at(1), 0, at(1)), Admission::Wait { .. }));
    }

    #[test]
    fn rates_refill_with_time() {
        let rules = BrakeRules { destructions_per_minute: 2, ..BrakeRules::default() };
        let brakes = Brakes::new(rules);
        assert!(brakes.may_destroy(at(0)));
        assert!(brakes.may_destroy(at(0)));
        assert!(!brakes.may_destroy(at(1)));
        assert!(brakes.may_destroy(at(31)));
    }

    #[test]
    fn a_sweep_that_would_remove_too_much_stops() {
        let brakes = Brakes::new(BrakeRules::default());
        assert!(brakes.may_sweep(5, 5));
        assert!(!brakes.may_sweep(6, 20));
        assert!(brakes.may_sweep(6, 24));
    }
}
