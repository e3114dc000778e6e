//! The provisioner: the trait's methods, and what it remembers of machines in hand.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use daas_core::ids::{BackendName, DeploymentId, MachineId, SessionId};
use daas_core::machine::{
    AgentState, Destroyed, Ensured, Listed, Machine, MachineSpec, Observation, Power, Reservation,
    Taken,
};
use daas_core::progress::Progress;
use daas_core::provisioner::{Extras, Provisioner};
use daas_core::{Operation, Result};
use tokio::time::Instant;

use crate::agent::{AddressWait, Usual};
use crate::api::VmConfig;
use crate::client::{Client, Purpose};
use crate::config::ProxmoxConfig;
use crate::error::ProxmoxError;
use crate::extras::ProxmoxExtras;
use crate::identity::{Standing, standing};
use crate::inventory::Inventory;
use crate::mark::{Mark, has_tag};
use crate::overview::{Overview, Overviews};
use crate::placement;
use crate::slots::{Room, Slots};
use crate::tasks::{Followed, Tasks};

/// How long an order without an answer may still come true: Proxmox's proxy gives up after 30 s.
const DOUBT: Duration = Duration::from_secs(40);
/// How long a template's storages are remembered.
const TEMPLATE_AGE: Duration = Duration::from_secs(60);
/// How long after a write of ours the overview is not believed: its figures lag behind.
const OVERVIEW_LAG: Duration = Duration::from_secs(20);

/// Makes machines on a Proxmox VE cluster.
#[derive(Debug)]
pub struct ProxmoxProvisioner {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: ProxmoxConfig,
    pub(crate) deployment: DeploymentId,
    pub(crate) client: Client,
    pub(crate) overviews: Overviews,
    pub(crate) tasks: Tasks,
    pub(crate) clones: Slots<Room>,
    pub(crate) questions: Slots<String>,
    pub(crate) usual_boot: Arc<Usual>,
    pub(crate) inventory: Inventory,
    hands: Mutex<HashMap<u32, Hand>>,
    /// Storages of templates, by node and id, and when they were read.
    templates: Mutex<TemplateStorages>,
    /// Sources whose storage cannot make linked clones.
    full_only: Mutex<HashSet<String>>,
    /// Machines made so far, and the calls at rest as counted at the last listing.
    made: AtomicU64,
    rested: Mutex<Option<(Instant, u64)>>,
    /// The id after the one chosen last: ids are not used again soon after a delete.
    next_id: Mutex<u32>,
}

/// Storages of templates, by node and id, and when they were read.
type TemplateStorages = HashMap<(String, u32), (Instant, Vec<String>)>;

/// What is remembered of a machine in hand. All of it can be lost: it only saves calls.
#[derive(Debug, Default)]
pub(crate) struct Hand {
    /// The task that runs for it.
    pub(crate) job: Option<Followed>,
    /// When an order went out to which no answer came.
    pub(crate) doubt: Option<Instant>,
    /// How often in a row a lock could not be had.
    pub(crate) lock_tries: u32,
    /// Since when it has been seen locked or under construction.
    pub(crate) locked_since: Option<Instant>,
    /// When we last ordered something.
    pub(crate) ordered_at: Option<Instant>,
    /// What its proved identity told.
    pub(crate) known: Option<Known>,
    /// The wait for its address.
    pub(crate) address: Option<AddressWait>,
}

/// What a machine told of itself when its identity was proved.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) node: String,
    pub(crate) uuid: Option<String>,
    pub(crate) mac: Option<String>,
    /// When we gave it power, if we did and it worked.
    pub(crate) started: Option<Instant>,
}

impl Known {
    pub(crate) fn of(node: &str, config: &VmConfig) -> Self {
        Self { node: node.to_owned(), uuid: config.uuid(), mac: config.mac(), started: None }
    }
}

impl ProxmoxProvisioner {
    /// A provisioner for the machines of `deployment` on the cluster of `config`. Nothing is asked
    /// of the cluster yet.
    pub fn new(config: ProxmoxConfig, deployment: DeploymentId) -> Result<Self> {
        let subject = config.name.to_string();
        let client = Client::new(&config).map_err(|e| e.while_doing(Operation::Start, &subject))?;
        use rand::RngExt;
        let first = rand::rng().random_range(config.ids.first..=config.ids.last);
        Ok(Self {
            shared: Arc::new(Shared {
                overviews: Overviews::new(client.clone()),
                tasks: Tasks::new(client.clone()),
                clones: Slots::default(),
                questions: Slots::default(),
                usual_boot: Arc::default(),
                inventory: Inventory::default(),
                hands: Mutex::default(),
                templates: Mutex::default(),
                full_only: Mutex::default(),
                made: AtomicU64::new(0),
                rested: Mutex::default(),
                next_id: Mutex::new(first),
                config,
                deployment,
                client,
            }),
        })
    }
}

