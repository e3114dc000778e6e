//! People whom this server knows by itself, with passwords hashed by Argon2id.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use async_trait::async_trait;
use daas_core::identity::{PasswordSource, Person, Refusal, Verdict};
use daas_core::owner::Owner;
use daas_core::secret::Secret;
use daas_core::{Error, Kind, Operation, Result};
use tokio::sync::Semaphore;

use super::config::LocalUser;

/// The realm of these people.
pub const LOCAL_REALM: &str = "local";
/// The longest password looked at, in bytes: hashing takes longer the longer it is.
const PASSWORD_BYTES_MAX: usize = 1_024;
/// How many are hashed at once: each takes 19 MiB and a processor.
const AT_ONCE: usize = 2;
/// How long a place among them may take.
const TURN_DEADLINE: Duration = Duration::from_secs(10);

/// The people of the configuration.
#[derive(Debug)]
pub(crate) struct LocalUsers {
    users: BTreeMap<String, LocalUser>,
    /// What is compared for somebody who is not there, so that it takes as long.
    nobody: String,
    turns: Arc<Semaphore>,
}

/// Hashes a password as the configuration has it. Takes a tenth of a second.
///
/// # Errors
/// `Invalid` when it is empty or longer than 1,024 bytes.
pub fn hash_password(password: &Secret<String>) -> Result<String> {
    let text = password.expose();
    if text.is_empty() || text.len() > PASSWORD_BYTES_MAX {
        let why = "is empty or longer than 1,024 bytes";
        return Err(Error::invalid(Operation::Check, "password", why));
    }
    let hashed = Argon2::default().hash_password(text.as_bytes());
    hashed.map(|hash| hash.to_string()).map_err(|error| {
        let why = format!("could not be hashed: {error}");
        Error::new(Kind::Internal, Operation::Check, "password", why)
    })
}

impl LocalUsers {
    /// # Errors
    /// `Invalid`: a name or a hash cannot be one.
    pub(crate) fn new(users: &BTreeMap<String, LocalUser>) -> Result<Self> {
        let mut known = BTreeMap::new();
        for (name, user) in users {
            let wrong = |why: &str| {
                Err(Error::invalid(Operation::Start, format!("identity.users.{name}"), why))
            };
            if name.is_empty() || *name != name.trim().to_lowercase() {
                return wrong("a local name is in lower case, without blanks around it");
            }
            let hash = user.password_hash.expose();
            if !hash.starts_with("$argon2id$") || PasswordHash::new(hash).is_err() {
                return wrong("password_hash is no Argon2id hash; make one by daas user hash");
            }
            known.insert(name.clone(), user.clone());
        }
        let nobody = hash_password(&daas_core::secret::random_token())?;
        Ok(Self { users: known, nobody, turns: Arc::new(Semaphore::new(AT_ONCE)) })
    }
}

#[async_trait]
impl PasswordSource for LocalUsers {
    fn realm(&self) -> &str {
        LOCAL_REALM
    }

    async fn sign_in(&self, name: &str, password: &Secret<String>) -> Result<Verdict> {
        let away = |why: &str| Error::new(Kind::Unavailable, Operation::Check, LOCAL_REALM, why);
        let turn = Arc::clone(&self.turns).acquire_owned();
        let turn = tokio::time::timeout(TURN_DEADLINE, turn).await;
        let turn = turn.ok().and_then(std::result::Result::ok);
        let turn = turn.ok_or_else(|| away("too many sign in at once"))?;
        let name = name.trim().to_lowercase();
        let user = self.users.get(&name).cloned();
        let hash = user.as_ref().map_or(&self.nobody, |user| user.password_hash.expose()).clone();
        let password = password.clone();
        let matches = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let text = password.expose().as_bytes();
            let sound = !text.is_empty() && text.len() <= PASSWORD_BYTES_MAX;
            let hash = PasswordHash::new(&hash);
            sound && hash.is_ok_and(|hash| Argon2::default().verify_password(text, &hash).is_ok())
        });
        let matches = matches.await.map_err(|_| away("the comparison ended early"))?;
        Ok(match user {
            None => Verdict::Refused(Refusal::Unknown),
            Some(_) if !matches => Verdict::Refused(Refusal::Password),
            Some(user) => Verdict::Known(Person {
                owner: Owner { realm: LOCAL_REALM.to_owned(), name },
                display_name: user.display_name,
                groups: user.groups.iter().map(|group| group.to_lowercase()).collect(),
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps an error has failed")]
    use super::*;

    fn users() -> LocalUsers {
        let hash = hash_password(&Secret::from("pâss word")).unwrap();
        let text = format!("[alice]\npassword_hash = '{hash}'\ngroups = ['Staff']");
        let users: BTreeMap<String, LocalUser> = toml::from_str(&text).unwrap();
        assert!(!format!("{users:?}").contains(&hash));
        LocalUsers::new(&users).unwrap()
    }

    #[tokio::test]
    async fn the_right_password_alone_lets_in() {
        let users = users();
        let asked = async |name: &str, password: &str| {
            users.sign_in(name, &Secret::from(password)).await.unwrap()
        };
        let Verdict::Known(person) = asked(" Alice", "pâss word").await else { panic!() };
        assert_eq!(person.owner.to_string(), "alice@local");
        assert_eq!(person.groups, ["staff".to_owned()].into());
        let long = "x".repeat(2_000);
        for wrong in ["", "pass word", "pâss word ", &long] {
            assert_eq!(asked("alice", wrong).await, Verdict::Refused(Refusal::Password), "{wrong}");
        }
        assert_eq!(asked("bob", "pâss word").await, Verdict::Refused(Refusal::Unknown));
    }

    #[test]
    fn what_is_no_hash_is_refused_at_the_start() {
        for (name, hash) in [
            ("alice", "secret"),
            ("alice", "$6$salt$hash"),
            ("alice", "$argon2id$v=19$m=1$x"),
            ("Alice", &hash_password(&Secret::from("x")).unwrap()),
        ] {
            let text = format!("[{name}]\npassword_hash = '{hash}'");
            let error = LocalUsers::new(&toml::from_str(&text).unwrap()).unwrap_err();
            assert!(error.to_string().contains("identity.users."), "{error}");
            assert!(!error.to_string().contains(hash), "{error}");
        }
    }
}
