//! Every bound of the engine, with its default and unit.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::retention::Retention;

/// The engine's bounds. All of them apply to one process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Sessions worked on at once, those that only wait for the platform included. Default 1,024.
    pub driven_max: usize,
    /// Sessions taken from the store in one go. Default 128.
    pub take_max: usize,
    /// Calls that make machines or change their power, at once. Default 128.
    pub ensure_calls_max: usize,
    /// Guests configured at once. Default 64.
    pub configure_calls_max: usize,
    /// Calls that destroy machines, at once. Default 64.
    pub destroy_calls_max: usize,
    /// Calls that look at machines, at once. Default 64.
    pub observe_calls_max: usize,
    /// How long a lease lasts; renewed at a third of it. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// How long one call to make a machine may take. Default 60 s.
    #[serde(with = "humantime_serde")]
    pub ensure_deadline: Duration,
    /// How long one look at a machine may take. Default 20 s.
    #[serde(with = "humantime_serde")]
    pub observe_deadline: Duration,
    /// How long one stage of configuration may take. Default 10 min.
    #[serde(with = "humantime_serde")]
    pub configure_deadline: Duration,
    /// How long one call to destroy a machine may take. Default 60 s.
    #[serde(with = "humantime_serde")]
    pub destroy_deadline: Duration,
    /// Tries of a step on the way to a running desktop, before it is given up. Default 6.
    pub attempts_max: u32,
    /// The wait after the first failure; doubled after each further one. Default 500 ms.
    #[serde(with = "humantime_serde")]
    pub backoff_first: Duration,
    /// The longest wait between tries. Default 60 s.
    #[serde(with = "humantime_serde")]
    pub backoff_max: Duration,
    /// How often a desktop at rest is looked at. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub observe_period: Duration,
    /// How often the whole inventory is compared with the store. Default 60 s.
    #[serde(with = "humantime_serde")]
    pub sweep_period: Duration,
    /// The wait between two knocks at a guest that is coming up. Default 100 ms.
    #[serde(with = "humantime_serde")]
    pub knock_period: Duration,
    /// How long a desktop that should run may have no power before that counts as wished from
    /// inside. Default 60 s.
    #[serde(with = "humantime_serde")]
    pub power_off_grace: Duration,
    /// How long a vanished ephemeral machine may come back. Default 10 min.
    #[serde(with = "humantime_serde")]
    pub lost_grace: Duration,
    /// How long an orphan is left alone after it was first seen. Default 2 min.
    #[serde(with = "humantime_serde")]
    pub orphan_grace: Duration,
    /// How long what is over is kept.
    pub retention: Retention,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            driven_max: 1_024,
            take_max: 128,
            ensure_calls_max: 128,
            configure_calls_max: 64,
            destroy_calls_max: 64,
            observe_calls_max: 64,
            lease: Duration::from_secs(30),
            ensure_deadline: Duration::from_secs(60),
            observe_deadline: Duration::from_secs(20),
            configure_deadline: Duration::from_secs(600),
            destroy_deadline: Duration::from_secs(60),
            attempts_max: 6,
            backoff_first: Duration::from_millis(500),
            backoff_max: Duration::from_secs(60),
            observe_period: Duration::from_secs(30),
            sweep_period: Duration::from_secs(60),
            knock_period: Duration::from_millis(100),
            power_off_grace: Duration::from_secs(60),
            lost_grace: Duration::from_secs(600),
            orphan_grace: Duration::from_secs(120),
            retention: Retention::default(),
        }
    }
}

impl Limits {
    /// The wait after `failed` failures in a row: doubled each time, bounded, and spread over its
    /// upper half so that many sessions failing together do not come back together.
    pub fn backoff(&self, failed: u32) -> Duration {
        use rand::RngExt;
        let doubled = self.backoff_first.saturating_mul(1 << failed.saturating_sub(1).min(16));
        let whole = doubled.min(self.backoff_max);
        whole.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_within_its_bound_and_spreads() {
        let limits = Limits::default();
        for (failed, whole) in [(1, 500), (2, 1_000), (3, 2_000), (40, 60_000)] {
            for _ in 0..50 {
                let wait = limits.backoff(failed).as_millis();
                assert!((whole / 2..=whole).contains(&wait), "{failed}: {wait}");
            }
        }
    }
}
