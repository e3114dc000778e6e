//! When orphans were first seen: none is removed at first sight.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::between;

/// What was seen, and when first.
#[derive(Debug)]
pub(super) struct Sightings<K>(Mutex<HashMap<K, Timestamp>>);

impl<K> Default for Sightings<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash + Clone> Sightings<K> {
    fn first_seen(&self) -> MutexGuard<'_, HashMap<K, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that `what` is seen `now`; whether it was seen before, at least `grace` ago.
    pub(super) fn seen_long_enough(&self, what: &K, now: Timestamp, grace: Duration) -> bool {
        let mut seen = self.first_seen();
        match seen.get(what) {
            Some(first) => between(*first, now) >= grace,
            None => {
                seen.insert(what.clone(), now);
                false
            }
        }
    }

    /// Forgets all but those that are `still` there.
    pub(super) fn keep_only(&self, still: impl Fn(&K) -> bool) {
        self.first_seen().retain(|what, _| still(what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_sight_counts_after_the_grace_and_an_absence_begins_anew() {
        let sightings = Sightings::default();
        let grace = Duration::from_secs(10);
        let seen = |second| {
            let now = Timestamp::from_second(second).expect("in range");
            sightings.seen_long_enough(&"machine", now, grace)
        };
        assert!(!seen(0));
        assert!(!seen(9));
        assert!(seen(10));
        sightings.keep_only(|_| false);
        assert!(!seen(20));
    }
}
