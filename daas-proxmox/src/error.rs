//! What can go wrong with Proxmox, and what that means to the engine.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use daas_core::{Error, Kind, Operation};

/// A failure in speaking to Proxmox.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxmoxError {
    /// A setting is wrong.
    #[error("proxmox.{field} {why}")]
    Config { field: &'static str, why: String },
    /// A file named in the settings cannot be used.
    #[error("proxmox.{field}: cannot read {}", path.display())]
    File { field: &'static str, path: PathBuf, source: std::io::Error },
    /// The server's certificate is not trusted.
    #[error("{url} is not trusted: {why}; check proxmox.ca_file or proxmox.fingerprint")]
    Untrusted { url: String, why: String },
    /// No connection could be made: nothing was done.
    #[error("cannot reach {url}; check proxmox.url")]
    Unreachable { url: String, source: reqwest::Error },
    /// The connection was lost, or no answer came: whether it was done is unknown.
    #[error("{method} {path}: no answer; whether it was done is unknown")]
    NoAnswer { method: String, path: String, source: reqwest::Error },
    /// One node could not reach another (595 to 599): whether it was done is unknown.
    #[error("{method} {path}: {status} {message}; whether it was done is unknown")]
    Proxy { method: String, path: String, status: u16, message: String },
    /// The credentials were refused.
    #[error("{what} refused (401): {message}; check proxmox.{field}")]
    Refused { what: &'static str, field: &'static str, message: String },
    /// The account has two factors; a machine cannot answer the second.
    #[error("user {user} needs a second factor; use an API token")]
    SecondFactor { user: String },
    /// Somebody who signs in has two factors, and only the password can be passed on.
    #[error(
        "{user} has a second factor at Proxmox VE, which cannot be given here; let them sign in by \
         another source, or without it"
    )]
    SecondFactorThere { user: String },
    /// A permission is missing.
    #[error("{message}; give the account that permission on that path")]
    Forbidden { message: String },
    /// Parameters were refused.
    #[error("{method} {path}: {message} {errors:?}")]
    Parameters { method: String, path: String, message: String, errors: BTreeMap<String, String> },
    /// Any other error that Proxmox tells.
    #[error("{method} {path}: {message}")]
    Said { method: String, path: String, status: u16, message: String },
    /// A task ended badly.
    #[error("task {kind} failed: {exit}")]
    Task { kind: String, exit: String },
    /// A task is not known to have ended.
    #[error("task {kind} cannot be followed: {why}")]
    TaskLost { kind: String, why: String },
    /// The answer makes no sense.
    #[error("{path}: the answer is not what Proxmox VE answers: {why}")]
    Shape { path: String, why: String },
    /// The machine id is somebody else's.
    #[error("machine {vmid} is somebody else's ({why})")]
    Foreign { vmid: u32, why: String },
    /// The machine was there and is no longer.
    #[error("machine {vmid} is no longer there")]
    Vanished { vmid: u32 },
    /// The machine has no power, so nothing is on its screen.
    #[error("machine {vmid} has no power; start it first")]
    NoPower { vmid: u32 },
    /// The console does not open.
    #[error("the console does not open: {why}")]
    NoConsole { why: String },
    /// The machine is on the list of protected ones.
    #[error("machine {vmid} is protected: it is listed in proxmox.protected")]
    Protected { vmid: u32 },
    /// The machine stays locked.
    #[error("machine {vmid} has been locked ({lock}) for {} s; end it with `qm unlock {vmid}`", since.as_secs())]
    Locked { vmid: u32, lock: String, since: Duration },
    /// There is no such template.
    #[error("there is no template {source_name:?} that this account can see; there are: {known}")]
    NoTemplate { source_name: String, known: String },
    /// The template has no guest agent, and an address is needed.
    #[error(
        "its template has no guest agent configured, so no address can be learnt; \
         set `agent: 1` on it, or address_from = \"none\" for a console-only desktop"
    )]
    NoAgent,
    /// No place has room.
    #[error("{0}")]
    NoRoom(String),
}

/// What a text of Proxmox means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The id is taken.
    Taken,
    /// A lock could not be had in time: try again.
    LockTimeout,
    /// The machine is locked by another task.
    Locked,
    /// No space is left.
    NoSpace,
    /// What was named does not exist.
    Missing,
    /// The machine is protected by its own option.
    Protected,
    /// It is as wished already.
    AlreadySo,
    /// Nothing known.
    Other,
}

