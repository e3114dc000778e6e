//! Who somebody is: the sources that tell, and what they tell.

use std::collections::BTreeSet;
use std::fmt::Debug;

use async_trait::async_trait;

use crate::error::Result;
use crate::owner::Owner;
use crate::secret::Secret;

/// Somebody whom a source of identities knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Who it is, by the name that the source has, not the spelling at sign-in.
    pub owner: Owner,
    /// What people call them; absent: their name.
    pub display_name: Option<String>,
    /// The groups they are in, those that hold these included, by the source's names in lower case.
    pub groups: BTreeSet<String>,
}

/// Why somebody is not let in. For the audit log: who tries is told the same in every case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// There is no such user, or the name is none.
    Unknown,
    /// The password is another.
    Password,
    /// The account is disabled.
    Disabled,
    /// The account is locked, after too many wrong passwords as a rule.
    Locked,
    /// The account or its password has expired, or the password must be changed first.
    Expired,
    /// The source holds them back: outside the hours or machines they are allowed.
    Restricted,
}

impl Refusal {
    /// A word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Password => "password",
            Self::Disabled => "disabled",
            Self::Locked => "locked",
            Self::Expired => "expired",
            Self::Restricted => "restricted",
        }
    }
}

/// What a source says of a name and a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// They belong together.
    Known(Person),
    /// They do not, or the source does not let them in.
    Refused(Refusal),
}

/// A source that knows people by name and password.
#[async_trait]
pub trait PasswordSource: Debug + Send + Sync {
    /// The realm of its people, as owners have it.
    fn realm(&self) -> &str;

    /// Whether `password` is that of `name`, and who that is.
    ///
    /// - *Does*: asks the source, within a deadline of its own. The name is data, whatever it holds.
    /// - *Already so*: changes nothing, but the source may count a wrong password.
    /// - *Absent*: a name that is not known is `Refused(Unknown)`, never an error.
    /// - *Interrupted*: nothing to undo.
    /// - *Errors*: `Unavailable` when no server answers; `Denied` and `Invalid` when the source's own
    ///   settings are refused, with the way out. An empty password is never asked about: LDAP takes
    ///   it for an anonymous bind that succeeds.
    async fn sign_in(&self, name: &str, password: &Secret<String>) -> Result<Verdict>;
}
