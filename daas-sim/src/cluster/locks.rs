//! Lock files and cluster locks, really waited for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use tokio::time::Instant;

use crate::log::{Event, Log};

/// Unused locks are swept out past this many.
const IDLE_MAX: usize = 4096;

/// All locks of the cluster, by name.
#[derive(Debug)]
pub(crate) struct Locks {
    log: Log,
    locks: Mutex<HashMap<String, Arc<RwLock<()>>>>,
}

/// A lock that is held until this is dropped.
#[derive(Debug)]
#[expect(dead_code, reason = "held for its drop")]
pub(crate) enum Held {
    Shared(OwnedRwLockReadGuard<()>),
    Exclusive(OwnedRwLockWriteGuard<()>),
}

/// How a lock is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Shared,
    Exclusive,
}

impl Locks {
    pub(crate) fn new(log: Log) -> Self {
        Self { log, locks: Mutex::default() }
    }

    /// Takes `name`, waiting at most `limit` (real time); `None` when that was not enough.
    pub(crate) async fn take(&self, name: &str, mode: Mode, limit: Duration) -> Option<Held> {
        let lock = self.get(name);
        let at_once = match mode {
            Mode::Shared => lock.clone().try_read_owned().ok().map(Held::Shared),
            Mode::Exclusive => lock.clone().try_write_owned().ok().map(Held::Exclusive),
        };
        if at_once.is_some() {
            return at_once;
        }
        let began = Instant::now();
        let wait = async {
            match mode {
                Mode::Shared => Held::Shared(lock.read_owned().await),
                Mode::Exclusive => Held::Exclusive(lock.write_owned().await),
            }
        };
        let held = tokio::time::timeout(limit, wait).await.ok();
        let (waited, got) = (began.elapsed(), held.is_some());
        self.log.add(Event::LockWait { lock: name.into(), waited, got });
        held
    }

    fn get(&self, name: &str) -> Arc<RwLock<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.len() > IDLE_MAX {
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        }
        locks.entry(name.to_owned()).or_default().clone()
    }
}

/// The lock file of a machine's configuration.
pub(crate) fn vm_lock(vmid: u32) -> String {
    format!("/var/lock/qemu-server/lock-{vmid}.conf")
}

/// What is said when a lock file was not got in time.
pub(crate) fn vm_lock_timeout(vmid: u32) -> String {
    format!("can't lock file '{}' - got timeout", vm_lock(vmid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_are_bounded_and_logged() {
        let log = Log::new();
        let locks = Locks::new(log.clone());
        let limit = Duration::from_secs(10);
        let shared = locks.take("a", Mode::Shared, limit).await;
        assert!(shared.is_some());
        assert!(locks.take("a", Mode::Shared, limit).await.is_some(), "readers share");
        assert!(log.is_empty(), "nobody waited");
        assert!(locks.take("a", Mode::Exclusive, limit).await.is_none());
        let waits = log.select(|e| matches!(e, Event::LockWait { got: false, .. }));
        assert_eq!(waits.len(), 1);
        assert_eq!(waits[0].at, limit, "waited the whole limit on the paused clock");
        drop(shared);
        assert!(locks.take("b", Mode::Exclusive, limit).await.is_some(), "names are separate");
    }
}
