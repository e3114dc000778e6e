//! Settings of the Ansible configurator.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use daas_core::ids::BackendName;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::AnsibleError;

/// The longest run directory in bytes: SSH's sockets below it must fit the 108 of a socket's name,
/// with a session id, Ansible's and SSH's own endings (15, 10 and 17), and what is between.
const RUN_DIRECTORY_BYTES_MAX: usize = 58;

/// How `ansible-playbook` is run, and what is done in guests.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnsibleConfig {
    /// The name that templates refer to. Default `ansible`.
    pub name: BackendName,
    /// The program: ansible-core 2.14 or later. Default `ansible-playbook`, looked for in `PATH`.
    pub program: PathBuf,
    /// Where each session has a private directory while it is configured: an absolute path of
    /// letters, digits and `/._-`, 58 bytes at most. Default `ansible` in the data directory.
    pub run_directory: PathBuf,
    /// The private key with which guests are entered. Default `ssh_key` in the data directory.
    pub key_file: PathBuf,
    /// A file with the vault's password, or a program that prints it (a file that may be executed
    /// is run, as Ansible does). Default: none.
    pub vault_password_file: Option<PathBuf>,
    /// An `ansible.cfg`. Default: none, also not the ones Ansible looks for by itself.
    pub config_file: Option<PathBuf>,
    /// More of `ansible-playbook`'s environment (`ANSIBLE_COLLECTIONS_PATH`, proxies). It gets
    /// nothing of ours but `PATH`, `HOME`, `USER`, `TZ` and `TMPDIR`.
    pub environment: BTreeMap<String, String>,
    /// How many hosts one playbook works on at once; matters only to plays that delegate. Default 5.
    pub forks: u16,
    /// Whether modules go through the SSH connection instead of files in the guest. Default yes.
    pub pipelining: bool,
    /// How long a guest's SSH server may take to answer. Default 90 s.
    #[serde(with = "humantime_serde")]
    pub connect_deadline: Duration,
    /// How long one playbook may take. Default 10 min.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
    /// Profiles beside the built-in `linux-desktop` (the default).
    pub profiles: BTreeMap<String, AnsibleProfile>,
}

impl Default for AnsibleConfig {
    #[expect(clippy::expect_used, reason = "the text is a valid name")]
    fn default() -> Self {
        Self {
            name: BackendName::new("ansible").expect("a DNS label"),
            program: PathBuf::from("ansible-playbook"),
            run_directory: PathBuf::from("ansible"),
            key_file: PathBuf::from("ssh_key"),
            vault_password_file: None,
            config_file: None,
            environment: BTreeMap::new(),
            forks: 5,
            pipelining: true,
            connect_deadline: Duration::from_secs(90),
            deadline: Duration::from_secs(600),
            profiles: BTreeMap::new(),
        }
    }
}

/// What is done in a guest.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnsibleProfile {
    /// While the desktop is nobody's; absent: nothing.
    pub prepare: Option<Play>,
    /// When it becomes its user's; absent: nothing.
    pub assign: Option<Play>,
    /// The operator's variables. Their texts are templates to Ansible, as in any playbook.
    pub variables: Map<String, Value>,
    /// The domain that the guest joins; absent: none.
    pub join: Option<Join>,
}

/// A playbook, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Play {
    /// The playbook; absent: the one that ships, which takes the roles that ship with it.
    #[serde(default)]
    pub playbook: Option<PathBuf>,
    /// Only tasks with one of these tags; none: all.
    #[serde(default)]
    pub tags: Vec<String>,
    /// No tasks with one of these tags.
    #[serde(default)]
    pub skip_tags: Vec<String>,
}

/// A domain to join.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// Its DNS name: `lab.test`.
    pub domain: String,
    /// Who may log in, by groups; none: everybody in the domain.
    #[serde(default)]
    pub allowed_groups: Vec<String>,
    /// Who of them is let in to a desktop. Default `owner`.
    #[serde(default)]
    pub logins: Logins,
    /// The tags of the tasks that join: only they are run again when the account has been made.
    /// Default `ad_join`, as in the playbook that ships.
    #[serde(default = "join_tags")]
    pub tags: Vec<String>,
}

/// Who of those in the domain may log in to a desktop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Logins {
    /// Its session's user alone: the domain's user of the owner's name, or the session's account.
    #[default]
    Owner,
    /// Whoever is in the allowed groups, as on a machine that many share.
    Domain,
}

fn join_tags() -> Vec<String> {
    vec!["ad_join".to_owned()]
}

impl AnsibleConfig {
    /// The same, with files named relatively looked for in `directory`; a program's bare name stays.
    #[must_use]
    pub fn in_directory(&self, directory: &Path) -> Self {
        let mut config = self.clone();
        if config.program.components().count() > 1 {
            config.program = directory.join(&config.program);
        }
        config.run_directory = directory.join(&config.run_directory);
        config.key_file = directory.join(&config.key_file);
        for file in [&mut config.vault_password_file, &mut config.config_file] {
            *file = file.as_ref().map(|file| directory.join(file));
        }
        for play in config.profiles.values_mut().flat_map(|p| [&mut p.prepare, &mut p.assign]) {
            if let Some(playbook) = play.as_mut().and_then(|play| play.playbook.as_mut()) {
                *playbook = directory.join(&*playbook);
            }
        }
        config
    }

