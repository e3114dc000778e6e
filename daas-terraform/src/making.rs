//! The job that makes a machine: what an earlier try left is undone, then it is made afresh.

use std::path::Path;
use std::time::Duration;

use daas_core::machine::{Machine, MachineSpec, Observation, Power, Reservation};
use daas_core::progress::Progress;
use daas_core::template::{AddressFrom, CloneMode};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::command::{Answer, Call};
use crate::error::TerraformError;
use crate::jobs::Done;
use crate::module;
use crate::provisioner::Shared;
use crate::removing::Undone;
use crate::run_dir::{Asked, Held, Made, RunDir, write_json};
use crate::state::State;

/// How often, and how far apart, a machine that is made is looked at for its mark.
const LOOKS_MAX: usize = 40;
const LOOK: Duration = Duration::from_millis(250);
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
        let module = self.module.ready(&self.program, &order.cancelled, &order.progress).await?;
        let work = order.dir.work();
        blocking(move || module::copy(&module, &work)).await?;
        self.write_variables(&held, &order.reservation, &spec, power)?;
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
        self.write_variables(&held, &order.reservation, &spec, power)?;
        let plan = &["plan", "-json", "-input=false", "-out=daas.plan"];
        let planned = self.terraform(&held, &order, plan).await?.told.planned;
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

    /// Runs the program on a directory that we hold.
    pub(crate) async fn terraform(
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
        if !exists(&work.join("terraform.tfstate"))? {
            return Ok(State::default());
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

    fn write_variables(
        &self,
        held: &Held,
        reservation: &Reservation,
        spec: &MachineSpec,
        power: Power,
    ) -> Result<(), TerraformError> {
        let mut values: Map<String, Value> = self.config.variables.clone().into_iter().collect();
        values.extend(variables(reservation, spec, power));
        write_json(&held.dir.work().join("daas.auto.tfvars.json"), &values)
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
