//! The in-memory backends on their benches, honest or in disguise.

#![allow(clippy::unwrap_used, dead_code, reason = "shared by several test programs")]

use std::sync::Arc;

use async_trait::async_trait;
use daas_core::configurator::{Configurator, GuestContext};
use daas_core::conformance::{ConfiguratorBench, ProvisionerBench};
use daas_core::fake::{
    FakeConfigurator, FakeGuests, FakePlatform, FakeProvisioner, PlatformAct, Timing,
};
use daas_core::ids::{DeploymentId, MachineId, SessionId, SessionPrefix};
use daas_core::machine::MachineSpec;
use daas_core::provisioner::Provisioner;
use daas_core::template::Template;

/// A fake platform; its provisioner may be in disguise.
pub(crate) struct FakeMachineBench {
    platform: Arc<FakePlatform>,
    deployment: DeploymentId,
    provisioner: Arc<dyn Provisioner>,
}

impl FakeMachineBench {
    pub(crate) fn honest(timing: Timing) -> Arc<dyn ProvisionerBench> {
        Self::disguised(timing, |real, _| real)
    }

    pub(crate) fn disguised(
        timing: Timing,
        disguise: impl FnOnce(Arc<dyn Provisioner>, Arc<FakePlatform>) -> Arc<dyn Provisioner>,
    ) -> Arc<dyn ProvisionerBench> {
        let platform = FakePlatform::with(timing);
        let deployment = DeploymentId::mint();
        let name = "fake".parse().unwrap();
        let real = FakeProvisioner::new(name, deployment.clone(), Arc::clone(&platform));
        let provisioner = disguise(Arc::new(real), Arc::clone(&platform));
        Arc::new(Self { platform, deployment, provisioner })
    }
}

#[async_trait]
impl ProvisionerBench for FakeMachineBench {
    fn provisioner(&self) -> Arc<dyn Provisioner> {
        Arc::clone(&self.provisioner)
    }

    fn spec(&self, session: &SessionId) -> MachineSpec {
        let template = template();
        MachineSpec {
            session: session.clone(),
            deployment: self.deployment.clone(),
            source: template.source,
            clone: template.clone,
            storage: None,
            pool: None,
            cores: template.cores,
            memory_mib: template.memory_mib,
            disk_gib: None,
            network: None,
            address_from: template.address_from,
            admin_user: template.admin_user,
            ssh_keys: Vec::new(),
        }
    }

    fn spec_without_image(&self, session: &SessionId) -> MachineSpec {
        MachineSpec { source: "missing".into(), ..self.spec(session) }
    }

    async fn made(&self, session: &SessionId) -> usize {
        let made = |act: &&PlatformAct| matches!(act, PlatformAct::Made(_, s) if s == session);
        self.platform.log().iter().filter(made).count()
    }

    async fn exists(&self, machine: &MachineId) -> bool {
        self.platform.machines().iter().any(|(id, _)| id == machine)
    }

    async fn put_stranger(&self, machine: &MachineId) {
        self.platform.put_stranger(machine);
    }

    async fn remove_by_hand(&self, machine: &MachineId) {
        self.platform.remove_by_hand(machine);
    }

    async fn set_away(&self, away: bool) {
        self.platform.set_away(away);
    }
}

/// Fake guests; their configurator may be in disguise.
pub(crate) struct FakeGuestBench {
    guests: Arc<FakeGuests>,
    configurator: Arc<dyn Configurator>,
}

impl FakeGuestBench {
    pub(crate) fn honest() -> Arc<dyn ConfiguratorBench> {
        Self::disguised(|real, _| real)
    }

    pub(crate) fn disguised(
        disguise: impl FnOnce(Arc<dyn Configurator>, Arc<FakeGuests>) -> Arc<dyn Configurator>,
    ) -> Arc<dyn ConfiguratorBench> {
        let guests = FakeGuests::new();
        let real = FakeConfigurator::joining("inside".parse().unwrap(), Arc::clone(&guests));
        let configurator = disguise(Arc::new(real), Arc::clone(&guests));
        Arc::new(Self { guests, configurator })
    }
}

#[async_trait]
impl ConfiguratorBench for FakeGuestBench {
    fn configurator(&self) -> Arc<dyn Configurator> {
        Arc::clone(&self.configurator)
    }

    async fn guest(&self) -> GuestContext {
        GuestContext {
            session: SessionId::mint(&SessionPrefix::default()),
            template: template(),
            address: Some([127, 0, 0, 1].into()),
            host_key: None,
            activity: None,
        }
    }

    async fn guest_without_profile(&self) -> Option<GuestContext> {
        let mut guest = self.guest().await;
        guest.template.profile = Some("missing".into());
        Some(guest)
    }

    async fn effects_there(&self) -> Vec<String> {
        self.guests.accounts()
    }

    async fn put_strange_effect(&self) {
        self.guests.put_strange_account("CN=a stranger's");
    }

    async fn set_away(&self, away: bool) {
        self.guests.set_away(away);
    }
}

fn template() -> Template {
    Template::new("lab".parse().unwrap(), "fake".parse().unwrap(), "image")
}
