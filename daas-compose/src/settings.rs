//! The configuration: one TOML file, the environment over it, secrets by file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use daas_ansible::AnsibleConfig;
use daas_core::audit::AuditSettings;
use daas_core::engine::{BrakeRules, Limits};
use daas_core::ids::SessionPrefix;
use daas_core::owner::Realms;
use daas_core::store::quota::Quotas;
use daas_core::template::Template;
use daas_directory::{DirectoryConfig, UsersConfig};
use daas_http::HttpConfig;
use daas_http::identity::{IdentityConfig, JwtConfig, OidcConfig};
use daas_proxmox::{ProxmoxConfig, SignInConfig};
use daas_ssh::SshConfig;
use daas_terraform::TerraformConfig;
use serde::Deserialize;

use crate::earlier;
use crate::error::ComposeError;

/// Everything a deployment is made from.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where the deployment keeps what is its own: store, keys, certificates.
    pub data_dir: PathBuf,
    /// Where sessions are kept.
    pub store: StoreSettings,
    /// How it is reached.
    pub http: HttpConfig,
    /// The base address under which guests reach their listener; absent: taken from
    /// `http.guest_listen` when that names an address.
    pub guest_url: Option<String>,
    /// The native Proxmox VE backend.
    pub proxmox: Option<ProxmoxConfig>,
    /// The Terraform backend.
    pub terraform: Option<TerraformConfig>,
    /// The SSH configurator.
    pub ssh: Option<SshConfig>,
    /// The Ansible configurator.
    pub ansible: Option<AnsibleConfig>,
    /// The directory that guests of the Ansible configurator join.
    pub directory: Option<DirectoryConfig>,
    /// Backends in memory, for trying out: they make nothing.
    pub fake: Option<FakeSettings>,
    /// What desktops can be made from.
    pub templates: Vec<Template>,
    /// The engine's bounds.
    pub limits: Limits,
    /// The brakes.
    pub brakes: BrakeRules,
    /// How much anybody may have.
    pub quotas: Quotas,
    /// Which spellings of a realm are one.
    pub realms: Realms,
    /// Who may sign in to the pages, as what and for how long.
    pub identity: IdentityConfig,
    /// Where people are known whom the configuration does not know itself.
    pub sign_in: SignInSettings,
    /// What session ids begin with.
    pub prefix: SessionPrefix,
    /// How logs are written.
    pub log: LogSettings,
    /// How the audit log is signed and how long it is kept.
    pub audit: AuditSettings,
}

/// Where sessions are kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum StoreSettings {
    /// A file on this machine.
    Sqlite {
        /// The file; absent: `daas.db` in the data directory.
        #[serde(default)]
        path: Option<PathBuf>,
    },
    /// Nowhere: everything is forgotten at the end, machines too. For tests.
    Memory,
}

/// Sources that know people.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignInSettings {
    /// A directory, by LDAPS.
    pub directory: Option<UsersConfig>,
    /// A realm of the cluster of `[proxmox]`.
    pub proxmox: Option<SignInConfig>,
    /// Providers of OpenID Connect, by the realm of their people.
    pub oidc: BTreeMap<String, OidcConfig>,
    /// Issuers of bearer tokens, by the realm of the people that they speak for.
    pub jwt: BTreeMap<String, JwtConfig>,
}

/// Backends in memory.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FakeSettings {
    /// How long the making of a machine takes.
    #[serde(with = "humantime_serde")]
    pub create: Duration,
    /// How long its start takes.
    #[serde(with = "humantime_serde")]
    pub boot: Duration,
}

/// How logs are written, to standard error.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// `json` for machines, `text` for people.
    pub format: LogFormat,
    /// What is written: `info`, or a filter such as `daas_core=debug,info`.
    pub level: String,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::Json, level: "info".to_owned() }
    }
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self::Sqlite { path: None }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("/var/lib/daas"),
            store: StoreSettings::default(),
            http: HttpConfig::default(),
            guest_url: None,
            proxmox: None,
            terraform: None,
            ssh: None,
            ansible: None,
            directory: None,
            fake: None,
            templates: Vec::new(),
            limits: Limits::default(),
            brakes: BrakeRules::default(),
            quotas: Quotas::default(),
            realms: Realms::default(),
            identity: IdentityConfig::default(),
            sign_in: SignInSettings::default(),
            prefix: SessionPrefix::default(),
            log: LogSettings::default(),
            audit: AuditSettings::default(),
        }
    }
}

impl Settings {
    /// Reads `file`, with the environment over it: `DAAS__HTTP__LISTEN`, and the variables of the
    /// earlier orchestrator.
    pub fn read(file: Option<&Path>) -> Result<Self, ComposeError> {
        let mut builder = config::Config::builder();
        if let Some(file) = file {
            // Read by hand first: the error for a missing file should name it and its reason.
            std::fs::metadata(file)
                .map_err(|source| ComposeError::File { path: file.to_owned(), source })?;
            builder = builder.add_source(config::File::from(file).format(config::FileFormat::Toml));
        }
        let environment = config::Environment::with_prefix("DAAS")
            .prefix_separator("__")
            .separator("__")
            .try_parsing(true);
        let settings: Self = builder
            .add_source(environment)
            .build()
            .and_then(config::Config::try_deserialize)
            .map_err(|e| ComposeError::Settings {
                file: file.map(Path::to_owned),
                why: e.to_string(),
            })?;
        earlier::honour(settings, |name| std::env::var(name).ok())
    }

    /// Reads settings from TOML text, the environment left aside: for whoever embeds a deployment.
    pub fn parse(text: &str) -> Result<Self, ComposeError> {
        toml::from_str(text).map_err(|e| ComposeError::Settings { file: None, why: e.to_string() })
    }

    /// Where the store's file is.
    pub fn store_path(&self) -> Option<PathBuf> {
        match &self.store {
            StoreSettings::Sqlite { path: Some(path) } => Some(path.clone()),
            StoreSettings::Sqlite { path: None } => Some(self.data_dir.join("daas.db")),
            StoreSettings::Memory => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]
    use super::*;

    fn read(text: &str) -> Result<Settings, ComposeError> {
        let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Settings::read(Some(file.path()))
    }

    #[test]
    fn a_misspelt_setting_is_named() {
        let error = read("[limits]\nleese = \"3s\"\n").unwrap_err().to_string();
        assert!(error.contains("leese"), "{error}");
    }

    #[test]
    fn each_example_names_the_backends_that_its_templates_use() {
        let check = |text: &str, has: fn(&Settings) -> bool| {
            let settings = Settings::parse(text).unwrap();
            assert!(has(&settings), "{settings:#?}");
            assert!(!settings.templates.is_empty());
            settings.templates.iter().for_each(|template| template.check().unwrap());
        };
        check(include_str!("../../examples/proxmox-ssh.toml"), |s| {
            s.proxmox.is_some() && s.ssh.is_some()
        });
        check(include_str!("../../examples/proxmox-ansible.toml"), |s| {
            s.proxmox.is_some() && s.ansible.is_some() && s.directory.is_some()
        });
        check(include_str!("../../examples/terraform-ansible.toml"), |s| {
            s.terraform.is_some() && s.ansible.is_some()
        });
        check(include_str!("../../examples/fake.toml"), |s| s.fake.is_some());
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Settings::read(Some(Path::new("/nowhere/daas.toml"))).unwrap_err();
        assert!(error.to_string().contains("/nowhere/daas.toml"), "{error}");
    }
}
