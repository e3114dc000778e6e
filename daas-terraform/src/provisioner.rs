//! The provisioner: the trait's methods. They look and answer; what takes time is a job.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use daas_core::ids::{BackendName, DeploymentId, SessionId};
use daas_core::machine::{
    AgentState, Destroyed, Ensured, Listed, Machine, MachineSpec, Observation, Power, Reservation,
    Taken, Underway,
};
use daas_core::progress::Progress;
use daas_core::provisioner::{Extras, Provisioner};
use daas_core::{Operation, Result};

use crate::backend::Backend;
use crate::command::Program;
use crate::config::TerraformConfig;
use crate::error::TerraformError;
use crate::examine::TerraformExamine;
use crate::jobs::{Done, Jobs, Look, Work};
use crate::making::Order;
use crate::module::Module;
use crate::run_dir::{Made, RunDir};

/// Makes machines by Terraform.
#[derive(Debug)]
pub struct TerraformProvisioner {
    shared: Arc<Shared>,
    jobs: Jobs,
    /// Held as long as we are: the directory has one orchestrator.
    _alone: File,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: TerraformConfig,
    pub(crate) deployment: DeploymentId,
    pub(crate) platform: Option<Arc<dyn Provisioner>>,
    pub(crate) program: Program,
    pub(crate) module: Module,
    pub(crate) backend: Option<Backend>,
    /// The id after the one chosen last: ids are not used again soon.
    pub(crate) next_id: Mutex<u32>,
}

impl TerraformProvisioner {
    /// A provisioner for the machines of `deployment`. `platform` is the native provisioner of the
    /// platform that the module makes machines on; see the crate's documentation for what is not
    /// known without it. No program is run yet.
    ///
    /// # Errors
    /// `Invalid` for a wrong setting, and for a backend file without a platform; `Conflict` when another orchestrator works in the directory.
    pub fn new(
        config: TerraformConfig,
        deployment: DeploymentId,
        platform: Option<Arc<dyn Provisioner>>,
    ) -> Result<Self> {
        let name = config.name.clone();
        Self::open(config, deployment, platform).map_err(|e| e.while_doing(Operation::Start, name))
    }

    fn open(
        mut config: TerraformConfig,
        deployment: DeploymentId,
        platform: Option<Arc<dyn Provisioner>>,
    ) -> Result<Self, TerraformError> {
        config.check()?;
        let backend = config.backend_file.as_deref().map(Backend::read).transpose()?;
        if backend.is_some() && platform.is_none() {
            let why = "is set, but no platform is named: without one nobody can tell what another \
                       orchestrator has made; name it, or keep the states here";
            return Err(TerraformError::Config { field: "backend_file", why: why.to_owned() });
        }
        for path in [&mut config.directory, &mut config.module] {
            *path = std::path::absolute(&*path).map_err(TerraformError::file("find", path))?;
        }
        make_private(&config.directory)?;
        let alone = alone(&config.directory)?;
        let hidden = |name: &str| config.directory.join(name);
        let cache = config.plugin_cache.clone().unwrap_or_else(|| hidden(".plugins"));
        let cache = std::path::absolute(&cache).map_err(TerraformError::file("find", &cache))?;
        fs::create_dir_all(&cache).map_err(TerraformError::file("make", &cache))?;
        let program = Program::new(&config, &cache)?;
        let module =
            Module::new(config.module.clone(), hidden(".prepared"), config.interrupt_grace);
        let next_id = Mutex::new(config.ids.first);
        let shared = Shared { deployment, platform, program, module, backend, next_id, config };
        Ok(Self { shared: Arc::new(shared), jobs: Jobs::default(), _alone: alone })
    }

    fn order(&self, dir: &RunDir, reservation: &Reservation, progress: &Progress) -> Order {
        Order {
            dir: dir.clone(),
            reservation: reservation.clone(),
            progress: progress.clone(),
            cancelled: Default::default(),
        }
    }

    fn start_making(
        &self,
        order: Order,
        spec: &MachineSpec,
        power: Power,
        made: Option<Made>,
    ) -> Ensured {
        let (shared, spec) = (Arc::clone(&self.shared), spec.clone());
        let directory = order.dir.path.clone();
        Ensured::Underway(self.jobs.start(&directory, Work::Make, move |cancelled| async move {
            let order = Order { cancelled, ..order };
            match made {
                None => shared.make(order, spec, power).await,
                Some(made) => shared.change_power(order, spec, power, made).await,
            }
        }))
    }

