//! The engine: level-triggered, so a crash is only a late pass.
//!
//! ```text
//! take due sessions (lease) -> observe -> decide (pure) -> execute one step -> write + event
//! ```
//!
//! INVARIANT: intent before effect, forget after proof. A reservation is durable before a backend
//! hears of it; a record ends only when `observe` has said *Absent* and its ledger is empty.
//! INVARIANT: *Unknown* leads to no end and no creation.
//! INVARIANT: once a machine has been seen, *Absent* leads to phase *lost*, never to a new machine
//! under its name.
//! INVARIANT: for a *personal* session a destroy verdict and exhausted tries become stop or parked;
//! only an explicit request sets goal *gone*.

mod board;
mod brakes;
mod decide;
mod effects;
mod estimate;
mod execute;
mod limits;
mod orphans;
mod platforms;
mod quarantine;
mod ready;
mod requests;
mod retention;
mod run;
mod sightings;
mod usage;
mod worker;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore};

pub use self::board::{Board, Notice};
pub use self::brakes::{Admission, BrakeRules, Brakes};
pub use self::decide::{Reason, Seen, Step, decide};
pub use self::effects::{EffectFinding, EffectReport};
pub use self::estimate::Estimates;
pub use self::limits::Limits;
pub use self::orphans::{Finding, Sweep, SweepReport};
use self::platforms::Platforms;
pub use self::requests::{Ask, Asked, Caller};
pub use self::retention::Retention;
pub use self::run::Running;
use crate::clock::Clock;
use crate::configurator::{ActivityTarget, Configurator, GuestContext};
use crate::error::{Error, Kind, Operation, Result};
use crate::idle::IdlePolicy;
use crate::ids::{BackendName, DeploymentId, Holder, SessionId, SessionPrefix};
use crate::machine::{MachineSpec, Reservation, Taken};
use crate::provisioner::Provisioner;
use crate::secret::DeploymentKey;
use crate::session::Session;
use crate::store::SessionStore;
use crate::store::quota::Quotas;
use crate::template::Template;

/// What an engine is made of.
#[derive(Debug)]
pub struct Parts {
    /// Where sessions are kept.
    pub store: Arc<dyn SessionStore>,
    /// The backends that make machines.
    pub provisioners: Vec<Arc<dyn Provisioner>>,
    /// The backends that configure guests.
    pub configurators: Vec<Arc<dyn Configurator>>,
    /// Whether a desktop is still used.
    pub policy: Arc<dyn IdlePolicy>,
    /// What desktops can be made from.
    pub templates: Vec<Template>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// From which guests' tokens are derived.
    pub key: DeploymentKey,
    /// The engine's own settings.
    pub settings: Settings,
}

/// The engine's own settings.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The bounds.
    pub limits: Limits,
    /// The brakes.
    pub brakes: BrakeRules,
    /// How much anybody may have.
    pub quotas: Quotas,
    /// What session ids begin with.
    pub prefix: SessionPrefix,
    /// OpenSSH public keys for the administrator's account in the guests.
    pub ssh_keys: Vec<String>,
    /// Where guests report their use, without the session's part; absent: they do not.
    pub guest_url: Option<String>,
    /// The certificate authority that guests trust for it, in PEM.
    pub guest_ca_pem: Option<String>,
}

/// The engine and the requests it takes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine(Arc<Inner>);

/// What all of the engine shares.
#[derive(Debug)]
struct Inner {
    parts: Parts,
    deployment: DeploymentId,
    provisioners: HashMap<BackendName, Arc<dyn Provisioner>>,
    platforms: Platforms,
    configurators: HashMap<BackendName, Arc<dyn Configurator>>,
    holder: Holder,
    listening_since: Timestamp,
    brakes: Brakes,
    estimates: Estimates,
    board: Board,
    sweep: Sweep,
    effect_sweep: effects::EffectSweep,
    activities: usage::Guards,
    /// What is reserved on each platform.
    taken: Mutex<HashMap<BackendName, Taken>>,
    /// Signals for the workers of sessions in hand.
    workers: Mutex<HashMap<SessionId, Arc<Notify>>>,
    wake: Notify,
    ensure_calls: Semaphore,
    configure_calls: Semaphore,
    destroy_calls: Semaphore,
    observe_calls: Semaphore,
}

