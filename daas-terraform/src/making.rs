//! The job that makes a machine: what an earlier try left is undone, then it is made afresh.

use std::path::Path;
use std::time::Duration;

use daas_core::ids::DeploymentId;
use daas_core::machine::{Machine, MachineSpec, Observation, Power, Reservation};
use daas_core::progress::Progress;
use daas_core::template::{AddressFrom, CloneMode};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::backend::StateLock;
use crate::command::{Answer, Call};
use crate::error::TerraformError;
use crate::jobs::Done;
use crate::module;
use crate::provisioner::Shared;
use crate::removing::Undone;
use crate::run_dir::{Asked, Held, Made, RunDir, write_json};
use crate::state::{OnDisk, State};

/// How often, and how far apart, a machine that is made is looked at for its mark.
const LOOKS_MAX: usize = 40;
const LOOK: Duration = Duration::from_millis(250);
/// The variables of a run; written last into a work directory, so that one with it is whole.
const VARIABLES: &str = "daas.auto.tfvars.json";
/// How long reading a state may take.
const SHOW_DEADLINE: Duration = Duration::from_secs(60);

/// What a job is given.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) dir: RunDir,
    pub(crate) reservation: Reservation,
    pub(crate) progress: Progress,
    pub(crate) cancelled: CancellationToken,
}

impl Shared {
    /// Makes the machine, whatever earlier tries came to.
    pub(crate) async fn make(
        &self,
        order: Order,
        spec: MachineSpec,
        power: Power,
    ) -> Result<Done, TerraformError> {
        let held = self.take(&order.dir).await?;
        let deployment = self.deployment.clone();
        held.note_asked(&Asked { deployment, reservation: order.reservation.clone() })?;
        if let Undone::LeftAlone { why, state_empty } = self.undo(&held, &order).await? {
            if state_empty {
                held.remove()?;
            }
            return Err(TerraformError::Foreign(why));
        }
        held.clear()?;
        self.furnish(&held, &order).await?;
        self.write_variables(&held, variables(&order.reservation, &spec, power))?;
        let apply = &["apply", "-json", "-input=false", "-auto-approve"];
        self.terraform(&held, &order, apply).await?;
        let state = self.state(&held, &order).await?;
        if state.vm_id.as_deref() != Some(order.reservation.machine.as_str()) {
            let id = &order.reservation.machine;
            let why = format!("its output vm_id is {:?}, not {id}", state.vm_id);
            return Err(TerraformError::Module { path: self.config.module.clone(), why });
        }
        let made = self.made(&order, state, power).await?;
        held.note_made(&made)?;
        Ok(Done::Made)
    }

    /// Changes the power of a machine where no platform can do it.
    pub(crate) async fn change_power(
        &self,
        order: Order,
        spec: MachineSpec,
        power: Power,
        made: Made,
    ) -> Result<Done, TerraformError> {
        let held = self.take(&order.dir).await?;
        self.write_variables(&held, variables(&order.reservation, &spec, power))?;
        let plan = &["plan", "-json", "-input=false", "-out=daas.plan"];
        let planned = self.terraform(&held, &order, plan).await?.told.planned;
        if planned.is_empty() {
            return Err(TerraformError::Powerless);
        }
        if let Some((address, action)) = planned.into_iter().find(|(_, action)| {
            ["create", "replace", "delete", "remove"].contains(&action.as_str())
        }) {
            return Err(TerraformError::Replaces { action, address });
        }
        let apply = &["apply", "-json", "-input=false", "daas.plan"];
        self.terraform(&held, &order, apply).await?;
        let state = self.state(&held, &order).await?;
        held.note_made(&Made { power, address: state.vm_ip, ..made })?;
        Ok(Done::Made)
    }

    /// Takes the directory, ending first what an earlier run left running.
    pub(crate) async fn take(&self, dir: &RunDir) -> Result<Held, TerraformError> {
        let (dir, grace) = (dir.clone(), self.config.interrupt_grace);
        blocking(move || dir.take(grace)).await
    }