    async fn ensure_it(
        &self,
        reservation: &Reservation,
        spec: &MachineSpec,
        power: Power,
        progress: &Progress,
    ) -> Result<Ensured, TerraformError> {
        let dir = RunDir::of(&self.shared.config.directory, reservation)?;
        match self.jobs.look(&dir.path) {
            Look::Busy(_, underway) => return Ok(Ensured::Underway(underway)),
            Look::Ended(Work::Make, Err(error))
                if !matches!(error, TerraformError::Cancelled { .. }) =>
            {
                return Err(error);
            }
            Look::Idle | Look::Ended(..) => {}
        }
        let made = dir.made()?;
        let order = self.order(&dir, reservation, progress);
        let Some(platform) = &self.shared.platform else {
            return match made {
                Some(made) if !is_same(reservation, &made) => {
                    Err(TerraformError::Foreign("it is of another making".to_owned()))
                }
                Some(made) if made.power == power => {
                    Ok(Ensured::Done(by_state(reservation, &made)))
                }
                Some(made) => Ok(self.start_making(order, spec, power, Some(made))),
                None if reservation.uuid.is_some() => {
                    Err(TerraformError::Vanished(reservation.machine.to_string()))
                }
                None => Ok(self.start_making(order, spec, power, None)),
            };
        };
        let theirs = self.shared.theirs(reservation, made.clone());
        let finished = made.is_some() || reservation.uuid.is_some();
        match platform.observe(&theirs).await {
            Observation::Unknown(why) => Err(TerraformError::Doubt(why)),
            Observation::Absent if reservation.uuid.is_some() => {
                Err(TerraformError::Vanished(reservation.machine.to_string()))
            }
            // With its uuid in hand the platform can only find it, never make another.
            Observation::Present(_) if finished && theirs.uuid.is_some() => {
                let ensured = platform.ensure(&theirs, spec, power, progress).await;
                Ok(with_address(ensured.map_err(TerraformError::Platform)?, made))
            }
            Observation::Present(_) | Observation::Absent => {
                Ok(self.start_making(order, spec, power, None))
            }
        }
    }

    async fn observe_it(&self, reservation: &Reservation) -> Result<Observation, TerraformError> {
        let dir = RunDir::of(&self.shared.config.directory, reservation)?;
        let at_work = self.jobs.runs(&dir.path);
        let made = dir.made()?;
        let never_finished = made.is_none() && reservation.uuid.is_none();
        let unfinished = never_finished && (at_work || dir.exists()?);
        // Where states are kept elsewhere, another orchestrator may have begun it.
        let half_made_elsewhere = never_finished && self.shared.backend.is_some();
        let seen = match &self.shared.platform {
            Some(platform) => {
                platform.observe(&self.shared.theirs(reservation, made.clone())).await
            }
            None => match &made {
                Some(made) if is_same(reservation, made) => {
                    Observation::Present(by_state(reservation, made))
                }
                _ => Observation::Absent,
            },
        };
        Ok(match seen {
            Observation::Unknown(why) => Observation::Unknown(why),
            // Nothing that a half-made machine shows may become part of its identity.
            Observation::Present(machine) if unfinished || half_made_elsewhere => {
                Observation::Present(Machine { place: machine.place, ..half_made(reservation) })
            }
            Observation::Present(mut machine) => {
                machine.address = machine.address.or(made.and_then(|made| made.address));
                Observation::Present(machine)
            }
            // What the module made beside the machine may be there: only destroy ends that.
            Observation::Absent if unfinished => Observation::Present(half_made(reservation)),
            Observation::Absent if at_work => {
                Observation::Unknown("terraform is at work on it".to_owned())
            }
            Observation::Absent => Observation::Absent,
        })
    }

    async fn destroy_it(&self, reservation: &Reservation) -> Result<Destroyed, TerraformError> {
        let dir = RunDir::of(&self.shared.config.directory, reservation)?;
        match self.jobs.look(&dir.path) {
            Look::Busy(work, underway) => {
                if work == Work::Make {
                    self.jobs.cancel(&dir.path);
                }
                return Ok(Destroyed::Underway(underway));
            }
            Look::Ended(Work::Remove, Ok(Done::LeftAlone(why))) => {
                return Ok(Destroyed::LeftAlone(why));
            }
            Look::Ended(Work::Remove, Ok(_)) => return Ok(Destroyed::Gone),
            Look::Ended(Work::Remove, Err(error)) => return Err(error),
            // However the making ended: it is looked at by the removal.
            Look::Idle | Look::Ended(Work::Make, _) => {}
        }
        // What is in the directory belongs to another machine than the one that is meant.
        if dir.made()?.is_some_and(|made| !is_same(reservation, &made)) {
            let Some(platform) = &self.shared.platform else {
                return Ok(Destroyed::LeftAlone("it is of another making".to_owned()));
            };
            let gone = platform.destroy(&self.shared.theirs(reservation, None)).await;
            return gone.map_err(TerraformError::Platform);
        }
        // A state that is kept elsewhere may be of another orchestrator's making.
        if self.shared.backend.is_none() && !dir.exists()? {
            let Some(platform) = &self.shared.platform else { return Ok(Destroyed::Gone) };
            let gone = platform.destroy(&self.shared.theirs(reservation, None)).await;
            return gone.map_err(TerraformError::Platform);
        }
        if let Some(platform) = &self.shared.platform
            && let Observation::Unknown(why) =
                platform.observe(&self.shared.theirs(reservation, dir.made()?)).await
        {
            return Err(TerraformError::Doubt(why));
        }
        let shared = Arc::clone(&self.shared);
        let order = self.order(&dir, reservation, &Progress::silent());
        let underway: Underway = self.jobs.start(&dir.path, Work::Remove, |cancelled| async move {
            shared.remove(Order { cancelled, ..order }).await
        });
        Ok(Destroyed::Underway(underway))
    }
}

