//! Bringing a machine one step further towards the wished power.

use std::time::Duration;

use daas_core::machine::{AgentState, Ensured, Machine, MachineSpec, Power, Reservation, Underway};
use daas_core::progress::Progress;
use daas_core::template::{AddressFrom, CloneMode};
use http::Method;
use tokio::time::Instant;
use tracing::info;

use crate::agent::{self, Question};
use crate::api::{VmConfig, property, vm_path};
use crate::client::{Params, Purpose};
use crate::error::{Meaning, ProxmoxError};
use crate::identity::Standing;
use crate::mark::{Mark, has_tag};
use crate::provisioner::{Known, Shared, power, vmid};
use crate::slots::{Room, Slot};
use crate::tasks::Followed;

/// How often a lock that could not be had is tried for before it counts as a failure.
const LOCK_TRIES_MAX: u32 = 20;
/// How long a machine may stay locked by something that we do not follow.
const LOCKED_MAX: Duration = Duration::from_secs(15 * 60);
/// How many things one call does at most; more would be a circle.
const STEPS_MAX: usize = 12;
/// How long a followed task is waited for before it is looked at without a bell.
const TASK_LOOK: Duration = Duration::from_secs(10);

/// What one step came to.
enum Next {
    /// Look again and go on.
    On,
    /// Nothing more can be done now.
    Wait(Underway),
    /// It is as wished.
    Done(Machine),
}

impl Shared {
    pub(crate) async fn ensure(
        &self,
        reservation: &Reservation,
        spec: &MachineSpec,
        wished: Power,
        progress: &Progress,
    ) -> Result<Ensured, ProxmoxError> {
        let vmid = vmid(&reservation.machine)?;
        if self.config.protected.contains(&vmid) {
            return Err(ProxmoxError::Protected { vmid });
        }
        for _ in 0..STEPS_MAX {
            if let Some(wait) = self.settle_job(vmid)? {
                return Ok(Ensured::Underway(wait));
            }
            let next = match self.running_known(vmid, wished) {
                Some(known) => self.address(reservation, spec, &known, vmid).await?,
                None => self.advance(reservation, spec, wished, progress, vmid).await?,
            };
            match next {
                Next::On => {}
                Next::Wait(wait) => return Ok(Ensured::Underway(wait)),
                Next::Done(machine) => return Ok(Ensured::Done(machine)),
            }
        }
        let why = format!("machine {vmid} does not settle");
        Err(ProxmoxError::TaskLost { kind: "create".to_owned(), why })
    }

    /// What is known of a machine that we gave power ourselves.
    fn running_known(&self, vmid: u32, wished: Power) -> Option<Known> {
        if wished != Power::Running {
            return None;
        }
        self.hand(vmid, |hand| hand.known.clone().filter(|known| known.started.is_some()))
    }

    /// Ends the followed task if it has ended; else tells what to wait for.
    pub(crate) fn settle_job(&self, vmid: u32) -> Result<Option<Underway>, ProxmoxError> {
        let Some(job) = self.hand(vmid, |hand| hand.job.clone()) else { return Ok(None) };
        let Some(end) = job.end() else {
            let what = format!("the machine is {}", doing(job.kind));
            return Ok(Some(Underway::for_at_most(TASK_LOOK, what).or_when(&job.wake)));
        };
        self.hand(vmid, |hand| hand.job = None);
        match end {
            Ok(exit) if exit == "OK" || exit.starts_with("WARNINGS") => {
                self.hand(vmid, |hand| {
                    hand.lock_tries = 0;
                    if job.kind == "qmstart"
                        && let Some(known) = &mut hand.known
                    {
                        known.started = Some(Instant::now());
                    }
                });
                Ok(None)
            }
            Ok(exit) => self.failed_task(vmid, &job, exit),
            Err(why) => {
                self.hand(vmid, |hand| hand.doubt = Some(Instant::now()));
                Err(ProxmoxError::TaskLost { kind: job.kind.to_owned(), why })
            }
        }
    }

    fn failed_task(
        &self,
        vmid: u32,
        job: &Followed,
        exit: String,
    ) -> Result<Option<Underway>, ProxmoxError> {
        let error = ProxmoxError::Task { kind: job.kind.to_owned(), exit };
        match error.meaning() {
            Meaning::LockTimeout | Meaning::Locked => self.try_again_soon(vmid, error).map(Some),
            // Started or stopped already: that was the wish.
            Meaning::AlreadySo => Ok(None),
            Meaning::Taken if job.kind == "qmclone" => {
                Err(ProxmoxError::Foreign { vmid, why: error.to_string() })
            }
            _ => Err(error),
        }
    }

