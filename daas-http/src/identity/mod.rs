//! Who signs in: asks the source that knows the realm, and makes of the person a caller for a while.
//!
//! What is wrong with a name or a password is never told to who tries: an unknown name, a wrong
//! password and a locked account look the same and take the same way. The log tells.

mod attempts;
pub(crate) mod bearer;
mod claims;
mod config;
pub(crate) mod cookie;
mod enter;
#[cfg(feature = "oidc")]
mod fetch;
#[cfg(feature = "oidc")]
mod jwt;
mod jwt_config;
mod local;
#[cfg(feature = "oidc")]
mod oidc;
mod oidc_config;
#[cfg(feature = "oidc")]
mod person;
pub(crate) mod redirect;
mod seal;
pub(crate) mod second_factor;
pub(crate) mod waiting;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use daas_core::access::{SecondFactorStore, SignIn, SignInStore};
use daas_core::clock::Clock;
use daas_core::engine::Caller;
use daas_core::identity::PasswordSource;
use daas_core::owner::Realms;
use daas_core::secret::{DeploymentKey, Secret};
use daas_core::{Error, Operation, Result};

use self::attempts::Attempts;
pub use self::bearer::TokenSource;
pub use self::claims::ClaimNames;
pub use self::config::{IdentityConfig, LocalUser, Others, SecondFactorRule, Tries};
#[cfg(feature = "oidc")]
pub use self::jwt::Jwt;
pub use self::jwt_config::JwtConfig;
pub use self::local::{LOCAL_REALM, hash_password};
#[cfg(feature = "oidc")]
pub use self::oidc::Oidc;
pub use self::oidc_config::OidcConfig;
pub use self::redirect::{Begun, RedirectSource};
use self::waiting::WaitingRoom;

/// The sources of identity, and what is made of the people they know.
#[derive(Debug)]
pub struct Identity {
    config: IdentityConfig,
    realms: Realms,
    passwords: Vec<Arc<dyn PasswordSource>>,
    providers: Vec<Arc<dyn RedirectSource>>,
    tokens: Vec<Arc<dyn TokenSource>>,
    attempts: Attempts,
    waiting: WaitingRoom,
}

/// Where people are known. One realm may be known to several, as long as they are of different sorts:
/// then they speak of the same people.
#[derive(Debug, Default)]
pub struct Sources {
    /// By name and password.
    pub passwords: Vec<Arc<dyn PasswordSource>>,
    /// By a provider that the browser is sent to.
    pub providers: Vec<Arc<dyn RedirectSource>>,
    /// By tokens that programs show for them.
    pub tokens: Vec<Arc<dyn TokenSource>>,
}

/// What a sign-in is made with.
pub(crate) struct Means<'a> {
    pub(crate) sign_ins: Arc<dyn SignInStore>,
    pub(crate) factors: Arc<dyn SecondFactorStore>,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) key: &'a DeploymentKey,
}

/// What somebody gave to sign in, and from where.
#[derive(Debug)]
pub(crate) struct Presented<'a> {
    /// `alice`, `LAB\alice` or `alice@lab.test`.
    pub(crate) name: &'a str,
    pub(crate) password: Secret<String>,
    /// The realm chosen, for a name without one.
    pub(crate) realm: Option<&'a str>,
    /// Where to go afterwards: a path of ours.
    pub(crate) next: &'a str,
    pub(crate) address: IpAddr,
    pub(crate) agent: &'a str,
}

/// What becomes of somebody whose password was right; each with what their browser is to keep.
#[derive(Debug)]
pub(crate) enum Entered {
    /// They are signed in.
    In(Secret<String>),
    /// They wait for their second factor.
    Waits(Secret<String>),
}

/// Why nobody was signed in.
#[derive(Debug)]
pub(crate) enum Denied {
    /// The name or the password is wrong, or the account may not be used.
    Wrong,
    /// They are who they say, but no group of theirs lets them in.
    NotEntitled,
    /// Too many wrong passwords; after this there may be another.
    TooMany(Duration),
    /// The password is right, but the source asks for more, which cannot be given here.
    NeedsMore,
    /// The source or the store does not answer, or refuses our settings.
    Away,
    /// This browser began no such sign-in, or too long ago.
    NotBegun,
    /// The provider says no.
    ByProvider,
    /// What the provider says cannot be trusted.
    Untrusted,
    /// The provider does not answer.
    ProviderAway,
    /// The provider and our settings do not fit.
    NotSetUp,
}

