//! Sign-in by a realm of Proxmox VE: somebody is who Proxmox gives a ticket to. The ticket is not
//! kept and not used; what is read of them thereafter is read by our own account.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use daas_core::identity::{PasswordSource, Person, Refusal, Verdict};
use daas_core::owner::{Owner, Realms};
use daas_core::secret::Secret;
use daas_core::{Error, Kind, Operation, Result};
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::client::{Client, Params, Purpose, segment};
use crate::config::ProxmoxConfig;
use crate::error::ProxmoxError;

/// The longest `name@realm` that Proxmox takes, in bytes.
const USER_BYTES_MAX: usize = 64;
/// The longest password that is asked about, in bytes.
const PASSWORD_BYTES_MAX: usize = 1024;
/// Sign-ins at once: Proxmox holds each refusal back for three seconds.
const AT_ONCE_MAX: usize = 8;
/// The longest display name, in characters; more is cut off.
const DISPLAY_MAX: usize = 256;
/// What tickets begin with. Proxmox takes one for a password: its owner's own, and root's for that
/// of anybody (`PVE/API2/AccessControl.pm`, `create_ticket`).
const TICKET: &str = "PVE:";

/// How people of a realm of Proxmox VE sign in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignInConfig {
    /// The realm, as Proxmox calls it: `pve`, `pam`, or one of its LDAP and AD realms.
    pub realm: String,
    /// The realm of its people, as owners have it; absent: the same. A school whose Proxmox asks
    /// the same directory as we do gives both the same.
    #[serde(default)]
    pub owner_realm: Option<String>,
    /// How long a sign-in may take in all. Default 15 s.
    #[serde(default = "default_deadline", with = "humantime_serde")]
    pub deadline: Duration,
}

impl SignInConfig {
    /// Sign-in by this realm, with all else by default.
    pub fn new(realm: impl Into<String>) -> Self {
        Self { realm: realm.into(), owner_realm: None, deadline: default_deadline() }
    }
}

fn default_deadline() -> Duration {
    Duration::from_secs(15)
}

/// The people of one realm of a Proxmox VE cluster.
#[derive(Debug)]
pub struct SignIn {
    client: Client,
    config: SignInConfig,
    owner_realm: String,
    realms: Realms,
    room: Semaphore,
    /// Whether it was said that our account may not read users.
    hidden: AtomicBool,
}

/// What our own account reads of somebody.
#[derive(Debug, Default, Deserialize)]
struct User {
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    firstname: Option<String>,
    #[serde(default)]
    lastname: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Domain {
    realm: String,
    /// The second factor that the realm asks of everybody.
    #[serde(default)]
    tfa: Option<String>,
}

impl SignIn {
    /// The people of `config.realm` on the cluster that `proxmox` reaches. Does not connect.
    ///
    /// # Errors
    /// `Invalid`: a setting is wrong, or a file it names cannot be used.
    pub fn new(config: SignInConfig, proxmox: &ProxmoxConfig) -> Result<Self> {
        let wrong = |field: &str, why: &str| {
            Err(Error::invalid(Operation::Start, format!("sign_in.proxmox.{field}"), why))
        };
        // pve-access-control, `PVE/Auth/Plugin.pm`: `pve-realm`.
        let is_realm = |realm: &str| {
            realm.starts_with(|c: char| c.is_ascii_alphabetic())
                && realm.len() <= 32
                && realm.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
        };
        if !is_realm(&config.realm) {
            return wrong("realm", "is not the name of a realm, such as pve");
        }
        if config.deadline.is_zero() {
            return wrong("deadline", "is zero");
        }
        let realms = Realms::default();
        let owner_realm = config.owner_realm.as_deref().unwrap_or(&config.realm);
        let owner_realm = realms.owner_in(owner_realm, "somebody")?.realm;
        let client = Client::new(proxmox)
            .map_err(|error| error.while_doing(Operation::Start, "sign-in by Proxmox"))?;
        let (room, hidden) = (Semaphore::new(AT_ONCE_MAX), AtomicBool::new(false));
        Ok(Self { client, config, owner_realm, realms, room, hidden })
    }

