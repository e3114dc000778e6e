//! How long a desktop is likely to take: the median of the last ones of its template, and how wrong
//! that was.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::ids::TemplateName;

/// How many past desktops of a template count.
const SAMPLES_MAX: usize = 50;

/// Learns from finished desktops.
#[derive(Debug, Default)]
pub struct Estimates {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    samples: HashMap<TemplateName, VecDeque<Duration>>,
    errors: VecDeque<f64>,
}

impl Estimates {
    /// How long a desktop of `template` is likely to take from request to ready, without the wait
    /// for room. Absent while nothing is known.
    pub fn expected(&self, template: &TemplateName) -> Option<Duration> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut samples: Vec<Duration> = state.samples.get(template)?.iter().copied().collect();
        samples.sort_unstable();
        samples.get(samples.len() / 2).copied()
    }

    /// Learns that a desktop of `template` took `took`; answers by how much the estimate was wrong,
    /// in seconds (positive: it took longer).
    pub fn learn(&self, template: &TemplateName, took: Duration) -> Option<f64> {
        let error = self.expected(template).map(|e| took.as_secs_f64() - e.as_secs_f64());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let samples = state.samples.entry(template.clone()).or_default();
        samples.push_back(took);
        if samples.len() > SAMPLES_MAX {
            samples.pop_front();
        }
        if let Some(error) = error {
            state.errors.push_back(error.abs());
            if state.errors.len() > SAMPLES_MAX {
                state.errors.pop_front();
            }
        }
        error
    }

    /// The median absolute error of the last estimates, in seconds; absent before the first.
    pub fn error_seconds(&self) -> Option<f64> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut errors: Vec<f64> = state.errors.iter().copied().collect();
        errors.sort_unstable_by(f64::total_cmp);
        errors.get(errors.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_the_last_ones_is_expected_and_the_error_told() {
        let estimates = Estimates::default();
        let lab: TemplateName = "lab".parse().expect("name");
        assert_eq!(estimates.expected(&lab), None);
        assert_eq!(estimates.learn(&lab, Duration::from_secs(10)), None);
        assert_eq!(estimates.learn(&lab, Duration::from_secs(14)), Some(4.0));
        estimates.learn(&lab, Duration::from_secs(90));
        assert_eq!(estimates.expected(&lab), Some(Duration::from_secs(14)));
        for _ in 0..60 {
            estimates.learn(&lab, Duration::from_secs(20));
        }
        assert_eq!(estimates.expected(&lab), Some(Duration::from_secs(20)));
        assert_eq!(estimates.error_seconds(), Some(0.0));
    }
}