impl Identity {
    /// Sources in the order in which people are offered their realms; those of the configuration's
    /// own users come first when there are any.
    ///
    /// # Errors
    /// `Invalid`: a setting cannot be meant, or two sources of one sort have one realm.
    pub fn new(config: IdentityConfig, realms: Realms, sources: Sources) -> Result<Self> {
        let wrong = |what: &str, why: String| Err(Error::invalid(Operation::Start, what, why));
        let Sources { mut passwords, providers, tokens } = sources;
        if !config.users.is_empty() {
            passwords.insert(0, Arc::new(local::LocalUsers::new(&config.users)?));
        }
        let by_password: Vec<&str> = passwords.iter().map(|source| source.realm()).collect();
        let by_provider: Vec<&str> = providers.iter().map(|source| source.realm()).collect();
        let by_token: Vec<&str> = tokens.iter().map(|source| source.realm()).collect();
        let issuers: Vec<&str> = tokens.iter().map(|source| source.issuer()).collect();
        if let Some(issuer) = twice(&issuers) {
            return wrong("sign_in.jwt", format!("two realms have the issuer {issuer}"));
        }
        for of_one_sort in [&by_password, &by_provider, &by_token] {
            if let Some(realm) = twice(of_one_sort) {
                return wrong("identity", format!("two sources know the realm {realm}"));
            }
        }
        let known = [by_password, by_provider, by_token].concat();
        for group in config.roles.keys() {
            match group.rsplit_once('@') {
                Some((name, realm)) if !name.is_empty() && known.contains(&realm) => {}
                _ => {
                    let why = format!("is no group@realm; realms are: {}", known.join(", "));
                    return wrong(&format!("identity.roles.{group:?}"), why);
                }
            }
        }
        let Tries { account, address, period } = config.tries;
        if account == 0 || address == 0 || period.is_zero() {
            return wrong("identity.tries", "nobody could sign in".to_owned());
        }
        if config.idle.is_zero() || config.lifetime.is_zero() {
            return wrong("identity.lifetime", "nobody could stay signed in".to_owned());
        }
        let attempts = Attempts::new(config.tries);
        let waiting = WaitingRoom::default();
        Ok(Self { config, realms, passwords, providers, tokens, attempts, waiting })
    }

    /// Whether any source knows people of `realm`.
    pub fn knows(&self, realm: &str) -> bool {
        let by_password = self.passwords.iter().any(|source| source.realm() == realm);
        let by_provider = self.providers.iter().any(|source| source.realm() == realm);
        by_password || by_provider || self.tokens.iter().any(|source| source.realm() == realm)
    }

    /// Whether anybody can sign in to the pages.
    pub(crate) fn signs_in(&self) -> bool {
        !self.passwords.is_empty() || !self.providers.is_empty()
    }

    /// The realms to choose from, for a name and a password.
    pub(crate) fn realms(&self) -> impl Iterator<Item = &str> {
        self.passwords.iter().map(|source| source.realm())
    }

    /// The longest that a sign-in lasts.
    pub(crate) fn lifetime(&self) -> Duration {
        self.config.lifetime
    }
}

/// A sign-in as what the engine lets call.
pub(crate) fn caller(sign_in: &SignIn) -> Caller {
    Caller {
        owner: sign_in.owner.clone(),
        organisation: sign_in.organisation.clone(),
        role: sign_in.role,
        groups: sign_in.groups.clone(),
    }
}

/// What is in the list a second time.
fn twice<'a>(realms: &[&'a str]) -> Option<&'a str> {
    let again = |(at, realm): (usize, &&'a str)| realms[..at].contains(realm).then_some(*realm);
    realms.iter().enumerate().find_map(again)
}
