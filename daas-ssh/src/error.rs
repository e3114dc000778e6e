//! What can go wrong with a guest, and what that means to the engine.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use daas_core::{Error, Kind, Operation};

use crate::script::HOPELESS;

/// A failure in configuring a guest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SshError {
    /// The key file cannot be used.
    #[error("key_file {}: {why}", path.display())]
    Key { path: PathBuf, why: String },
    /// The profile is not one we know.
    #[error("there is no profile {name:?}; there are: {known}")]
    NoProfile { name: String, known: String },
    /// A step of a profile cannot be meant.
    #[error("profile {profile}, step {step}: {why}")]
    BadStep { profile: String, step: String, why: String },
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
        "the guest at {at} shows host key {shown}, but {pinned} was seen first: \
         another machine answers at its address"
    )]
    HostKey { at: String, shown: String, pinned: String },
    /// The guest refuses our key.
    #[error(
        "the guest at {at} refuses our key for {user}; check that the image runs cloud-init, or \
         put the public key of ssh.key_file into it"
    )]
    Refused { at: String, user: String },
    /// The connection broke.
    #[error("the connection to {at} broke: {why}")]
    Broken { at: String, why: String },
    /// A step took too long.
    #[error("step {step} took longer than {} s", within.as_secs())]
    Slow { step: String, within: Duration },
    /// A step failed.
    #[error("step {step} failed (exit {exit}): {stderr}")]
    Step { step: String, exit: u32, stderr: String },
    /// The guest's answers make no sense.
    #[error(
        "the guest's shell did not run the configuration to its end ({}): {stderr}",
        exit.map_or_else(|| "no exit status".to_owned(), |exit| format!("exit {exit}"))
    )]
    NotRun { exit: Option<u32>, stderr: String },
}

impl SshError {
    fn kind(&self) -> Kind {
        match self {
            Self::Key { .. }
            | Self::NoProfile { .. }
            | Self::BadStep { .. }
            | Self::Administrator { .. } => Kind::Invalid,
            Self::HostKey { .. } | Self::Refused { .. } => Kind::Denied,
            Self::NoAddress
            | Self::NoAnswer { .. }
            | Self::Broken { .. }
            | Self::Slow { .. }
            | Self::NotRun { .. } => Kind::Unavailable,
            // A package that nobody has will not appear by trying again.
            Self::Step { stderr, .. } if stderr.contains("Unable to locate package") => {
                Kind::Invalid
            }
            Self::Step { exit, .. } if *exit == HOPELESS => Kind::Invalid,
            Self::Step { .. } => Kind::Unavailable,
        }
    }

    pub(crate) fn while_doing(self, operation: Operation, subject: impl Display) -> Error {
        Error::new(self.kind(), operation, subject, self.to_string())
    }
}
