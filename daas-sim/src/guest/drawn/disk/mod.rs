//! What a drawn guest keeps while it has no power: files, accounts, packages, units and a log.
//!
//! A plain value: a new guest starts from a clone of its image's disk, so that nothing is shared.
//! Files are in `files`, accounts in `accounts`; the images themselves are in `super::image`.

mod accounts;
mod files;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

pub(super) use accounts::NO_PASSWORD;
pub use accounts::{Account, Group};
pub use files::{FileError, Kind, Node, Who};

/// How many log entries a disk keeps; the oldest go first.
const LOG_ENTRIES_MAX: usize = 10_000;

/// How many bytes of file contents a disk holds.
const DISK_BYTES_MAX: usize = 256 << 20;

/// The whole lasting state of one guest.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    /// The static host name.
    pub hostname: String,
    /// Local accounts by name.
    pub accounts: BTreeMap<String, Account>,
    /// Local groups by name.
    pub groups: BTreeMap<String, Group>,
    /// Installed packages by name.
    pub packages: BTreeSet<Arc<str>>,
    /// Units with a state of their own, by full name (`xrdp.service`).
    pub units: BTreeMap<String, Unit>,
    /// The digest of the last seed that was applied, so that a reboot does not undo changes.
    pub(super) seeded: Option<[u8; 32]>,
    nodes: BTreeMap<Arc<str>, Node>,
    bytes: usize,
    log: VecDeque<LogEntry>,
}

/// A systemd unit's state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unit {
    /// Started at boot.
    pub enabled: bool,
    /// Running now. Cleared when power goes.
    pub active: bool,
    /// Ended with a failure.
    pub failed: bool,
    /// Linked to `/dev/null`.
    pub masked: bool,
}

/// What the log remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKind {
    /// A program that the shell ran; the text is its words joined by spaces, as a list of processes
    /// would show them.
    Command,
    /// A script that came in over SSH or through the guest agent.
    Script,
    /// Somebody was let in; the text names the way and the user.
    Login,
    /// Somebody was refused; the text names the way, the user and the reason.
    Refused,
    /// Power, boot and units.
    System,
}

/// One thing that happened in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// When.
    pub at: Timestamp,
    /// What sort of thing.
    pub kind: LogKind,
    /// The account it happened as.
    pub user: String,
    /// What it was.
    pub text: String,
}

impl Disk {
    /// Adds to the log.
    pub fn note(&mut self, kind: LogKind, user: &str, text: impl Into<String>) {
        if self.log.len() >= LOG_ENTRIES_MAX {
            self.log.pop_front();
        }
        let entry = LogEntry { at: Timestamp::now(), kind, user: user.into(), text: text.into() };
        self.log.push_back(entry);
    }

    /// The log, oldest first.
    pub fn log(&self) -> impl Iterator<Item = &LogEntry> {
        self.log.iter()
    }

    /// Forgets everything; what an erased guest holds.
    pub(super) fn wipe(&mut self) {
        let log = std::mem::take(&mut self.log);
        *self = Self { log, ..Self::default() };
    }

    /// What losing power does: no unit runs any more, and `/run` and `/tmp` are empty.
    pub(super) fn power_lost(&mut self) {
        for unit in self.units.values_mut() {
            unit.active = false;
            unit.failed = false;
        }
        self.clear_below("/run");
        self.clear_below("/tmp");
    }
}
