//! The record of what really happened, for tests to judge by: append-only, queryable, waitable.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::guest::GuestState;

/// Entries past this many are counted, not kept.
const ENTRIES_MAX: usize = 1_000_000;

/// The log. Cheap to clone; all clones are one log.
#[derive(Debug, Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// When, since the simulator's start.
    pub at: Duration,
    /// When, by the wall clock.
    pub time: jiff::Timestamp,
    /// What.
    pub event: Event,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A request was answered. `status` 0: it was not, and the connection was dropped.
    Request {
        /// The method.
        method: Box<str>,
        /// The path below `/api2/json`, without the query.
        path: Box<str>,
        /// The status code.
        status: u16,
        /// The node that was contacted.
        node: Arc<str>,
    },
    /// A task began.
    TaskStart {
        /// Its id.
        upid: Arc<str>,
        /// Its type, such as `qmclone`.
        kind: &'static str,
        /// The machine in its id; for a clone, the source. 0 when it has none.
        vmid: u32,
        /// The node it runs on.
        node: Arc<str>,
        /// On whose behalf.
        user: Box<str>,
    },
    /// A task ended.
    TaskEnd {
        /// Its id.
        upid: Arc<str>,
        /// `OK` or the error.
        exit: Box<str>,
    },
    /// A lock was taken only after a wait, or not at all.
    LockWait {
        /// Its name, such as `/var/lock/qemu-server/lock-133.conf` or `storage-shared`.
        lock: Box<str>,
        /// How long, in real time.
        waited: Duration,
        /// Whether it was got.
        got: bool,
    },
    /// A machine's configuration came to be.
    VmCreated {
        /// Its id.
        vmid: u32,
        /// Its node.
        node: Arc<str>,
        /// What it is a clone of.
        source: u32,
    },
    /// A machine got its name or another one.
    VmNamed {
        /// Its id.
        vmid: u32,
        /// The name.
        name: Box<str>,
    },
    /// A machine was given power.
    VmStarted {
        /// Its id.
        vmid: u32,
    },
    /// Its guest came to another state.
    GuestState {
        /// Its id.
        vmid: u32,
        /// The state.
        state: GuestState,
    },
    /// A machine lost power by a task of the cluster.
    VmStopped {
        /// Its id.
        vmid: u32,
    },
    /// A machine's configuration is gone.
    VmDeleted {
        /// Its id.
        vmid: u32,
    },
    /// A scripted fault acted.
    Fault {
        /// What it did, and to what.
        what: Box<str>,
    },
}

#[derive(Debug)]
struct Inner {
    started: Instant,
    entries: Mutex<Vec<Entry>>,
    count: watch::Sender<usize>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self {
            inner: Arc::new(Inner {
                started: Instant::now(),
                entries: Mutex::default(),
                count: watch::Sender::new(0),
            }),
        }
    }

    /// Every entry so far, oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        self.with(<[Entry]>::to_vec)
    }

    /// How many things happened, kept or not; for [`Log::since`].
    pub fn len(&self) -> usize {
        *self.inner.count.borrow()
    }

    /// Whether nothing happened yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries after the first `seen`.
    pub fn since(&self, seen: usize) -> Vec<Entry> {
        self.with(|entries| entries.get(seen..).unwrap_or_default().to_vec())
    }

    /// The entries that fit.
    pub fn select(&self, fits: impl Fn(&Event) -> bool) -> Vec<Entry> {
        self.with(|entries| entries.iter().filter(|e| fits(&e.event)).cloned().collect())
    }

    /// How many entries fit.
    pub fn count(&self, fits: impl Fn(&Event) -> bool) -> usize {
        self.with(|entries| entries.iter().filter(|e| fits(&e.event)).count())
    }

    /// The first entry that fits, past or to come; `None` when there is none after `within`.
    pub async fn wait_for(&self, fits: impl Fn(&Event) -> bool, within: Duration) -> Option<Entry> {
        let deadline = Instant::now() + within;
        let mut count = self.inner.count.subscribe();
        let mut seen = 0;
        loop {
            count.borrow_and_update();
            let (found, looked) = self.with(|entries| {
                let found = entries.iter().skip(seen).find(|e| fits(&e.event)).cloned();
                (found, entries.len())
            });
            if found.is_some() {
                return found;
            }
            seen = looked;
            match tokio::time::timeout_at(deadline, count.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return None,
            }
        }
    }

    pub(crate) fn add(&self, event: Event) {
        let mut entries = self.inner.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() < ENTRIES_MAX {
            let at = self.inner.started.elapsed();
            entries.push(Entry { at, time: jiff::Timestamp::now(), event });
        }
        self.inner.count.send_modify(|count| *count += 1);
    }

    fn with<T>(&self, read: impl FnOnce(&[Entry]) -> T) -> T {
        read(&self.inner.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
