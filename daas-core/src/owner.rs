//! Whose a session is: one canonical form for all the ways to write a user's name.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Operation, Result};
use crate::secret::LAST_OF_XRDP;

/// The longest realm or name, in bytes.
const PART_BYTES_MAX: usize = 256;

/// A user in a realm, in canonical form (case folded, realm's canonical name).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// Where the name means something: `lab`, `compat`, `api`.
    pub realm: String,
    /// The user's name there.
    pub name: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.realm)
    }
}

/// The table that says which spellings of a realm are one realm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Realms {
    /// The realm of a name written without one. Default `api`.
    pub default: String,
    /// Spelling (`lab.test`, `LAB`) to canonical name; compared without regard to case.
    pub aliases: BTreeMap<String, String>,
}

impl Default for Realms {
    fn default() -> Self {
        Self { default: "api".to_owned(), aliases: BTreeMap::new() }
    }
}

impl Realms {
    /// The owner that `text` names: `LAB\alice`, `alice@lab.test` or `alice`.
    pub fn owner(&self, text: &str) -> Result<Owner> {
        let (realm, name) = match (text.split_once('\\'), text.rsplit_once('@')) {
            (Some((realm, name)), _) => (Some(realm), name),
            (None, Some((name, realm))) => (Some(realm), name),
            (None, None) => (None, text),
        };
        self.owner_in(realm.unwrap_or(&self.default), name)
    }

    /// The owner `name` of `realm`, both in any spelling.
    pub fn owner_in(&self, realm: &str, name: &str) -> Result<Owner> {
        let realm = fold(realm);
        let canonical = self.aliases.iter().find(|(alias, _)| fold(alias) == realm);
        let owner =
            Owner { realm: canonical.map_or(realm, |(_, name)| fold(name)), name: fold(name) };
        check_part("owner", &owner.name)?;
        if !owner.realm.is_empty() {
            check_part("realm", &owner.realm)?;
        }
        Ok(owner)
    }
}

fn fold(text: &str) -> String {
    text.trim().to_lowercase()
}

fn check_part(field: &str, text: &str) -> Result<()> {
    let why = if text.is_empty() {
        "is empty"
    } else if text.len() > PART_BYTES_MAX {
        "is longer than 256 bytes"
    } else if text.chars().any(|c| c.is_control() || "\"/\\[]:;|=,+*?<>@".contains(c)) {
        "holds a character that Active Directory forbids in names"
    } else if text.starts_with('-') {
        "begins with a dash, and no such name can log in to a Debian desktop"
    } else if text.chars().any(|c| c > LAST_OF_XRDP) {
        "holds a letter beyond U+FFFF, an emoji as a rule, which does not pass XRDP"
    } else {
        return Ok(());
    };
    Err(Error::invalid(Operation::Check, field, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn realms() -> Realms {
        Realms {
            default: "lab".into(),
            aliases: [("LAB".into(), "lab".into()), ("lab.test".into(), "lab".into())].into(),
        }
    }

    #[test]
    fn spellings_of_one_user_are_one_owner() {
        let alice = Owner { realm: "lab".into(), name: "alice".into() };
        for spelling in ["LAB\\alice", "alice@lab.test", "Alice", " ALICE@LAB.TEST "] {
            assert_eq!(realms().owner(spelling).expect(spelling), alice);
        }
        assert_ne!(realms().owner("alice@other").expect("other realm"), alice);
    }

    #[test]
    fn what_could_not_log_in_is_refused() {
        for bad in ["", "a/b", "a:b", "a\u{7}b", "-alice", "alice\u{1f980}", &"x".repeat(300)] {
            assert!(realms().owner(bad).is_err(), "{bad:?}");
        }
        assert!(realms().owner("anne-marie o'neil-日本").is_ok());
    }
}
