//! What can go wrong with a playbook, and what that means to the engine.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use daas_core::{Error, Kind, Operation};

/// A failure in configuring a guest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnsibleError {
    /// A setting cannot be meant.
    #[error("ansible.{what}: {why}")]
    Setting { what: String, why: String },
    /// The playbook does not exist.
    #[error("the playbook {} is not there; check ansible.profiles", path.display())]
    NoPlaybook { path: PathBuf },
    /// A program does not exist.
    #[error("{} is not there; {way_out}", program.display())]
    NoProgram { program: PathBuf, way_out: &'static str },
    /// Ansible is older than what the event plugin knows.
    #[error("{} is {found}; ansible-core 2.14 or later is needed", program.display())]
    TooOld { program: PathBuf, found: String },
    /// A program could not be started, or did not answer.
    #[error("{} could not be run: {why}", program.display())]
    NotStarted { program: PathBuf, why: String },
    /// The profile is not one we know.
    #[error("there is no profile {name:?}; there are: {known}")]
    NoProfile { name: String, known: String },
    /// The desktop's user would be its administrator.
    #[error("{user} is the administrator's account in the guest; choose another session_user")]
    Administrator { user: String },
    /// The guest has no address.
    #[error("the guest has no address to connect to")]
    NoAddress,
    /// The guest did not answer.
    #[error("no SSH answer at {at} within {} s: {why}", within.as_secs())]
    NoAnswer { at: String, within: Duration, why: String },
    /// The guest's host key is not the one seen first.
    #[error(
        "the guest at {at} shows host keys {shown}, but {pinned} was seen first: \
         another machine answers at its address"
    )]
    HostKey { at: String, shown: String, pinned: String },
    /// The guest refuses our key.
    #[error(
        "the guest at {at} refuses our key for {user}; put the public key of ansible.key_file \
         into the image: {why}"
    )]
    Refused { at: String, user: String, why: String },
    /// The connection broke, or never was.
    #[error("the guest at {at} cannot be reached: {why}")]
    Unreachable { at: String, why: String },
    /// A task failed. `passing` when the playbook says that it may do better later
    /// (`set_stats` of `daas_try_again`).
    #[error("task {task:?} failed: {why}")]
    Task { task: String, why: String, passing: bool },
    /// The playbook ended without a failed task, but not well.
    #[error("the playbook {playbook} did not run to its end ({exit}): {stderr}")]
    NotRun { playbook: String, exit: String, stderr: String, killed: bool },
    /// What is encrypted stays so.
    #[error("the vault stays closed: {why}; {way_out}")]
    Vault { why: String, way_out: &'static str, passing: bool },
    /// The playbook took too long.
    #[error(
        "the playbook {playbook} did not end within {} s (at {task:?}); \
         raise ansible.deadline, or mend what hangs",
        within.as_secs()
    )]
    Slow { playbook: String, task: String, within: Duration },
    /// The playbook does not take part in joining.
    #[error(
        "the playbook {playbook} does not say whether the guest is joined; let it take the role \
         ad_join, or set_stats daas_joined"
    )]
    JoinUnsaid { playbook: String },
    /// The playbook had all it needed, and did not join.
    #[error("the playbook {playbook} did not join the guest; check the tags in ansible.profiles")]
    NotJoined { playbook: String },
    /// A run directory cannot be used.
    #[error("the run directory {}: {source}", path.display())]
    RunDirectory { path: PathBuf, source: io::Error },
    /// Another run works on this guest.
    #[error("another process configures this guest; {} is locked", path.display())]
    Busy { path: PathBuf },
    /// The directory refused.
    #[error(transparent)]
    Directory(#[from] Error),
}

impl AnsibleError {
    /// Ansible's complaint about a vault in this text, if there is one: its line alone, as what a
    /// password command says beside it is for nobody's eyes.
    pub(crate) fn of_vault(text: &str) -> Option<Self> {
        const COMPLAINTS: [(&str, &str); 3] = [
            ("no vault secrets found", "set ansible.vault_password_file"),
            ("Decryption failed", "ansible.vault_password_file holds, or prints, another password"),
            ("vault password", "mend what ansible.vault_password_file names"),
        ];
        const BEFORE: [&str; 3] = ["[WARNING]: ", "[ERROR]: ", "ERROR! "];
        let complaint = |line: &str| {
            let small = line.to_lowercase();
            let found = |said: &str| small.contains(&said.to_lowercase());
            let (_, way_out) = COMPLAINTS.iter().find(|(said, _)| found(said))?;
            let line = line.trim_end_matches(['.', ' ']);
            let why = BEFORE.iter().find_map(|before| line.strip_prefix(before)).unwrap_or(line);
            // A program that asks another machine may do better later.
            let passing = found("vault password script");
            Some(Self::Vault { why: why.to_owned(), way_out, passing })
        };
        text.lines().rev().find_map(complaint)
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Setting { .. }
            | Self::NoPlaybook { .. }
            | Self::NoProgram { .. }
            | Self::TooOld { .. }
            | Self::NoProfile { .. }
            | Self::Administrator { .. }
            // A playbook tries again by itself what is worth it (`until`), or says so.
            | Self::Task { passing: false, .. }
            | Self::Vault { passing: false, .. }
            | Self::JoinUnsaid { .. }
            | Self::NotJoined { .. } => Kind::Invalid,
            Self::HostKey { .. } | Self::Refused { .. } => Kind::Denied,
            Self::NotRun { killed, .. } if !killed => Kind::Invalid,
            Self::RunDirectory { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Kind::Exhausted
            }
            Self::Task { passing: true, .. }
            | Self::Vault { passing: true, .. }
            | Self::NotStarted { .. }
            | Self::NoAddress
            | Self::NoAnswer { .. }
            | Self::Unreachable { .. }
            | Self::NotRun { .. }
            | Self::Slow { .. }
            | Self::RunDirectory { .. }
            | Self::Busy { .. } => Kind::Unavailable,
            Self::Directory(error) => error.kind(),
        }
    }

    pub(crate) fn while_doing(self, operation: Operation, subject: impl Display) -> Error {
        match self {
            Self::Directory(error) => error,
            other => Error::new(other.kind(), operation, subject, other.to_string()),
        }
    }
}
