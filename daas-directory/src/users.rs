//! Sign-in by a directory: somebody is looked up by our own account, and their password is proved by
//! a bind as them, on a connection of its own.
//!
//! Who is not found is bound all the same, as somebody who does not exist: the server's work and
//! ours are then those of a wrong password. What the server's work still tells is hidden by telling
//! no refusal at once.

use std::fmt::Write;

use async_trait::async_trait;
use daas_core::identity::{PasswordSource, Person, Refusal, Verdict};
use daas_core::owner::Realms;
use daas_core::secret::{Secret, random_token};
use daas_core::{Operation, Result};
use ldap3::{Scope, SearchEntry};
use tokio::time::Instant;

use crate::client::{Client, Connection, Query};
use crate::computers::values;
use crate::config::{DirectoryKind, UsersConfig};
use crate::error::{DirectoryError, USERS, code, refusal};
use crate::groups::Groups;
use crate::names::components;
use crate::spelling::{Asked, Spelling};

/// The longest password that is asked about, in bytes.
const PASSWORD_BYTES_MAX: usize = 1024;
/// Entries that a name may find; more than one are told apart, or nobody's.
const FOUND_MAX: usize = 10;
/// The longest display name, in characters; more is cut off.
const DISPLAY_MAX: usize = 256;
/// `ACCOUNTDISABLE` in `userAccountControl` (MS-ADTS 2.2.16).
const DISABLED: u32 = 2;

/// The people of one directory.
#[derive(Debug)]
pub struct Users {
    client: Client,
    config: UsersConfig,
    realm: String,
    realms: Realms,
    spelling: Spelling,
    groups: Groups,
    display_attribute: String,
}

impl Users {
    /// The people below the base that `config` names. Does not connect.
    ///
    /// # Errors
    /// `Invalid`: a setting is wrong, or a file it names cannot be used.
    pub fn new(config: UsersConfig) -> Result<Self> {
        let refused =
            |error: DirectoryError| error.while_doing(Operation::Start, "sign-in by a directory");
        config.check().map_err(refused)?;
        let client = Client::new(&USERS, config.reach.clone()).map_err(refused)?;
        let realms = Realms { default: config.realm.clone(), ..Realms::default() };
        // Owners have it so; and a realm that is none is told at the start.
        let realm = realms.owner_in(&config.realm, "somebody")?.realm;
        let active = config.kind == DirectoryKind::ActiveDirectory;
        let or = |set: &Option<String>, active_s: &str, plain: &str| {
            set.clone().unwrap_or_else(|| if active { active_s } else { plain }.to_owned())
        };
        let spelling = Spelling {
            domains: config
                .domains
                .iter()
                .chain([&realm])
                .map(|d| d.trim().to_lowercase())
                .collect(),
            user_filter: or(
                &config.user_filter,
                "(&(objectCategory=person)(objectClass=user))",
                "(objectClass=person)",
            ),
            name_attribute: or(&config.name_attribute, "sAMAccountName", "uid"),
            principal_attribute: match &config.principal_attribute {
                None if active => Some("userPrincipalName".to_owned()),
                set => set.clone(),
            },
        };
        let groups = Groups {
            kind: config.kind,
            base: config.group_base.clone().unwrap_or_else(|| domain_of(&config.base)),
            name_attribute: or(&config.group_name_attribute, "sAMAccountName", "cn"),
        };
        let display_attribute = or(&config.display_attribute, "displayName", "cn");
        Ok(Self { client, config, realm, realms, spelling, groups, display_attribute })
    }

    /// Whether people can sign in: a server lets us in, and our account sees somebody below the
    /// base. Changes nothing.
    ///
    /// # Errors
    /// What is amiss, with the way out.
    pub async fn check(&self) -> Result<()> {
        self.check_base().await.map_err(|error| self.while_checking(error))
    }

