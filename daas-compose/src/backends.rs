//! The parts that the configuration names.

use std::sync::Arc;

use daas_ansible::AnsibleConfigurator;
use daas_core::configurator::Configurator;
use daas_core::directory::ComputerAccounts;
use daas_core::fake::{FakeConfigurator, FakeGuests, FakePlatform, FakeProvisioner, Timing};
use daas_core::ids::{BackendName, DeploymentId};
use daas_core::provisioner::Provisioner;
use daas_core::store::SessionStore;
use daas_core::store::memory::MemoryStore;
use daas_directory::Computers;
use daas_proxmox::ProxmoxProvisioner;
use daas_ssh::SshConfigurator;
use daas_store::SqliteStore;
use daas_terraform::{TerraformConfig, TerraformProvisioner};

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

/// Makes the backends, those first that others stand on.
pub(crate) fn backends(
    settings: &Settings,
    deployment: &DeploymentId,
) -> Result<Backends, ComposeError> {
    let mut made =
        Backends { provisioners: Vec::new(), configurators: Vec::new(), ssh_keys: Vec::new() };
    if let Some(config) = &settings.proxmox {
        let proxmox = ProxmoxProvisioner::new(config.clone(), deployment.clone())?;
        made.provisioners.push(Arc::new(proxmox));
    }
    if let Some(config) = &settings.terraform {
        let config = config.in_directory(&settings.data_dir);
        let platform = made.platform_of(&config)?;
        let terraform = TerraformProvisioner::new(config, deployment.clone(), platform)?;
        made.provisioners.push(Arc::new(terraform));
    }
    if let Some(config) = &settings.ssh {
        let configurator = SshConfigurator::new(config.in_directory(&settings.data_dir))?;
        made.add_key(configurator.public_key().to_owned());
        made.configurators.push(Arc::new(configurator));
    }
    if let Some(config) = &settings.ansible {
        let config = config.in_directory(&settings.data_dir);
        made.add_key(daas_ssh::public_key_of(&config.key_file)?);
        let ansible = AnsibleConfigurator::new(config, accounts(settings, deployment)?)?;
        made.configurators.push(Arc::new(ansible));
    }
    if let Some(fake) = &settings.fake {
        tracing::warn!("the fake backends are configured: their desktops do not exist");
        let name = BackendName::new("fake")?;
        let platform = FakePlatform::with(Timing { create: fake.create, boot: fake.boot });
        let provisioner = FakeProvisioner::new(name.clone(), deployment.clone(), platform);
        made.provisioners.push(Arc::new(provisioner));
        made.configurators.push(Arc::new(FakeConfigurator::new(name, FakeGuests::new())));
    }
    Ok(made)
}

/// The computer accounts of the directory that guests join, if one is configured.
pub(crate) fn accounts(
    settings: &Settings,
    deployment: &DeploymentId,
) -> Result<Option<Arc<dyn ComputerAccounts>>, ComposeError> {
    let Some(config) = &settings.directory else { return Ok(None) };
    let computers = Computers::new(config.clone(), deployment.clone())?;
    Ok(Some(Arc::new(computers)))
}

impl Backends {
    /// The native backend that Terraform's machines are on, as configured.
    fn platform_of(
        &self,
        config: &TerraformConfig,
    ) -> Result<Option<Arc<dyn Provisioner>>, ComposeError> {
        let Some(wished) = &config.platform else {
            tracing::warn!(
                "terraform.platform is not set: what a run that was cut short made and did not \
                 write down cannot be found"
            );
            return Ok(None);
        };
        let found = self.provisioners.iter().find(|p| p.name() == wished).cloned();
        found.map(Some).ok_or_else(|| ComposeError::Settings {
            file: None,
            why: format!("terraform.platform names {wished}, which is not configured"),
        })
    }

    fn add_key(&mut self, key: String) {
        if !self.ssh_keys.contains(&key) {
            self.ssh_keys.push(key);
        }
    }
}