/// Reads a message of Proxmox. The texts are those of its sources (`PVE/AbstractConfig.pm`,
/// `PVE/QemuServer.pm`, `PVE/Storage`); they are all it gives beside the status 500.
pub(crate) fn meaning(text: &str) -> Meaning {
    let any = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
    if any(&["got timeout", "got lock request timeout", "locked command timed out"]) {
        Meaning::LockTimeout
    } else if any(&["already exists", "config file already exists", "File exists"]) {
        Meaning::Taken
    } else if any(&["VM is locked", "is locked ("]) {
        Meaning::Locked
    } else if any(&[
        "no space",
        "not enough space",
        "out of space",
        "No space left",
        "insufficient free space",
    ]) {
        Meaning::NoSpace
    } else if any(&["protection mode enabled"]) {
        Meaning::Protected
    } else if any(&["does not exist", "no such resource"]) {
        Meaning::Missing
    } else if any(&["already running", "not running"]) {
        Meaning::AlreadySo
    } else {
        Meaning::Other
    }
}

impl ProxmoxError {
    /// Whether the work may have been done though no good answer came.
    pub(crate) fn outcome_unknown(&self) -> bool {
        matches!(self, Self::NoAnswer { .. } | Self::Proxy { .. } | Self::TaskLost { .. })
    }

    /// What Proxmox's own words mean, if it said any.
    pub(crate) fn meaning(&self) -> Meaning {
        match self {
            Self::Said { message, .. } => meaning(message),
            Self::Task { exit, .. } => meaning(exit),
            Self::Parameters { message, errors, .. } => {
                let all = errors.values().chain(std::iter::once(message));
                all.map(|m| meaning(m)).find(|m| *m != Meaning::Other).unwrap_or(Meaning::Other)
            }
            _ => Meaning::Other,
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Config { .. } | Self::File { .. } | Self::NoTemplate { .. } | Self::NoAgent => {
                Kind::Invalid
            }
            Self::Untrusted { .. }
            | Self::Refused { .. }
            | Self::SecondFactor { .. }
            | Self::Forbidden { .. }
            | Self::Protected { .. } => Kind::Denied,
            Self::Unreachable { .. }
            | Self::NoAnswer { .. }
            | Self::Proxy { .. }
            | Self::TaskLost { .. }
            | Self::NoConsole { .. }
            | Self::Locked { .. } => Kind::Unavailable,
            Self::SecondFactorThere { .. } => Kind::Unsupported,
            Self::NoRoom(_) => Kind::Exhausted,
            Self::Foreign { .. } | Self::NoPower { .. } => Kind::Conflict,
            Self::Vanished { .. } => Kind::NotFound,
            Self::Shape { .. } => Kind::Internal,
            Self::Parameters { .. } | Self::Said { .. } | Self::Task { .. } => {
                match self.meaning() {
                    Meaning::Taken => Kind::Conflict,
                    Meaning::NoSpace => Kind::Exhausted,
                    Meaning::Missing => Kind::NotFound,
                    Meaning::Protected => Kind::Denied,
                    Meaning::Other if matches!(self, Self::Parameters { .. }) => Kind::Invalid,
                    _ => Kind::Unavailable,
                }
            }
        }
    }

    /// The engine's error for it.
    pub(crate) fn while_doing(self, operation: Operation, subject: impl Display) -> Error {
        let kind = self.kind();
        let mut message = self.to_string();
        // What caused it is told after it; our own type stays private.
        let mut cause = std::error::Error::source(&self);
        while let Some(error) = cause {
            message.push_str(": ");
            message.push_str(&error.to_string());
            cause = error.source();
        }
        Error::new(kind, operation, subject, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_proxmox_are_understood() {
        let check = |text: &str, wished: Meaning| assert_eq!(meaning(text), wished, "{text}");
        check(
            "can't lock file '/var/lock/qemu-server/lock-133.conf' - got timeout",
            Meaning::LockTimeout,
        );
        check("cfs-lock 'storage-x' error: got lock request timeout", Meaning::LockTimeout);
        check("'storage-x'-locked command timed out - aborting", Meaning::LockTimeout);
        check("unable to create VM 107: config file already exists", Meaning::Taken);
        check("unable to create VM 106 - VM 106 already exists on node 'pve'", Meaning::Taken);
        check("VM is locked (backup)", Meaning::Locked);
        check(
            "Configuration file 'nodes/pve/qemu-server/101.conf' does not exist",
            Meaning::Missing,
        );
        check("can't remove VM 100 - protection mode enabled", Meaning::Protected);
        check("VM 100 already running", Meaning::AlreadySo);
        check("VM quit/powerdown failed", Meaning::Other);
    }
}
