//! Provisioner and configurator behind a gate.

use std::sync::Arc;

use async_trait::async_trait;
use daas_core::configurator::{Applied, Configurator, GuestContext, Stage};
use daas_core::ids::{BackendName, SessionId};
use daas_core::ledger::Effect;
use daas_core::machine::{
    Destroyed, Ensured, Listed, MachineSpec, Observation, Power, Reservation, Taken,
};
use daas_core::progress::Progress;
use daas_core::provisioner::{Extras, Provisioner};
use daas_core::{Operation, Result};

use super::faults::{Gate, cut_off};

#[derive(Debug)]
pub(crate) struct GatedProvisioner {
    pub(crate) real: Arc<dyn Provisioner>,
    pub(crate) gate: Gate,
}

#[async_trait]
impl Provisioner for GatedProvisioner {
    fn name(&self) -> &BackendName {
        self.real.name()
    }

    async fn reserve(
        &self,
        id: &SessionId,
        spec: &MachineSpec,
        taken: &Taken,
    ) -> Result<Reservation> {
        let failed = || Err(cut_off(Operation::Reserve));
        self.gate.pass("reserve", || self.real.reserve(id, spec, taken), failed).await
    }

    async fn ensure(
        &self,
        reservation: &Reservation,
        spec: &MachineSpec,
        power: Power,
        progress: &Progress,
    ) -> Result<Ensured> {
        let ensure = || self.real.ensure(reservation, spec, power, progress);
        let failed = || Err(cut_off(Operation::Ensure));
        let later = |delay| {
            let (real, held, spec) = (Arc::clone(&self.real), reservation.clone(), spec.clone());
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                // Nobody waits for the answer any more.
                let _ = real.ensure(&held, &spec, power, &Progress::silent()).await;
            });
        };
        self.gate.pass_or_late("ensure", ensure, failed, later).await
    }

    async fn observe(&self, reservation: &Reservation) -> Observation {
        let failed = || Observation::Unknown("the connection broke".into());
        self.gate.pass("observe", || self.real.observe(reservation), failed).await
    }

    async fn destroy(&self, reservation: &Reservation) -> Result<Destroyed> {
        let failed = || Err(cut_off(Operation::Destroy));
        self.gate.pass("destroy", || self.real.destroy(reservation), failed).await
    }

    async fn list(&self) -> Result<Vec<Listed>> {
        self.gate.pass("list machines", || self.real.list(), || Err(cut_off(Operation::List))).await
    }

    fn extras(&self) -> Extras {
        self.real.extras()
    }
}

#[derive(Debug)]
pub(crate) struct GatedConfigurator {
    pub(crate) real: Arc<dyn Configurator>,
    pub(crate) gate: Gate,
}

#[async_trait]
impl Configurator for GatedConfigurator {
    fn name(&self) -> &BackendName {
        self.real.name()
    }

    fn effects(&self, guest: &GuestContext) -> Result<Vec<Effect>> {
        self.real.effects(guest)
    }

    async fn apply(
        &self,
        guest: &GuestContext,
        stage: &Stage,
        progress: &Progress,
    ) -> Result<Applied> {
        let failed = || Err(cut_off(Operation::Configure));
        self.gate.pass("apply", || self.real.apply(guest, stage, progress), failed).await
    }

    async fn retract(&self, guest: &GuestContext, effect: &Effect) -> Result<()> {
        let failed = || Err(cut_off(Operation::Retract));
        self.gate.pass("retract", || self.real.retract(guest, effect), failed).await
    }
}
