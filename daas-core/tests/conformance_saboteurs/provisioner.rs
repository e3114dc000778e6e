//! Provisioners that break their contract.

use std::sync::Arc;

use async_trait::async_trait;
use daas_core::fake::FakePlatform;
use daas_core::ids::{MachineId, SessionId};
use daas_core::layer::{Layer, ProvisionerLayer};
use daas_core::machine::{
    AgentState, Destroyed, Ensured, Listed, Machine, MachineSpec, Observation, Power, Reservation,
    Taken,
};
use daas_core::progress::Progress;
use daas_core::provisioner::Provisioner;
use daas_core::{Kind, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProvisionerTrick {
    CreatesTwice,
    ReadsErrorsAsAbsence,
    ForgetsTheMark,
    ReusesIds,
    MakesAgain,
    IgnoresTheUuid,
    TakesStrangers,
    NeverTakesPower,
}

#[derive(Debug)]
pub(crate) struct BadProvisioner {
    pub(crate) real: Arc<dyn Provisioner>,
    pub(crate) platform: Arc<FakePlatform>,
    pub(crate) trick: ProvisionerTrick,
}

impl BadProvisioner {
    fn plays(&self, trick: ProvisionerTrick) -> bool {
        self.trick == trick
    }

    fn is_strangers(&self, machine: &MachineId) -> bool {
        let machines = self.platform.machines();
        machines.iter().any(|(id, session)| id == machine && session.is_none())
    }
}

fn without_uuid(reservation: &Reservation) -> Reservation {
    Reservation { uuid: None, ..reservation.clone() }
}

fn taken_for_ours(reservation: &Reservation) -> Machine {
    Machine {
        machine: reservation.machine.clone(),
        place: reservation.place.clone(),
        session: Some(reservation.session.clone()),
        uuid: Some("a stranger's".into()),
        power: Power::Running,
        address: None,
        agent: AgentState::NotAsked,
        lock: None,
    }
}

impl Layer for BadProvisioner {}

#[async_trait]
impl ProvisionerLayer for BadProvisioner {
    fn below(&self) -> &dyn Provisioner {
        self.real.as_ref()
    }

    async fn reserve(
        &self,
        id: &SessionId,
        spec: &MachineSpec,
        taken: &Taken,
    ) -> Result<Reservation> {
        let nothing = Taken::default();
        let taken = if self.plays(ProvisionerTrick::ReusesIds) { &nothing } else { taken };
        self.real.reserve(id, spec, taken).await
    }

    async fn ensure(
        &self,
        reservation: &Reservation,
        spec: &MachineSpec,
        power: Power,
        progress: &Progress,
    ) -> Result<Ensured> {
        use ProvisionerTrick::{CreatesTwice, MakesAgain, NeverTakesPower, TakesStrangers};
        let power = if self.plays(NeverTakesPower) { Power::Running } else { power };
        if self.plays(TakesStrangers) && self.is_strangers(&reservation.machine) {
            return Ok(Ensured::Done(taken_for_ours(reservation)));
        }
        let there = self.platform.machines().iter().any(|(id, _)| *id == reservation.machine);
        let again = self.plays(MakesAgain) && !there;
        let held = if again { without_uuid(reservation) } else { reservation.clone() };
        let made = self.real.ensure(&held, spec, power, progress).await;
        if self.plays(CreatesTwice) && made.is_ok() {
            let machine = MachineId::new(format!("{}9", reservation.machine))?;
            let second = Reservation { machine, ..without_uuid(reservation) };
            self.real.ensure(&second, spec, power, progress).await?;
        }
        match made {
            Ok(Ensured::Done(mut machine)) => {
                if self.plays(ProvisionerTrick::ForgetsTheMark) {
                    machine.session = None;
                }
                Ok(Ensured::Done(machine))
            }
            other => other,
        }
    }

    async fn observe(&self, reservation: &Reservation) -> Observation {
        if self.plays(ProvisionerTrick::TakesStrangers) && self.is_strangers(&reservation.machine) {
            return Observation::Present(taken_for_ours(reservation));
        }
        let ignores = self.plays(ProvisionerTrick::IgnoresTheUuid);
        let held = if ignores { without_uuid(reservation) } else { reservation.clone() };
        match (self.trick, self.real.observe(&held).await) {
            (ProvisionerTrick::ReadsErrorsAsAbsence, Observation::Unknown(_)) => {
                Observation::Absent
            }
            (ProvisionerTrick::ForgetsTheMark, Observation::Present(mut machine)) => {
                machine.session = None;
                Observation::Present(machine)
            }
            (_, seen) => seen,
        }
    }

    async fn destroy(&self, reservation: &Reservation) -> Result<Destroyed> {
        if self.plays(ProvisionerTrick::TakesStrangers) && self.is_strangers(&reservation.machine) {
            self.platform.remove_by_hand(&reservation.machine);
        }
        let ignores = self.plays(ProvisionerTrick::IgnoresTheUuid);
        let held = if ignores { without_uuid(reservation) } else { reservation.clone() };
        match self.real.destroy(&held).await {
            Err(error)
                if error.kind() == Kind::Unavailable
                    && self.plays(ProvisionerTrick::ReadsErrorsAsAbsence) =>
            {
                Ok(Destroyed::Gone)
            }
            answer => answer,
        }
    }

    async fn list(&self) -> Result<Vec<Listed>> {
        match (self.trick, self.real.list().await) {
            (ProvisionerTrick::ReadsErrorsAsAbsence, Err(_)) => Ok(Vec::new()),
            (ProvisionerTrick::ForgetsTheMark, Ok(_)) => Ok(Vec::new()),
            (_, answer) => answer,
        }
    }
}
