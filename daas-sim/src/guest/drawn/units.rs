//! Systemd units of a drawn guest: where they are, and what runs because of them.

use std::fmt::Debug;
use std::sync::Arc;

use super::disk::{Disk, LogKind, Who};
use super::{DrawnGuest, rdp, reporter};

/// Is told when a unit of a drawn guest starts or stops, so that a test or a demonstration can play
/// what the unit would do. Called outside of any lock; it must not block.
pub trait UnitHook: Debug + Send + Sync {
    /// The unit runs now. `text` is its unit file.
    fn started(&self, guest: &Arc<DrawnGuest>, unit: &str, text: &str);

    /// The unit has been stopped, by `systemctl` or because power went.
    fn stopped(&self, guest: &Arc<DrawnGuest>, unit: &str);
}

/// Where unit files are, the administrator's first.
const DIRECTORIES: &[&str] = &["/etc/systemd/system", "/run/systemd/system", "/lib/systemd/system"];

/// A unit's name with its type.
pub(super) fn full_name(name: &str) -> String {
    const TYPES: &[&str] = &[".service", ".timer", ".socket", ".target", ".mount", ".path"];
    let typed = TYPES.iter().any(|end| name.ends_with(end));
    if typed { name.into() } else { format!("{name}.service") }
}

/// A unit's file; `None` when there is no such unit.
pub(super) fn text(disk: &Disk, unit: &str) -> Option<String> {
    if unit.contains('/') {
        return None;
    }
    let paths = DIRECTORIES.iter().map(|directory| format!("{directory}/{unit}"));
    let bytes = paths.into_iter().find_map(|path| disk.read(&Who::root(), &path).ok())?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether systemd could start it: a service needs a command.
pub(super) fn can_start(text: &str) -> bool {
    !text.contains("[Service]")
        || text.lines().any(|line| line.trim_start().starts_with("ExecStart="))
}

impl DrawnGuest {
    /// What follows from a unit's start; the disk says already that it is active.
    pub(super) fn unit_started(&self, unit: &str) {
        let Some(text) = self.with_disk(|disk| {
            disk.note(LogKind::System, "root", format!("started {unit}"));
            text(disk, unit)
        }) else {
            return;
        };
        match unit {
            reporter::UNIT => self.start_reporter(),
            rdp::UNIT => self.start_rdp(),
            _ => {}
        }
        if let (Some(hook), Some(me)) = (&self.config().unit_hook, self.me()) {
            hook.started(&me, unit, &text);
        }
    }

    /// What follows from a unit's stop.
    pub(super) async fn unit_stopped(&self, unit: &str) {
        self.with_disk(|disk| disk.note(LogKind::System, "root", format!("stopped {unit}")));
        self.end_native(unit).await;
        if let (Some(hook), Some(me)) = (&self.config().unit_hook, self.me()) {
            hook.stopped(&me, unit);
        }
    }

    /// A unit that this process plays has ended by itself.
    pub(super) fn unit_failed(&self, name: &str, reason: &str) {
        self.note(LogKind::System, "root", format!("{name} failed: {reason}"));
        self.with_disk(|disk| {
            let unit = disk.units.entry(name.into()).or_default();
            (unit.active, unit.failed) = (false, true);
        });
    }

    /// Starts what is enabled, as systemd does at boot.
    pub(super) fn start_enabled_units(&self) {
        let units: Vec<String> = self.with_disk(|disk| {
            let wanted = disk.units.iter().filter(|(_, unit)| unit.enabled && !unit.masked);
            let names: Vec<String> = wanted.map(|(name, _)| name.clone()).collect();
            names
                .into_iter()
                .filter(|name| text(disk, name).is_some_and(|t| can_start(&t)))
                .collect()
        });
        for name in units {
            self.with_disk(|disk| disk.units.entry(name.clone()).or_default().active = true);
            self.unit_started(&name);
        }
    }

    /// Stops what runs, because power goes.
    pub(super) async fn stop_all_units(&self) {
        let active = self.with_disk(|disk| {
            let active = disk.units.iter().filter(|(_, unit)| unit.active);
            active.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        });
        for name in active {
            self.unit_stopped(&name).await;
        }
    }
}
