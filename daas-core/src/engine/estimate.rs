//! How long a desktop is likely to take, learnt from those before it, and how wrong that was.
//!
//! What a hypervisor takes for one desktop says little about the hundredth of a class that comes in
//! at nine: they queue for its storage. So a duration is learnt together with how many others were
//! on their way, and what is expected is a curve over that number.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::ids::{SessionId, TemplateName};

/// How many past desktops count, for each template and crowd.
const SAMPLES_MAX: usize = 20;
/// How many past errors count.
const ERRORS_MAX: usize = 50;

/// Learns from finished desktops.
#[derive(Debug, Default)]
pub struct Estimates {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    curves: HashMap<TemplateName, Curve>,
    coming: HashMap<SessionId, Coming>,
    errors: VecDeque<f64>,
}

/// A desktop on its way.
#[derive(Debug)]
struct Coming {
    /// How many others were on their way when it was asked for.
    ahead: usize,
    /// What was expected then.
    promised: Option<Duration>,
}

impl Estimates {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a desktop is on its way, if that is news.
    pub(super) fn note(&self, session: &SessionId, template: &TemplateName) {
        let mut state = self.state();
        if !state.coming.contains_key(session) {
            let ahead = state.coming.len();
            let promised = state.expected(template, ahead);
            state.coming.insert(session.clone(), Coming { ahead, promised });
        }
    }

    /// Forgets a desktop that is not on its way any more.
    pub(super) fn forget(&self, session: &SessionId) {
        self.state().coming.remove(session);
    }

    /// Learns that a desktop took `took`, and how wrong what was expected of it at first was.
    pub(super) fn learn(&self, session: &SessionId, template: &TemplateName, took: Duration) {
        let mut state = self.state();
        // One from before a restart: how many were on their way beside it is not known.
        let Some(Coming { ahead, promised }) = state.coming.remove(session) else { return };
        if let Some(promised) = promised {
            state.errors.push_back((took.as_secs_f64() - promised.as_secs_f64()).abs());
            if state.errors.len() > ERRORS_MAX {
                state.errors.pop_front();
            }
        }
        state.curves.entry(template.clone()).or_default().learn(ahead, took);
    }

    /// How long a desktop of `template` asked for now is likely to take until it is ready, without
    /// a wait for room. Absent while nothing is known.
    pub fn expected(&self, template: &TemplateName) -> Option<Duration> {
        let state = self.state();
        state.expected(template, state.coming.len())
    }

    /// How long this desktop is likely to take in all, by what is known today.
    pub fn expected_of(&self, session: &SessionId, template: &TemplateName) -> Option<Duration> {
        let state = self.state();
        let ahead = state.coming.get(session).map_or(0, |coming| coming.ahead);
        state.expected(template, ahead)
    }

    /// The median absolute error, in seconds, of what was expected of the last desktops when they
    /// were asked for; absent before the first.
    pub fn error_seconds(&self) -> Option<f64> {
        let mut errors: Vec<f64> = self.state().errors.iter().copied().collect();
        errors.sort_unstable_by(f64::total_cmp);
        errors.get(errors.len() / 2).copied()
    }
}

impl State {
    fn expected(&self, template: &TemplateName, ahead: usize) -> Option<Duration> {
        self.curves.get(template)?.at(ahead)
    }
}

/// The durations of a template by the crowd: a point for each doubling of the number of others,
/// straight lines between the points.
#[derive(Debug, Default)]
struct Curve {
    samples: [VecDeque<(usize, Duration)>; Self::CROWDS],
}

impl Curve {
    /// None, one, two to three, four to seven … others.
    const CROWDS: usize = 14;

    fn learn(&mut self, ahead: usize, took: Duration) {
        let crowd = (usize::BITS - ahead.leading_zeros()) as usize;
        let samples = &mut self.samples[crowd.min(Self::CROWDS - 1)];
        samples.push_back((ahead, took));
        if samples.len() > SAMPLES_MAX {
            samples.pop_front();
        }
    }