    /// Whether people can sign in: the cluster answers and has the realm, and the realm asks no
    /// second factor of all. Changes nothing.
    ///
    /// # Errors
    /// What is amiss, with the way out.
    pub async fn check(&self) -> Result<()> {
        let domains: Vec<Domain> = self
            .client
            .get(Purpose::Other, "/access/domains", Params::new())
            .await
            .map_err(|error| self.while_checking(error))?;
        let invalid =
            |why: String| Err(Error::invalid(Operation::Check, "sign_in.proxmox.realm", why));
        match domains.iter().find(|domain| domain.realm == self.config.realm) {
            Some(Domain { tfa: Some(tfa), realm }) => invalid(format!(
                "{realm} asks everybody for a second factor ({tfa}), which cannot be given here"
            )),
            Some(_) => Ok(()),
            None => {
                let all: Vec<&str> = domains.iter().map(|domain| domain.realm.as_str()).collect();
                let all = all.join(", ");
                invalid(format!("there is no realm {:?}; there are: {all}", self.config.realm))
            }
        }
    }

    /// The name at Proxmox that `text` is, and whose that is; `None` where it is none.
    fn read<'a>(&self, text: &'a str) -> Option<&'a str> {
        let text = text.trim();
        let ours = |realm: &str| {
            [&self.config.realm, &self.owner_realm]
                .iter()
                .any(|our| our.eq_ignore_ascii_case(realm))
        };
        let name = match (text.split_once('\\'), text.rsplit_once('@')) {
            (Some((realm, name)), _) | (None, Some((name, realm))) => {
                ours(realm).then_some(name)?
            }
            (None, None) => text,
        };
        let fits = name.len() + 1 + self.config.realm.len() <= USER_BYTES_MAX
            && !name.contains(char::is_whitespace);
        (fits && self.owner(name).is_some()).then_some(name)
    }

    fn owner(&self, name: &str) -> Option<Owner> {
        self.realms.owner_in(&self.owner_realm, name).ok()
    }

    async fn ask(&self, name: &str, password: &Secret<String>) -> Result<Verdict, ProxmoxError> {
        let user = format!("{name}@{}", self.config.realm);
        // A room is never closed.
        let _place = self.room.acquire().await.ok();
        let answer = match self.client.new_ticket(Purpose::Other, &user, password).await {
            Ok(answer) => answer,
            // It tells no more, lest somebody finds out who there is.
            Err(ProxmoxError::Refused { .. }) => return Ok(Verdict::Refused(Refusal::Password)),
            // A name that does not fit its schema.
            Err(ProxmoxError::Parameters { errors, .. }) if errors.contains_key("username") => {
                return Ok(Verdict::Refused(Refusal::Unknown));
            }
            Err(error) => return Err(error),
        };
        if answer.is_half() {
            return Err(ProxmoxError::SecondFactorThere { user });
        }
        // A realm that tells no case gives the name as Proxmox has it.
        let user = answer.username.clone().unwrap_or(user);
        drop(answer);
        let known = user.strip_suffix(self.config.realm.as_str()).and_then(|u| u.strip_suffix('@'));
        let owner = known.and_then(|name| self.owner(name)).ok_or_else(|| ProxmoxError::Shape {
            path: "/access/ticket".to_owned(),
            why: format!("a ticket for somebody outside the realm {}", self.config.realm),
        })?;
        let told = self.user(&user).await?;
        let groups: BTreeSet<String> =
            told.groups.iter().map(|group| group.trim().to_lowercase()).collect();
        Ok(Verdict::Known(Person { owner, display_name: told.display_name(), groups }))
    }

    /// What our account may read of a user: all, or nothing.
    async fn user(&self, user: &str) -> Result<User, ProxmoxError> {
        let path = format!("/access/users/{}", segment(user));
        match self.client.get(Purpose::Other, &path, Params::new()).await {
            Err(ProxmoxError::Forbidden { .. }) => {
                if !self.hidden.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        realm = self.config.realm,
                        "the account of [proxmox] may not read users: nobody has groups here; give \
                         it Sys.Audit on /access/groups"
                    );
                }
                Ok(User::default())
            }
            answer => answer,
        }
    }

    fn while_checking(&self, error: ProxmoxError) -> Error {
        // Not the name: who is in a hurry writes their password there.
        error.while_doing(Operation::Check, format!("realm {}", self.owner_realm))
    }
}

