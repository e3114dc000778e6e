//! Settings of one Proxmox VE cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use daas_core::ids::BackendName;
use daas_core::secret::Secret;
use serde::Deserialize;
use url::Url;

use crate::error::ProxmoxError;

/// How a cluster is reached and what may be done there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxmoxConfig {
    /// The name that templates refer to. Default `proxmox`.
    #[serde(default = "default_name")]
    pub name: BackendName,
    /// The API's address, `https://pve.example:8006`.
    pub url: Url,
    /// An API token, `user@realm!name=secret`. Better in `token_file`.
    #[serde(default)]
    pub token: Option<Secret<String>>,
    /// A file with the API token.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// A user (`daas@pve`) instead of a token; its tickets are renewed in time.
    #[serde(default)]
    pub user: Option<String>,
    /// The user's password. Better in `password_file`.
    #[serde(default)]
    pub password: Option<Secret<String>>,
    /// A file with the user's password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// A file with the certificate authority to trust, in PEM
    /// (`/etc/pve/pve-root-ca.pem`); absent: the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The SHA-256 fingerprint of the server's certificate, `AA:BB:…`: only it is trusted.
    #[serde(default)]
    pub fingerprint: Option<String>,
    /// Trusts any certificate. For laboratories; it is logged loudly.
    #[serde(default)]
    pub insecure: bool,
    /// The machine ids that are ours. Nobody else should use this range.
    #[serde(default)]
    pub ids: IdRange,
    /// The nodes machines may be put on; empty: all.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// Machine ids that are never touched, whatever mark they carry.
    #[serde(default)]
    pub protected: Vec<u32>,
    /// How much more memory than a node has may be promised. Default 1.0: no more.
    #[serde(default = "default_overcommit")]
    pub memory_overcommit: f64,
    /// Linked clones being made at once on one node. Default 16.
    #[serde(default = "default_linked")]
    pub linked_clones_per_node: usize,
    /// Full clones being made at once on one node: they move whole disks. Default 2.
    #[serde(default = "default_full")]
    pub full_clones_per_node: usize,
    /// Clones being made at once on one storage. Default 64.
    #[serde(default = "default_storage")]
    pub clones_per_storage: usize,
    /// Questions to guest agents at once on one node: while an agent starts, Proxmox holds one of its
    /// few workers for each. Default 8.
    #[serde(default = "default_agent_calls")]
    pub agent_calls_per_node: usize,
    /// How long one request may take. Default 35 s: Proxmox's own proxy gives up after 30.
    #[serde(default = "default_deadline", with = "humantime_serde")]
    pub request_deadline: Duration,
    /// How old the cluster's overview may be for a look at a desktop at rest. Default 10 s, as old
    /// as Proxmox's own figures are.
    #[serde(default = "default_age", with = "humantime_serde")]
    pub overview_age: Duration,
}

/// A range of machine ids, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdRange {
    /// The first.
    pub first: u32,
    /// The last.
    pub last: u32,
}

impl Default for IdRange {
    fn default() -> Self {
        Self { first: 900_000, last: 949_999 }
    }
}

impl IdRange {
    /// Whether `id` lies in it.
    pub fn contains(&self, id: u32) -> bool {
        (self.first..=self.last).contains(&id)
    }
}

/// How we prove who we are.
#[derive(Debug, Clone)]
pub(crate) enum Credentials {
    /// `user@realm!name=secret`
    Token(Secret<String>),
    /// A user and a password, for tickets.
    Password(String, Secret<String>),
}

impl ProxmoxConfig {
    /// Settings for `url` with a token and all else by default.
    pub fn with_token(url: Url, token: Secret<String>) -> Self {
        Self {
            name: default_name(),
            url,
            token: Some(token),
            token_file: None,
            user: None,
            password: None,
            password_file: None,
            ca_file: None,
            fingerprint: None,
            insecure: false,
            ids: IdRange::default(),
            nodes: Vec::new(),
            protected: Vec::new(),
            memory_overcommit: default_overcommit(),
            linked_clones_per_node: default_linked(),
            full_clones_per_node: default_full(),
            clones_per_storage: default_storage(),
            agent_calls_per_node: default_agent_calls(),
            request_deadline: default_deadline(),
            overview_age: default_age(),
        }
    }

    pub(crate) fn credentials(&self) -> Result<Credentials, ProxmoxError> {
        if let Some(token) = secret(self.token.as_ref(), self.token_file.as_deref(), "token_file")?
        {
            let named = token.expose().split_once('=').is_some_and(|(id, _)| {
                id.split_once('!').is_some_and(|(user, _)| user.contains('@'))
            });
            if !named {
                let why = "is not of the form user@realm!name=secret";
                return Err(ProxmoxError::Config { field: "token", why: why.to_owned() });
            }
            return Ok(Credentials::Token(token));
        }
        let password =
            secret(self.password.as_ref(), self.password_file.as_deref(), "password_file")?;
        match (&self.user, password) {
            (Some(user), Some(password)) if user.contains('@') => {
                Ok(Credentials::Password(user.clone(), password))
            }
            (Some(_), Some(_)) => Err(ProxmoxError::Config {
                field: "user",
                why: "has no realm; write it as user@pam or user@pve".to_owned(),
            }),
            _ => Err(ProxmoxError::Config {
                field: "token",
                why: "is missing; set token_file, or user and password_file".to_owned(),
            }),
        }
    }

    pub(crate) fn check(&self) -> Result<(), ProxmoxError> {
        let refuse = |field, why: &str| Err(ProxmoxError::Config { field, why: why.to_owned() });
        if self.url.scheme() != "https" || self.url.host_str().is_none() {
            return refuse("url", "is not of the form https://host:8006");
        }
        if self.ids.first < 100 || self.ids.last > 999_999_999 || self.ids.first > self.ids.last {
            return refuse("ids", "is not a range between 100 and 999999999");
        }
        if !(0.1..=10.0).contains(&self.memory_overcommit) {
            return refuse("memory_overcommit", "is not between 0.1 and 10");
        }
        Ok(())
    }
}

fn secret(
    inline: Option<&Secret<String>>,
    file: Option<&Path>,
    field: &'static str,
) -> Result<Option<Secret<String>>, ProxmoxError> {
    let Some(file) = file else { return Ok(inline.cloned()) };
    let text = std::fs::read_to_string(file).map_err(|source| ProxmoxError::File {
        field,
        path: file.to_owned(),
        source,
    })?;
    Ok(Some(Secret::new(text.trim().to_owned())))
}

#[expect(clippy::expect_used, reason = "the text is a valid name")]
fn default_name() -> BackendName {
    BackendName::new("proxmox").expect("a DNS label")
}

fn default_overcommit() -> f64 {
    1.0
}

fn default_linked() -> usize {
    16
}

fn default_full() -> usize {
    2
}

fn default_storage() -> usize {
    64
}

fn default_agent_calls() -> usize {
    8
}

fn default_deadline() -> Duration {
    Duration::from_secs(35)
}

fn default_age() -> Duration {
    Duration::from_secs(10)
}
