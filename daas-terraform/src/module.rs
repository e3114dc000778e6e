//! The module: its contract is checked, and it is initialised once, however many machines are made.
//!
//! `init` is not safe to run twice at once on one plugin cache, and takes longer than all the rest;
//! so it is run in a copy of the module, one at a time, and each run gets a copy of the result.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use daas_core::progress::Progress;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::command::{Call, Program};
use crate::error::TerraformError;
use crate::making::blocking;
use crate::run_dir::RunDir;

/// The variables that are set for each machine.
pub(crate) const OURS: [&str; 17] = [
    "session_id",
    "vm_id",
    "deployment_id",
    "node",
    "source_image",
    "clone",
    "storage",
    "pool",
    "cores",
    "memory_mib",
    "disk_gib",
    "network",
    "admin_user",
    "ssh_keys",
    "tags",
    "running",
    "address_wanted",
];
/// Without these a machine could be made twice, or nobody could tell whose it is.
const VARIABLES: [&str; 3] = ["session_id", "vm_id", "deployment_id"];
const OUTPUTS: [&str; 3] = ["vm_id", "vm_name", "vm_ip"];
/// The most that a module may hold.
const FILES_MAX: usize = 2_000;
const BYTES_MAX: u64 = 16 << 20;
/// How long `init`, which may download providers, and the other questions may take.
const INIT_DEADLINE: Duration = Duration::from_secs(5 * 60);
const QUESTION_DEADLINE: Duration = Duration::from_secs(60);

/// The module of one provisioner.
#[derive(Debug)]
pub(crate) struct Module {
    path: PathBuf,
    prepared: PathBuf,
    interrupt_grace: Duration,
    /// Whether the program was found to be one we can use.
    known: Mutex<bool>,
}

/// A module's files, by their path in it.
type Files = BTreeMap<PathBuf, Vec<u8>>;

impl Module {
    pub(crate) fn new(path: PathBuf, prepared: PathBuf, interrupt_grace: Duration) -> Self {
        Self { path, prepared, interrupt_grace, known: Mutex::new(false) }
    }

    /// The module, checked and initialised: a directory to be copied.
    pub(crate) async fn ready(
        &self,
        program: &Program,
        cancelled: &CancellationToken,
        progress: &Progress,
    ) -> Result<PathBuf, TerraformError> {
        let mut known = self.known.lock().await;
        if !*known {
            self.check_program(program, cancelled).await?;
            *known = true;
        }
        let files = self.read()?;
        self.check(&files)?;
        let ready = self.prepared.join(hash(&files));
        if ready.join("ready").exists() {
            return Ok(ready.join("module"));
        }
        progress.tell("terraform gets its providers", None);
        // An `init` of a predecessor that still runs is ended: two spoil the plugin cache.
        let (lock, grace) = (RunDir { path: self.prepared.clone() }, self.interrupt_grace);
        let held = blocking(move || lock.take(grace)).await?;
        if ready.exists() {
            fs::remove_dir_all(&ready)
                .map_err(TerraformError::file("remove what is left of", &ready))?;
        }
        let module = ready.join("module");
        write(&files, &module)?;
        let log = ready.join("log");
        let ask = |arguments, deadline| {
            let (directory, log) = (module.as_path(), log.clone());
            let progress = Progress::silent();
            let held = Some(&held);
            Call { arguments, directory, held, log, deadline, progress, cancelled }
        };
        let init: &[&str] = &["init", "-input=false", "-no-color"];
        program.run(ask(init, INIT_DEADLINE)).await.map_err(|e| self.blamed(e))?;
        let validate: &[&str] = &["validate", "-no-color"];
        program.run(ask(validate, QUESTION_DEADLINE)).await.map_err(|e| self.blamed(e))?;
        fs::write(ready.join("ready"), "")
            .map_err(TerraformError::file("note the preparation of", &ready))?;
        Ok(module)
    }

