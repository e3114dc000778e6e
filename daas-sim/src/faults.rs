//! Scripted misfortune. Rules match requests; switches change the cluster until they are undone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::log::{Event, Log};
use crate::random::Stream;

/// The faults of one cluster. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Faults {
    inner: Arc<Inner>,
}

/// A rule: which requests, which of them in turn, and what happens to those.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// The method; absent: any.
    pub method: Option<String>,
    /// The path below `/api2/json`; a segment `*` fits any one, a last `**` any rest.
    pub path: String,
    /// Which of the requests that fit.
    pub when: When,
    /// What happens.
    pub effect: Effect,
}

/// Which of the fitting requests a rule acts on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum When {
    /// Every one.
    Always,
    /// The n-th, counted from 1, and no other.
    Nth(u32),
    /// `count` of them after the first `skip`.
    Range {
        /// How many pass before.
        skip: u32,
        /// How many are hit.
        count: u32,
    },
    /// Each with this probability, drawn from the seed.
    Chance(f64),
}

/// What a rule does to a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Answers so; nothing is done. 595 to 599 are what a node says about another it cannot reach.
    ErrorBefore {
        /// The status code.
        status: u16,
        /// The reason phrase.
        reason: String,
    },
    /// Does everything, then answers so.
    ErrorAfter {
        /// The status code.
        status: u16,
        /// The reason phrase.
        reason: String,
    },
    /// Never answers; nothing is done.
    HangBefore,
    /// Does everything and never answers.
    HangAfter,
    /// Drops the connection; nothing is done.
    DropBefore,
    /// Does everything, then drops the connection.
    DropAfter,
    /// Holds the request back first, in real time.
    Delay(Duration),
    /// The task it starts takes its time and then fails with this text, its effect undone.
    FailTask(String),
    /// The task it starts does its work and then ends with this text all the same.
    FailTaskAfter(String),
}

#[derive(Debug)]
struct Inner {
    seed: u64,
    log: Log,
    rules: AtomicUsize,
    switches: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<(Fault, u32)>,
    locks: BTreeMap<u32, String>,
    full: BTreeSet<String>,
    away: BTreeSet<String>,
}

impl Fault {
    /// `effect` for every `method` on `path`.
    pub fn always(method: &str, path: &str, effect: Effect) -> Self {
        Self { method: Some(method.to_owned()), path: path.to_owned(), when: When::Always, effect }
    }

    /// `effect` for the first `method` on `path`, and no other.
    pub fn once(method: &str, path: &str, effect: Effect) -> Self {
        Self { when: When::Nth(1), ..Self::always(method, path, effect) }
    }

    fn fits(&self, method: &str, path: &str) -> bool {
        self.method.as_deref().is_none_or(|m| m == method) && path_fits(&self.path, path)
    }
}

