//! Settings of one directory, for computer accounts and for sign-in.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use crate::error::{DirectoryError, USERS};
use crate::reach::Reach;

/// How a directory is reached, and where computers of desktops belong.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectoryConfig {
    /// The servers, and the account we bind as: it needs rights on `ou` only.
    #[serde(flatten)]
    pub reach: Reach,
    /// The organisational unit of the desktops' accounts, `OU=Desktops,DC=lab,DC=test`. Its `DC`
    /// parts name the domain.
    pub ou: String,
}

impl DirectoryConfig {
    /// Settings for these servers, with all that can be by default.
    pub fn new(
        servers: Vec<Url>,
        ou: impl Into<String>,
        bind_user: impl Into<String>,
        bind_password_file: impl Into<PathBuf>,
    ) -> Self {
        Self { reach: Reach::new(servers, bind_user, bind_password_file), ou: ou.into() }
    }
}

/// How people of a directory sign in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsersConfig {
    /// The servers, and the account we look people up as: it needs to read, nothing more.
    #[serde(flatten)]
    pub reach: Reach,
    /// The realm of its people, as owners have it: `lab`.
    pub realm: String,
    /// What people write for it, `["LAB", "lab.test"]`: `LAB\alice` and `alice@lab.test` are
    /// `alice` then. Compared without regard to case. The realm's own name is one of them.
    #[serde(default)]
    pub domains: Vec<String>,
    /// What people are looked up below: `DC=lab,DC=test`.
    pub base: String,
    /// What groups are looked up below; absent: the domain of `base` (its `DC` parts), or `base`
    /// where it has none. Of a plain LDAP directory, groups elsewhere are left out.
    #[serde(default)]
    pub group_base: Option<String>,
    /// What kind of directory it is. Default Active Directory (Samba included).
    #[serde(default)]
    pub kind: DirectoryKind,
    /// Who may sign in at all, as a filter of RFC 4515. Default
    /// `(&(objectCategory=person)(objectClass=user))`; plain LDAP `(objectClass=person)`.
    #[serde(default)]
    pub user_filter: Option<String>,
    /// The attribute with a user's name. Default `sAMAccountName`; plain LDAP `uid`.
    #[serde(default)]
    pub name_attribute: Option<String>,
    /// The attribute with a name that holds an `@`. Default `userPrincipalName`; plain LDAP none:
    /// `mail` is asked only where it is set, and only who may not write their own may be asked so.
    #[serde(default)]
    pub principal_attribute: Option<String>,
    /// The attribute with what people call somebody. Default `displayName`; plain LDAP `cn`.
    #[serde(default)]
    pub display_attribute: Option<String>,
    /// The attribute with a group's name. Default `sAMAccountName`; plain LDAP `cn`.
    #[serde(default)]
    pub group_name_attribute: Option<String>,
    /// How long a sign-in may take in all, however many servers are tried. Default 15 s.
    #[serde(default = "default_deadline", with = "humantime_serde")]
    pub deadline: Duration,
    /// No refusal is told sooner: what a server needs more for those who exist (to count a wrong
    /// password, to hash it slowly) does not show. Default 1 s, at most `deadline`.
    #[serde(default = "default_refuse_after", with = "humantime_serde")]
    pub refuse_after: Duration,
}

/// What kind of directory it is: how groups are found, and what attributes are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DirectoryKind {
    /// Active Directory or Samba: the server resolves groups in groups, the primary group counts.
    #[default]
    ActiveDirectory,
    /// Any other: groups by `memberOf`, walked upwards.
    Ldap,
}

