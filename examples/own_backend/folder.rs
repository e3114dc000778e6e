//! A provisioner of one's own: its "machines" are files in a folder, one each, named by machine id.
//!
//! It shows what every provisioner is about: which machine is ours, what is proved to be absent,
//! and what is merely not known. Look for those three words below.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use async_trait::async_trait;
use daas_core::ids::{BackendName, DeploymentId, MachineId, SessionId};
use daas_core::machine::{
    AgentState, Destroyed, Ensured, Listed, Machine, MachineSpec, MarkSeen, Observation, Power,
    Reservation, Taken,
};
use daas_core::progress::Progress;
use daas_core::provisioner::{Extras, Provisioner};
use daas_core::{Error, Kind, Operation, Result};
use serde::{Deserialize, Serialize};

/// Makes machines in a folder.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) name: BackendName,
    pub(crate) deployment: DeploymentId,
    pub(crate) path: PathBuf,
}

/// What is in a machine's file: the mark (deployment and session), then the machine's own.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Contents {
    pub(crate) deployment: DeploymentId,
    pub(crate) session: SessionId,
    pub(crate) uuid: String,
    pub(crate) power: Power,
}

impl Folder {
    /// The machine under this id, whoever's. A folder that cannot be read proves nothing: error.
    fn read(&self, machine: &MachineId) -> std::io::Result<Option<Contents>> {
        std::fs::read_dir(&self.path)?;
        match std::fs::read(self.path.join(machine.as_str())) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts a whole file in place at once, so that a crash leaves no half of one.
    pub(crate) fn write(&self, machine: &MachineId, contents: &Contents) -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.path)?;
        file.write_all(&serde_json::to_vec(contents)?)?;
        file.persist(self.path.join(machine.as_str()))?;
        Ok(())
    }

    /// Ours: by the mark, and by the machine's own uuid once that is recorded.
    fn is_ours(&self, found: &Contents, held: &Reservation) -> bool {
        (&found.deployment, &found.session) == (&self.deployment, &held.session)
            && held.uuid.as_ref().is_none_or(|uuid| *uuid == found.uuid)
    }
}

/// Not known is an error that the engine tries again, never an absence.
fn away(operation: Operation, error: &std::io::Error) -> Error {
    Error::new(Kind::Unavailable, operation, "folder", format!("cannot be read: {error}"))
}

fn machine(id: &MachineId, found: Contents) -> Machine {
    let runs = found.power == Power::Running;
    Machine {
        machine: id.clone(),
        place: "folder".to_owned(),
        session: Some(found.session),
        uuid: Some(found.uuid),
        power: found.power,
        address: runs.then(|| std::net::Ipv4Addr::LOCALHOST.into()),
        agent: if runs { AgentState::Address } else { AgentState::MachineOff },
        lock: None,
    }
}

#[async_trait]
impl Provisioner for Folder {
    fn name(&self) -> &BackendName {
        &self.name
    }

    async fn reserve(
        &self,
        id: &SessionId,
        spec: &MachineSpec,
        taken: &Taken,
    ) -> Result<Reservation> {
        if spec.source != "empty-file" {
            return Err(Error::invalid(Operation::Reserve, "template", "there is no such image"));
        }
        // Chosen and not made: the engine writes it down first.
        for number in 1..10_000 {
            let machine = MachineId::new(number.to_string())?;
            let there = self.read(&machine).map_err(|e| away(Operation::Reserve, &e))?;
            if there.is_none() && !taken.contains(&machine) {
                return Ok(Reservation {
                    session: id.clone(),
                    provisioner: self.name.clone(),
                    machine,
                    place: "folder".to_owned(),
                    memory_mib: spec.memory_mib,
                    cores: spec.cores,
                    uuid: None,
                });
            }
        }
        Err(Error::new(Kind::Exhausted, Operation::Reserve, id, "the folder is full"))
    }

    async fn ensure(
        &self,
        held: &Reservation,
        _: &MachineSpec,
        power: Power,
        progress: &Progress,
    ) -> Result<Ensured> {
        let lost = |kind, why: &str| Err(Error::new(kind, Operation::Ensure, &held.session, why));
        let found = self.read(&held.machine).map_err(|e| away(Operation::Ensure, &e))?;
        let contents = match found {
            Some(found) if !self.is_ours(&found, held) => {
                return lost(Kind::Conflict, "the id is somebody else's");
            }
            // It has been, and is no more: its user must hear that, not get an empty one.
            None if held.uuid.is_some() => {
                return lost(Kind::NotFound, "the machine is no longer there");
            }
            Some(found) if found.power == power => {
                return Ok(Ensured::Done(machine(&held.machine, found)));
            }
            Some(found) => Contents { power, ..found },
            None => {
                progress.tell("the file is being written", None);
                let (deployment, session) = (self.deployment.clone(), held.session.clone());
                let uuid = uuid::Uuid::new_v4().to_string();
                Contents { deployment, session, uuid, power }
            }
        };
        self.write(&held.machine, &contents).map_err(|e| away(Operation::Ensure, &e))?;
        Ok(Ensured::Done(machine(&held.machine, contents)))
    }

    async fn observe(&self, held: &Reservation) -> Observation {
        match self.read(&held.machine) {
            Ok(Some(found)) if self.is_ours(&found, held) => {
                Observation::Present(machine(&held.machine, found))
            }
            Ok(_) => Observation::Absent,
            Err(error) => Observation::Unknown(error.to_string()),
        }
    }

    async fn destroy(&self, held: &Reservation) -> Result<Destroyed> {
        let failed = |e: std::io::Error| away(Operation::Destroy, &e);
        match self.read(&held.machine).map_err(failed)? {
            None => {}
            Some(found) if !self.is_ours(&found, held) => {
                return Ok(Destroyed::LeftAlone("the file is somebody else's".to_owned()));
            }
            Some(_) => {
                std::fs::remove_file(self.path.join(held.machine.as_str())).map_err(failed)?;
            }
        }
        Ok(Destroyed::Gone)
    }

    async fn list(&self) -> Result<Vec<Listed>> {
        let failed = |e: std::io::Error| away(Operation::List, &e);
        let mut listed = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            // Files on their way have names that are no number.
            let Ok(number) = name.to_string_lossy().parse::<u32>() else { continue };
            let id = MachineId::new(number.to_string())?;
            let Some(found) = self.read(&id).map_err(failed)? else { continue };
            if found.deployment == self.deployment {
                listed.push(Listed {
                    machine: id,
                    place: "folder".to_owned(),
                    session: found.session,
                    uuid: Some(found.uuid),
                    power: found.power,
                    mark: MarkSeen::Own,
                    seen_at: jiff::Timestamp::now(),
                });
            }
        }
        Ok(listed)
    }

    fn extras(&self) -> Extras {
        Extras::default()
    }
}