impl Shared {
    fn hands(&self) -> MutexGuard<'_, HashMap<u32, Hand>> {
        self.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at, or changes, what is remembered of a machine.
    pub(crate) fn hand<T>(&self, vmid: u32, act: impl FnOnce(&mut Hand) -> T) -> T {
        act(self.hands().entry(vmid).or_default())
    }

    /// Forgets what is known of a machine, but not that we have just dealt with it: the overview
    /// may go on showing it for a while.
    pub(crate) fn forget(&self, vmid: u32) {
        let ordered_at = Some(Instant::now());
        self.hands().insert(vmid, Hand { ordered_at, ..Hand::default() });
    }

    /// Drops what is remembered of machines that nothing has happened to for long.
    fn tidy_hands(&self) {
        let recent = |at: Option<Instant>| at.is_some_and(|at| at.elapsed() < DOUBT);
        self.hands().retain(|_, hand| {
            hand.job.is_some()
                || hand.known.is_some()
                || recent(hand.ordered_at)
                || recent(hand.doubt)
        });
    }

    pub(crate) async fn standing(
        &self,
        purpose: Purpose,
        reservation: &Reservation,
        vmid: u32,
    ) -> Result<Standing, ProxmoxError> {
        let Self { client, overviews, deployment, .. } = self;
        standing(client, overviews, purpose, deployment, reservation, vmid).await
    }

    pub(crate) fn mark(&self, session: &SessionId, vmid: u32) -> Mark {
        Mark { deployment: self.deployment.clone(), session: session.clone(), vmid }
    }

    async fn reserve(
        &self,
        id: &SessionId,
        spec: &MachineSpec,
        taken: &Taken,
    ) -> Result<Reservation, ProxmoxError> {
        let overview =
            self.overviews.no_older_than(Duration::from_secs(1), Purpose::Making).await?;
        let candidates = self.candidates(&overview, &spec.source).await?;
        let candidates: Vec<&str> = candidates.iter().map(String::as_str).collect();
        let overcommit = self.config.memory_overcommit;
        let place = placement::choose(&overview, &candidates, spec, taken, overcommit)
            .map_err(ProxmoxError::NoRoom)?;
        let vmid = self.choose_id(&overview, taken)?;
        Ok(Reservation {
            session: id.clone(),
            provisioner: self.config.name.clone(),
            machine: machine_id(vmid),
            place: place.to_owned(),
            memory_mib: spec.memory_mib,
            cores: spec.cores,
            uuid: None,
        })
    }

    /// The nodes on which a machine of this source can be: where a template is, or all nodes when
    /// its disks are shared.
    async fn candidates(
        &self,
        overview: &Overview,
        source: &str,
    ) -> Result<Vec<String>, ProxmoxError> {
        let templates = overview.templates(source);
        if templates.is_empty() {
            let known: Vec<String> = overview
                .all_templates()
                .map(|(vmid, r)| format!("{vmid} ({})", r.name.as_deref().unwrap_or("?")))
                .collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(ProxmoxError::NoTemplate { source_name: source.to_owned(), known });
        }
        let mut candidates = Vec::new();
        for (vmid, template) in templates {
            let Some(home) = template.node.clone() else { continue };
            if self.is_shared(overview, &home, vmid).await? {
                candidates.extend(overview.nodes.iter().filter_map(|n| n.node.clone()));
            } else {
                candidates.push(home);
            }
        }
        candidates.retain(|n| self.config.nodes.is_empty() || self.config.nodes.contains(n));
        candidates.sort();
        candidates.dedup();
        Ok(candidates)
    }

    /// Whether all disks of a template are on storages that every node sees.
    pub(crate) async fn is_shared(
        &self,
        overview: &Overview,
        node: &str,
        vmid: u32,
    ) -> Result<bool, ProxmoxError> {
        let shared = overview.shared_storages();
        let storages = self.template_storages(node, vmid).await?;
        Ok(!storages.is_empty() && storages.iter().all(|s| shared.contains(s.as_str())))
    }

