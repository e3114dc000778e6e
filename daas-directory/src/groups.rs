//! The groups somebody is in: those that hold them, and those that hold these.

use std::collections::BTreeSet;

use ldap3::{Scope, SearchEntry, ldap_escape};

use crate::client::{Connection, Query};
use crate::computers::{bytes, values};
use crate::config::DirectoryKind;
use crate::error::{DirectoryError, USERS};
use crate::names::components;

/// Groups of one person; more are an error, as none may be left out in silence. A Windows token
/// holds 1,015.
const GROUPS_MAX: usize = 2000;
/// The longest name that is taken for a group's, in bytes; Active Directory's have 256 characters.
const NAME_BYTES_MAX: usize = 1024;
/// Follows membership through groups in groups (MS-ADTS 3.1.1.3.4.4.3, `LDAP_MATCHING_RULE_TRANSITIVE_EVAL`).
const IN_CHAIN: &str = "1.2.840.113556.1.4.1941";
/// Security groups: a distribution list gives no rights, and people may join one by themselves
/// (MS-ADTS 2.2.12; the rule is a bitwise and).
const SECURITY: &str = "(groupType:1.2.840.113556.1.4.803:=2147483648)";

/// Where groups are, and how they are called.
#[derive(Debug)]
pub(crate) struct Groups {
    pub(crate) kind: DirectoryKind,
    pub(crate) base: String,
    pub(crate) name_attribute: String,
}

impl Groups {
    /// What has to be read of a user for it.
    pub(crate) fn attributes(&self) -> &'static [&'static str] {
        match self.kind {
            DirectoryKind::ActiveDirectory => &["objectSid", "primaryGroupID"],
            DirectoryKind::Ldap => &["memberOf"],
        }
    }

    /// The names of the groups of `user`, in lower case.
    pub(crate) async fn of(
        &self,
        connection: &mut Connection<'_>,
        user: &SearchEntry,
    ) -> Result<BTreeSet<String>, DirectoryError> {
        match self.kind {
            DirectoryKind::ActiveDirectory => self.in_chain(connection, user).await,
            DirectoryKind::Ldap => self.upwards(connection, user).await,
        }
    }

    /// The server resolves groups in groups. The primary group does not name its members: it is
    /// found by its number, and is in groups itself.
    async fn in_chain(
        &self,
        connection: &mut Connection<'_>,
        user: &SearchEntry,
    ) -> Result<BTreeSet<String>, DirectoryError> {
        let mut names = BTreeSet::new();
        let holds = |name: &str| format!("(member:{IN_CHAIN}:={})", ldap_escape(name));
        let mut holding = holds(&user.dn);
        if let Some(sid) = primary_group(user) {
            let sid: String = sid.iter().map(|byte| format!("\\{byte:02x}")).collect();
            for group in self.search(connection, &format!("(objectSid={sid})")).await? {
                holding.push_str(&holds(&group.dn));
                names.extend(self.name(&group));
            }
        }
        for group in self.search(connection, &format!("(|{holding})")).await? {
            names.extend(self.name(&group));
        }
        Ok(names)
    }

    async fn search(
        &self,
        connection: &mut Connection<'_>,
        which: &str,
    ) -> Result<Vec<SearchEntry>, DirectoryError> {
        let filter = format!("(&(objectCategory=group){SECURITY}{which})");
        let query = Query {
            doing: "look for groups below",
            base: &self.base,
            scope: Scope::Subtree,
            filter: &filter,
            attributes: &[&self.name_attribute],
        };
        let found = connection.search(query, GROUPS_MAX).await?;
        found.ok_or_else(|| DirectoryError::NoPlace {
            of: &USERS,
            field: "group_base",
            name: self.base.clone(),
        })
    }

    /// Reads the groups that the user's entry names, and those that these name.
    async fn upwards(
        &self,
        connection: &mut Connection<'_>,
        user: &SearchEntry,
    ) -> Result<BTreeSet<String>, DirectoryError> {
        let (mut names, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut open = values(user, "memberOf").to_vec();
        let attributes = [self.name_attribute.as_str(), "memberOf"];
        while let Some(group) = open.pop() {
            if !is_below(&group, &self.base) || !seen.insert(group.to_lowercase()) {
                continue;
            }
            if seen.len() > GROUPS_MAX {
                let why = format!("{} is in more than {GROUPS_MAX} groups", user.dn);
                return Err(connection.nonsense("look at groups", why));
            }
            // One that is gone since gives nothing.
            if let Some(entry) = connection.entry("look at", &group, &attributes).await? {
                names.extend(self.name(&entry));
                open.extend_from_slice(values(&entry, "memberOf"));
            }
        }
        Ok(names)
    }

    fn name(&self, group: &SearchEntry) -> Option<String> {
        let name = values(group, &self.name_attribute).first()?.trim().to_lowercase();
        let good =
            !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control);
        good.then_some(name)
    }
}

