//! Time, so that tests can hold it still. Everything kept is rounded to milliseconds, because some
//! databases keep no more and a value read back must equal the one written.

use std::fmt::Debug;
use std::sync::Mutex;
use std::time::Duration;

use jiff::{Timestamp, Unit};

/// Tells the time.
pub trait Clock: Debug + Send + Sync {
    /// Now, in whole milliseconds.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        milliseconds(Timestamp::now())
    }
}

/// A clock that follows tokio's time, which tests pause and advance.
#[derive(Debug)]
pub struct TokioClock {
    epoch: tokio::time::Instant,
    start: Timestamp,
}

impl TokioClock {
    /// A clock that shows `start` now.
    pub fn starting_at(start: Timestamp) -> Self {
        Self { epoch: tokio::time::Instant::now(), start: milliseconds(start) }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        later(self.start, self.epoch.elapsed())
    }
}

/// A clock that stands still until told.
#[derive(Debug)]
pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    /// A clock that shows `start`.
    pub fn starting_at(start: Timestamp) -> Self {
        Self(Mutex::new(milliseconds(start)))
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *now = later(*now, by);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// `at` in whole milliseconds.
pub fn milliseconds(at: Timestamp) -> Timestamp {
    at.round(Unit::Millisecond).unwrap_or(at)
}

/// `at` plus `by`, in whole milliseconds; the end of time when that is too far.
pub fn later(at: Timestamp, by: Duration) -> Timestamp {
    milliseconds(at.checked_add(by).unwrap_or(Timestamp::MAX))
}

/// `at` less `by`, in whole milliseconds; the beginning of time when that is too far.
pub fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    milliseconds(at.checked_sub(by).unwrap_or(Timestamp::MIN))
}

/// How long from `from` to `to`; zero when `to` is earlier.
pub fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or(Duration::ZERO)
}
