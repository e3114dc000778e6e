//! Faults at chosen calls: every call of every backend is counted, and the chosen ones go wrong.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails, and has had no effect.
    FailBefore,
    /// It fails, though it has had its effect.
    FailAfter,
    /// It is done twice, as by a network that repeats; the second answer is told.
    Twice,
    /// Its future is dropped before the effect: the engine is stopped meanwhile.
    DropBefore,
    /// Its future is dropped after the effect: the engine is stopped meanwhile.
    DropAfter,
    /// The process dies before the effect.
    KillBefore,
    /// The process dies after the effect.
    KillAfter,
    /// It fails, and has its effect this much later: an order that was still on its way. Only for
    /// calls that cause something; others fail without effect.
    Late(Duration),
    /// It never answers, and has its effect this much later, whether or not anybody still waits.
    /// Only for calls that cause something; others have no effect.
    LateInSilence(Duration),
}

impl Fault {
    /// The faults that any call can have.
    pub const ALL: [Self; 7] = [
        Self::FailBefore,
        Self::FailAfter,
        Self::Twice,
        Self::DropBefore,
        Self::DropAfter,
        Self::KillBefore,
        Self::KillAfter,
    ];
}

/// Which calls go wrong how; and all calls that were made.
#[derive(Debug)]
pub(super) struct Plan {
    faults: Vec<(usize, Fault)>,
    made: Mutex<Made>,
}

#[derive(Debug, Default)]
struct Made {
    calls: Vec<&'static str>,
    happened: Vec<(usize, Fault)>,
}

impl Plan {
    /// At the numbered calls, counted from 0, these faults.
    pub(super) fn new(faults: Vec<(usize, Fault)>) -> Arc<Self> {
        Arc::new(Self { faults, made: Mutex::default() })
    }

    /// The calls so far, by name.
    pub(super) fn calls(&self) -> Vec<&'static str> {
        self.made().calls.clone()
    }

    /// How many faults have happened.
    pub(super) fn happened(&self) -> usize {
        self.made().happened.len()
    }

    /// Whether any effect is planned to arrive late.
    pub(super) fn is_late(&self) -> bool {
        let late = |fault: &Fault| matches!(fault, Fault::Late(_) | Fault::LateInSilence(_));
        self.faults.iter().any(|(_, fault)| late(fault))
    }

    /// Counts a call; how it is to go wrong.
    pub(super) fn count(&self, name: &'static str) -> Option<Fault> {
        let mut made = self.made();
        let at = made.calls.len();
        made.calls.push(name);
        let fault = self.faults.iter().find(|(when, _)| *when == at).map(|(_, fault)| *fault);
        made.happened.extend(fault.map(|fault| (at, fault)));
        fault
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The faults planned, and at which call each happened: `17 (SessionStore::update) KillAfter`.
impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let made = self.made();
        for (number, (at, fault)) in self.faults.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            match made.calls.get(*at) {
                Some(name) => write!(f, "{comma}{at} ({name}) {fault:?}")?,
                None => write!(f, "{comma}{at} (never made) {fault:?}")?,
            }
        }
        Ok(())
    }
}