impl User {
    fn display_name(&self) -> Option<String> {
        let parts = [&self.firstname, &self.lastname];
        let parts: Vec<&str> = parts.into_iter().flatten().map(|part| part.trim()).collect();
        let shown = |c: char| if c.is_control() { ' ' } else { c };
        let name: String = parts.join(" ").chars().take(DISPLAY_MAX).map(shown).collect();
        let name = name.trim();
        (!name.is_empty()).then(|| name.to_owned())
    }
}

#[async_trait]
impl PasswordSource for SignIn {
    fn realm(&self) -> &str {
        &self.owner_realm
    }

    async fn sign_in(&self, name: &str, password: &Secret<String>) -> Result<Verdict> {
        let word = password.expose();
        let is_ticket = word.trim_start().starts_with(TICKET);
        // A realm of C libraries ends a password at its NUL.
        let good = !word.is_empty() && word.len() <= PASSWORD_BYTES_MAX && !word.contains('\0');
        if !good || is_ticket {
            return Ok(Verdict::Refused(Refusal::Password));
        }
        let Some(name) = self.read(name) else {
            return Ok(Verdict::Refused(Refusal::Unknown));
        };
        let after = self.config.deadline;
        match tokio::time::timeout(after, self.ask(name, password)).await {
            Ok(verdict) => verdict.map_err(|error| self.while_checking(error)),
            Err(_) => {
                let why = format!("no answer within {after:?}; check that proxmox.url answers");
                let subject = format!("realm {}", self.owner_realm);
                Err(Error::new(Kind::Unavailable, Operation::Check, subject, why))
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn sign_in(config: SignInConfig) -> Result<SignIn> {
        let url = "https://127.0.0.1:1".parse().unwrap();
        let mut proxmox = ProxmoxConfig::with_token(url, Secret::from("daas@pve!t=0"));
        proxmox.insecure = true;
        SignIn::new(config, &proxmox)
    }

    #[tokio::test]
    async fn a_name_is_of_the_realm_or_none() {
        let mut config = SignInConfig::new("school-ad");
        config.owner_realm = Some("Lab".to_owned());
        let source = sign_in(config).unwrap();
        assert_eq!(source.realm(), "lab");
        let check = |text: &str, wished: Option<&str>| {
            assert_eq!(source.read(text), wished, "{text:?}");
        };
        check("Alice", Some("Alice"));
        check(" alice@school-ad ", Some("alice"));
        check("alice@LAB", Some("alice"));
        check("lab\\alice", Some("alice"));
        for none in [
            "",
            "@lab",
            "root@pam",
            "alice@pam@lab",
            "other\\alice",
            "al ice",
            "al:ice",
            "al/ice",
            "a\0b",
            "alice\n",
        ] {
            let trimmed = none == "alice\n";
            check(none, trimmed.then_some("alice"));
        }
        check(&"x".repeat(55), None);
        check(&"x".repeat(54), Some(&"x".repeat(54)));
    }

    #[tokio::test]
    async fn only_settings_that_can_work_are_taken() {
        for realm in ["", "1a", "a b", "a@b", &"x".repeat(33)] {
            assert_eq!(sign_in(SignInConfig::new(realm)).unwrap_err().kind(), Kind::Invalid);
        }
        let config = SignInConfig { deadline: Duration::ZERO, ..SignInConfig::new("pve") };
        assert_eq!(sign_in(config).unwrap_err().kind(), Kind::Invalid);
    }

    #[test]
    fn a_display_name_is_what_there_is() {
        let name = |first: Option<&str>, last: Option<&str>| {
            let text = |text: Option<&str>| text.map(str::to_owned);
            User { groups: Vec::new(), firstname: text(first), lastname: text(last) }.display_name()
        };
        assert_eq!(name(Some("Alice"), Some("Martin")).as_deref(), Some("Alice Martin"));
        assert_eq!(name(None, Some(" M\n ")).as_deref(), Some("M"));
        assert_eq!(name(Some(""), None), None);
        assert_eq!(name(None, None), None);
    }
}