    /// Runs the program on a directory that we hold, on whose state an earlier run may have left
    /// its lock.
    pub(crate) async fn terraform(
        &self,
        held: &Held,
        order: &Order,
        arguments: &[&str],
    ) -> Result<Answer, TerraformError> {
        let ended_well = held.ended_well()?;
        held.note_begun()?;
        let mut ran = self.terraform_once(held, order, arguments).await;
        // One that is kept here is locked by living processes only: there is nothing to end.
        if let (Err(TerraformError::Failed { why, .. }), Some(_)) = (&ran, &self.backend)
            && let Some(lock) = StateLock::told(why)
        {
            // A run that ended well has ended its lock too; then this is somebody else's.
            if ended_well || lock.is_of_another_host() {
                held.note_ended()?;
                let directory = held.dir.work();
                return Err(TerraformError::LockedElsewhere { id: lock.id, directory });
            }
            // The last run here was killed, and we hold the directory: nobody is left that could
            // hold this.
            warn!(session = %order.reservation.session, lock = lock.id,
                "a run that was killed has left its lock on the state; it is ended");
            self.terraform_once(held, order, &["force-unlock", "-force", &lock.id]).await?;
            ran = self.terraform_once(held, order, arguments).await;
        }
        // One that was killed may have left its lock.
        if matches!(ran, Ok(_) | Err(TerraformError::Failed { .. })) {
            held.note_ended()?;
        }
        ran
    }

    async fn terraform_once(
        &self,
        held: &Held,
        order: &Order,
        arguments: &[&str],
    ) -> Result<Answer, TerraformError> {
        let (progress, cancelled) = (order.progress.clone(), &order.cancelled);
        let (directory, log) = (&*held.dir.work(), held.dir.log());
        let deadline = self.config.deadline;
        let held = Some(held);
        self.program
            .run(Call { arguments, directory, held, log, deadline, progress, cancelled })
            .await
    }

    /// What the state holds; one that was never written holds nothing.
    pub(crate) async fn state(&self, held: &Held, order: &Order) -> Result<State, TerraformError> {
        let (work, log) = (held.dir.work(), held.dir.log());
        if self.backend.is_none() {
            let path = held.dir.state_file();
            match OnDisk::look(&path)? {
                OnDisk::Nothing if held.dir.made()?.is_none() => return Ok(State::default()),
                OnDisk::Nothing => {
                    let why = "is not there, although the machine was made".to_owned();
                    return Err(TerraformError::StateBroken { path, why });
                }
                OnDisk::Broken(why) => return Err(TerraformError::StateBroken { path, why }),
                OnDisk::Whole => {}
            }
        }
        let call = Call {
            arguments: &["show", "-json"],
            directory: &work,
            held: Some(held),
            log,
            deadline: SHOW_DEADLINE,
            progress: Progress::silent(),
            cancelled: &order.cancelled,
        };
        State::read(&self.program.run(call).await?.last)
    }

    /// What was made, as the platform sees it.
    async fn made(
        &self,
        order: &Order,
        state: State,
        power: Power,
    ) -> Result<Made, TerraformError> {
        let name = state.vm_name.unwrap_or_else(|| order.reservation.session.to_string());
        let (uuid, place) = match self.seen_marked(&order.reservation).await? {
            Some(machine) => (machine.uuid.unwrap_or_default(), machine.place),
            None => (uuid::Uuid::new_v4().to_string(), order.reservation.place.clone()),
        };
        Ok(Made { uuid, place, name, address: state.vm_ip, power })
    }

    /// The machine that was just made, with its mark; `None` without a platform.
    async fn seen_marked(
        &self,
        reservation: &Reservation,
    ) -> Result<Option<Machine>, TerraformError> {
        let Some(platform) = &self.platform else { return Ok(None) };
        let theirs = self.theirs(reservation, None);
        for _ in 0..LOOKS_MAX {
            match platform.observe(&theirs).await {
                Observation::Present(machine)
                    if machine.session.as_ref() == Some(&reservation.session)
                        && machine.uuid.is_some() =>
                {
                    return Ok(Some(machine));
                }
                // It is there, but the platform has not written its mark yet.
                Observation::Present(_) => tokio::time::sleep(LOOK).await,
                Observation::Absent => break,
                Observation::Unknown(why) => return Err(TerraformError::Doubt(why)),
            }
        }
        Err(TerraformError::Unmarked(reservation.machine.to_string()))
    }