    /// A lock that could not be had is no failure: many want it at nine o'clock.
    pub(crate) fn try_again_soon(
        &self,
        vmid: u32,
        error: ProxmoxError,
    ) -> Result<Underway, ProxmoxError> {
        let tries = self.hand(vmid, |hand| {
            hand.lock_tries += 1;
            hand.lock_tries
        });
        if tries > LOCK_TRIES_MAX {
            return Err(error);
        }
        use rand::RngExt;
        let most = 200 * u64::from(tries.min(10));
        let wait = Duration::from_millis(rand::rng().random_range(most / 4..=most));
        Ok(Underway::for_at_most(wait, "the hypervisor is busy; it is tried again"))
    }

    async fn advance(
        &self,
        reservation: &Reservation,
        spec: &MachineSpec,
        wished: Power,
        progress: &Progress,
        vmid: u32,
    ) -> Result<Next, ProxmoxError> {
        match self.standing(Purpose::Making, reservation, vmid).await? {
            Standing::Nobody if reservation.uuid.is_some() => {
                self.forget(vmid);
                Err(ProxmoxError::Vanished { vmid })
            }
            Standing::Nobody => self.order_clone(reservation, spec, progress, vmid).await,
            Standing::UnderConstruction { .. } => self.wait_locked(vmid, "clone"),
            Standing::Foreign(why) => {
                self.forget(vmid);
                Err(ProxmoxError::Foreign { vmid, why })
            }
            Standing::Doubt(why) => Err(ProxmoxError::TaskLost { kind: "create".to_owned(), why }),
            Standing::Ours { node, config } => {
                if let Some(lock) = config.text("lock") {
                    return self.wait_locked(vmid, &lock);
                }
                self.hand(vmid, |hand| {
                    hand.locked_since = None;
                    hand.doubt = None;
                    hand.known = Some(Known::of(&node, &config));
                });
                match wished {
                    Power::Running => {
                        self.run(reservation, spec, &node, &config, vmid, progress).await
                    }
                    Power::Stopped => self.stop(reservation, &node, &config, vmid).await,
                }
            }
        }
    }

    /// Waits for a lock that a task of somebody holds, but not for ever.
    pub(crate) fn wait_locked_for(&self, vmid: u32, lock: &str) -> Result<Underway, ProxmoxError> {
        let since =
            self.hand(vmid, |hand| hand.locked_since.get_or_insert_with(Instant::now).elapsed());
        if since > LOCKED_MAX {
            return Err(ProxmoxError::Locked { vmid, lock: lock.to_owned(), since });
        }
        let wait = (since / 10).clamp(Duration::from_millis(200), Duration::from_secs(5));
        Ok(Underway::for_at_most(wait, format!("the machine is locked ({lock})")))
    }

    fn wait_locked(&self, vmid: u32, lock: &str) -> Result<Next, ProxmoxError> {
        self.wait_locked_for(vmid, lock).map(Next::Wait)
    }

    async fn order_clone(
        &self,
        reservation: &Reservation,
        spec: &MachineSpec,
        progress: &Progress,
        vmid: u32,
    ) -> Result<Next, ProxmoxError> {
        let source = self.source_for(spec, &reservation.place).await?;
        let full = source.full;
        let node = source.node.clone();
        let (room, size) = if full {
            (Room::Full(node.clone()), self.config.full_clones_per_node)
        } else {
            (Room::Linked(node.clone()), self.config.linked_clones_per_node)
        };
        let mut rooms = vec![(room, size)];
        let storage = spec.storage.clone().or(source.storage.clone());
        if let Some(storage) = storage {
            rooms.push((Room::Storage(storage), self.config.clones_per_storage));
        }
        let Some(slot) = self.clones.enter(&rooms) else {
            let what = format!("waits for other clones on {node}");
            let wait = Underway::for_at_most(Duration::from_secs(1), what);
            return Ok(Next::Wait(wait.or_when(&self.clones.left)));
        };
        let params = self.clone_params(reservation, spec, &source, vmid);
        progress.tell("the machine is being cloned", None);
        self.hand(vmid, |hand| hand.ordered_at = Some(Instant::now()));
        let path = format!("{}/clone", vm_path(&source.node, source.vmid));
        match self.client.order_task(Method::POST, &path, params).await {
            Ok(Some(upid)) => {
                self.count_made();
                let kind = if full { "qmclone full" } else { "qmclone" };
                let job = self.tasks.follow(upid, kind, slot);
                self.hand(vmid, |hand| hand.job = Some(job));
                Ok(Next::On)
            }
            Ok(None) => Ok(Next::On),
            Err(error) if error.outcome_unknown() => {
                // Ordered again under the same id it can only be made once; looked at first.
                self.hand(vmid, |hand| hand.doubt = Some(Instant::now()));
                let what = "the hypervisor gave no answer; it is looked at";
                Ok(Next::Wait(Underway::for_at_most(Duration::from_millis(500), what)))
            }
            Err(error) => self.refused_clone(reservation, spec, vmid, error, full).await,
        }
    }