impl Shared {
    /// Our reservation as the platform's own.
    pub(crate) fn theirs(&self, reservation: &Reservation, made: Option<Made>) -> Reservation {
        let name = self.platform.as_ref().map_or(&reservation.provisioner, |p| p.name());
        let uuid = reservation.uuid.clone().or(made.map(|made| made.uuid));
        Reservation { provisioner: name.clone(), uuid, ..reservation.clone() }
    }
}

#[async_trait]
impl Provisioner for TerraformProvisioner {
    fn name(&self) -> &BackendName {
        &self.shared.config.name
    }

    async fn reserve(
        &self,
        id: &SessionId,
        spec: &MachineSpec,
        taken: &Taken,
    ) -> Result<Reservation> {
        let reserved = self.shared.reserve_it(id, spec, taken).await;
        reserved.map_err(|e| e.while_doing(Operation::Reserve, id))
    }

    async fn ensure(
        &self,
        reservation: &Reservation,
        spec: &MachineSpec,
        power: Power,
        progress: &Progress,
    ) -> Result<Ensured> {
        let made = self.ensure_it(reservation, spec, power, progress).await;
        made.map_err(|e| e.while_doing(Operation::Ensure, &reservation.session))
    }

    async fn observe(&self, reservation: &Reservation) -> Observation {
        match self.observe_it(reservation).await {
            Ok(observation) => observation,
            Err(error) => Observation::Unknown(
                error.while_doing(Operation::Observe, &reservation.session).chain(),
            ),
        }
    }

    async fn destroy(&self, reservation: &Reservation) -> Result<Destroyed> {
        let removed = self.destroy_it(reservation).await;
        removed.map_err(|e| e.while_doing(Operation::Destroy, &reservation.session))
    }

    async fn list(&self) -> Result<Vec<Listed>> {
        let listed = self.shared.list_them().await;
        listed.map_err(|e| e.while_doing(Operation::List, &self.shared.config.name))
    }

    fn extras(&self) -> Extras {
        let theirs = self.shared.platform.as_ref().map(|p| p.extras()).unwrap_or_default();
        let examine = TerraformExamine::new(Arc::clone(&self.shared), theirs.examine);
        let platform = self.shared.platform.as_ref().map(|p| p.name().clone());
        Extras { platform, examine: Some(Arc::new(examine)), ..theirs }
    }
}

/// Whether a machine is the one whose uuid was recorded, if any was.
fn is_same(reservation: &Reservation, made: &Made) -> bool {
    reservation.uuid.as_ref().is_none_or(|uuid| *uuid == made.uuid)
}

/// The machine as Terraform's state tells of it.
fn by_state(reservation: &Reservation, made: &Made) -> Machine {
    Machine {
        machine: reservation.machine.clone(),
        place: made.place.clone(),
        session: Some(reservation.session.clone()),
        uuid: Some(made.uuid.clone()),
        power: made.power,
        address: made.address.filter(|_| made.power == Power::Running),
        agent: AgentState::NotAsked,
        lock: None,
    }
}

/// A machine that Terraform has not come to an end with: nothing is known of it for certain.
fn half_made(reservation: &Reservation) -> Machine {
    Machine {
        machine: reservation.machine.clone(),
        place: reservation.place.clone(),
        session: None,
        uuid: None,
        power: Power::Stopped,
        address: None,
        agent: AgentState::NotAsked,
        lock: Some("terraform".to_owned()),
    }
}

/// The platform's word on the address goes before Terraform's.
fn with_address(ensured: Ensured, made: Option<Made>) -> Ensured {
    match ensured {
        Ensured::Done(mut machine) if machine.power == Power::Running => {
            machine.address = machine.address.or(made.and_then(|made| made.address));
            Ensured::Done(machine)
        }
        other => other,
    }
}

fn make_private(directory: &Path) -> Result<(), TerraformError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(TerraformError::file("make", directory))
}

/// Takes the directory for this orchestrator alone.
fn alone(directory: &Path) -> Result<File, TerraformError> {
    let path = directory.join(".orchestrator");
    let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    let file = opened.map_err(TerraformError::file("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            Err(TerraformError::Elsewhere { directory: directory.to_owned() })
        }
        Err(fs::TryLockError::Error(e)) => Err(TerraformError::file("lock", &path)(e)),
    }
}
