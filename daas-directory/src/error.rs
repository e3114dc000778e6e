//! What can go wrong with a directory, and what that means to the engine.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use daas_core::{Error, Kind, Operation};
use ldap3::{LdapError, LdapResult};

/// Result codes of RFC 4511, appendix A.
pub(crate) mod code {
    pub(crate) const SUCCESS: u32 = 0;
    pub(crate) const REFERRAL: u32 = 10;
    pub(crate) const NO_SUCH_OBJECT: u32 = 32;
    pub(crate) const INVALID_CREDENTIALS: u32 = 49;
    pub(crate) const INSUFFICIENT_RIGHTS: u32 = 50;
    pub(crate) const ALREADY_EXISTS: u32 = 68;
    /// Time limit, administrative limit, busy, unavailable: later it may go.
    pub(crate) const LATER: [u32; 4] = [3, 11, 51, 52];
}

/// A failure in speaking to the directory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DirectoryError {
    /// A setting is wrong.
    #[error("directory.{field} {why}")]
    Config { field: &'static str, why: String },
    /// A file named in the settings cannot be used.
    #[error("directory.{field}: cannot read {}", path.display())]
    File { field: &'static str, path: PathBuf, source: std::io::Error },
    /// No connection could be made: nothing was done.
    #[error("cannot reach {server}; check directory.servers and that port 636 is open")]
    Unreachable { server: String, source: Box<LdapError> },
    /// The server did not let us in in time: nothing was done.
    #[error("{server} does not answer within {after:?}; check that it runs")]
    Silent { server: String, after: Duration },
    /// The server's certificate is not trusted.
    #[error(
        "{server} is not trusted: {why}; check directory.ca_file and that the certificate names \
         this host (subjectAltName)"
    )]
    Untrusted { server: String, why: String },
    /// Of several servers none let us in.
    #[error("no server lets us in: {tried}")]
    NoServer { tried: String },
    /// The account we bind as was refused.
    #[error(
        "{server} refuses {user} (49): {why}; check directory.bind_user and \
         directory.bind_password_file"
    )]
    Refused { server: String, user: String, why: &'static str },
    /// It was refused lately, and asking on would lock it.
    #[error(
        "{user} was refused (49) {ago:?} ago and is not tried again for {pause:?}, lest it is \
         locked; put another password into directory.bind_password_file"
    )]
    Held { user: String, ago: Duration, pause: Duration },
    /// A right is missing.
    #[error(
        "{server} does not let {user} {doing} {name} (50); delegate the \
         computers of directory.ou to it"
    )]
    Forbidden { server: String, user: String, doing: &'static str, name: String },
    /// The unit is not there.
    #[error("{ou} does not exist or cannot be seen (32); check directory.ou")]
    NoUnit { ou: String },
    /// Somebody else has the name.
    #[error("{name} is not ours and is left alone; rename or remove it")]
    Taken { name: String },
    /// An account without our mark is not touched.
    #[error(
        "{name} does not bear our mark and is left alone; remove it by hand if it is not needed"
    )]
    Unmarked { name: String },
    /// The connection was lost or no answer came: whether it was done is unknown.
    #[error("{doing} on {server}: no answer; whether it was done is unknown")]
    NoAnswer { server: String, doing: &'static str, source: Option<Box<LdapError>> },
    /// Removed, and there still.
    #[error("{name} is there still on {server} after it was removed")]
    Stays { server: String, name: String },
    /// Any other refusal.
    #[error("{doing} on {server}: refused ({rc}): {text}")]
    Rejected { server: String, doing: &'static str, rc: u32, text: String },
    /// The answer makes no sense.
    #[error("{doing} on {server}: the answer is not what a directory answers: {why}")]
    Shape { server: String, doing: &'static str, why: String },
}

impl DirectoryError {
    /// What a bind was refused with. Active Directory says why in its text, `data 52e`
    /// (Microsoft: "LDAP bind error codes"); Samba does the same.
    pub(crate) fn refused(server: &str, user: &str, text: &str) -> Self {
        let data = text.split("data ").nth(1).and_then(|rest| rest.split([',', ' ']).next());
        let why = match data.unwrap_or_default() {
            "525" => "there is no such user",
            "530" | "531" => "it may not sign in now or from here",
            "532" | "773" => "its password has expired or must be changed",
            "533" => "it is disabled",
            "701" => "it has expired",
            "775" => "it is locked",
            _ => "wrong user or password",
        };
        Self::Refused { server: server.to_owned(), user: user.to_owned(), why }
    }

    /// What a result that is not success means; `name` is what it was done to.
    pub(crate) fn said(
        server: &str,
        user: &str,
        doing: &'static str,
        name: &str,
        result: &LdapResult,
    ) -> Self {
        let server = server.to_owned();
        match result.rc {
            code::INSUFFICIENT_RIGHTS => {
                Self::Forbidden { server, user: user.to_owned(), doing, name: name.to_owned() }
            }
            code::INVALID_CREDENTIALS => Self::refused(&server, user, &result.text),
            code::REFERRAL => Self::Config {
                field: "ou",
                why: format!("is in another domain than {server} serves ({name})"),
            },
            rc => Self::Rejected { server, doing, rc, text: shown(&result.text) },
        }
    }

    /// Whether another server may fare better.
    pub(crate) fn is_the_servers(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Silent { .. }
                | Self::Untrusted { .. }
                | Self::NoAnswer { .. }
                | Self::Shape { .. }
        ) || matches!(self, Self::Rejected { rc, .. } if code::LATER.contains(rc))
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Config { .. } | Self::File { .. } | Self::NoUnit { .. } => Kind::Invalid,
            Self::Untrusted { .. }
            | Self::Refused { .. }
            | Self::Held { .. }
            | Self::Forbidden { .. }
            | Self::Unmarked { .. } => Kind::Denied,
            Self::Taken { .. } => Kind::Conflict,
            Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::NoServer { .. }
            | Self::NoAnswer { .. }
            | Self::Stays { .. } => Kind::Unavailable,
            Self::Rejected { rc, .. } if code::LATER.contains(rc) => Kind::Unavailable,
            Self::Rejected { .. } | Self::Shape { .. } => Kind::Internal,
        }
    }

    /// The message with its causes; our own type stays private.
    pub(crate) fn chain(&self) -> String {
        let mut message = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let text = error.to_string();
            // ldap3 repeats the cause of an I/O error in its own text.
            if !message.ends_with(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            cause = error.source();
        }
        message
    }

    /// The engine's error for it.
    pub(crate) fn while_doing(self, operation: Operation, subject: impl Display) -> Error {
        Error::new(self.kind(), operation, subject, self.chain())
    }
}

/// A server's own words, within bounds and on one line.
fn shown(text: &str) -> String {
    text.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_bind_says_why() {
        let check = |text: &str, wished: &str| {
            let error = DirectoryError::refused("ldaps://dc1", "svc@lab.test", text);
            assert!(error.to_string().contains(wished), "{text}: {error}");
        };
        let active =
            "80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data ";
        check(&format!("{active}52e, v4563"), "wrong user or password");
        check(&format!("{active}533, v4563"), "disabled");
        check(&format!("{active}775, v4563"), "locked");
        check(&format!("{active}773, v4563"), "must be changed");
        check("", "wrong user or password");
    }

    #[test]
    fn words_of_a_server_are_bounded_and_on_one_line() {
        assert_eq!(shown("a\nb\0"), "a b ");
        assert_eq!(shown(&"x".repeat(5000)).len(), 300);
    }
}
