//! What the cluster tells of its machines with a delay, as pvestatd broadcasts it.

use std::sync::Arc;
use std::time::Duration;

use super::{Cluster, State};

/// What was last broadcast of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) status: &'static str,
    pub(crate) name: Option<String>,
    pub(crate) template: bool,
    pub(crate) cpus: u64,
    pub(crate) memory: u64,
    pub(crate) disk: u64,
    pub(crate) uptime: u64,
    pub(crate) tags: Option<String>,
    pub(crate) lock: Option<String>,
}

impl Cluster {
    /// The real period; zero when everything is told at once.
    pub(crate) fn statd_period(&self) -> Duration {
        self.clock.scaled(self.config.statd_period)
    }

    /// Broadcasts until the cluster stops.
    pub(crate) async fn broadcast(self: Arc<Self>) {
        let period = self.statd_period();
        if period.is_zero() {
            return;
        }
        let mut ticks = tokio::time::interval(period.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stopping.cancelled() => return,
                _ = ticks.tick() => self.publish(),
            }
        }
    }

    /// Publishes what is now.
    pub(crate) fn publish(&self) {
        let mut state = self.state();
        let vmids: Vec<u32> = state.vms.keys().copied().collect();
        let published = vmids.into_iter().filter_map(|vmid| Some((vmid, self.now(&state, vmid)?)));
        state.published = published.collect();
    }

    /// What is heard of a machine now: the last broadcast, or the truth without delay.
    pub(crate) fn heard(&self, state: &State, vmid: u32) -> Option<Published> {
        if self.statd_period().is_zero() {
            return self.now(state, vmid);
        }
        state.published.get(&vmid).cloned()
    }

    fn now(&self, state: &State, vmid: u32) -> Option<Published> {
        let vm = state.vms.get(&vmid)?;
        let disk = vm
            .options
            .iter()
            .filter(|(option, _)| super::drives::is_drive(option))
            .map(|(_, value)| super::drives::Drive::parse(value))
            .find(|drive| !drive.is_cdrom())
            .and_then(|drive| drive.size());
        Some(Published {
            status: vm.status(),
            name: vm.name().map(str::to_owned),
            template: vm.is_template(),
            cpus: vm.cpus(),
            memory: vm.memory_mib() << 20,
            disk: disk.unwrap_or(0),
            uptime: vm.uptime(),
            tags: vm.options.get("tags").cloned(),
            lock: self.lock_of(vm),
        })
    }
}