    async fn check_base(&self) -> Result<(), DirectoryError> {
        let mut connection = self.client.connect().await?;
        let attributes = [self.spelling.name_attribute.as_str()];
        let query = self.query(&self.spelling.user_filter, &attributes);
        match connection.any(query).await? {
            Some(true) => {}
            Some(false) => {
                let why = format!(
                    "({}) holds nobody that {} can see and user_filter lets through",
                    self.config.base, self.config.reach.bind_user
                );
                return Err(USERS.wrong("base", why));
            }
            None => return Err(self.no_base()),
        }
        match connection.entry("look at", &self.groups.base, &["objectClass"]).await? {
            Some(_) => Ok(()),
            None => Err(DirectoryError::NoPlace {
                of: &USERS,
                field: "group_base",
                name: self.groups.base.clone(),
            }),
        }
    }

    /// Asks the directory what is worth asking, within the deadline.
    async fn judge(
        &self,
        name: &str,
        password: &Secret<String>,
    ) -> std::result::Result<Verdict, DirectoryError> {
        let word = password.expose();
        // Servers in C end a password at its NUL: what begins with one is empty there.
        if word.is_empty() || word.len() > PASSWORD_BYTES_MAX || word.contains('\0') {
            return Ok(Verdict::Refused(Refusal::Password));
        }
        let Some(asked) = self.spelling.read(name) else {
            return Ok(Verdict::Refused(Refusal::Unknown));
        };
        let after = self.config.deadline;
        match tokio::time::timeout(after, self.ask(&asked, password)).await {
            Ok(verdict) => verdict,
            Err(_) => Err(DirectoryError::Late { of: &USERS, after }),
        }
    }

    /// Asks the directory, for as long as that takes.
    async fn ask(
        &self,
        asked: &Asked<'_>,
        password: &Secret<String>,
    ) -> Result<Verdict, DirectoryError> {
        let mut connection = self.client.connect().await?;
        let found = self.find(&mut connection, asked).await?;
        let name = found.as_ref().map_or_else(|| self.nobody(), |user| user.dn.clone());
        let answer = self.client.prove(connection.at(), &name, password).await?;
        let Some(user) = found else {
            if answer.rc == code::SUCCESS {
                let why = "it lets in somebody who does not exist".to_owned();
                return Err(connection.nonsense("bind", why));
            }
            return Ok(Verdict::Refused(Refusal::Unknown));
        };
        match (answer.rc, refusal(&answer)) {
            (code::SUCCESS, _) => self.let_in(&mut connection, user).await,
            (_, Some(refusal)) => Ok(Verdict::Refused(refusal)),
            // Removed between the two questions.
            (code::NO_SUCH_OBJECT, None) => Ok(Verdict::Refused(Refusal::Unknown)),
            (_, None) => Err(DirectoryError::rejected(connection.server(), "bind", &answer)),
        }
    }

    /// The one entry of who is asked for.
    async fn find(
        &self,
        connection: &mut Connection<'_>,
        asked: &Asked<'_>,
    ) -> Result<Option<SearchEntry>, DirectoryError> {
        let filter = self.spelling.filter(asked);
        let mut attributes = vec![
            self.spelling.name_attribute.as_str(),
            self.display_attribute.as_str(),
            "userAccountControl",
        ];
        attributes.extend(self.spelling.principal_attribute.as_deref());
        attributes.extend(self.groups.attributes());
        let found = connection.search(self.query(&filter, &attributes), FOUND_MAX).await?;
        let mut found = found.ok_or_else(|| self.no_base())?;
        if found.iter().any(|user| user.dn.is_empty()) {
            let why = "somebody without a distinguished name".to_owned();
            return Err(connection.nonsense("look for people below", why));
        }
        let principals = |user: &SearchEntry| match &self.spelling.principal_attribute {
            Some(attribute) => values(user, attribute).to_vec(),
            None => Vec::new(),
        };
        found.retain(|user| {
            let names = values(user, &self.spelling.name_attribute);
            self.spelling.means(asked, names, &principals(user))
        });
        if found.len() > 1
            && let Asked::Principal(whole, _) = asked
        {
            // A name that was given goes before one that follows from the domain's, as it does when
            // Windows signs somebody in.
            let given = Asked::Principal(whole, None);
            found.retain(|user| self.spelling.means(&given, &[], &principals(user)));
        }
        match (found.pop(), found.is_empty()) {
            (user, true) => Ok(user),
            (_, false) => {
                tracing::warn!(
                    realm = self.realm,
                    found = found.len() + 1,
                    "a name is that of several people below sign_in.directory.base, and of none \
                     for us; make base or user_filter narrower"
                );
                Ok(None)
            }
        }
    }

