//! How a connection ends, told to the client as a WebSocket's close code (RFC 6455, 7.4): a page
//! has words for each, in its user's language, and knows which are worth another try.

use axum::extract::ws::{CloseFrame, Utf8Bytes};
use daas_core::Kind;

/// The longest reason of a close frame, in bytes (RFC 6455, 5.5).
const REASON_BYTES_MAX: usize = 123;

/// Why a connection ended, or never was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The client went.
    Left,
    /// The server stops.
    Stopping,
    /// The ticket is not known: it was used, its time is over, or it is for something else.
    Ticket,
    /// The ticket is somebody else's.
    NotYours,
    /// The desktop is on its way out, or gone.
    Gone,
    /// The screen ended the connection: the machine restarts, or lost its power.
    Screen,
    /// An operator ended it.
    ByOperator,
    /// The sign-in it was opened with has ended.
    SignedOut,
    /// Nobody touched anything.
    Idle,
    /// It lasted as long as it may.
    Lifetime,
    /// The desktop has no screen now.
    NotReady(String),
    /// The hypervisor does not answer.
    Away(String),
    /// As many as may be are open.
    Full(String),
    /// The client took nothing, or gave no sign of life.
    Lost,
    /// The client says what it must not.
    Protocol(&'static str),
}

impl Ended {
    /// The close code. 4,000 and above are our own.
    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::Left => 1000,
            Self::Stopping => 1001,
            Self::Protocol(_) => 1002,
            Self::Ticket => 4001,
            Self::NotYours => 4003,
            Self::Gone => 4004,
            Self::Screen => 4005,
            Self::ByOperator => 4006,
            Self::Idle => 4007,
            Self::Lifetime => 4008,
            Self::NotReady(_) => 4009,
            Self::Away(_) => 4010,
            Self::SignedOut => 4011,
            Self::Lost => 4012,
            Self::Full(_) => 4029,
        }
    }

    /// In a word, for logs, metrics and programs.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Stopping => "stopping",
            Self::Protocol(_) => "protocol",
            Self::Ticket => "ticket",
            Self::NotYours => "not_yours",
            Self::Gone => "gone",
            Self::Screen => "screen",
            Self::ByOperator => "by_operator",
            Self::Idle => "idle",
            Self::Lifetime => "lifetime",
            Self::NotReady(_) => "not_ready",
            Self::Away(_) => "away",
            Self::SignedOut => "signed_out",
            Self::Lost => "lost",
            Self::Full(_) => "full",
        }
    }

    /// For a program's user.
    fn reason(&self) -> &str {
        match self {
            Self::Left => "",
            Self::Stopping => "the server stops; connect again",
            Self::Protocol(why) => why,
            Self::Ticket => "the ticket was used, is too old or is for something else; ask anew",
            Self::NotYours => "the ticket is somebody else's",
            Self::Gone => "the desktop has ended",
            Self::Screen => "the screen went away; the machine may be restarting",
            Self::ByOperator => "an operator ended the connection",
            Self::Idle => "nobody touched it for long",
            Self::Lifetime => "it lasted as long as a connection may; connect again",
            Self::NotReady(why) | Self::Away(why) => why,
            Self::SignedOut => "you have signed out",
            Self::Lost => "the client gave no sign of life",
            Self::Full(why) => why,
        }
    }

    pub(crate) fn frame(&self) -> CloseFrame {
        CloseFrame { code: self.code(), reason: Utf8Bytes::from(cut(self.reason())) }
    }
}

impl From<daas_core::Error> for Ended {
    fn from(error: daas_core::Error) -> Self {
        match error.kind() {
            Kind::NotFound => Self::Gone,
            Kind::Conflict | Kind::Unsupported | Kind::Invalid => {
                Self::NotReady(error.message().to_owned())
            }
            _ => {
                tracing::warn!(error = error.chain(), "a screen cannot be opened");
                Self::Away("the screen cannot be opened now; try again".to_owned())
            }
        }
    }
}

/// As much of `text` as a close frame holds.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(REASON_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_fits_its_frame() {
        assert_eq!(cut("short"), "short");
        let long = "é".repeat(100);
        assert_eq!(cut(&long).len(), 122, "no letter is cut in two");
    }
}