    /// Puts the module into an empty work directory, and connects it with where its state is.
    async fn furnish(&self, held: &Held, order: &Order) -> Result<(), TerraformError> {
        let module = self.module.ready(&self.program, &order.cancelled, &order.progress).await?;
        let work = order.dir.work();
        blocking(move || module::copy(&module, &work)).await?;
        let Some(backend) = &self.backend else { return Ok(()) };
        backend.write(&order.dir.work(), &held.name())?;
        // The providers are there already: this downloads nothing and touches no cache.
        let init = &["init", "-input=false", "-no-color", "-reconfigure"];
        self.terraform(held, order, init).await.map(|_| ())
    }

    /// Makes sure that a state that is kept elsewhere can be asked for, whoever made it.
    pub(crate) async fn reach_state(
        &self,
        held: &Held,
        order: &Order,
    ) -> Result<(), TerraformError> {
        if self.backend.is_none() || exists(&order.dir.work().join(VARIABLES))? {
            return Ok(());
        }
        let (deployment, reservation) = (self.deployment.clone(), order.reservation.clone());
        held.note_asked(&Asked { deployment, reservation })?;
        self.furnish(held, order).await?;
        // Nothing is made with these: a removal wants a value for each, and looks at none.
        self.write_variables(held, for_removal(&order.reservation, &self.deployment))
    }

    fn write_variables(
        &self,
        held: &Held,
        own: impl Iterator<Item = (String, Value)>,
    ) -> Result<(), TerraformError> {
        let mut values: Map<String, Value> = self.config.variables.clone().into_iter().collect();
        values.extend(own);
        write_json(&held.dir.work().join(VARIABLES), &values)
    }
}

/// The variables of one machine. What the template leaves open is left out, so that the module's
/// own default holds.
fn variables(
    reservation: &Reservation,
    spec: &MachineSpec,
    power: Power,
) -> impl Iterator<Item = (String, Value)> {
    let clone = match spec.clone {
        CloneMode::Auto => "auto",
        CloneMode::Linked => "linked",
        CloneMode::Full => "full",
    };
    [
        ("session_id", json!(reservation.session)),
        ("vm_id", json!(reservation.machine)),
        ("deployment_id", json!(spec.deployment)),
        ("node", json!(reservation.place)),
        ("source_image", json!(spec.source)),
        ("clone", json!(clone)),
        ("storage", json!(spec.storage)),
        ("pool", json!(spec.pool)),
        ("cores", json!(spec.cores)),
        ("memory_mib", json!(spec.memory_mib)),
        ("disk_gib", json!(spec.disk_gib)),
        ("network", json!(spec.network)),
        ("admin_user", json!(spec.admin_user)),
        ("ssh_keys", json!(spec.ssh_keys)),
        ("tags", json!([format!("daas-{}", spec.deployment)])),
        ("running", json!(power == Power::Running)),
        ("address_wanted", json!(spec.address_from == AddressFrom::Agent)),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_null())
    .map(|(name, value)| (name.to_owned(), value))
}

/// What is known of a machine that another orchestrator made.
fn for_removal(
    reservation: &Reservation,
    deployment: &DeploymentId,
) -> impl Iterator<Item = (String, Value)> {
    let spec = MachineSpec {
        session: reservation.session.clone(),
        deployment: deployment.clone(),
        source: "0".to_owned(),
        clone: CloneMode::Auto,
        storage: None,
        pool: None,
        cores: reservation.cores,
        memory_mib: reservation.memory_mib,
        disk_gib: None,
        network: None,
        address_from: AddressFrom::None,
        admin_user: "root".to_owned(),
        ssh_keys: Vec::new(),
    };
    variables(reservation, &spec, Power::Running).collect::<Vec<_>>().into_iter()
}

fn exists(path: &Path) -> Result<bool, TerraformError> {
    path.try_exists().map_err(TerraformError::file("look at", path))
}

/// Does what blocks where it may.
pub(crate) async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, TerraformError> + Send + 'static,
) -> Result<T, TerraformError> {
    let lost = |e: tokio::task::JoinError| TerraformError::Shape {
        command: "a job".to_owned(),
        why: e.to_string(),
    };
    tokio::task::spawn_blocking(act).await.map_err(lost)?
}
