//! Settings of the SSH configurator.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use daas_core::ids::BackendName;
use serde::Deserialize;

use crate::profile::Profile;

/// How guests are entered and what is done there.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SshConfig {
    /// The name that templates refer to. Default `ssh`.
    pub name: BackendName,
    /// The private key, in OpenSSH's format without a passphrase; made (Ed25519) when it is not
    /// there. Default `ssh_key` in the data directory.
    pub key_file: PathBuf,
    /// How long a guest's SSH server may take to answer. Default 90 s.
    #[serde(with = "humantime_serde")]
    pub connect_deadline: Duration,
    /// How long a guest may refuse our key while its first boot is not done. Default 20 s.
    #[serde(with = "humantime_serde")]
    pub refusal_grace: Duration,
    /// How long one step may take, unless the step says otherwise. Default 5 min.
    #[serde(with = "humantime_serde")]
    pub step_deadline: Duration,
    /// Profiles beside the built-in `linux-desktop` (the default) and `linux-base`.
    pub profiles: BTreeMap<String, Profile>,
}

impl Default for SshConfig {
    #[expect(clippy::expect_used, reason = "the text is a valid name")]
    fn default() -> Self {
        Self {
            name: BackendName::new("ssh").expect("a DNS label"),
            key_file: PathBuf::from("ssh_key"),
            connect_deadline: Duration::from_secs(90),
            refusal_grace: Duration::from_secs(20),
            step_deadline: Duration::from_secs(300),
            profiles: BTreeMap::new(),
        }
    }
}

impl SshConfig {
    /// The same, with files named relatively looked for in `directory`.
    #[must_use]
    pub fn in_directory(&self, directory: &Path) -> Self {
        let mut config = self.clone();
        config.key_file = directory.join(&self.key_file);
        config
    }
}
