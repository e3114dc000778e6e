//! Sign-in by sending the browser to a provider, who sends it back: what is kept in between, and by
//! whom.
//!
//! The browser keeps it, sealed, in a cookie: a sign-in that is never ended costs nothing here, and one
//! that another browser began cannot be ended in this one.

use std::fmt::Debug;
use std::net::IpAddr;

use async_trait::async_trait;
use daas_core::access::SignIn;
use daas_core::identity::Verdict;
use daas_core::secret::Secret;
use daas_core::{Error, Kind, Result};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use url::Url;

use super::attempts::Counted;
use super::seal::Seal;
use super::{Denied, Identity, Means};

/// How long a sign-in that was begun may take, in seconds: a password and a second factor there.
pub(crate) const BEGUN_SECONDS: u64 = 600;
/// The longest path to go back to that is kept, in bytes: a cookie holds 4 KiB.
const NEXT_BYTES_MAX: usize = 1_024;

/// A source that knows people once their browser has been there.
#[async_trait]
pub trait RedirectSource: Debug + Send + Sync {
    /// The realm of its people, as owners have it.
    fn realm(&self) -> &str;

    /// What its button says.
    fn label(&self) -> Option<&str>;

    /// Whether the provider answers and says what it is. Changes nothing.
    ///
    /// # Errors
    /// What is amiss, with the way out.
    async fn check(&self) -> Result<()>;

    /// Begins a sign-in that comes back to `back`.
    ///
    /// # Errors
    /// `Unavailable`: the provider does not answer. `Invalid`, `Internal`: its answer makes no sense.
    async fn begin(&self, back: &Url) -> Result<Begun>;

    /// Ends a sign-in: what the browser kept, and what the provider gave it to bring.
    ///
    /// # Errors
    /// `Conflict`: it is not the sign-in that this browser began, or it was too long ago. `Denied`:
    /// what the provider says cannot be trusted. `Invalid`, `Internal`: the provider and our settings
    /// do not fit. `Unavailable`: it does not answer.
    async fn finish(
        &self,
        kept: &Secret<String>,
        back: &Url,
        state: &str,
        code: &str,
    ) -> Result<Verdict>;
}

/// A sign-in that was begun.
#[derive(Debug)]
pub struct Begun {
    /// Where the browser goes.
    pub url: Url,
    /// What the browser keeps until it comes back.
    pub kept: Secret<String>,
}

/// What the browser keeps, sealed.
#[derive(Serialize, Deserialize)]
pub(crate) struct Kept {
    realm: String,
    kept: String,
    /// Where to go afterwards: a path of ours.
    pub(crate) next: String,
    until: Timestamp,
}

/// What the browser brings back.
#[derive(Debug)]
pub(crate) struct Brought<'a> {
    pub(crate) state: &'a str,
    pub(crate) code: &'a str,
    /// Why the provider gives no code.
    pub(crate) error: Option<&'a str>,
    pub(crate) address: IpAddr,
    pub(crate) agent: &'a str,
}

fn seal(means: &Means<'_>) -> Seal {
    Seal::new(means.key, "sign-in at a provider")
}

impl Identity {
    /// The providers to choose from: realm, and what the button says.
    pub(crate) fn providers(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.providers.iter().map(|provider| (provider.realm(), provider.label()))
    }

    /// The provider of `realm`.
    pub(crate) fn provider(&self, realm: &str) -> Option<&dyn RedirectSource> {
        let found = self.providers.iter().find(|provider| provider.realm() == realm);
        found.map(|provider| provider.as_ref())
    }

    /// Begins a sign-in at `provider`: where the browser goes, and what it keeps.
    pub(crate) async fn begin(
        &self,
        provider: &dyn RedirectSource,
        back: &Url,
        next: &str,
        means: &Means<'_>,
    ) -> Result<(Url, Secret<String>), Denied> {
        let begun = provider.begin(back).await.map_err(|error| denied(&error))?;
        let next = if next.len() > NEXT_BYTES_MAX { "" } else { next };
        let until = means.clock.now() + SignedDuration::from_secs(BEGUN_SECONDS.cast_signed());
        let kept = Kept {
            realm: provider.realm().to_owned(),
            kept: begun.kept.expose().clone(),
            next: next.to_owned(),
            until,
        };
        let away = |why: &dyn std::fmt::Display| {
            warn!(error = %why, "nobody can sign in");
            Denied::Away
        };
        let kept = serde_json::to_vec(&kept).map_err(|error| away(&error))?;
        let sealed = seal(means).close(&kept, "").map_err(|error| away(&error))?;
        Ok((begun.url, Secret::new(sealed)))
    }

    /// What this browser keeps of a sign-in that it began here not too long ago.
    pub(crate) fn begun(&self, cookie: Option<&str>, means: &Means<'_>) -> Option<Kept> {
        let opened = seal(means).open(cookie?, "")?;
        let kept: Kept = serde_json::from_slice(opened.expose()).ok()?;
        (kept.until > means.clock.now()).then_some(kept)
    }