/// The SID of somebody's primary group: their own with another last number (MS-DTYP 2.4.2.2: eight
/// bytes, then the numbers, four bytes each, little endian).
fn primary_group(user: &SearchEntry) -> Option<Vec<u8>> {
    let number: u32 = values(user, "primaryGroupID").first()?.parse().ok()?;
    let mut sid = bytes(user, "objectSid")?;
    let numbers = usize::from(*sid.get(1)?);
    if numbers == 0 || sid.len() != 8 + 4 * numbers {
        return None;
    }
    let at = sid.len() - 4;
    sid[at..].copy_from_slice(&number.to_le_bytes());
    Some(sid)
}

/// Whether an entry lies below a base, by their names.
fn is_below(name: &str, base: &str) -> bool {
    let parts = |name: &str| -> Vec<String> {
        let part = |part: &str| match part.split_once('=') {
            Some((kind, value)) => format!("{}={}", kind.trim(), value.trim()).to_lowercase(),
            None => part.trim().to_lowercase(),
        };
        components(name).into_iter().map(part).collect()
    };
    parts(name).ends_with(&parts(base))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(sid: &[u8], primary: &str) -> SearchEntry {
        SearchEntry {
            dn: "CN=a,DC=b".to_owned(),
            attrs: [("primaryGroupID".to_owned(), vec![primary.to_owned()])].into(),
            bin_attrs: [("objectSid".to_owned(), vec![sid.to_vec()])].into(),
        }
    }

    #[test]
    fn the_primary_group_is_a_neighbour_of_its_user() {
        let sid = [1, 2, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 0x4f, 0x04, 0, 0];
        let wished = [1, 2, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 0x01, 0x02, 0, 0];
        assert_eq!(primary_group(&user(&sid, "513")).as_deref(), Some(wished.as_slice()));
        for bad in [&sid[..15], &sid[..8], &sid[..1], &[]] {
            assert_eq!(primary_group(&user(bad, "513")), None, "{bad:?}");
        }
        assert_eq!(primary_group(&user(&[1, 0, 0, 0, 0, 0, 0, 5], "513")), None);
        assert_eq!(primary_group(&user(&sid, "-1")), None);
        assert_eq!(primary_group(&user(&sid, "")), None);
    }

    #[test]
    fn a_group_elsewhere_is_none() {
        let check = |name: &str, base: &str, wished: bool| {
            assert_eq!(is_below(name, base), wished, "{name} below {base}");
        };
        check("cn=staff,ou=Groups,dc=lab,dc=test", "OU=groups, DC=lab,DC=test", true);
        check("cn=staff,ou=Elsewhere,dc=lab,dc=test", "OU=groups,DC=lab,DC=test", false);
        check(r"cn=x\,ou=Groups,dc=lab,dc=test", "OU=Groups,DC=lab,DC=test", false);
        check("cn=staff,dc=xlab,dc=test", "dc=lab,dc=test", false);
        check("", "dc=lab", false);
    }

    #[test]
    fn names_are_in_lower_case_and_bounded() {
        let groups = Groups {
            kind: DirectoryKind::Ldap,
            base: "dc=b".to_owned(),
            name_attribute: "cn".to_owned(),
        };
        let check = |name: &str, wished: Option<&str>| {
            let group = SearchEntry {
                dn: "cn=x,dc=b".to_owned(),
                attrs: [("CN".to_owned(), vec![name.to_owned()])].into(),
                bin_attrs: Default::default(),
            };
            assert_eq!(groups.name(&group).as_deref(), wished, "{name:?}");
        };
        check(" VDI Users ", Some("vdi users"));
        check("Élèves", Some("élèves"));
        check("", None);
        check("a\nb", None);
        check(&"x".repeat(NAME_BYTES_MAX + 1), None);
    }
}