    async fn refused_clone(
        &self,
        reservation: &Reservation,
        spec: &MachineSpec,
        vmid: u32,
        error: ProxmoxError,
        full: bool,
    ) -> Result<Next, ProxmoxError> {
        match error.meaning() {
            Meaning::LockTimeout | Meaning::Locked => {
                self.try_again_soon(vmid, error).map(Next::Wait)
            }
            // An order of ours whose answer was lost may have made it: who it is decides.
            Meaning::Taken => match self.standing(Purpose::Making, reservation, vmid).await? {
                Standing::UnderConstruction { .. } => self.wait_locked(vmid, "clone"),
                Standing::Ours { .. } => Ok(Next::On),
                _ => Err(ProxmoxError::Foreign { vmid, why: error.to_string() }),
            },
            _ if !full
                && spec.clone == CloneMode::Auto
                && error.to_string().contains("Linked clone feature is not supported") =>
            {
                info!(source = spec.source, "linked clones are not possible; full ones are made");
                self.only_full(&spec.source);
                Ok(Next::On)
            }
            _ => Err(error),
        }
    }

    fn clone_params(
        &self,
        reservation: &Reservation,
        spec: &MachineSpec,
        source: &Source,
        vmid: u32,
    ) -> Params {
        let mut params = vec![
            ("newid", vmid.to_string()),
            ("name", reservation.session.to_string()),
            ("description", self.mark(&reservation.session, vmid).description()),
            ("full", u8::from(source.full).to_string()),
        ];
        if source.node != reservation.place {
            params.push(("target", reservation.place.clone()));
        }
        if let Some(pool) = &spec.pool {
            params.push(("pool", pool.clone()));
        }
        if let (true, Some(storage)) = (source.full, &spec.storage) {
            params.push(("storage", storage.clone()));
        }
        params
    }

    async fn run(
        &self,
        reservation: &Reservation,
        spec: &MachineSpec,
        node: &str,
        config: &VmConfig,
        vmid: u32,
        progress: &Progress,
    ) -> Result<Next, ProxmoxError> {
        if spec.address_from == AddressFrom::Agent && !config.has_agent() {
            return Err(ProxmoxError::NoAgent);
        }
        let configured = has_tag(config.text("tags").as_deref(), &Mark::tag(&self.deployment));
        // What this machine was like before is known only of one that was configured: it may run.
        if configured {
            let current = self.client.current(Purpose::Making, node, vmid).await?;
            if let Some(lock) = current.lock {
                return self.wait_locked(vmid, &lock);
            }
            if power(&current.status) == Power::Running {
                self.hand(vmid, |hand| {
                    if let Some(known) = &mut hand.known {
                        known.started = Some(Instant::now());
                    }
                });
                return Ok(Next::On);
            }
        } else {
            progress.tell("the machine is being configured", None);
            if let Some(wait) = self.configure(spec, node, config, vmid).await? {
                return Ok(Next::Wait(wait));
            }
            if let Some(job) = self.grow_disk(spec, node, config, vmid).await? {
                self.hand(vmid, |hand| hand.job = Some(job));
                return Ok(Next::On);
            }
        }
        progress.tell("the machine is starting", None);
        let path = format!("{}/status/start", vm_path(node, vmid));
        self.order_power(reservation, vmid, &path, Params::new(), "qmstart").await
    }

