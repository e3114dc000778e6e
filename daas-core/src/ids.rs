//! The identifiers: who is meant, never a bare string.
//!
//! Session ids are minted here before anything exists, and double as host names, so their alphabet
//! and length obey Active Directory's 15-character computer names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Operation};

/// Lower-case base32 without the look-alikes `0`/`o`, `1`/`i`/`l`: 31 symbols and `2`..`9`.
const ALPHABET: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";
/// How many random characters follow a session id's prefix: 31^7, some 27 thousand million.
const RANDOM_CHARACTERS: usize = 7;
/// The longest prefix of a session id, its hyphen included.
const PREFIX_CHARACTERS_MAX: usize = 8;
/// The longest session id; also NetBIOS's limit for a computer name.
const SESSION_ID_CHARACTERS_MAX: usize = 15;
const DEPLOYMENT_ID_CHARACTERS: usize = 10;

fn random_characters(count: usize) -> String {
    use rand::RngExt;
    let mut rng = rand::rng();
    (0..count).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}

fn is_dns_label(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The id's text, or an `Invalid` error that tells the rule it breaks.
            pub fn new(text: impl Into<String>) -> Result<Self, Error> {
                let text = text.into();
                let valid: fn(&str) -> bool = $valid;
                if valid(&text) {
                    Ok(Self(text))
                } else {
                    let shown: String = text.chars().take(80).collect();
                    Err(Error::invalid(Operation::Check, $what, format!("{shown:?} is not {}", $rule)))
                }
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id!(
    /// A session's id, minted by [`SessionId::mint`]: the machine's host name, never reused.
    SessionId,
    "session id",
    "a DNS label of at most 15 characters",
    |t| is_dns_label(t) && t.len() <= SESSION_ID_CHARACTERS_MAX
);
text_id!(
    /// What a session id begins with, its hyphen included: `desktop-`.
    SessionPrefix,
    "session prefix",
    "a letter, then letters, digits or hyphens, a hyphen last, 8 characters at most",
    |t| t.len() <= PREFIX_CHARACTERS_MAX
        && t.ends_with('-')
        && t.starts_with(|c: char| c.is_ascii_lowercase())
        && t.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
);
text_id!(
    /// Who this orchestrator is among those that share a hypervisor; minted with the store.
    DeploymentId,
    "deployment id",
    "10 lower-case letters and digits",
    |t| t.len() == DEPLOYMENT_ID_CHARACTERS && t.bytes().all(|b| ALPHABET.contains(&b))
);
text_id!(
    /// A template's name.
    TemplateName,
    "template",
    "a DNS label (lower-case letters, digits, hyphens; 63 at most)",
    is_dns_label
);
text_id!(
    /// An organisation's name; `default` unless said.
    Organisation,
    "organisation",
    "a DNS label (lower-case letters, digits, hyphens; 63 at most)",
    is_dns_label
);
text_id!(
    /// What a user calls their session; unique among the live sessions of its owner.
    Label,
    "label",
    "a DNS label (lower-case letters, digits, hyphens; 63 at most)",
    is_dns_label
);
text_id!(
    /// A configured backend's name: `proxmox`, `ssh`, `fake`.
    BackendName,
    "backend",
    "a DNS label (lower-case letters, digits, hyphens; 63 at most)",
    is_dns_label
);
text_id!(
    /// A machine's id on its platform: a Proxmox vmid in decimal, a libvirt UUID.
    MachineId,
    "machine id",
    "1 to 64 printable ASCII characters without space",
    |t| !t.is_empty() && t.len() <= 64 && t.bytes().all(|b| b.is_ascii_graphic())
);

impl SessionId {
    /// A new id under `prefix`; collisions are left to the store's unique index.
    pub fn mint(prefix: &SessionPrefix) -> Self {
        Self(format!("{prefix}{}", random_characters(RANDOM_CHARACTERS)))
    }
}

impl Default for SessionPrefix {
    fn default() -> Self {
        Self("desktop-".to_owned())
    }
}

impl DeploymentId {
    /// A new random id.
    pub fn mint() -> Self {
        Self(random_characters(DEPLOYMENT_ID_CHARACTERS))
    }
}

impl Default for Organisation {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

/// Counts the writes of one record; a conditional write names the version it read.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Version(pub u64);

impl Version {
    /// The version after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A place in the event log; later events have greater cursors.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Cursor(pub u64);

/// Who holds a lease: one run of one orchestrator process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Holder(pub String);

impl Holder {
    /// A holder no other run has.
    pub fn mint() -> Self {
        Self(random_characters(16))
    }
}

/// A lease's fencing number: a write that carries an older one than the record's is refused.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Fence(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minted_ids_are_their_own_valid_text() {
        for _ in 0..200 {
            let id = SessionId::mint(&SessionPrefix::default());
            assert_eq!(id.as_str().len(), 15);
            assert_eq!(SessionId::new(id.as_str()).expect("valid"), id);
            let deployment = DeploymentId::mint();
            assert_eq!(DeploymentId::new(deployment.as_str()).expect("valid"), deployment);
        }
    }

    #[test]
    fn labels_follow_dns() {
        let check = |text: &str, valid: bool| {
            assert_eq!(Label::new(text).is_ok(), valid, "{text:?}");
        };
        check("maths-2", true);
        check("a", true);
        check(&"a".repeat(63), true);
        check(&"a".repeat(64), false);
        check("", false);
        check("-a", false);
        check("a-", false);
        check("A", false);
        check("a.b", false);
        check("a_b", false);
        check("a b", false);
        check("é", false);
    }

    #[test]
    fn a_refused_id_names_the_rule() {
        let error = SessionId::new("x".repeat(16)).expect_err("too long");
        assert!(error.to_string().contains("15 characters"), "{error}");
    }

    #[test]
    fn prefixes_leave_room_for_seven_characters() {
        assert!(SessionPrefix::new("desktop-").is_ok());
        assert!(SessionPrefix::new("desktops-").is_err());
        assert!(SessionPrefix::new("lab").is_err());
    }
}