    /// Counts a machine made.
    pub(crate) fn count_made(&self) {
        self.made.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells how many calls a desktop takes to be made and destroyed, and how many a minute all
    /// those at rest take.
    fn tell_calls(&self) {
        let made = self.made.load(Ordering::Relaxed);
        if made > 0 {
            let calls = self.client.calls(Purpose::Making);
            metrics::gauge!("daas_hypervisor_calls_per_desktop", "backend" => "proxmox")
                .set(calls as f64 / made as f64);
        }
        let calls = self.client.calls(Purpose::Resting);
        let mut rested = self.rested.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, before)) = *rested {
            let minutes = since.elapsed().as_secs_f64() / 60.0;
            if minutes > 0.0 {
                metrics::gauge!("daas_hypervisor_calls_per_minute_at_rest", "backend" => "proxmox")
                    .set((calls - before) as f64 / minutes);
            }
        }
        *rested = Some((Instant::now(), calls));
    }

    /// The storages of a template's disks; templates do not change, so they are read seldom.
    pub(crate) async fn template_storages(
        &self,
        node: &str,
        vmid: u32,
    ) -> Result<Vec<String>, ProxmoxError> {
        let key = (node.to_owned(), vmid);
        let known = {
            let templates = self.templates.lock().unwrap_or_else(PoisonError::into_inner);
            templates.get(&key).filter(|(at, _)| at.elapsed() < TEMPLATE_AGE).cloned()
        };
        if let Some((_, storages)) = known {
            return Ok(storages);
        }
        let config = self.client.vm_config(Purpose::Making, node, vmid).await?;
        let storages = config.map(|config| config.storages()).unwrap_or_default();
        let mut templates = self.templates.lock().unwrap_or_else(PoisonError::into_inner);
        templates.insert(key, (Instant::now(), storages.clone()));
        Ok(storages)
    }

    /// Notes that a source cannot be cloned linked.
    pub(crate) fn only_full(&self, source: &str) {
        let mut full_only = self.full_only.lock().unwrap_or_else(PoisonError::into_inner);
        full_only.insert(source.to_owned());
    }

    pub(crate) fn makes_only_full(&self, source: &str) -> bool {
        self.full_only.lock().unwrap_or_else(PoisonError::into_inner).contains(source)
    }

    fn choose_id(&self, overview: &Overview, taken: &Taken) -> Result<u32, ProxmoxError> {
        let range = self.config.ids;
        let mut next = self.next_id.lock().unwrap_or_else(PoisonError::into_inner);
        let free = |vmid: &u32| {
            !overview.machines.contains_key(vmid)
                && !taken.contains(&machine_id(*vmid))
                && !self.config.protected.contains(vmid)
        };
        let chosen = (*next..=range.last).chain(range.first..*next).find(free);
        let vmid = chosen.ok_or_else(|| {
            let (first, last) = (range.first, range.last);
            ProxmoxError::NoRoom(format!("every machine id from {first} to {last} is in use"))
        })?;
        *next = if vmid == range.last { range.first } else { vmid + 1 };
        Ok(vmid)
    }

    async fn observe(&self, reservation: &Reservation) -> Result<Observation, ProxmoxError> {
        let vmid = vmid(&reservation.machine)?;
        if let Some(machine) = self.glance(reservation, vmid).await {
            return Ok(Observation::Present(machine));
        }
        let doubt = self.hand(vmid, |hand| hand.doubt.is_some_and(|at| at.elapsed() < DOUBT));
        Ok(match self.standing(Purpose::Resting, reservation, vmid).await? {
            Standing::Nobody if doubt => {
                Observation::Unknown("an order without an answer may still come true".to_owned())
            }
            Standing::Nobody | Standing::Foreign(_) => Observation::Absent,
            Standing::Doubt(why) => Observation::Unknown(why),
            Standing::UnderConstruction { node } => Observation::Present(Machine {
                machine: reservation.machine.clone(),
                place: node,
                session: None,
                uuid: None,
                power: Power::Stopped,
                address: None,
                agent: AgentState::NotAsked,
                lock: Some("clone".to_owned()),
            }),
            Standing::Ours { node, config } => {
                let current = self.client.current(Purpose::Resting, &node, vmid).await?;
                Observation::Present(Machine {
                    machine: reservation.machine.clone(),
                    place: node,
                    session: Some(reservation.session.clone()),
                    uuid: config.uuid(),
                    power: power(&current.status),
                    address: None,
                    agent: AgentState::NotAsked,
                    lock: current.lock,
                })
            }
        })
    }

    /// A look at the overview only, shared by all desktops at rest. It can tell that all is well,
    /// never that something is wrong.
    async fn glance(&self, reservation: &Reservation, vmid: u32) -> Option<Machine> {
        reservation.uuid.as_ref()?;
        let recent = |at: Option<Instant>| at.is_some_and(|at| at.elapsed() < OVERVIEW_LAG);
        if self.hands().get(&vmid).is_some_and(|h| h.job.is_some() || recent(h.ordered_at)) {
            return None;
        }
        let age = self.config.overview_age;
        let overview = self.overviews.no_older_than(age, Purpose::Resting).await.ok()?;
        let row = overview.machines.get(&vmid)?;
        // The overview shows no uuid, but the inventory has read each machine's.
        if self.inventory.uuid(vmid, row).is_some_and(|uuid| reservation.uuid != Some(uuid)) {
            return None;
        }
        let well = row.name.as_deref() == Some(reservation.session.as_str())
            && row.status.as_deref() == Some("running")
            && row.node.as_deref() == Some(reservation.place.as_str())
            && has_tag(row.tags.as_deref(), &Mark::tag(&self.deployment));
        well.then(|| Machine {
            machine: reservation.machine.clone(),
            place: reservation.place.clone(),
            session: Some(reservation.session.clone()),
            uuid: reservation.uuid.clone(),
            power: Power::Running,
            address: None,
            agent: AgentState::NotAsked,
            lock: None,
        })
    }
}

