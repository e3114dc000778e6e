//! Settings of one module and of the program that applies it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use daas_core::ids::BackendName;
use daas_core::secret::Secret;
use serde::Deserialize;

use crate::error::TerraformError;

/// What is applied, where and by which program.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TerraformConfig {
    /// The name that templates refer to. Default `terraform`.
    #[serde(default = "default_name")]
    pub name: BackendName,
    /// The program, by name or path: `terraform` (the default) or `tofu`.
    #[serde(default = "default_program")]
    pub program: PathBuf,
    /// The directory of the root module.
    pub module: PathBuf,
    /// The native backend of the platform that the module makes machines on, by its name in this
    /// configuration (`proxmox`): it chooses ids, proves what is there, and finds what a run that
    /// was cut short has left. Absent: see the crate's documentation for what is not known then.
    #[serde(default)]
    pub platform: Option<BackendName>,
    /// Where runs live, one directory each; of one orchestrator only. Default `terraform` in the
    /// data directory.
    #[serde(default = "default_directory")]
    pub directory: PathBuf,
    /// Where downloaded providers are kept. Default: `.plugins` in `directory`.
    #[serde(default)]
    pub plugin_cache: Option<PathBuf>,
    /// Terraform's own settings (mirrors of providers); absent: those of the account.
    #[serde(default)]
    pub cli_config_file: Option<PathBuf>,
    /// Where states are kept: a file with a `backend` block in which `@RUN@` stands for the name of
    /// the machine's run. Absent: in the run directories, which is for one orchestrator only.
    #[serde(default)]
    pub backend_file: Option<PathBuf>,
    /// Further variables for the module, of any JSON type; no secrets.
    #[serde(default)]
    pub variables: BTreeMap<String, serde_json::Value>,
    /// Secret variables: name of the variable to a file with its value.
    #[serde(default)]
    pub secret_files: BTreeMap<String, PathBuf>,
    /// The machine ids that are ours where no platform chooses them.
    #[serde(default)]
    pub ids: IdRange,
    /// Where machines are where no platform chooses; the module is told it as `node`. Default
    /// `terraform`, which is enough for a module that does not ask.
    #[serde(default = "default_place")]
    pub place: String,
    /// How long one apply or destroy may take. Default 10 min.
    #[serde(default = "default_deadline", with = "humantime_serde")]
    pub deadline: Duration,
    /// How long an interrupted run may take to write its state before it is killed. Default 30 s.
    #[serde(default = "default_grace", with = "humantime_serde")]
    pub interrupt_grace: Duration,
    /// How many programs run at once. Default 8.
    #[serde(default = "default_parallel")]
    pub parallel: usize,
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

impl TerraformConfig {
    /// Settings with every default.
    pub fn new(module: impl Into<PathBuf>, directory: impl Into<PathBuf>) -> Self {
        Self {
            name: default_name(),
            program: default_program(),
            module: module.into(),
            platform: None,
            directory: directory.into(),
            plugin_cache: None,
            cli_config_file: None,
            backend_file: None,
            variables: BTreeMap::new(),
            secret_files: BTreeMap::new(),
            ids: IdRange::default(),
            place: default_place(),
            deadline: default_deadline(),
            interrupt_grace: default_grace(),
            parallel: default_parallel(),
        }
    }

    /// The same, with files named relatively looked for in `directory`; a program's bare name stays.
    #[must_use]
    pub fn in_directory(&self, directory: &Path) -> Self {
        let mut config = self.clone();
        if config.program.components().count() > 1 {
            config.program = directory.join(&config.program);
        }
        for path in [&mut config.module, &mut config.directory] {
            *path = directory.join(&*path);
        }
        let files =
            [&mut config.plugin_cache, &mut config.cli_config_file, &mut config.backend_file];
        for path in files.into_iter().flatten().chain(config.secret_files.values_mut()) {
            *path = directory.join(&*path);
        }
        config
    }

    pub(crate) fn check(&self) -> Result<(), TerraformError> {
        let refuse = |field, why: String| Err(TerraformError::Config { field, why });
        if self.ids.first > self.ids.last {
            return refuse("ids", "ends before it begins".to_owned());
        }
        if self.parallel == 0 {
            return refuse("parallel", "is 0; at least one program must be let run".to_owned());
        }
        for (field, name) in self
            .variables
            .keys()
            .map(|name| ("variables", name))
            .chain(self.secret_files.keys().map(|name| ("secret_files", name)))
        {
            if !is_identifier(name) {
                return refuse(field, format!("names {name:?}, which is no Terraform variable"));
            }
            if crate::module::OURS.contains(&name.as_str()) {
                return refuse(field, format!("sets {name}, which is set for each machine"));
            }
        }
        Ok(())
    }

    /// The values of the secret variables.
    pub(crate) fn secrets(&self) -> Result<BTreeMap<String, Secret<String>>, TerraformError> {
        let read = |(name, path): (&String, &PathBuf)| {
            let text = std::fs::read_to_string(path)
                .map_err(TerraformError::file("read the secret", path))?;
            Ok((name.clone(), Secret::new(text.trim_end_matches(['\r', '\n']).to_owned())))
        };
        self.secret_files.iter().map(read).collect()
    }
}

fn is_identifier(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && letters.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

#[expect(clippy::expect_used, reason = "the text is a valid name")]
fn default_name() -> BackendName {
    BackendName::new("terraform").expect("a DNS label")
}

fn default_directory() -> PathBuf {
    "terraform".into()
}

fn default_program() -> PathBuf {
    "terraform".into()
}

fn default_place() -> String {
    "terraform".to_owned()
}

fn default_deadline() -> Duration {
    Duration::from_secs(10 * 60)
}

fn default_grace() -> Duration {
    Duration::from_secs(30)
}

fn default_parallel() -> usize {
    8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_relatively_is_looked_for_beside_the_configuration() {
        let mut config = TerraformConfig::new("module", "/runs");
        config.backend_file = Some("backend.tf".into());
        config.cli_config_file = Some("/etc/terraform.rc".into());
        let config = config.in_directory(Path::new("/d"));
        assert_eq!(config.program, Path::new("terraform"));
        assert_eq!(config.module, Path::new("/d/module"));
        assert_eq!(config.directory, Path::new("/runs"));
        assert_eq!(config.backend_file.as_deref(), Some(Path::new("/d/backend.tf")));
        assert_eq!(config.cli_config_file.as_deref(), Some(Path::new("/etc/terraform.rc")));
    }

    #[test]
    fn variables_that_are_ours_or_no_names_are_refused() {
        let check = |name: &str, says: &str| {
            let mut config = TerraformConfig::new("/m", "/d");
            config.variables.insert(name.to_owned(), serde_json::Value::Bool(true));
            let error = config.check().expect_err(name).to_string();
            assert!(error.contains(says), "{name}: {error}");
        };
        check("vm_id", "set for each machine");
        check("a b", "no Terraform variable");
        check("-chdir", "no Terraform variable");
    }
}