    /// Whether the program is there and new enough.
    async fn check_program(
        &self,
        program: &Program,
        cancelled: &CancellationToken,
    ) -> Result<(), TerraformError> {
        fs::create_dir_all(&self.prepared).map_err(TerraformError::file("make", &self.prepared))?;
        let call = Call {
            arguments: &["version", "-json"],
            directory: &self.prepared,
            held: None,
            log: self.prepared.join("log"),
            deadline: QUESTION_DEADLINE,
            progress: Progress::silent(),
            cancelled,
        };
        let answer = program.run(call).await?;
        let version = serde_json::from_str::<Value>(&answer.said).ok();
        let version = version.as_ref().and_then(|v| v["terraform_version"].as_str());
        let refuse = |why: String| Err(program.refused(why));
        match version {
            None => refuse("does not tell a version as terraform does".to_owned()),
            Some(text) => match text.split('.').next().and_then(|n| n.parse::<u32>().ok()) {
                Some(1..) => Ok(()),
                _ => refuse(format!("is of version {text}")),
            },
        }
    }

    /// A failure of `init` or `validate` is the module's, unless it is the world's.
    fn blamed(&self, error: TerraformError) -> TerraformError {
        match error {
            TerraformError::Failed { kind: daas_core::Kind::Invalid, why, command, .. } => {
                let hint = match command.as_str() {
                    "init" => "; check required_providers, or terraform.cli_config_file's mirror",
                    _ => "",
                };
                TerraformError::Module { path: self.path.clone(), why: format!("{why}{hint}") }
            }
            other => other,
        }
    }

    fn read(&self) -> Result<Files, TerraformError> {
        let mut files = Files::new();
        let mut bytes = 0;
        self.read_into(&self.path, &mut files, &mut bytes)?;
        let is_root = |p: &PathBuf| p.parent() == Some(Path::new("")) && is_code(p);
        if files.keys().any(is_root) {
            return Ok(files);
        }
        Err(self.refused("holds no .tf file; name the root module in terraform.module"))
    }

    fn read_into(
        &self,
        directory: &Path,
        files: &mut Files,
        bytes: &mut u64,
    ) -> Result<(), TerraformError> {
        let lost = || TerraformError::file("read the module", directory);
        for entry in fs::read_dir(directory).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                self.refused("does not exist; name the root module in terraform.module")
            }
            _ => lost()(e),
        })? {
            let path = entry.map_err(lost())?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if is_left_behind(&name) {
                continue;
            }
            let metadata = fs::metadata(&path).map_err(TerraformError::file("read", &path))?;
            if metadata.is_dir() {
                self.read_into(&path, files, bytes)?;
                continue;
            }
            *bytes += metadata.len();
            if files.len() >= FILES_MAX || *bytes > BYTES_MAX {
                return Err(
                    self.refused("holds more than 2000 files or 16 MiB; name a smaller one")
                );
            }
            let content = fs::read(&path).map_err(TerraformError::file("read", &path))?;
            let within = path.strip_prefix(&self.path).unwrap_or(&path).to_owned();
            files.insert(within, content);
        }
        Ok(())
    }

    /// What every module must take and give.
    fn check(&self, files: &Files) -> Result<(), TerraformError> {
        let root = |(path, content): (&PathBuf, &Vec<u8>)| {
            let is_root = path.parent() == Some(Path::new("")) && is_code(path);
            is_root.then(|| String::from_utf8_lossy(content).into_owned())
        };
        let code: Vec<String> = files.iter().filter_map(root).collect();
        let declares = |block: &str, name: &str| code.iter().any(|c| declares(c, block, name));
        for name in VARIABLES {
            if !declares("variable", name) {
                let why = format!(
                    "takes no variable {name:?}; add `variable \"{name}\" {{ type = string }}`"
                );
                return Err(self.refused(&why));
            }
        }
        for name in OUTPUTS {
            if !declares("output", name) {
                return Err(self.refused(&format!("gives no output {name:?}; add it")));
            }
        }
        if code.iter().any(|c| has_backend(c)) {
            return Err(self.refused(
                "names a backend for its state; put that into a file of its own, with a key for each \
                 machine, and name it in terraform.backend_file",
            ));
        }
        Ok(())
    }

    fn refused(&self, why: &str) -> TerraformError {
        TerraformError::Module { path: self.path.clone(), why: why.to_owned() }
    }
}

fn is_code(path: &Path) -> bool {
    let name = path.to_string_lossy();
    name.ends_with(".tf") || name.ends_with(".tf.json")
}

/// What other runs of the same module left in it.
fn is_left_behind(name: &str) -> bool {
    name == ".terraform" || name == ".git" || name.contains(".tfstate") || name == "crash.log"
}

