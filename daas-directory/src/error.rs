//! What can go wrong with a directory, and what that means to the engine.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use daas_core::identity::Refusal;
use daas_core::{Error, Kind, Operation};
use ldap3::{LdapError, LdapResult};

/// Result codes of RFC 4511, appendix A.
pub(crate) mod code {
    pub(crate) const SUCCESS: u32 = 0;
    pub(crate) const REFERRAL: u32 = 10;
    pub(crate) const CONSTRAINT_VIOLATION: u32 = 19;
    pub(crate) const NO_SUCH_OBJECT: u32 = 32;
    pub(crate) const INAPPROPRIATE_AUTHENTICATION: u32 = 48;
    pub(crate) const INVALID_CREDENTIALS: u32 = 49;
    pub(crate) const INSUFFICIENT_RIGHTS: u32 = 50;
    pub(crate) const UNWILLING: u32 = 53;
    pub(crate) const ALREADY_EXISTS: u32 = 68;
    /// Time limit, administrative limit, busy, unavailable: later it may go.
    pub(crate) const LATER: [u32; 4] = [3, 11, 51, 52];
}

/// What the settings of a purpose are called, for messages that name the way out.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The table they are in.
    pub(crate) section: &'static str,
    /// The one that names the place in the directory.
    place: &'static str,
    /// What to do when a right is missing.
    right: &'static str,
}

/// Those of computer accounts.
pub(crate) static COMPUTERS: Settings = Settings {
    section: "directory",
    place: "ou",
    right: "delegate the computers of directory.ou to it",
};

/// Those of sign-in.
pub(crate) static USERS: Settings = Settings {
    section: "sign_in.directory",
    place: "base",
    right: "let it read the users and groups below sign_in.directory.base",
};

impl Settings {
    /// One of them is wrong.
    pub(crate) fn wrong(
        &'static self,
        field: &'static str,
        why: impl Into<String>,
    ) -> DirectoryError {
        DirectoryError::Config { of: self, field, why: why.into() }
    }
}