impl Faults {
    pub(crate) fn new(seed: u64, log: Log) -> Self {
        let inner = Inner {
            seed,
            log,
            rules: AtomicUsize::new(0),
            switches: AtomicUsize::new(0),
            state: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Adds a rule. All rules that fit a request act on it, in the order they were added.
    pub fn add(&self, fault: Fault) {
        let mut state = self.state();
        state.rules.push((fault, 0));
        self.inner.rules.store(state.rules.len(), Ordering::Release);
    }

    /// Removes every rule; switches stay.
    pub fn clear(&self) {
        self.state().rules.clear();
        self.inner.rules.store(0, Ordering::Release);
    }

    /// Makes a machine look locked, as `backup` or another lock name, until [`Faults::unlock`].
    pub fn lock(&self, vmid: u32, lock: &str) {
        self.switch(format!("machine {vmid} locked ({lock})"), |state| {
            state.locks.insert(vmid, lock.to_owned());
        });
    }

    /// Takes that lock away.
    pub fn unlock(&self, vmid: u32) {
        self.switch(format!("machine {vmid} unlocked"), |state| {
            state.locks.remove(&vmid);
        });
    }

    /// Lets a storage have no room left.
    pub fn fill(&self, storage: &str) {
        self.switch(format!("storage {storage} full"), |state| {
            state.full.insert(storage.to_owned());
        });
    }

    /// Gives it its room back.
    pub fn drain(&self, storage: &str) {
        self.switch(format!("storage {storage} has room"), |state| {
            state.full.remove(storage);
        });
    }

    /// Takes a node off the network: its listener drops everybody, other nodes answer 595 for it.
    pub fn node_away(&self, node: &str) {
        self.switch(format!("node {node} away"), |state| {
            state.away.insert(node.to_owned());
        });
    }

    /// Brings it back.
    pub fn node_back(&self, node: &str) {
        self.switch(format!("node {node} back"), |state| {
            state.away.remove(node);
        });
    }

    /// What acts on this request, in order. Counts the request.
    pub(crate) fn on_request(&self, method: &str, path: &str) -> Vec<Effect> {
        if self.inner.rules.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let mut effects = Vec::new();
        for (index, (fault, seen)) in self.state().rules.iter_mut().enumerate() {
            if !fault.fits(method, path) {
                continue;
            }
            *seen = seen.saturating_add(1);
            if hits(fault.when, *seen, self.inner.seed, index) {
                effects.push(fault.effect.clone());
            }
        }
        for effect in &effects {
            let what = format!("{method} {path}: {effect:?}").into();
            self.inner.log.add(Event::Fault { what });
        }
        effects
    }

    pub(crate) fn lock_of(&self, vmid: u32) -> Option<String> {
        self.switched().then(|| self.state().locks.get(&vmid).cloned()).flatten()
    }

    pub(crate) fn is_full(&self, storage: &str) -> bool {
        self.switched() && self.state().full.contains(storage)
    }

    pub(crate) fn is_away(&self, node: &str) -> bool {
        self.switched() && self.state().away.contains(node)
    }

    fn switch(&self, what: String, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        let on = state.locks.len() + state.full.len() + state.away.len();
        self.inner.switches.store(on, Ordering::Release);
        drop(state);
        self.inner.log.add(Event::Fault { what: what.into() });
    }

    fn switched(&self) -> bool {
        self.inner.switches.load(Ordering::Acquire) > 0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the `seen`-th fitting request (from 1) is hit.
fn hits(when: When, seen: u32, seed: u64, rule: usize) -> bool {
    match when {
        When::Always => true,
        When::Nth(n) => seen == n,
        When::Range { skip, count } => seen > skip && seen - skip <= count,
        When::Chance(p) => Stream::new(seed, &[0xfa17, rule as u64, u64::from(seen)]).unit() < p,
    }
}

fn path_fits(pattern: &str, path: &str) -> bool {
    let mut parts = path.split('/').filter(|p| !p.is_empty());
    for wanted in pattern.split('/').filter(|p| !p.is_empty()) {
        if wanted == "**" {
            return true;
        }
        match parts.next() {
            Some(part) if wanted == "*" || wanted == part => {}
            _ => return false,
        }
    }
    parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_whole_paths() {
        let check =
            |pattern, path, expect| assert_eq!(path_fits(pattern, path), expect, "{pattern}");
        check("/nodes/*/qemu/*/clone", "/nodes/pve/qemu/9000/clone", true);
        check("/nodes/*/qemu", "/nodes/pve/qemu/9000", false);
        check("/nodes/*/qemu/*", "/nodes/pve/qemu", false);
        check("/nodes/**", "/nodes/pve/qemu/9000", true);
        check("**", "/version", true);
        check("/version", "/version/", true);
    }

    #[test]
    fn turns_are_counted_from_one() {
        let hit = |when| (1..=6).filter(|n| hits(when, *n, 1, 0)).collect::<Vec<_>>();
        assert_eq!(hit(When::Always), [1, 2, 3, 4, 5, 6]);
        assert_eq!(hit(When::Nth(2)), [2]);
        assert_eq!(hit(When::Range { skip: 1, count: 3 }), [2, 3, 4]);
        assert_eq!(hit(When::Chance(0.0)), [] as [u32; 0]);
        assert_eq!(hit(When::Chance(1.0)), [1, 2, 3, 4, 5, 6]);
    }
}
