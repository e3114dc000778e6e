//! Machines: where one is going to be, and what is seen of it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::ids::{BackendName, DeploymentId, MachineId, SessionId};
use crate::template::{AddressFrom, CloneMode};

/// The machine id and the room decided on; durable before the machine exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Whose it is; with the deployment id the mark that the machine will carry.
    pub session: SessionId,
    /// The backend it belongs to.
    pub provisioner: BackendName,
    /// The only machine id that may be used.
    pub machine: MachineId,
    /// The place (a Proxmox node).
    pub place: String,
    /// The memory set aside there, in MiB.
    pub memory_mib: u64,
    /// The virtual processors set aside there.
    pub cores: u32,
    /// The machine's own uuid, recorded at first sight; from then on part of its identity.
    pub uuid: Option<String>,
}

/// Reservations that live records hold, by machine id.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    by_machine: HashMap<MachineId, Reservation>,
}

impl Taken {
    /// Notes a reservation.
    pub fn insert(&mut self, reservation: Reservation) {
        self.by_machine.insert(reservation.machine.clone(), reservation);
    }

    /// Forgets the reservation of `machine` if `session` holds it.
    pub fn remove(&mut self, machine: &MachineId, session: &SessionId) {
        if self.by_machine.get(machine).is_some_and(|r| &r.session == session) {
            self.by_machine.remove(machine);
        }
    }

    /// Makes `held` all that `session` holds here.
    pub fn replace<'a>(
        &mut self,
        session: &SessionId,
        held: impl Iterator<Item = &'a Reservation>,
    ) {
        self.by_machine.retain(|_, r| &r.session != session);
        held.for_each(|r| self.insert(r.clone()));
    }

    /// Whether a live record holds `machine`.
    pub fn contains(&self, machine: &MachineId) -> bool {
        self.by_machine.contains_key(machine)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Reservation> {
        self.by_machine.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_machine.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_machine.is_empty()
    }
}

/// What to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineSpec {
    /// The host name; also the session's id.
    pub session: SessionId,
    /// The deployment whose mark the machine carries.
    pub deployment: DeploymentId,
    /// The image on the platform.
    pub source: String,
    /// Linked or full.
    pub clone: CloneMode,
    /// Where the disk goes; absent: where the image's is.
    pub storage: Option<String>,
    /// The resource pool.
    pub pool: Option<String>,
    /// Virtual processors.
    pub cores: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Disk in GiB; absent: the image's.
    pub disk_gib: Option<u64>,
    /// The network bridge; absent: the image's.
    pub network: Option<String>,
    /// Where the address comes from.
    pub address_from: AddressFrom,
    /// The account that takes the SSH keys.
    pub admin_user: String,
    /// OpenSSH public keys for it.
    pub ssh_keys: Vec<String>,
}

/// Power as wished or seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// The guest runs.
    Running,
    /// It does not.
    Stopped,
}

/// What the guest agent tells of the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// The machine has no agent configured: there will never be an answer.
    NotConfigured,
    /// The machine has no power.
    MachineOff,
    /// Configured, but nothing answers yet.
    Silent,
    /// It answers, but the guest has no usable address yet.
    NoAddress,
    /// It has told the address.
    Address,
    /// It was not asked.
    NotAsked,
}

/// A machine as seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its id on the platform.
    pub machine: MachineId,
    /// Where it is; may differ from the reservation after a migration.
    pub place: String,
    /// The session in its mark; absent while the platform does not allow a mark yet.
    pub session: Option<SessionId>,
    /// Its own uuid, once it can be read.
    pub uuid: Option<String>,
    /// Whether it has power.
    pub power: Power,
    /// Its address, when known.
    pub address: Option<IpAddr>,
    /// What the agent says.
    pub agent: AgentState,
    /// Why the platform holds it locked, if it does.
    pub lock: Option<String>,
}

/// The answer to "what is there?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// The machine is there, and it is ours as far as it can be proved yet.
    Present(Machine),
    /// It has been proved that no such machine exists anywhere on the platform.
    Absent,
    /// It could not be found out, and why. Never read as absence.
    Unknown(String),
}

/// A bell that a backend rings when what it waits for has happened, so that nobody needs to poll.
#[derive(Debug, Clone, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    /// Rings for the one who waits longest, or for the next to come.
    pub fn ring(&self) {
        self.0.notify_one();
    }

    /// Waits for the bell.
    pub async fn heard(&self) {
        self.0.notified().await;
    }
}

/// Two answers are the same answer whoever rings.
impl PartialEq for Wake {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Wake {}

/// The platform is at work; nothing is held meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Underway {
    /// When to ask again, if the bell does not ring before.
    pub check_after: Duration,
    /// What is being waited for, for people.
    pub what: String,
    /// Rings when asking again is worth it.
    pub wake: Wake,
}

impl Underway {
    /// Work that is asked about again after `check_after`.
    pub fn for_at_most(check_after: Duration, what: impl Into<String>) -> Self {
        Self { check_after, what: what.into(), wake: Wake::default() }
    }

    /// The same, with the bell that rings earlier.
    #[must_use]
    pub fn or_when(mut self, wake: &Wake) -> Self {
        self.wake = wake.clone();
        self
    }
}

/// How far `ensure` has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ensured {
    /// The machine is as wished.
    Done(Machine),
    /// The platform is at work.
    Underway(Underway),
}

/// How far `destroy` has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destroyed {
    /// Nothing is under this id, proved.
    Gone,
    /// A machine is under this id, and was left alone: it cannot be proved to be ours. Why, for
    /// people.
    LeftAlone(String),
    /// The platform is at work.
    Underway(Underway),
}

/// What the mark of a listed machine says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkSeen {
    /// It names this machine, as far as the listing tells; proved before any write.
    Own,
    /// It names another machine: this one is a manual clone. Never destroyed.
    Copied,
    /// It was taken away by hand, and only names and tags still tell of us. Never destroyed.
    Missing,
}

/// A machine in the inventory, for the sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id on the platform.
    pub machine: MachineId,
    /// Where it is.
    pub place: String,
    /// The session in its mark.
    pub session: SessionId,
    /// Its own uuid, if the listing tells.
    pub uuid: Option<String>,
    /// Whether it has power.
    pub power: Power,
    /// What its mark says of it.
    pub mark: MarkSeen,
    /// When it was seen.
    pub seen_at: Timestamp,
}