#[async_trait]
impl Provisioner for ProxmoxProvisioner {
    fn name(&self) -> &BackendName {
        &self.shared.config.name
    }

    async fn reserve(
        &self,
        id: &SessionId,
        spec: &MachineSpec,
        taken: &Taken,
    ) -> Result<Reservation> {
        let reserved = self.shared.reserve(id, spec, taken).await;
        reserved.map_err(|e| e.while_doing(Operation::Reserve, id))
    }

    async fn ensure(
        &self,
        reservation: &Reservation,
        spec: &MachineSpec,
        power: Power,
        progress: &Progress,
    ) -> Result<Ensured> {
        let made = self.shared.ensure(reservation, spec, power, progress).await;
        made.map_err(|e| e.while_doing(Operation::Ensure, &reservation.session))
    }

    async fn observe(&self, reservation: &Reservation) -> Observation {
        match self.shared.observe(reservation).await {
            Ok(observation) => observation,
            Err(error) => Observation::Unknown(
                error.while_doing(Operation::Observe, &reservation.session).chain(),
            ),
        }
    }

    async fn destroy(&self, reservation: &Reservation) -> Result<Destroyed> {
        let removed = self.shared.remove(reservation).await;
        removed.map_err(|e| e.while_doing(Operation::Destroy, &reservation.session))
    }

    async fn list(&self) -> Result<Vec<Listed>> {
        self.shared.tell_calls();
        self.shared.tidy_hands();
        let listed = self.shared.list().await;
        listed.map_err(|e| e.while_doing(Operation::List, &self.shared.config.name))
    }

    fn extras(&self) -> Extras {
        let extras = Arc::new(ProxmoxExtras(Arc::clone(&self.shared)));
        Extras {
            platform: None,
            console: Some(Arc::clone(&extras) as _),
            places: Some(Arc::clone(&extras) as _),
            examine: Some(extras),
        }
    }
}

/// Proxmox's word for power. Anything but `running` has none that a user could use.
pub(crate) fn power(status: &str) -> Power {
    if status == "running" { Power::Running } else { Power::Stopped }
}

#[expect(clippy::expect_used, reason = "a decimal number is a valid machine id")]
pub(crate) fn machine_id(vmid: u32) -> MachineId {
    MachineId::new(vmid.to_string()).expect("digits")
}

pub(crate) fn vmid(machine: &MachineId) -> Result<u32, ProxmoxError> {
    machine.as_str().parse().map_err(|_| ProxmoxError::Config {
        field: "name",
        why: format!("made machine {machine:?}, which is no Proxmox id; another backend's record?"),
    })
}