/// A failure in speaking to the directory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DirectoryError {
    /// A setting is wrong.
    #[error("{}.{field} {why}", of.section)]
    Config { of: &'static Settings, field: &'static str, why: String },
    /// A file named in the settings cannot be used.
    #[error("{}.{field}: cannot read {}", of.section, path.display())]
    File { of: &'static Settings, field: &'static str, path: PathBuf, source: std::io::Error },
    /// No connection could be made: nothing was done.
    #[error("cannot reach {server}; check {}.servers and that port 636 is open", of.section)]
    Unreachable { of: &'static Settings, server: String, source: Box<LdapError> },
    /// The server did not let us in in time: nothing was done.
    #[error("{server} does not answer within {after:?}; check that it runs")]
    Silent { server: String, after: Duration },
    /// The server's certificate is not trusted.
    #[error(
        "{server} is not trusted: {why}; check {}.ca_file and that the certificate names \
         this host (subjectAltName)",
        of.section
    )]
    Untrusted { of: &'static Settings, server: String, why: String },
    /// Of several servers none let us in.
    #[error("no server lets us in: {tried}")]
    NoServer { tried: String },
    /// The account we bind as was refused.
    #[error(
        "{server} refuses {user} (49): {why}; check {section}.bind_user and \
         {section}.bind_password_file",
        section = of.section
    )]
    Refused { of: &'static Settings, server: String, user: String, why: &'static str },
    /// It was refused lately, and asking on would lock it.
    #[error(
        "{user} was refused (49) {ago:?} ago and is not tried again for {pause:?}, lest it is \
         locked; put another password into {}.bind_password_file",
        of.section
    )]
    Held { of: &'static Settings, user: String, ago: Duration, pause: Duration },
    /// A right is missing.
    #[error("{server} does not let {user} {doing} {name} (50); {}", of.right)]
    Forbidden {
        of: &'static Settings,
        server: String,
        user: String,
        doing: &'static str,
        name: String,
    },
    /// What is looked below is not there.
    #[error("{name} does not exist or cannot be seen (32); check {}.{field}", of.section)]
    NoPlace { of: &'static Settings, field: &'static str, name: String },
    /// It took too long in all.
    #[error("no answer within {after:?}; check that {}.servers run and answer", of.section)]
    Late { of: &'static Settings, after: Duration },
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
    /// Somebody without a name or a password, whom LDAP would let in as nobody.
    #[error("nobody can prove to be somebody: the name or the password is empty")]
    Nobody,
    /// The answer makes no sense.
    #[error("{doing} on {server}: the answer is not what a directory answers: {why}")]
    Shape { server: String, doing: &'static str, why: String },
}

impl DirectoryError {
    /// What our own bind was refused with.
    pub(crate) fn refused(of: &'static Settings, server: &str, user: &str, text: &str) -> Self {
        let why = match reason(text) {
            Some(Refusal::Unknown) => "there is no such user",
            Some(Refusal::Restricted) => "it may not sign in now or from here",
            Some(Refusal::Expired) => "it or its password has expired, or must be changed",
            Some(Refusal::Disabled) => "it is disabled",
            Some(Refusal::Locked) => "it is locked",
            Some(Refusal::Password) | None => "wrong user or password",
        };
        Self::Refused { of, server: server.to_owned(), user: user.to_owned(), why }
    }

    /// What a result that is not success means; `name` is what it was done to.
    pub(crate) fn said(
        of: &'static Settings,
        server: &str,
        user: &str,
        doing: &'static str,
        name: &str,
        result: &LdapResult,
    ) -> Self {
        let server = server.to_owned();
        match result.rc {
            code::INSUFFICIENT_RIGHTS => {
                Self::Forbidden { of, server, user: user.to_owned(), doing, name: name.to_owned() }
            }
            code::INVALID_CREDENTIALS => Self::refused(of, &server, user, &result.text),
            code::REFERRAL => {
                of.wrong(of.place, format!("is in another domain than {server} serves ({name})"))
            }
            _ => Self::rejected(&server, doing, result),
        }
    }

    /// Any other refusal.
    pub(crate) fn rejected(server: &str, doing: &'static str, result: &LdapResult) -> Self {
        let server = server.to_owned();
        Self::Rejected { server, doing, rc: result.rc, text: shown(&result.text) }
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
            Self::Config { .. } | Self::File { .. } | Self::NoPlace { .. } => Kind::Invalid,
            Self::Untrusted { .. }
            | Self::Refused { .. }
            | Self::Held { .. }
            | Self::Forbidden { .. }
            | Self::Unmarked { .. } => Kind::Denied,
            Self::Taken { .. } => Kind::Conflict,
            Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::NoServer { .. }
            | Self::Late { .. }
            | Self::NoAnswer { .. }
            | Self::Stays { .. } => Kind::Unavailable,
            Self::Rejected { rc, .. } if code::LATER.contains(rc) => Kind::Unavailable,
            Self::Rejected { .. } | Self::Nobody | Self::Shape { .. } => Kind::Internal,
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

/// Why a bind was refused, by the text of Active Directory, `data 52e` (Microsoft: "LDAP bind error
/// codes"; system error codes in hexadecimal); Samba tells the same. `None`: it does not say.
pub(crate) fn reason(text: &str) -> Option<Refusal> {
    let data = text.split("data ").nth(1).and_then(|rest| rest.split([',', ' ']).next());
    Some(match data? {
        "525" => Refusal::Unknown,
        "52e" => Refusal::Password,
        "530" | "531" => Refusal::Restricted,
        "532" | "701" | "773" => Refusal::Expired,
        "533" => Refusal::Disabled,
        "775" => Refusal::Locked,
        _ => return None,
    })
}

/// What an answer to somebody's bind means, other than success; `None` where it is none of theirs.
/// Beside Active Directory's texts these are 389 Directory Server's: 53 for an inactivated account,
/// 19 for one that is locked; 48 is an entry without a password.
pub(crate) fn refusal(result: &LdapResult) -> Option<Refusal> {
    match result.rc {
        code::INVALID_CREDENTIALS => Some(reason(&result.text).unwrap_or(Refusal::Password)),
        code::INAPPROPRIATE_AUTHENTICATION => Some(Refusal::Password),
        code::CONSTRAINT_VIOLATION => Some(Refusal::Locked),
        code::UNWILLING => Some(Refusal::Disabled),
        _ => None,
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
            let error = DirectoryError::refused(&COMPUTERS, "ldaps://dc1", "svc@lab.test", text);
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
    fn what_an_answer_to_a_bind_means() {
        let check = |rc: u32, text: &str, wished: Option<Refusal>| {
            let (matched, text) = (String::new(), text.to_owned());
            let result = LdapResult { rc, matched, text, refs: Vec::new(), ctrls: Vec::new() };
            assert_eq!(refusal(&result), wished, "{rc} {}", result.text);
        };
        let data = |data: &str| {
            format!(
                "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data {data}, v1db1\0"
            )
        };
        for (told, wished) in [
            ("525", Refusal::Unknown),
            ("52e", Refusal::Password),
            ("530", Refusal::Restricted),
            ("531", Refusal::Restricted),
            ("532", Refusal::Expired),
            ("533", Refusal::Disabled),
            ("701", Refusal::Expired),
            ("773", Refusal::Expired),
            ("775", Refusal::Locked),
            ("568", Refusal::Password),
        ] {
            check(49, &data(told), Some(wished));
        }
        check(49, "", Some(Refusal::Password));
        check(49, "data ", Some(Refusal::Password));
        check(48, "", Some(Refusal::Password));
        check(19, "Exceed password retry limit. Please try later.", Some(Refusal::Locked));
        check(53, "Account inactivated. Contact system administrator.", Some(Refusal::Disabled));
        // No word on the user: the server's or our own affair.
        for rc in [0, 1, 8, 13, 32, 34, 50, 51, 52, 80] {
            check(rc, &data("52e"), None);
        }
    }

    #[test]
    fn words_of_a_server_are_bounded_and_on_one_line() {
        assert_eq!(shown("a\nb\0"), "a b ");
        assert_eq!(shown(&"x".repeat(5000)).len(), 300);
    }
}