    /// Refuses what could never work.
    pub(crate) fn check(&self, has_directory: bool) -> Result<(), AnsibleError> {
        let wrong =
            |what: &str, why: String| Err(AnsibleError::Setting { what: what.to_owned(), why });
        let path = self.run_directory.to_string_lossy();
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-".contains(&b);
        if !self.run_directory.is_absolute() || !path.bytes().all(plain) {
            let why = format!("{path:?} is not an absolute path of letters, digits and /._- only");
            return wrong("run_directory", why);
        }
        if path.len() > RUN_DIRECTORY_BYTES_MAX {
            let why = format!(
                "{path} is {} bytes long; SSH's sockets below it leave room for {}",
                path.len(),
                RUN_DIRECTORY_BYTES_MAX
            );
            return wrong("run_directory", why);
        }
        if !(1..=500).contains(&self.forks) {
            return wrong("forks", format!("{} is not between 1 and 500", self.forks));
        }
        let files = [("vault_password_file", &self.vault_password_file)];
        for (what, file) in files.into_iter().chain([("config_file", &self.config_file)]) {
            if let Some(file) = file.as_ref().filter(|file| !file.is_file()) {
                return wrong(what, format!("{} is not a file", file.display()));
            }
        }
        for (name, profile) in &self.profiles {
            profile.check(name, has_directory)?;
        }
        Ok(())
    }
}

impl AnsibleProfile {
    fn check(&self, name: &str, has_directory: bool) -> Result<(), AnsibleError> {
        let wrong =
            |why: String| Err(AnsibleError::Setting { what: format!("profiles.{name}"), why });
        for play in [&self.prepare, &self.assign].into_iter().flatten() {
            play.check()?;
            let bad = |tag: &&String| tag.is_empty() || tag.starts_with('-') || tag.contains(',');
            if let Some(tag) = play.tags.iter().chain(&play.skip_tags).find(bad) {
                return wrong(format!("{tag:?} is not a tag"));
            }
        }
        let Some(join) = &self.join else { return Ok(()) };
        if self.prepare.is_none() {
            return wrong("joins a domain, but has no prepare to do it".to_owned());
        }
        if self.assign.is_none() && join.logins == Logins::Owner {
            let why = "lets in the desktop's user alone, but has no assign to say who that is; \
                       add assign = {}, or join.logins = \"domain\"";
            return wrong(why.to_owned());
        }
        if !has_directory {
            let domain = &join.domain;
            return wrong(format!("joins {domain}, but no directory is configured"));
        }
        Ok(())
    }
}

impl Play {
    /// Refuses a playbook that is not there.
    pub(crate) fn check(&self) -> Result<(), AnsibleError> {
        match self.playbook.as_ref().filter(|playbook| !playbook.is_file()) {
            Some(missing) => Err(AnsibleError::NoPlaybook { path: missing.clone() }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps an error has failed")]
    use super::*;

    fn check(change: impl FnOnce(&mut AnsibleConfig), expect: &str) {
        let mut config = AnsibleConfig::default().in_directory(Path::new("/var/lib/daas"));
        change(&mut config);
        let error = config.check(false).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    }

    #[test]
    fn what_could_never_work_is_refused_with_its_name() {
        assert!(
            AnsibleConfig::default().in_directory(Path::new("/var/lib/daas")).check(false).is_ok()
        );
        check(|c| c.run_directory = "runs".into(), "run_directory");
        check(|c| c.run_directory = "/a b".into(), "run_directory");
        check(|c| c.run_directory = format!("/{}", "x".repeat(58)).into(), "room for 58");
        check(|c| c.forks = 0, "forks");
        check(|c| c.vault_password_file = Some("/nowhere".into()), "vault_password_file");
        let profile = |text: &str| toml::from_str::<AnsibleProfile>(text).unwrap();
        let put = |text: &str, expect: &str| {
            let profile = profile(text);
            check(|c| drop(c.profiles.insert("lab".into(), profile)), expect);
        };
        put("prepare.playbook = '/nowhere/site.yml'", "/nowhere/site.yml");
        put("prepare.tags = ['a,b']", "is not a tag");
        put("join.domain = 'lab.test'", "no prepare");
        put("prepare = {}\njoin.domain = 'lab.test'", "no assign to say");
        put("prepare = {}\nassign = {}\njoin.domain = 'lab.test'", "no directory is configured");
        put(
            "prepare = {}\njoin = { domain = 'lab.test', logins = 'domain' }",
            "no directory is configured",
        );
    }

    #[test]
    fn a_misspelt_field_is_refused() {
        for text in ["programme = 'x'", "[profiles.a.prepare]\nplaybok = 'x'"] {
            assert!(toml::from_str::<AnsibleConfig>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_files_are_looked_for_in_the_data_directory() {
        let config = AnsibleConfig::default().in_directory(Path::new("/d"));
        assert_eq!(config.program, Path::new("ansible-playbook"));
        assert_eq!(config.key_file, Path::new("/d/ssh_key"));
    }
}
