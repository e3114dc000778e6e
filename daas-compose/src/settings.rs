//! The configuration: one TOML file, the environment over it, secrets by file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use daas_core::engine::{BrakeRules, Limits};
use daas_core::ids::SessionPrefix;
use daas_core::owner::Realms;
use daas_core::store::quota::Quotas;
use daas_core::template::Template;
use daas_http::HttpConfig;
use daas_proxmox::ProxmoxConfig;
use daas_ssh::SshConfig;
use serde::Deserialize;

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
    /// The SSH configurator.
    pub ssh: Option<SshConfig>,
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
    /// What session ids begin with.
    pub prefix: SessionPrefix,
    /// How logs are written.
    pub log: LogSettings,
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
            ssh: None,
            fake: None,
            templates: Vec::new(),
            limits: Limits::default(),
            brakes: BrakeRules::default(),
            quotas: Quotas::default(),
            realms: Realms::default(),
            prefix: SessionPrefix::default(),
            log: LogSettings::default(),
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
        settings.with_earlier_variables(|name| std::env::var(name).ok())
    }

    /// Reads settings from TOML text, the environment left aside: for whoever embeds a deployment.
    pub fn parse(text: &str) -> Result<Self, ComposeError> {
        toml::from_str(text).map_err(|e| ComposeError::Settings { file: None, why: e.to_string() })
    }

    /// Honours the variables of the earlier Flask orchestrator.
    fn with_earlier_variables(
        mut self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ComposeError> {
        let bad =
            |name: &'static str, why: &str| ComposeError::Variable { name, why: why.to_owned() };
        if let Some(port) = variable("ORCHESTRATOR_PORT") {
            let port = port.parse().map_err(|_| bad("ORCHESTRATOR_PORT", "is not a port"))?;
            self.http.listen.set_port(port);
        }
        if let Some(most) = variable("MAX_CONCURRENT_SESSIONS") {
            let most =
                most.parse().map_err(|_| bad("MAX_CONCURRENT_SESSIONS", "is not a number"))?;
            self.quotas.all.sessions = Some(most);
        }
        if let Some(seconds) = variable("SESSION_TIMEOUT") {
            let seconds = seconds
                .parse()
                .map_err(|_| bad("SESSION_TIMEOUT", "is not a number of seconds"))?;
            for template in &mut self.templates {
                template.idle.idle = Some(Duration::from_secs(seconds));
            }
        }
        if let (Some(url), Some(proxmox)) = (variable("PROXMOX_URL"), &mut self.proxmox) {
            let mut url: url::Url =
                url.parse().map_err(|_| bad("PROXMOX_URL", "is not an address"))?;
            url.set_path("/");
            proxmox.url = url;
        }
        for name in ["TERRAFORM_DIR", "ANSIBLE_DIR"] {
            if variable(name).is_some() {
                tracing::warn!("{name} is set, but this build has no backend that reads it");
            }
        }
        Ok(self)
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
    fn the_example_configuration_can_be_read() {
        let settings = Settings::parse(include_str!("../../examples/proxmox-ssh.toml")).unwrap();
        assert!(settings.proxmox.is_some() && settings.ssh.is_some());
        settings.templates.iter().for_each(|template| template.check().unwrap());
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Settings::read(Some(Path::new("/nowhere/daas.toml"))).unwrap_err();
        assert!(error.to_string().contains("/nowhere/daas.toml"), "{error}");
    }

    #[test]
    fn the_variables_of_the_earlier_orchestrator_are_honoured() {
        let text = "[proxmox]\nurl = \"https://a:8006\"\ntoken = \"a@pve!b=c\"\n\
                    [[templates]]\nname = \"lab\"\nprovisioner = \"proxmox\"\nsource = \"9000\"\n";
        let settings = read(text)
            .unwrap()
            .with_earlier_variables(|name| {
                let value = match name {
                    "ORCHESTRATOR_PORT" => "5001",
                    "MAX_CONCURRENT_SESSIONS" => "20",
                    "SESSION_TIMEOUT" => "600",
                    "PROXMOX_URL" => "https://pve.lab:8006/api2/json",
                    _ => return None,
                };
                Some(value.to_owned())
            })
            .unwrap();
        assert_eq!(settings.http.listen.port(), 5001);
        assert_eq!(settings.quotas.all.sessions, Some(20));
        assert_eq!(settings.templates[0].idle.idle, Some(Duration::from_secs(600)));
        assert_eq!(settings.proxmox.unwrap().url.as_str(), "https://pve.lab:8006/");
        let error = Settings::default()
            .with_earlier_variables(|n| (n == "SESSION_TIMEOUT").then(|| "soon".to_owned()));
        assert!(error.unwrap_err().to_string().contains("SESSION_TIMEOUT"));
    }
}
