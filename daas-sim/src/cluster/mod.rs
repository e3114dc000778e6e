//! The cluster's books: one cheap mutex around what is, tasks and locks around what changes.
//!
//! INVARIANT: the state's mutex is never held across an await.

pub(crate) mod drives;
pub(crate) mod guests;
pub(crate) mod locks;
pub(crate) mod seed;
pub(crate) mod statd;
pub(crate) mod tasks;
pub(crate) mod view;
pub(crate) mod vm;
pub(crate) mod volumes;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::Access;
use crate::access::ticket::Tickets;
use crate::clock::Clock;
use crate::config::{NodeConfig, SimConfig, StorageConfig};
use crate::console::Consoles;
use crate::durations::DurationSource;
use crate::faults::Faults;
use crate::guest::GuestMaker;
use crate::http::reply::ApiError;
use crate::log::Log;
use locks::Locks;
use statd::Published;
use tasks::Tasks;
use vm::Vm;
use volumes::Volumes;

/// Everything the API's handlers and the tasks share.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) config: SimConfig,
    /// The nodes' names, in order.
    pub(crate) nodes: Vec<Arc<str>>,
    pub(crate) clock: Clock,
    pub(crate) log: Log,
    pub(crate) faults: Faults,
    pub(crate) tickets: Tickets,
    pub(crate) durations: DurationSource,
    pub(crate) guests: Arc<dyn GuestMaker>,
    pub(crate) locks: Locks,
    pub(crate) tasks: Tasks,
    pub(crate) consoles: Consoles,
    /// The leaf certificate, which `vncproxy` hands out.
    pub(crate) certificate_pem: String,
    /// Ends everything that was spawned.
    pub(crate) stopping: CancellationToken,
    pub(crate) tracker: TaskTracker,
    state: Mutex<State>,
}

/// What is, right now.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) vms: BTreeMap<u32, Vm>,
    pub(crate) volumes: Volumes,
    pub(crate) access: Access,
    /// What `/cluster/resources` has heard of each machine.
    pub(crate) published: BTreeMap<u32, Published>,
    /// How many random values each machine id has been given.
    pub(crate) drawn: BTreeMap<u32, u64>,
}

impl Cluster {
    pub(crate) fn new(
        config: SimConfig,
        access: Access,
        guests: Arc<dyn GuestMaker>,
        certificate_pem: String,
    ) -> Self {
        let log = Log::new();
        let volumes = Volumes::new(&config);
        Self {
            nodes: config.nodes.iter().map(|n| Arc::from(n.name.as_str())).collect(),
            clock: Clock::new(config.scale, config.lock_wait_min, config.guest_wait_min),
            faults: Faults::new(config.seed, log.clone()),
            tickets: Tickets::new(config.ticket_lifetime),
            durations: DurationSource::new(config.durations, config.seed),
            guests,
            locks: Locks::new(log.clone()),
            tasks: Tasks::default(),
            consoles: Consoles::default(),
            certificate_pem,
            stopping: CancellationToken::new(),
            tracker: TaskTracker::new(),
            state: Mutex::new(State {
                vms: BTreeMap::new(),
                volumes,
                access,
                published: BTreeMap::new(),
                drawn: BTreeMap::new(),
            }),
            log,
            config,
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shared copy of a node's name.
    pub(crate) fn node(&self, name: &str) -> Option<&Arc<str>> {
        self.nodes.iter().find(|n| &***n == name)
    }

    pub(crate) fn node_config(&self, name: &str) -> Option<&NodeConfig> {
        self.config.nodes.iter().find(|n| n.name == name)
    }

    pub(crate) fn storage(&self, id: &str) -> Option<&StorageConfig> {
        self.config.storages.iter().find(|s| s.id == id)
    }

    /// The lock a machine's configuration shows, its own or a scripted one.
    pub(crate) fn lock_of(&self, vm: &Vm) -> Option<String> {
        self.faults.lock_of(vm.vmid).or_else(|| vm.options.get("lock").cloned())
    }

    /// Refuses a locked machine.
    pub(crate) fn check_lock(&self, vm: &Vm) -> Result<(), String> {
        match self.lock_of(vm) {
            Some(lock) => Err(format!("VM is locked ({lock})")),
            None => Ok(()),
        }
    }
}

impl State {
    /// The machine `vmid` on `node`.
    pub(crate) fn vm(&self, node: &str, vmid: u32) -> Result<&Vm, ApiError> {
        self.vms
            .get(&vmid)
            .filter(|vm| &*vm.node == node)
            .ok_or_else(|| ApiError::died(no_config(node, vmid)))
    }

    pub(crate) fn vm_mut(&mut self, node: &str, vmid: u32) -> Result<&mut Vm, ApiError> {
        self.vms
            .get_mut(&vmid)
            .filter(|vm| &*vm.node == node)
            .ok_or_else(|| ApiError::died(no_config(node, vmid)))
    }

    /// Takes a machine out of the books: its configuration, its rights, its pool.
    pub(crate) fn forget_vm(&mut self, vmid: u32) -> Option<Vm> {
        self.published.remove(&vmid);
        self.access.forget_vm(vmid);
        self.vms.remove(&vmid)
    }

    /// Sixteen random bytes that depend on the seed, the machine id and how often it was asked.
    pub(crate) fn random(&mut self, seed: u64, vmid: u32) -> [u8; 16] {
        let nth = self.drawn.entry(vmid).or_default();
        *nth += 1;
        crate::random::Stream::new(seed, &[0x5eed, u64::from(vmid), *nth]).bytes()
    }
}

/// What is said of a machine that is not there.
pub(crate) fn no_config(node: &str, vmid: u32) -> String {
    format!("Configuration file 'nodes/{node}/qemu-server/{vmid}.conf' does not exist")
}
