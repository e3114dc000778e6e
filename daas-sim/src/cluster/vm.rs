//! One machine: its configuration as Proxmox writes it, and the guest behind it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::guest::{Guest, GuestState};

/// A machine or a template.
#[derive(Debug)]
pub(crate) struct Vm {
    pub(crate) vmid: u32,
    pub(crate) node: Arc<str>,
    /// The configuration's options, as text.
    pub(crate) options: BTreeMap<String, String>,
    /// Changes that wait for the next start; `None` deletes the option.
    pub(crate) pending: BTreeMap<String, Option<String>>,
    /// What its guest runs.
    pub(crate) image: String,
    /// The guest, once there is one: templates and unfinished clones have none.
    pub(crate) guest: Option<Powered>,
    /// When power was last given.
    pub(crate) started: Option<Instant>,
    /// The process id of its QEMU, while it has power.
    pub(crate) pid: u32,
}

/// A guest and the state it tells.
#[derive(Debug, Clone)]
pub(crate) struct Powered {
    pub(crate) guest: Arc<dyn Guest>,
    pub(crate) state: watch::Receiver<GuestState>,
}

impl Vm {
    pub(crate) fn name(&self) -> Option<&str> {
        self.options.get("name").map(String::as_str)
    }

    pub(crate) fn is_template(&self) -> bool {
        self.flag("template")
    }

    /// Whether a clone task has not finished it yet.
    pub(crate) fn is_unfinished_clone(&self) -> bool {
        self.guest.is_none() && self.options.get("lock").is_some_and(|lock| lock == "clone")
    }

    pub(crate) fn flag(&self, option: &str) -> bool {
        self.options.get(option).is_some_and(|v| v == "1")
    }

    pub(crate) fn number(&self, option: &str, default: u64) -> u64 {
        self.options.get(option).and_then(|v| v.parse().ok()).unwrap_or(default)
    }

    pub(crate) fn guest_state(&self) -> GuestState {
        self.guest.as_ref().map_or(GuestState::Off, |g| *g.state.borrow())
    }

    pub(crate) fn running(&self) -> bool {
        self.guest_state() != GuestState::Off
    }

    pub(crate) fn status(&self) -> &'static str {
        if self.running() { "running" } else { "stopped" }
    }

    /// Seconds since power-on; 0 without power.
    pub(crate) fn uptime(&self) -> u64 {
        match self.started {
            Some(since) if self.running() => since.elapsed().as_secs(),
            Some(_) | None => 0,
        }
    }

    pub(crate) fn cpus(&self) -> u64 {
        self.number("cores", 1) * self.number("sockets", 1)
    }

    pub(crate) fn memory_mib(&self) -> u64 {
        self.number("memory", 512)
    }

    /// Whether the guest agent's port is there: `agent: 1` or `agent: enabled=1,...`.
    pub(crate) fn agent(&self) -> bool {
        let value = self.options.get("agent").map(String::as_str).unwrap_or_default();
        value.split(',').any(|part| part == "1" || part == "enabled=1")
    }

    /// 40 hexadecimal digits that change with the configuration. Proxmox takes SHA-1 of the file;
    /// nobody can recompute either, so here it is the head of a SHA-256.
    pub(crate) fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let pending = self.pending.iter().map(|(k, v)| (k, v.as_ref()));
        let options = self.options.iter().map(|(k, v)| (k, Some(v)));
        for (key, value) in options.chain(pending) {
            hash.update(key);
            hash.update(b"\0");
            hash.update(value.map_or("\0", String::as_str));
            hash.update(b"\n");
        }
        hex(&hash.finalize()[..20])
    }

    /// The pending changes take effect, as at a cold start.
    pub(crate) fn apply_pending(&mut self) {
        for (option, value) in std::mem::take(&mut self.pending) {
            match value {
                Some(value) => self.options.insert(option, value),
                None => self.options.remove(&option),
            };
        }
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
