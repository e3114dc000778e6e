//! Bearer tokens that somebody else signs: who they speak for, and as what.

use std::fmt::Debug;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use daas_core::engine::Caller;
use daas_core::identity::Verdict;
use daas_core::ids::Organisation;
use daas_core::{Kind, Result};
use jiff::Timestamp;
use serde_json::Value;
use tracing::{info, warn};

use super::Identity;

/// The longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// A source that knows people by tokens that it signed.
#[async_trait]
pub trait TokenSource: Debug + Send + Sync {
    /// The realm of its people, as owners have it.
    fn realm(&self) -> &str;

    /// What its tokens say of where they come from.
    fn issuer(&self) -> &str;

    /// Whether the keys can be had that it signs with. Changes nothing.
    ///
    /// # Errors
    /// What is amiss, with the way out.
    async fn check(&self) -> Result<()>;

    /// Who `token` speaks for at the time `now`.
    ///
    /// # Errors
    /// `Denied`: the token is not good; why. `Invalid`: it does not tell who. `Unavailable`: the keys
    /// cannot be had, so that nothing is known of it.
    async fn bearer(&self, token: &str, now: Timestamp) -> Result<Verdict>;
}

/// Why a token lets nobody call.
#[derive(Debug)]
pub(crate) enum NotBorne {
    /// It is not good; what its bearer may know of that.
    Refused(String),
    /// It is good, but no group lets its bearer in.
    NotEntitled,
    /// Nothing is known of it at the moment.
    Away,
}

/// Whether `text` can be such a token: three parts (RFC 7515, 3.1).
pub(crate) fn is_token(text: &str) -> bool {
    text.len() <= TOKEN_BYTES_MAX && text.bytes().filter(|b| *b == b'.').count() == 2
}

/// What a token claims. Nobody has verified it.
pub(crate) fn claims(token: &str) -> Option<Value> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&claims).ok()
}

impl Identity {
    /// Whether anybody is known by tokens here.
    pub(crate) fn takes_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// As whom `token` lets call.
    pub(crate) async fn bearer(&self, token: &str, now: Timestamp) -> Result<Caller, NotBorne> {
        let refused = |why: &str| Err(NotBorne::Refused(why.to_owned()));
        let claims = claims(token);
        let issuer = claims.as_ref().and_then(|claims| claims.get("iss")?.as_str());
        // Which source it says it is from; that one verifies it.
        let source = self.tokens.iter().find(|source| Some(source.issuer()) == issuer);
        let Some(source) = source else { return refused("its issuer is not known here") };
        let person = match source.bearer(token, now).await {
            Ok(Verdict::Known(person)) => person,
            Ok(Verdict::Refused(_)) => return refused("it is for nobody who could have a desktop"),
            Err(error) => {
                return Err(match error.kind() {
                    Kind::Denied | Kind::Invalid => {
                        info!(error = error.chain(), "a bearer token was refused");
                        NotBorne::Refused(error.message().to_owned())
                    }
                    _ => {
                        warn!(error = error.chain(), "bearer tokens cannot be looked at");
                        NotBorne::Away
                    }
                });
            }
        };
        let Some(role) = self.role(&person) else {
            info!(owner = %person.owner, "a bearer token was refused: in no group that is let in");
            return Err(NotBorne::NotEntitled);
        };
        let organisation = Organisation::default();
        Ok(Caller { owner: person.owner, organisation, role, groups: person.groups })
    }
}
