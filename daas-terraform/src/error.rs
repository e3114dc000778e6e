//! What can go wrong with Terraform, and what that means to the engine.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use daas_core::{Error, Kind, Operation};

/// A failure in making or removing a machine by Terraform.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TerraformError {
    /// A setting is wrong.
    #[error("terraform.{field} {why}")]
    Config { field: &'static str, why: String },
    /// A file cannot be used.
    #[error("cannot {doing} {}", path.display())]
    File { doing: &'static str, path: PathBuf, source: io::Error },
    /// The program is not there.
    #[error(
        "cannot start {}; install it, or name its path in terraform.program",
        program.display()
    )]
    Missing { program: PathBuf, source: io::Error },
    /// The program is of before 1.0, or is no Terraform.
    #[error("{} {why}; install terraform or tofu 1.0 or later", program.display())]
    NotTerraform { program: PathBuf, why: String },
    /// The module cannot be used.
    #[error("module {}: {why}", path.display())]
    Module { path: PathBuf, why: String },
    /// The program said what is wrong.
    #[error("{program} {command} failed: {why}{}", way_out(*kind))]
    Failed { program: String, command: String, kind: Kind, why: String },
    /// It took too long.
    #[error(
        "{command} was ended after {} s; look into {}, and raise terraform.deadline if it was \
         only slow",
        after.as_secs_f32(),
        log.display()
    )]
    Deadline { command: String, after: Duration, log: PathBuf },
    /// It was ended because the desktop is no longer wanted.
    #[error("{command} was ended: the machine is no longer wanted")]
    Cancelled { command: String },
    /// Another orchestrator works in this directory.
    #[error(
        "{} is in use by another orchestrator; give each its own terraform.directory",
        directory.display()
    )]
    Elsewhere { directory: PathBuf },
    /// Processes of an earlier run do not end.
    #[error("{} is held by processes that do not end ({by}); end them", directory.display())]
    Held { directory: PathBuf, by: String },
    /// An answer makes no sense.
    #[error("{command}: {why}")]
    Shape { command: String, why: String },
    /// The machine id is somebody else's.
    #[error("its machine id is somebody else's ({0})")]
    Foreign(String),
    /// The machine was there and is no longer.
    #[error("machine {0} is no longer there")]
    Vanished(String),
    /// Terraform says that it is made, but the platform does not see our mark.
    #[error(
        "terraform has made it, but machine {0} bears no mark of ours; the module must write \
         \"daas-mark: <deployment_id> <session_id> <vm_id>\" into its description"
    )]
    Unmarked(String),
    /// A change of power would replace the machine.
    #[error("the module would {action} {address} to change its power; that is refused")]
    Replaces { action: String, address: String },
    /// The state is not empty after a destroy.
    #[error("terraform has destroyed, but its state in {} still holds {left}", directory.display())]
    StateLeft { directory: PathBuf, left: String },
    /// The state of a machine that was made cannot be read.
    #[error(
        "the state {} {why}; put back terraform.tfstate.backup from beside it, or remove the \
         machine by hand and then its run directory",
        path.display()
    )]
    StateBroken { path: PathBuf, why: String },
    /// Another orchestrator holds the state, or died while it did.
    #[error(
        "the state is locked by another run (lock {id}); once that has ended for certain, end its \
         lock by \"terraform force-unlock {id}\" in {}",
        directory.display()
    )]
    LockedElsewhere { id: String, directory: PathBuf },
    /// A signal ended it.
    #[error("{command} was killed by signal {signal}")]
    Killed { command: String, signal: i32 },
    /// The module takes no notice of the power that is asked for.
    #[error("the module changes nothing for another power, and no platform is named that could")]
    Powerless,
    /// No id is left.
    #[error("every machine id from {first} to {last} is in use; widen terraform.ids")]
    NoId { first: u32, last: u32 },
    /// It cannot be told what is there.
    #[error("{0}")]
    Doubt(String),
    /// What the platform said.
    #[error("{}", .0.message())]
    Platform(Error),
}

fn way_out(kind: Kind) -> &'static str {
    match kind {
        Kind::Exhausted => "; free some room",
        Kind::Denied => "; check the provider's credentials",
        _ => "",
    }
}

impl TerraformError {
    /// The error for a file that cannot be used.
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { doing, path, source }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Config { .. }
            | Self::Module { .. }
            | Self::Missing { .. }
            | Self::NotTerraform { .. }
            | Self::Unmarked(_)
            | Self::Replaces { .. } => Kind::Invalid,
            Self::File { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::Exhausted,
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Kind::Denied,
                _ => Kind::Unavailable,
            },
            Self::Failed { kind, .. } => *kind,
            Self::Deadline { .. }
            | Self::Cancelled { .. }
            | Self::Held { .. }
            | Self::StateLeft { .. }
            | Self::StateBroken { .. }
            | Self::LockedElsewhere { .. }
            | Self::Killed { .. }
            | Self::Doubt(_) => Kind::Unavailable,
            Self::Powerless => Kind::Unsupported,
            Self::Elsewhere { .. } | Self::Foreign(_) => Kind::Conflict,
            Self::Shape { .. } => Kind::Internal,
            Self::Vanished(_) => Kind::NotFound,
            Self::NoId { .. } => Kind::Exhausted,
            Self::Platform(error) => error.kind(),
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