    /// Writes what differs, in one go; the digest makes sure that it is the configuration read.
    async fn configure(
        &self,
        spec: &MachineSpec,
        node: &str,
        config: &VmConfig,
        vmid: u32,
    ) -> Result<Option<Underway>, ProxmoxError> {
        let mut params = self.differences(spec, config);
        if let Some(digest) = config.text("digest") {
            params.push(("digest", digest));
        }
        self.hand(vmid, |hand| hand.ordered_at = Some(Instant::now()));
        let path = format!("{}/config", vm_path(node, vmid));
        match self.client.order(Purpose::Making, Method::PUT, &path, params).await {
            Ok(_) => Ok(None),
            Err(error) => match error.meaning() {
                Meaning::LockTimeout | Meaning::Locked => {
                    self.try_again_soon(vmid, error).map(Some)
                }
                _ => Err(error),
            },
        }
    }

    fn differences(&self, spec: &MachineSpec, config: &VmConfig) -> Params {
        let mut params = Params::new();
        let mut wish = |option: &'static str, value: String| {
            if config.text(option).as_deref() != Some(&value) {
                params.push((option, value));
            }
        };
        wish("cores", spec.cores.to_string());
        wish("memory", spec.memory_mib.to_string());
        if config.has_cloud_init() {
            wish("ciuser", spec.admin_user.clone());
            if !spec.ssh_keys.is_empty() {
                wish("sshkeys", encode_keys(&spec.ssh_keys));
            }
            if config.text("ipconfig0").is_none() {
                wish("ipconfig0", "ip=dhcp".to_owned());
            }
        }
        if let (Some(bridge), Some(card)) = (&spec.network, config.text("net0")) {
            let parts = card.split(',').map(|part| match part.split_once('=') {
                Some(("bridge", _)) => format!("bridge={bridge}"),
                _ => part.to_owned(),
            });
            wish("net0", parts.collect::<Vec<_>>().join(","));
        }
        let tags = config.text("tags").unwrap_or_default();
        let kept = tags.split([';', ',', ' ']).filter(|t| !t.is_empty() && !t.starts_with("daas-"));
        let tag = Mark::tag(&self.deployment);
        params.push(("tags", kept.chain([tag.as_str()]).collect::<Vec<_>>().join(";")));
        params
    }

    async fn grow_disk(
        &self,
        spec: &MachineSpec,
        node: &str,
        config: &VmConfig,
        vmid: u32,
    ) -> Result<Option<Followed>, ProxmoxError> {
        let (Some(wished), Some((disk, options))) = (spec.disk_gib, config.boot_disk()) else {
            return Ok(None);
        };
        let size = property(&options, "size").and_then(|size| gibibytes(&size));
        if size.is_none_or(|size| size >= wished as f64) {
            return Ok(None);
        }
        let path = format!("{}/resize", vm_path(node, vmid));
        let params = vec![("disk", disk), ("size", format!("{wished}G"))];
        let upid = self.client.order_task(Method::PUT, &path, params).await?;
        Ok(upid.map(|upid| self.tasks.follow(upid, "resize", Slot::default())))
    }

    async fn stop(
        &self,
        reservation: &Reservation,
        node: &str,
        config: &VmConfig,
        vmid: u32,
    ) -> Result<Next, ProxmoxError> {
        let current = self.client.current(Purpose::Making, node, vmid).await?;
        if power(&current.status) == Power::Stopped {
            self.forget(vmid);
            let known = Known::of(node, config);
            return Ok(Next::Done(machine(reservation, &known, Power::Stopped, None)));
        }
        let path = format!("{}/status/shutdown", vm_path(node, vmid));
        let params = vec![("timeout", "60".to_owned()), ("forceStop", "1".to_owned())];
        self.order_power(reservation, vmid, &path, params, "qmshutdown").await
    }

    async fn order_power(
        &self,
        reservation: &Reservation,
        vmid: u32,
        path: &str,
        params: Params,
        kind: &'static str,
    ) -> Result<Next, ProxmoxError> {
        self.hand(vmid, |hand| hand.ordered_at = Some(Instant::now()));
        match self.client.order_task(Method::POST, path, params).await {
            Ok(Some(upid)) => {
                let job = self.tasks.follow(upid, kind, Slot::default());
                self.hand(vmid, |hand| {
                    hand.job = Some(job);
                    hand.address = None;
                });
                Ok(Next::On)
            }
            Ok(None) => Ok(Next::On),
            // Ordered twice, power is only given once: looked at, then decided anew.
            Err(error) if error.outcome_unknown() => {
                let what = format!("{}: no answer; it is looked at", reservation.session);
                Ok(Next::Wait(Underway::for_at_most(Duration::from_millis(500), what)))
            }
            Err(error) => match error.meaning() {
                Meaning::LockTimeout | Meaning::Locked => {
                    self.try_again_soon(vmid, error).map(Next::Wait)
                }
                Meaning::AlreadySo => Ok(Next::On),
                _ => Err(error),
            },
        }
    }

    /// The machine has power: what is missing is its address.
    async fn address(
        &self,
        reservation: &Reservation,
        spec: &MachineSpec,
        known: &Known,
        vmid: u32,
    ) -> Result<Next, ProxmoxError> {
        if spec.address_from == AddressFrom::None {
            return Ok(Next::Done(machine(reservation, known, Power::Running, None)));
        }
        let question = Question {
            node: known.node.clone(),
            vmid,
            mac: known.mac.clone(),
            started: known.started,
        };
        let room = self.questions.room(&known.node, self.config.agent_calls_per_node);
        let (heard, wake) = self.hand(vmid, |hand| {
            let wait = hand.address.get_or_insert_with(|| {
                agent::ask(self.client.clone(), question, room, self.usual_boot.clone())
            });
            (wait.heard(), wait.wake.clone())
        });
        match (heard.agent, heard.address) {
            (_, Some(address)) => {
                self.hand(vmid, |hand| hand.address = None);
                Ok(Next::Done(machine(reservation, known, Power::Running, Some(address))))
            }
            (AgentState::NotConfigured, _) => Err(ProxmoxError::NoAgent),
            (AgentState::MachineOff, _) => {
                // It lost its power while it was starting: all is looked at afresh.
                self.forget(vmid);
                Ok(Next::On)
            }
            (agent, None) => {
                let what = match agent {
                    AgentState::NoAddress => "the guest has no address yet",
                    _ => "the guest is starting",
                };
                Ok(Next::Wait(Underway::for_at_most(TASK_LOOK, what).or_when(&wake)))
            }
        }
    }
}