    /// Ends a sign-in that was begun; what the browser is to keep from now on, and what we do.
    pub(crate) async fn finish(
        &self,
        provider: &dyn RedirectSource,
        back: &Url,
        kept: Option<Kept>,
        brought: Brought<'_>,
        means: &Means<'_>,
    ) -> Result<(Secret<String>, SignIn), Denied> {
        let Brought { state, code, error, address, agent } = brought;
        let realm = provider.realm();
        let Some(kept) = kept.filter(|kept| kept.realm == realm) else {
            info!(realm, %address, "a sign-in came back that this browser did not begin");
            return Err(Denied::NotBegun);
        };
        if let Some(error) = error {
            let plain = |c: &char| c.is_ascii_alphanumeric() || "_-.".contains(*c);
            let why: String = error.chars().filter(plain).take(64).collect();
            info!(realm, %address, why, "sign-in refused by the provider");
            return Err(Denied::ByProvider);
        }
        // What is brought makes us ask the provider: not without end for somebody who makes it up.
        let counted = [Counted::address(address)];
        self.attempts.take(&counted).map_err(|wait| {
            warn!(%address, realm, "sign-in refused: too many tries");
            Denied::TooMany(wait)
        })?;
        let verdict = provider.finish(&Secret::new(kept.kept), back, state, code).await;
        let person = match verdict {
            Ok(Verdict::Known(person)) => person,
            Ok(Verdict::Refused(why)) => {
                info!(realm, %address, why = why.as_str(), "sign-in refused");
                return Err(Denied::NotEntitled);
            }
            Err(error) => {
                if error.kind() == Kind::Unavailable {
                    self.attempts.give_back(&counted);
                }
                return Err(denied(&error));
            }
        };
        self.attempts.give_back(&counted);
        let role = self.entitled(&person, address)?;
        self.enter(person, role, address, agent, means).await
    }
}

/// What who tries is told of `error`; the log has it whole.
fn denied(error: &Error) -> Denied {
    warn!(error = error.chain(), "a sign-in at a provider failed");
    match error.kind() {
        Kind::Conflict => Denied::NotBegun,
        Kind::Denied => Denied::Untrusted,
        Kind::Unavailable => Denied::ProviderAway,
        Kind::Invalid | Kind::Internal | Kind::Unsupported | Kind::NotFound | Kind::Exhausted => {
            Denied::NotSetUp
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps an error has failed")]
    use std::sync::Arc;
    use std::time::Duration;

    use daas_core::clock::{Clock, ManualClock};
    use daas_core::identity::Refusal;
    use daas_core::owner::Realms;
    use daas_core::secret::DeploymentKey;
    use daas_core::store::SessionStore;
    use daas_core::store::memory::MemoryStore;

    use super::*;
    use crate::identity::{IdentityConfig, Sources};

    /// A provider that lets nobody in.
    #[derive(Debug)]
    struct Shut;

    #[async_trait]
    impl RedirectSource for Shut {
        fn realm(&self) -> &str {
            "shut"
        }

        fn label(&self) -> Option<&str> {
            None
        }

        async fn check(&self) -> Result<()> {
            Ok(())
        }

        async fn begin(&self, back: &Url) -> Result<Begun> {
            Ok(Begun { url: back.clone(), kept: Secret::from("kept") })
        }

        async fn finish(&self, _: &Secret<String>, _: &Url, _: &str, _: &str) -> Result<Verdict> {
            Ok(Verdict::Refused(Refusal::Restricted))
        }
    }

    #[tokio::test]
    async fn what_was_begun_is_over_in_time_and_opens_in_its_deployment_alone() {
        let sources = Sources { providers: vec![Arc::new(Shut)], ..Sources::default() };
        let config = IdentityConfig::default();
        let identity = Identity::new(config, Realms::default(), sources).unwrap();
        let clock = ManualClock::starting_at("2026-11-20T10:00:00Z".parse().unwrap());
        let (key, other) = (DeploymentKey::mint(), DeploymentKey::mint());
        let store = MemoryStore::new();
        let means = |key| Means {
            sign_ins: store.sign_ins(),
            factors: store.second_factors(),
            clock: &clock as &dyn Clock,
            key,
        };
        let back = "https://desk.test/".parse().unwrap();
        let (_, kept) = identity.begin(&Shut, &back, "/account", &means(&key)).await.unwrap();
        let begun = |key| identity.begun(Some(kept.expose()), &means(key)).map(|kept| kept.next);
        assert_eq!(begun(&key).as_deref(), Some("/account"));
        assert_eq!(begun(&other), None);
        assert!(identity.begun(None, &means(&key)).is_none());
        clock.advance(Duration::from_secs(BEGUN_SECONDS - 1));
        assert!(begun(&key).is_some());
        clock.advance(Duration::from_secs(1));
        assert!(begun(&key).is_none(), "a stale one opens");
    }
}
