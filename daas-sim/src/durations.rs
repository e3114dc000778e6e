//! How long operations take: a base and a spread each, drawn from the seed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::random::Stream;

/// A duration between `base * (1 - spread)` and `base * (1 + spread)`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// The middle.
    #[serde(with = "humantime_serde")]
    pub base: Duration,
    /// The fraction it varies by, 0 to 1.
    #[serde(default)]
    pub spread: f64,
}

/// What takes time, and how much of it at scale 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Durations {
    /// A linked clone, beside the time under the storage's lock.
    pub clone_linked: Spread,
    /// A full clone, beside the time under the storage's lock.
    pub clone_full: Spread,
    /// The part of a clone or a deletion that holds the storage's lock.
    pub storage: Spread,
    /// A change of the configuration.
    pub config: Spread,
    /// Growing a disk.
    pub resize: Spread,
    /// From the start task's begin until power is on.
    pub start: Spread,
    /// From power-on until the guest's services listen.
    pub boot: Spread,
    /// From then until the guest agent answers.
    pub agent_start: Spread,
    /// Cutting the power.
    pub stop: Spread,
    /// Ending in good order, beside what the guest itself takes.
    pub shutdown: Spread,
    /// A deletion, beside the time under the storage's lock.
    pub delete: Spread,
    /// Making a template of a machine.
    pub template: Spread,
    /// The answer of a request that starts no task, beside what the simulator itself takes.
    pub request: Spread,
}

/// What a duration is drawn for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    CloneLinked,
    CloneFull,
    Storage,
    Config,
    Resize,
    Start,
    Boot,
    AgentStart,
    Stop,
    Shutdown,
    Delete,
    Template,
    Request,
}

/// Draws durations: the n-th of one operation on one machine is the same in every run of a seed.
#[derive(Debug)]
pub(crate) struct DurationSource {
    durations: Durations,
    seed: u64,
    drawn: Mutex<HashMap<(Operation, u32), u32>>,
}

impl Spread {
    /// `base` give or take the fraction `spread`.
    pub const fn new(base: Duration, spread: f64) -> Self {
        Self { base, spread }
    }

    const fn zero() -> Self {
        Self::new(Duration::ZERO, 0.0)
    }

    /// The duration at `unit`, which is in 0..1.
    fn at(self, unit: f64) -> Duration {
        let spread = if self.spread.is_finite() { self.spread.clamp(0.0, 1.0) } else { 0.0 };
        self.base.mul_f64(1.0 + spread * (2.0 * unit - 1.0))
    }
}

impl Durations {
    /// Nothing takes time.
    pub const fn zero() -> Self {
        let zero = Spread::zero();
        Self {
            clone_linked: zero,
            clone_full: zero,
            storage: zero,
            config: zero,
            resize: zero,
            start: zero,
            boot: zero,
            agent_start: zero,
            stop: zero,
            shutdown: zero,
            delete: zero,
            template: zero,
            request: zero,
        }
    }

    /// A small cluster on good disks: a desktop is up about 20 s after its clone was asked for.
    pub const fn realistic() -> Self {
        const fn about(millis: u64) -> Spread {
            Spread::new(Duration::from_millis(millis), 0.2)
        }
        Self {
            clone_linked: about(2_700),
            clone_full: about(20_000),
            storage: about(300),
            config: about(50),
            resize: about(400),
            start: about(1_000),
            boot: about(12_000),
            agent_start: about(5_000),
            stop: about(1_000),
            shutdown: about(4_000),
            delete: about(500),
            template: about(500),
            request: Spread::zero(),
        }
    }

    fn of(&self, operation: Operation) -> Spread {
        match operation {
            Operation::CloneLinked => self.clone_linked,
            Operation::CloneFull => self.clone_full,
            Operation::Storage => self.storage,
            Operation::Config => self.config,
            Operation::Resize => self.resize,
            Operation::Start => self.start,
            Operation::Boot => self.boot,
            Operation::AgentStart => self.agent_start,
            Operation::Stop => self.stop,
            Operation::Shutdown => self.shutdown,
            Operation::Delete => self.delete,
            Operation::Template => self.template,
            Operation::Request => self.request,
        }
    }
}

impl Default for Durations {
    fn default() -> Self {
        Self::zero()
    }
}

impl DurationSource {
    pub(crate) fn new(durations: Durations, seed: u64) -> Self {
        Self { durations, seed, drawn: Mutex::default() }
    }

    /// The next duration of `operation` on `vmid`, at scale 1.
    pub(crate) fn draw(&self, operation: Operation, vmid: u32) -> Duration {
        let spread = self.durations.of(operation);
        if spread.base.is_zero() || spread.spread == 0.0 {
            return spread.base;
        }
        let nth = {
            let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
            let count = drawn.entry((operation, vmid)).or_default();
            *count = count.wrapping_add(1);
            *count
        };
        let stream = Stream::new(self.seed, &[operation as u64, u64::from(vmid), u64::from(nth)]);
        spread.at(stream.unit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(seed: u64) -> Vec<Duration> {
        let source = DurationSource::new(Durations::realistic(), seed);
        (100..120)
            .flat_map(|vmid| {
                [Operation::CloneLinked, Operation::Boot, Operation::Boot].map(|o| (o, vmid))
            })
            .map(|(operation, vmid)| source.draw(operation, vmid))
            .collect()
    }

    #[test]
    fn the_same_seed_draws_the_same_durations() {
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
    }

    #[test]
    fn draws_stay_within_the_spread_and_use_it() {
        let boots: Vec<_> = {
            let source = DurationSource::new(Durations::realistic(), 3);
            (0..500).map(|vmid| source.draw(Operation::Boot, vmid).as_secs_f64()).collect()
        };
        let (low, high) = boots.iter().fold((f64::MAX, 0.0f64), |(l, h), b| (l.min(*b), h.max(*b)));
        assert!((9.6..10.0).contains(&low), "{low}");
        assert!((14.0..=14.4).contains(&high), "{high}");
    }
}
