//! Exit codes, documented in `daas --help`: scripts branch on them.

use std::fmt;
use std::process::ExitCode;

/// Why the program ended without success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// Whoever read our answer has gone, as `head` does: no failure, but there is no use going on.
    Unread = 0,
    /// Something failed.
    Failed = 1,
    /// What was asked is wrong, as clap says too.
    Usage = 2,
    /// There is no such session or template.
    NotFound = 3,
    /// The key or the server's certificate was refused.
    Denied = 4,
    /// The server, or what it needs, cannot be reached.
    Unavailable = 5,
    /// A quota is used up.
    Exhausted = 6,
    /// The session's state does not allow it.
    Conflict = 7,
    /// A session was left behind and must be cleaned up by hand.
    LeftBehind = 8,
    /// Interrupted by the user; nothing was left behind.
    Interrupted = 130,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// A failure with its exit code and the way out.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Code::Failed, format!("{error:#}"))
    }
}

/// What a command answers.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;
