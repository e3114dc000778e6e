//! One error for the whole library: what kind it is decides what is done about it.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What sort of failure it is. The engine's [`Recovery`] and the HTTP status follow from it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// What was named does not exist.
    NotFound,
    /// Somebody else changed it, holds it, or owns it.
    Conflict,
    /// The input or the configuration is wrong; trying again changes nothing.
    Invalid,
    /// Not allowed: credentials or permissions.
    Denied,
    /// No room: a quota, a brake, a full storage.
    Exhausted,
    /// Away, slow or cut off; whether the work was done may be unknown.
    Unavailable,
    /// This backend cannot do it.
    Unsupported,
    /// A bug of ours or an answer that makes no sense.
    Internal,
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Try again later, with back-off.
    Retry,
    /// Read the state anew, then decide.
    Reread,
    /// Trying again cannot help.
    Fail,
}

impl Kind {
    /// What the engine does about a failure of this kind.
    ///
    /// `Denied` and `Exhausted` are retried: an administrator mends a token or frees room while the
    /// session waits, and its reason says what it waits for.
    pub fn recovery(self) -> Recovery {
        match self {
            Self::Unavailable | Self::Exhausted | Self::Denied | Self::Internal => Recovery::Retry,
            Self::Conflict | Self::NotFound => Recovery::Reread,
            Self::Invalid | Self::Unsupported => Recovery::Fail,
        }
    }

    /// The HTTP status that tells it.
    pub fn http_status(self) -> u16 {
        match self {
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::Invalid => 400,
            Self::Denied => 403,
            Self::Exhausted => 429,
            Self::Unavailable => 503,
            Self::Unsupported => 501,
            Self::Internal => 500,
        }
    }

    /// The name used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Invalid => "invalid",
            Self::Denied => "denied",
            Self::Exhausted => "exhausted",
            Self::Unavailable => "unavailable",
            Self::Unsupported => "unsupported",
            Self::Internal => "internal",
        }
    }
}

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Checking input or configuration.
    Check,
    /// Asking for a session or changing what was asked.
    Request,
    /// Choosing a machine id and a place.
    Reserve,
    /// Making a machine be there.
    Ensure,
    /// Looking at a machine.
    Observe,
    /// Destroying a machine.
    Destroy,
    /// Listing our machines.
    List,
    /// Configuring a guest.
    Configure,
    /// Undoing a side effect.
    Retract,
    /// Reading or writing the store.
    Store,
    /// Starting up.
    Start,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Check => "check",
            Self::Request => "request",
            Self::Reserve => "reserve",
            Self::Ensure => "create",
            Self::Observe => "observe",
            Self::Destroy => "destroy",
            Self::List => "list machines",
            Self::Configure => "configure",
            Self::Retract => "retract",
            Self::Store => "store",
            Self::Start => "start",
        })
    }
}

/// A failure: `operation subject: message`, its cause in [`StdError::source`] and never repeated.
#[derive(Debug, Clone)]
pub struct Error {
    kind: Kind,
    operation: Operation,
    subject: String,
    message: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A failure of `kind` while doing `operation` on `subject`; `message` names the way out.
    pub fn new(
        kind: Kind,
        operation: Operation,
        subject: impl fmt::Display,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            operation,
            subject: subject.to_string(),
            message: message.into(),
            source: None,
        }
    }

    /// A wrong input: `field` is the field's name, shown to the caller.
    pub fn invalid(operation: Operation, field: impl fmt::Display, why: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, operation, field, why)
    }

    /// The same failure with its cause.
    #[must_use]
    pub fn because(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What was being done.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// What it was done to: a session, a field, a file.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// What went wrong, and the way out.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    pub fn recovery(&self) -> Recovery {
        self.kind.recovery()
    }

    /// The message and its causes on one line, for logs, reasons and the command line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.operation, self.subject, self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|s| s.as_ref() as &(dyn StdError + 'static))
    }
}

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_the_thing_and_never_repeats_the_cause() {
        let cause = std::io::Error::other("connection refused");
        let error = Error::new(
            Kind::Unavailable,
            Operation::Destroy,
            "desktop-7f3k2mq",
            "cannot reach https://pve:8006; check proxmox.url",
        )
        .because(cause);
        assert_eq!(
            error.to_string(),
            "destroy desktop-7f3k2mq: cannot reach https://pve:8006; check proxmox.url"
        );
        assert!(error.chain().ends_with(": connection refused"));
    }
}