    /// The medians of each crowd that is known.
    fn points(&self) -> Vec<(f64, f64)> {
        let median = |mut values: Vec<f64>| {
            values.sort_unstable_by(f64::total_cmp);
            values.get(values.len() / 2).copied()
        };
        let point = |samples: &VecDeque<(usize, Duration)>| {
            let ahead = median(samples.iter().map(|(ahead, _)| *ahead as f64).collect())?;
            let took = median(samples.iter().map(|(_, took)| took.as_secs_f64()).collect())?;
            Some((ahead, took))
        };
        self.samples.iter().filter_map(point).collect()
    }

    fn at(&self, ahead: usize) -> Option<Duration> {
        let points = self.points();
        let ahead = ahead as f64;
        let line = |from: (f64, f64), to: (f64, f64)| {
            let slope = (to.1 - from.1) / (to.0 - from.0);
            from.1 + slope * (ahead - from.0)
        };
        let seconds = match points.as_slice() {
            [] => return None,
            [only] => only.1,
            [first, ..] if ahead <= first.0 => first.1,
            all => match all.windows(2).find(|pair| ahead <= pair[1].0) {
                Some(pair) => line(pair[0], pair[1]),
                // Beyond all that is known it goes on as it did, but never quicker.
                None => {
                    let (before, last) = (all[all.len() - 2], all[all.len() - 1]);
                    line(before, last).max(last.1)
                }
            },
        };
        Some(Duration::from_secs_f64(seconds.max(0.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SessionPrefix;

    fn lab() -> TemplateName {
        "lab".parse().expect("name")
    }

    /// `count` desktops asked for at once, of which each takes what `took` says of its place.
    fn herd(estimates: &Estimates, count: usize, took: impl Fn(usize) -> u64) {
        let ids: Vec<_> = (0..count).map(|_| SessionId::mint(&SessionPrefix::default())).collect();
        ids.iter().for_each(|id| estimates.note(id, &lab()));
        for (place, id) in ids.iter().enumerate() {
            estimates.learn(id, &lab(), Duration::from_secs(took(place)));
        }
    }

    #[test]
    fn the_median_of_the_last_ones_is_expected_and_the_error_told() {
        let estimates = Estimates::default();
        assert_eq!(estimates.expected(&lab()), None);
        for took in [10, 14, 90] {
            herd(&estimates, 1, |_| took);
        }
        assert_eq!(estimates.expected(&lab()), Some(Duration::from_secs(14)));
        for _ in 0..60 {
            herd(&estimates, 1, |_| 20);
        }
        assert_eq!(estimates.expected(&lab()), Some(Duration::from_secs(20)));
        assert_eq!(estimates.error_seconds(), Some(0.0));
    }

    #[test]
    fn the_crowd_counts() {
        let estimates = Estimates::default();
        // A storage that serves one at a time: each one ahead costs a second.
        let queueing = |place: usize| 20 + place as u64;
        herd(&estimates, 32, queueing);
        let waiting: Vec<_> = (0..60).map(|_| SessionId::mint(&SessionPrefix::default())).collect();
        waiting.iter().for_each(|id| estimates.note(id, &lab()));
        for (place, id) in waiting.iter().enumerate() {
            let expected = estimates.expected_of(id, &lab()).expect("known").as_secs_f64();
            let real = queueing(place) as f64;
            assert!((expected - real).abs() <= 1.5, "place {place}: {expected} for {real}");
        }
        assert!(estimates.expected(&lab()) > Some(Duration::from_secs(75)));
        waiting.iter().for_each(|id| estimates.forget(id));
        assert_eq!(estimates.expected(&lab()), Some(Duration::from_secs(20)));
    }

    #[test]
    fn one_that_was_not_noted_teaches_nothing() {
        let estimates = Estimates::default();
        let id = SessionId::mint(&SessionPrefix::default());
        estimates.learn(&id, &lab(), Duration::from_secs(500));
        assert_eq!(estimates.expected(&lab()), None);
    }
}
