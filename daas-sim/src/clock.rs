//! Simulated time: durations are scaled, limits have a floor, and the wall clock can be moved.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The cluster's clock. Durations follow tokio's time, so that a paused test runs at once.
#[derive(Debug)]
pub struct Clock {
    scale: f64,
    limit_min: Duration,
    guest_limit_min: Duration,
    started: Instant,
    started_at: jiff::Timestamp,
    skipped_seconds: AtomicI64,
}

impl Clock {
    pub(crate) fn new(scale: f64, limit_min: Duration, guest_limit_min: Duration) -> Self {
        Self {
            scale: if scale.is_finite() { scale.max(0.0) } else { 1.0 },
            limit_min,
            guest_limit_min,
            started: Instant::now(),
            started_at: jiff::Timestamp::now(),
            skipped_seconds: AtomicI64::new(0),
        }
    }

    /// Time since the simulator started, unscaled.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The wall clock in seconds since 1970, as tickets, tokens and tasks see it.
    pub fn unix(&self) -> i64 {
        let elapsed = i64::try_from(self.elapsed().as_secs()).unwrap_or(i64::MAX);
        self.started_at
            .as_second()
            .saturating_add(elapsed)
            .saturating_add(self.skipped_seconds.load(Ordering::Relaxed))
    }

    /// Moves the wall clock on, so that tickets and tokens expire without waiting.
    pub fn skip(&self, by: Duration) {
        let seconds = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
        self.skipped_seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    /// A simulated duration in real time.
    pub(crate) fn scaled(&self, duration: Duration) -> Duration {
        Duration::try_from_secs_f64(duration.as_secs_f64() * self.scale).unwrap_or(Duration::MAX)
    }

    /// A limit for a guest, which takes its own real time: scaled, with a floor of its own.
    pub(crate) fn guest_limit(&self, duration: Duration) -> Duration {
        self.scaled(duration).max(self.guest_limit_min.min(duration))
    }

    /// A limit in real time: scaled, but never so short that the host's own delays would hit it.
    pub(crate) fn limit(&self, duration: Duration) -> Duration {
        self.scaled(duration).max(self.limit_min.min(duration))
    }
}
