//! The parts that the configuration names.

use std::sync::Arc;

use daas_core::configurator::Configurator;
use daas_core::fake::{FakeConfigurator, FakeGuests, FakePlatform, FakeProvisioner, Timing};
use daas_core::ids::{BackendName, DeploymentId};
use daas_core::provisioner::Provisioner;
use daas_core::store::SessionStore;
use daas_core::store::memory::MemoryStore;
use daas_proxmox::ProxmoxProvisioner;
use daas_ssh::SshConfigurator;
use daas_store::SqliteStore;

use crate::error::ComposeError;
use crate::keys;
use crate::settings::Settings;

/// What the configuration names.
pub(crate) struct Backends {
    pub(crate) provisioners: Vec<Arc<dyn Provisioner>>,
    pub(crate) configurators: Vec<Arc<dyn Configurator>>,
    /// The public keys that guests must know for the configurators to enter them.
    pub(crate) ssh_keys: Vec<String>,
}

/// Opens the store, making it if it is new.
pub async fn open_store(settings: &Settings) -> Result<Arc<dyn SessionStore>, ComposeError> {
    match settings.store_path() {
        Some(path) => {
            keys::data_dir(&settings.data_dir)?;
            Ok(SqliteStore::open(&path).await?)
        }
        None => Ok(Arc::new(MemoryStore::new())),
    }
}

pub(crate) fn backends(
    settings: &Settings,
    deployment: &DeploymentId,
) -> Result<Backends, ComposeError> {
    let mut provisioners: Vec<Arc<dyn Provisioner>> = Vec::new();
    let mut configurators: Vec<Arc<dyn Configurator>> = Vec::new();
    let mut ssh_keys = Vec::new();
    if let Some(config) = &settings.proxmox {
        provisioners.push(Arc::new(ProxmoxProvisioner::new(config.clone(), deployment.clone())?));
    }
    if let Some(config) = &settings.ssh {
        let configurator = SshConfigurator::new(config.in_directory(&settings.data_dir))?;
        ssh_keys.push(configurator.public_key().to_owned());
        configurators.push(Arc::new(configurator));
    }
    if let Some(fake) = &settings.fake {
        tracing::warn!("the fake backends are configured: their desktops do not exist");
        let name = BackendName::new("fake")?;
        let platform = FakePlatform::with(Timing { create: fake.create, boot: fake.boot });
        provisioners.push(Arc::new(FakeProvisioner::new(
            name.clone(),
            deployment.clone(),
            platform,
        )));
        configurators.push(Arc::new(FakeConfigurator::new(name, FakeGuests::new())));
    }
    Ok(Backends { provisioners, configurators, ssh_keys })
}