    async fn let_in(
        &self,
        connection: &mut Connection<'_>,
        user: SearchEntry,
    ) -> Result<Verdict, DirectoryError> {
        let flags = values(&user, "userAccountControl").first();
        if flags.and_then(|flags| flags.parse().ok()).is_some_and(|f: u32| f & DISABLED != 0) {
            return Ok(Verdict::Refused(Refusal::Disabled));
        }
        let Some(name) = values(&user, &self.spelling.name_attribute).first() else {
            let why = format!("{} has no {}", user.dn, self.spelling.name_attribute);
            return Err(connection.nonsense("look for people below", why));
        };
        let owner = match self.realms.owner_in(&self.realm, name) {
            Ok(owner) => owner,
            Err(error) => {
                tracing::warn!(%error, dn = user.dn, "somebody signs in whose name no desktop takes");
                return Ok(Verdict::Refused(Refusal::Restricted));
            }
        };
        let display_name = values(&user, &self.display_attribute).first();
        let display_name = display_name.and_then(|name| displayed(name));
        let groups = self.groups.of(connection, &user).await?;
        Ok(Verdict::Known(Person { owner, display_name, groups }))
    }

    fn query<'a>(&'a self, filter: &'a str, attributes: &'a [&'a str]) -> Query<'a> {
        Query {
            doing: "look for people below",
            base: &self.config.base,
            scope: Scope::Subtree,
            filter,
            attributes,
        }
    }

    /// The distinguished name of nobody, another each time.
    fn nobody(&self) -> String {
        let mut name = String::from("CN=");
        // 16 characters: some servers take no more for a name.
        let _ = write!(name, "{:.16}", random_token().expose());
        format!("{name},{}", self.config.base)
    }

    fn no_base(&self) -> DirectoryError {
        let name = self.config.base.clone();
        DirectoryError::NoPlace { of: &USERS, field: "base", name }
    }

    fn while_checking(&self, error: DirectoryError) -> daas_core::Error {
        // Not the name: who is in a hurry writes their password there.
        error.while_doing(Operation::Check, format!("realm {}", self.realm))
    }
}

#[async_trait]
impl PasswordSource for Users {
    fn realm(&self) -> &str {
        &self.realm
    }

    async fn sign_in(&self, name: &str, password: &Secret<String>) -> Result<Verdict> {
        let told = Instant::now() + self.config.refuse_after;
        let verdict = self.judge(name, password).await;
        if let Ok(Verdict::Refused(_)) = verdict {
            tokio::time::sleep_until(told).await;
        }
        verdict.map_err(|error| self.while_checking(error))
    }
}

/// The domain that a base lies in; the base itself where it is in none.
fn domain_of(base: &str) -> String {
    let is_domain = |part: &&str| {
        part.split_once('=').is_some_and(|(kind, _)| kind.trim().eq_ignore_ascii_case("dc"))
    };
    let parts = components(base);
    let domain: Vec<&str> = parts.iter().rev().copied().take_while(is_domain).collect();
    if domain.is_empty() {
        return base.to_owned();
    }
    let domain: Vec<&str> = domain.into_iter().rev().map(str::trim).collect();
    domain.join(",")
}

/// A name for people's eyes, on one line and within bounds.
fn displayed(name: &str) -> Option<String> {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    let name: String = name.chars().take(DISPLAY_MAX).map(shown).collect();
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_looked_for_in_the_whole_domain() {
        let check = |base: &str, wished: &str| assert_eq!(domain_of(base), wished, "{base}");
        check("OU=People,DC=lab,DC=test", "DC=lab,DC=test");
        check("DC=lab, dc=test", "DC=lab,dc=test");
        check(r"OU=a\,DC=x,DC=lab", "DC=lab");
        check("ou=people,o=school", "ou=people,o=school");
    }

    #[test]
    fn a_display_name_is_one_line() {
        assert_eq!(displayed(" Alice\n<b>  ").as_deref(), Some("Alice <b>"));
        assert_eq!(displayed(" \n"), None);
        assert_eq!(displayed(&"x".repeat(1000)).map(|name| name.len()), Some(DISPLAY_MAX));
    }
}