impl Engine {
    /// An engine of these parts. It does nothing before [`Engine::start`].
    pub async fn new(parts: Parts) -> Result<Self> {
        for template in &parts.templates {
            template.check()?;
        }
        parts.settings.limits.retention.check()?;
        let deployment = parts.store.deployment().await?;
        let provisioners: HashMap<_, _> =
            parts.provisioners.iter().map(|p| (p.name().clone(), Arc::clone(p))).collect();
        let configurators: HashMap<_, _> =
            parts.configurators.iter().map(|c| (c.name().clone(), Arc::clone(c))).collect();
        for template in &parts.templates {
            check_backends(template, &provisioners, &configurators)?;
        }
        let platforms = Platforms::of_all(&provisioners);
        let mut taken: HashMap<_, Taken> = HashMap::new();
        for name in provisioners.keys() {
            let held = taken.entry(platforms.of(name).clone()).or_default();
            for session in parts.store.reserved(name).await? {
                let ours = session.reservations().filter(|r| &r.provisioner == name);
                ours.for_each(|r| held.insert(r.clone()));
            }
        }
        let limits = &parts.settings.limits;
        Ok(Self(Arc::new(Inner {
            deployment,
            provisioners,
            platforms,
            configurators,
            holder: Holder::mint(),
            listening_since: parts.clock.now(),
            brakes: Brakes::new(parts.settings.brakes.clone()),
            estimates: Estimates::default(),
            board: Board::default(),
            sweep: Sweep::default(),
            effect_sweep: effects::EffectSweep::default(),
            activities: usage::Guards::default(),
            taken: Mutex::new(taken),
            workers: Mutex::default(),
            wake: Notify::new(),
            ensure_calls: Semaphore::new(limits.ensure_calls_max.max(1)),
            configure_calls: Semaphore::new(limits.configure_calls_max.max(1)),
            destroy_calls: Semaphore::new(limits.destroy_calls_max.max(1)),
            observe_calls: Semaphore::new(limits.observe_calls_max.max(1)),
            parts,
        })))
    }

    /// This deployment's id.
    pub fn deployment(&self) -> &DeploymentId {
        &self.0.deployment
    }

    /// Where sessions are kept.
    pub fn store(&self) -> &Arc<dyn SessionStore> {
        &self.0.parts.store
    }

    /// The time.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.parts.clock
    }

    /// What desktops can be made from.
    pub fn templates(&self) -> &[Template] {
        &self.0.parts.templates
    }

    /// The backends that make machines.
    pub fn provisioners(&self) -> &[Arc<dyn Provisioner>] {
        &self.0.parts.provisioners
    }

    /// What is being done for whom at this moment.
    pub fn board(&self) -> &Board {
        &self.0.board
    }

    /// The brakes.
    pub fn brakes(&self) -> &Brakes {
        &self.0.brakes
    }

    /// How long desktops take.
    pub fn estimates(&self) -> &Estimates {
        &self.0.estimates
    }

    /// What the last comparison with the hypervisor found.
    pub fn swept(&self) -> Option<SweepReport> {
        self.0.sweep.report()
    }

    /// What the last look at the effects outside the guests found; none where no configurator can
    /// list its effects.
    pub fn swept_effects(&self) -> Option<EffectReport> {
        self.0.effect_sweep.report()
    }

    /// The key from which guests' tokens are derived.
    pub fn key(&self) -> &DeploymentKey {
        &self.0.parts.key
    }

    /// How many sessions are in hand now.
    pub fn in_hand(&self) -> usize {
        self.0.workers().len()
    }
}