/// What a clone is made from.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) vmid: u32,
    pub(crate) node: String,
    pub(crate) storage: Option<String>,
    pub(crate) full: bool,
}

fn machine(
    reservation: &Reservation,
    known: &Known,
    power: Power,
    address: Option<std::net::IpAddr>,
) -> Machine {
    Machine {
        machine: reservation.machine.clone(),
        place: known.node.clone(),
        session: Some(reservation.session.clone()),
        uuid: known.uuid.clone(),
        power,
        address,
        agent: if address.is_some() { AgentState::Address } else { AgentState::NotAsked },
        lock: None,
    }
}

fn doing(kind: &str) -> &'static str {
    match kind {
        "qmclone" | "qmclone full" => "being cloned",
        "qmstart" => "starting",
        "qmshutdown" | "qmstop" => "being stopped",
        "resize" => "getting a larger disk",
        _ => "being removed",
    }
}

/// Keys as Proxmox wants them: percent-encoded although the form encodes them once more, spaces as
/// `%20` (`PVE/QemuServer.pm`, format `urlencoded`).
fn encode_keys(keys: &[String]) -> String {
    crate::client::segment(&keys.join("\n"))
}

/// A disk size as in a configuration, in GiB.
fn gibibytes(size: &str) -> Option<f64> {
    let (number, unit) = size.split_at(size.find(|c: char| c.is_ascii_alphabetic())?);
    let number: f64 = number.parse().ok()?;
    match unit {
        "K" => Some(number / 1024.0 / 1024.0),
        "M" => Some(number / 1024.0),
        "G" => Some(number),
        "T" => Some(number * 1024.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_hold_only_what_proxmox_lets_through() {
        let key = "ssh-ed25519 AAAA+/= me@host (1)".to_owned();
        let encoded = encode_keys(&[key.clone(), key]);
        assert!(encoded.chars().all(|c| c == '%' || c.is_ascii_alphanumeric()), "{encoded}");
        assert!(encoded.contains("%20") && encoded.contains("%0A"));
    }

    #[test]
    fn disk_sizes_are_read() {
        assert_eq!(gibibytes("8G"), Some(8.0));
        assert_eq!(gibibytes("512M"), Some(0.5));
        assert_eq!(gibibytes("1T"), Some(1024.0));
        assert_eq!(gibibytes("8"), None);
    }
}
