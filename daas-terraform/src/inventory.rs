//! Which ids are free, and what there is: asked of the platform, and read from the directories.

use std::collections::HashSet;
use std::sync::PoisonError;

use daas_core::ids::{MachineId, SessionId};
use daas_core::machine::{Listed, MachineSpec, MarkSeen, Power, Reservation, Taken};
use jiff::Timestamp;

use crate::error::TerraformError;
use crate::provisioner::Shared;
use crate::run_dir::RunDir;

impl Shared {
    pub(crate) async fn reserve_it(
        &self,
        id: &SessionId,
        spec: &MachineSpec,
        taken: &Taken,
    ) -> Result<Reservation, TerraformError> {
        let provisioner = self.config.name.clone();
        if let Some(platform) = &self.platform {
            let theirs = platform.reserve(id, spec, taken).await;
            return Ok(Reservation { provisioner, ..theirs.map_err(TerraformError::Platform)? });
        }
        Ok(Reservation {
            session: id.clone(),
            provisioner,
            machine: self.choose_id(taken)?,
            place: self.config.place.clone(),
            memory_mib: spec.memory_mib,
            cores: spec.cores,
            uuid: None,
        })
    }

    fn choose_id(&self, taken: &Taken) -> Result<MachineId, TerraformError> {
        let used: HashSet<String> = RunDir::all(&self.config.directory)?
            .iter()
            .filter_map(|dir| Some(dir.path.extension()?.to_string_lossy().into_owned()))
            .collect();
        let (first, last) = (self.config.ids.first, self.config.ids.last);
        let mut next = self.next_id.lock().unwrap_or_else(PoisonError::into_inner);
        for id in (*next..=last).chain(first..*next) {
            let Ok(machine) = MachineId::new(id.to_string()) else { continue };
            if !used.contains(machine.as_str()) && !taken.contains(&machine) {
                *next = if id == last { first } else { id + 1 };
                return Ok(machine);
            }
        }
        Err(TerraformError::NoId { first, last })
    }

    pub(crate) async fn list_them(&self) -> Result<Vec<Listed>, TerraformError> {
        let mut listed = match &self.platform {
            Some(platform) => platform.list().await.map_err(TerraformError::Platform)?,
            None => Vec::new(),
        };
        // A directory of a machine that the platform does not show still holds a state: it is
        // listed too, so that what is left of an ended session is removed.
        for dir in RunDir::all(&self.config.directory)? {
            let Some(asked) = dir.asked()? else { continue };
            let held = asked.reservation;
            let known = |l: &Listed| l.machine == held.machine && l.session == held.session;
            if asked.deployment != self.deployment || listed.iter().any(known) {
                continue;
            }
            let made = dir.made()?;
            listed.push(Listed {
                machine: held.machine,
                place: held.place,
                session: held.session,
                power: made.as_ref().map_or(Power::Stopped, |made| made.power),
                uuid: made.map(|made| made.uuid),
                mark: MarkSeen::Own,
                seen_at: Timestamp::now(),
            });
        }
        Ok(listed)
    }
}