impl UsersConfig {
    /// Sign-in by these servers to `realm`, with all else by default.
    pub fn new(reach: Reach, realm: impl Into<String>, base: impl Into<String>) -> Self {
        Self {
            reach,
            realm: realm.into(),
            domains: Vec::new(),
            base: base.into(),
            group_base: None,
            kind: DirectoryKind::default(),
            user_filter: None,
            name_attribute: None,
            principal_attribute: None,
            display_attribute: None,
            group_name_attribute: None,
            deadline: default_deadline(),
            refuse_after: default_refuse_after(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), DirectoryError> {
        let refuse = |field, why: &str| Err(USERS.wrong(field, why));
        self.reach.check(&USERS)?;
        if self.base.trim().is_empty() {
            return refuse("base", "is empty; write it as DC=lab,DC=test");
        }
        if let Some(filter) = &self.user_filter
            && !(filter.starts_with('(') && ldap3::parse_filter(filter).is_ok())
        {
            return refuse("user_filter", "is not a filter in parentheses");
        }
        let named = [
            ("name_attribute", &self.name_attribute),
            ("principal_attribute", &self.principal_attribute),
            ("display_attribute", &self.display_attribute),
            ("group_name_attribute", &self.group_name_attribute),
        ];
        // It becomes part of a filter as it is.
        let is_name = |name: &String| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        for (field, name) in named {
            if name.as_ref().is_some_and(|name| !is_name(name)) {
                return refuse(field, "is not the name of an attribute");
            }
        }
        if self.deadline.is_zero() {
            return refuse("deadline", "is zero");
        }
        if self.refuse_after > self.deadline {
            return refuse("refuse_after", "is longer than the deadline");
        }
        Ok(())
    }
}

fn default_deadline() -> Duration {
    Duration::from_secs(15)
}

fn default_refuse_after() -> Duration {
    Duration::from_secs(1)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    const REACH: &str = "servers = ['ldaps://dc1']\nbind_user = 'u@b'\n\
                         bind_password_file = '/p'\nrequest_deadline = '3s'\npage_size = 7\n";

    #[test]
    fn a_setting_that_is_not_known_is_refused() {
        let text = format!("{REACH}ou = 'OU=a,DC=b'\n");
        let config: DirectoryConfig = toml::from_str(&text).unwrap();
        assert_eq!(config.reach.request_deadline, Duration::from_secs(3));
        let more = format!("{text}insecure = true\n");
        assert!(toml::from_str::<DirectoryConfig>(&more).is_err());

        let text = format!("{REACH}realm = 'lab'\nbase = 'DC=b'\nkind = 'ldap'\n");
        let config: UsersConfig = toml::from_str(&text).unwrap();
        assert_eq!((config.reach.page_size, config.kind), (7, DirectoryKind::Ldap));
        for unknown in ["insecure = true", "ou = 'OU=a,DC=b'"] {
            assert!(toml::from_str::<UsersConfig>(&format!("{text}{unknown}\n")).is_err());
        }
    }

    #[test]
    fn only_settings_that_can_work_are_taken() {
        let servers = vec![Url::parse("ldaps://dc1").unwrap()];
        let good = || UsersConfig::new(Reach::new(servers.clone(), "u@b", "/p"), "lab", "DC=b");
        let check = |config: UsersConfig, valid: bool| {
            assert_eq!(config.check().is_ok(), valid, "{config:?}");
        };
        let text = |text: &str| Some(text.to_owned());
        check(good(), true);
        check(UsersConfig { base: " ".to_owned(), ..good() }, false);
        check(UsersConfig { user_filter: text("(&(a=b)(!(c=*)))"), ..good() }, true);
        for filter in ["a=b", "(a=b", "(a=b))(c=d)", ""] {
            check(UsersConfig { user_filter: text(filter), ..good() }, false);
        }
        check(UsersConfig { name_attribute: text("uid"), ..good() }, true);
        check(UsersConfig { name_attribute: text("uid=*)("), ..good() }, false);
        check(UsersConfig { principal_attribute: text(""), ..good() }, false);
        check(UsersConfig { deadline: Duration::ZERO, ..good() }, false);
        check(UsersConfig { refuse_after: Duration::ZERO, ..good() }, true);
        check(UsersConfig { refuse_after: Duration::from_secs(16), ..good() }, false);
    }
}
