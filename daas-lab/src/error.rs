//! What can go wrong while making or clearing a lab.

use std::io;
use std::time::Duration;

use crate::tools::Missing;

/// Why the lab did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The machine lacks what real guests need.
    #[error("{0}")]
    Missing(#[from] Missing),
    /// A system call or a file refused.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// The reason.
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("{doing}: {status}: {stderr}")]
    Failed {
        /// What was being done.
        doing: String,
        /// Its exit status in words.
        status: String,
        /// The end of what it wrote to standard error.
        stderr: String,
    },
    /// Something did not happen in time.
    #[error("{doing}: not done after {after:?}")]
    Deadline {
        /// What was being done.
        doing: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// A value that must not reach a guest.
    #[error("{what} {value:?} is not allowed: {wanted}")]
    Invalid {
        /// The kind of value.
        what: &'static str,
        /// The value; never a secret.
        value: String,
        /// What is allowed.
        wanted: &'static str,
    },
    /// There is no template of that name.
    #[error("no template {0:?}; `daas-lab templates` lists them")]
    NoTemplate(String),
    /// The lab was cleared and something is there still.
    #[error("left behind: {}", .0.join("; "))]
    Left(Vec<String>),
}

impl LabError {
    /// For `map_err`: an I/O error with what was being done.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> LabError {
        let doing = doing.into();
        move |source| LabError::Io { doing, source }
    }

    /// The same from rustix.
    pub(crate) fn sys(doing: impl Into<String>) -> impl FnOnce(rustix::io::Errno) -> LabError {
        let doing = doing.into();
        move |source| LabError::Io { doing, source: source.into() }
    }
}

impl From<LabError> for io::Error {
    fn from(error: LabError) -> Self {
        io::Error::other(error)
    }
}