impl Inner {
    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    fn limits(&self) -> &Limits {
        &self.parts.settings.limits
    }

    fn store(&self) -> &dyn SessionStore {
        self.parts.store.as_ref()
    }

    fn workers(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Notify>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<BackendName, Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes what is noted as taken say what the record says: a write whose answer was lost may or
    /// may not have happened.
    fn note_held(&self, session: &Session) {
        for (platform, taken) in self.taken().iter_mut() {
            let here = |r: &&Reservation| self.platforms.of(&r.provisioner) == platform;
            let held = session.reservations().filter(here);
            taken.replace(&session.id, held.filter(|_| session.is_live()));
        }
    }

    /// The provisioners that together list every machine once.
    fn listing(&self) -> impl Iterator<Item = &Arc<dyn Provisioner>> {
        let stood_on = |name| self.platforms.is_stood_on(name);
        self.provisioners.values().filter(move |p| !stood_on(p.name()))
    }

    fn provisioner(&self, session: &Session) -> Result<&Arc<dyn Provisioner>> {
        let name = &session.template.provisioner;
        self.provisioners.get(name).ok_or_else(|| unconfigured("provisioner", name, session))
    }

    fn configurator(&self, session: &Session) -> Result<&Arc<dyn Configurator>> {
        let name = session.template.configurator.as_ref().ok_or_else(|| {
            Error::new(Kind::Internal, Operation::Configure, &session.id, "no configurator is set")
        })?;
        self.configurators.get(name).ok_or_else(|| unconfigured("configurator", name, session))
    }

    fn spec(&self, session: &Session) -> MachineSpec {
        let template = &session.template;
        MachineSpec {
            session: session.id.clone(),
            deployment: self.deployment.clone(),
            source: template.source.clone(),
            clone: template.clone,
            storage: template.storage.clone(),
            pool: template.pool.clone(),
            cores: template.cores,
            memory_mib: template.memory_mib,
            disk_gib: template.disk_gib,
            network: template.network.clone(),
            address_from: template.address_from,
            admin_user: template.admin_user.clone(),
            ssh_keys: self.parts.settings.ssh_keys.clone(),
        }
    }

    fn guest(&self, session: &Session) -> GuestContext {
        let settings = &self.parts.settings;
        let activity = settings.guest_url.as_ref().map(|base| ActivityTarget {
            url: format!(
                "{}/guest/v1/sessions/{}/activity",
                base.trim_end_matches('/'),
                session.id
            ),
            token: self.parts.key.guest_token(&session.id, session.token_generation),
            ca_pem: settings.guest_ca_pem.clone(),
            period: session.template.idle.report_period,
        });
        GuestContext {
            session: session.id.clone(),
            template: session.template.clone(),
            address: session.address,
            host_key: session.facts.host_key.clone(),
            activity,
        }
    }

    /// Wakes whoever has `id` in hand, or the loop that will take it.
    fn poke(&self, id: &SessionId) {
        if let Some(worker) = self.workers().get(id) {
            worker.notify_one();
        }
        self.wake.notify_one();
    }
}

fn check_backends(
    template: &Template,
    provisioners: &HashMap<BackendName, Arc<dyn Provisioner>>,
    configurators: &HashMap<BackendName, Arc<dyn Configurator>>,
) -> Result<()> {
    let missing = |what: &str, name: &BackendName| {
        Err(Error::invalid(
            Operation::Check,
            format!("template {}: {what}", template.name),
            format!("{name} is not configured"),
        ))
    };
    if !provisioners.contains_key(&template.provisioner) {
        return missing("provisioner", &template.provisioner);
    }
    match &template.configurator {
        Some(name) if !configurators.contains_key(name) => missing("configurator", name),
        _ => Ok(()),
    }
}

fn unconfigured(what: &str, name: &BackendName, session: &Session) -> Error {
    let message = format!("its {what} {name} is no longer configured; configure it again");
    Error::new(Kind::Unavailable, Operation::Request, &session.id, message)
}