/// Whether a file declares a block, in HCL or in JSON.
fn declares(code: &str, block: &str, name: &str) -> bool {
    if let Ok(json) = serde_json::from_str::<Value>(code) {
        return !json[block][name].is_null();
    }
    let quoted = format!("\"{name}\"");
    code.lines().any(|line| {
        let mut words = line.trim().trim_end_matches('{').split_whitespace();
        words.next() == Some(block) && words.next().is_some_and(|w| w == quoted)
    })
}

/// Whether a file says where states are kept, in HCL or in JSON.
pub(crate) fn has_backend(code: &str) -> bool {
    if let Ok(json) = serde_json::from_str::<Value>(code) {
        return !json["terraform"]["backend"].is_null() || !json["terraform"]["cloud"].is_null();
    }
    code.lines().any(|line| {
        let line = line.trim();
        line.starts_with("backend \"") || line == "cloud {"
    })
}

fn hash(files: &Files) -> String {
    let mut hasher = Sha256::new();
    for (path, content) in files {
        for part in [path.to_string_lossy().as_bytes(), content.as_slice()] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
    }
    hasher.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write(files: &Files, directory: &Path) -> Result<(), TerraformError> {
    for (within, content) in files {
        let path = directory.join(within);
        let parent = path.parent().unwrap_or(directory);
        fs::create_dir_all(parent).map_err(TerraformError::file("make", parent))?;
        fs::write(&path, content).map_err(TerraformError::file("write", &path))?;
    }
    Ok(())
}

/// Copies a prepared module; the links to providers in the plugin cache stay links.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), TerraformError> {
    fs::create_dir_all(to).map_err(TerraformError::file("make", to))?;
    for entry in fs::read_dir(from).map_err(TerraformError::file("read", from))? {
        let entry = entry.map_err(TerraformError::file("read", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(TerraformError::file("read", &source))?;
        if kind.is_dir() {
            copy(&source, &target)?;
        } else if kind.is_symlink() {
            fs::read_link(&source)
                .and_then(|link| std::os::unix::fs::symlink(link, &target))
                .map_err(TerraformError::file("write", &target))?;
        } else {
            fs::copy(&source, &target).map_err(TerraformError::file("write", &target))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_found_in_both_spellings() {
        let check = |code: &str, found: bool| {
            assert_eq!(declares(code, "variable", "vm_id"), found, "{code}");
        };
        check("variable \"vm_id\" {", true);
        check("  variable \"vm_id\" { type = string }", true);
        check("variable \"vm_id\" {}", true);
        check("# variable \"vm_id\" {", false);
        check("variable \"vm_ids\" {", false);
        check(r#"{"variable":{"vm_id":{"type":"string"}}}"#, true);
        check(r#"{"variable":{"other":{}}}"#, false);
    }

    #[test]
    fn a_module_that_breaks_the_contract_is_refused_with_the_way_out() {
        let check = |code: &str, says: &str| {
            let directory = tempfile::tempdir().expect("a directory");
            fs::write(directory.path().join("main.tf"), code).expect("written");
            let module = Module::new(directory.path().to_owned(), "/x".into(), Duration::ZERO);
            let files = module.read().expect("read");
            let error = module.check(&files).expect_err("refused").to_string();
            assert!(error.contains(says), "{error}");
        };
        let variables = "variable \"session_id\" {}\nvariable \"deployment_id\" {}\n\
                         variable \"vm_id\" {}\n";
        let outputs = "output \"vm_id\" {}\noutput \"vm_name\" {}\noutput \"vm_ip\" {}\n";
        check("", "session_id");
        check(variables, "no output \"vm_id\"");
        check(&format!("{variables}{outputs}  backend \"s3\" {{"), "backend");
    }

    #[test]
    fn the_shipped_modules_take_the_same_variables() {
        let bpg = include_str!("../modules/proxmox-bpg/variables.tf");
        assert_eq!(bpg, include_str!("../modules/proxmox-telmate/variables.tf"));
        assert_eq!(bpg, include_str!("../modules/proxmox-curl/variables.tf"));
    }

    #[test]
    fn the_hash_tells_files_apart() {
        let files = |list: &[(&str, &str)]| {
            hash(&list.iter().map(|(p, c)| (p.into(), c.as_bytes().to_vec())).collect())
        };
        assert_ne!(files(&[("a", "bc")]), files(&[("ab", "c")]));
        assert_ne!(files(&[("a", "b")]), files(&[("a", "c")]));
        assert_eq!(files(&[("a", "b")]), files(&[("a", "b")]));
    }
}
