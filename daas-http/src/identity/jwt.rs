//! Bearer tokens of an issuer, verified with its own keys.
//!
//! The keys are kept for a while; one that is not known makes us ask for them again, but not at
//! everybody's beck. Keys that cannot be had are no reason to call a token bad.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use daas_core::identity::Verdict;
use daas_core::owner::Realms;
use daas_core::{Error, Kind, Operation, Result};
use jiff::Timestamp;
use openidconnect::core::{
    CoreIdToken, CoreIdTokenVerifier, CoreJsonWebKeySet, CoreJwsSigningAlgorithm,
};
use openidconnect::{
    ClaimsVerificationError, ClientId, DiscoveryError, IssuerUrl, JsonWebKeySetUrl,
    JsonWebTokenType, Nonce, SignatureVerificationError,
};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::bearer::{self, TokenSource};
use super::claims::ClaimNames;
use super::fetch::{Http, is_safe};
use super::jwt_config::JwtConfig;

/// What tokens may be signed with: keys that the issuer alone has. Never `none`, never a secret.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 3] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EdDsa,
];
/// How far clocks may differ.
const LEEWAY: Duration = Duration::from_secs(60);
/// How long keys are taken for the present ones.
const FRESH: Duration = Duration::from_mins(10);
/// How long they are used while no others can be had.
const STALE: Duration = Duration::from_hours(1);
/// How long an issuer that did not answer is not asked again.
const RESPITE: Duration = Duration::from_secs(2);
/// How many keys an issuer may have.
const KEYS_MAX: usize = 100;
/// The longest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// One issuer.
#[derive(Debug)]
pub struct Jwt {
    realm: String,
    issuer: IssuerUrl,
    audience: ClientId,
    from: From,
    claims: ClaimNames,
    deadline: Duration,
    pause: Duration,
    known: Mutex<Known>,
}

/// Where the keys are.
#[derive(Debug)]
enum From {
    Url(JsonWebKeySetUrl, Http),
    File(PathBuf),
}

/// What is known of the keys.
#[derive(Debug, Default)]
struct Known {
    keys: Option<(Instant, Arc<CoreJsonWebKeySet>)>,
    /// When they were asked for last, and whether that was to no avail.
    asked: Option<(Instant, bool)>,
}

impl Jwt {
    /// The issuer of tokens for the people of `realm`. Does not connect.
    ///
    /// # Errors
    /// `Invalid`: a setting is wrong, or a file it names cannot be used.
    pub fn new(realm: &str, config: JwtConfig) -> Result<Self> {
        let wrong = |field: &str, why: &str| {
            Err(Error::invalid(Operation::Start, format!("sign_in.jwt.{realm}.{field}"), why))
        };
        let Ok(issuer) = IssuerUrl::new(config.issuer) else {
            return wrong("issuer", "is no URL");
        };
        if config.audience.trim().is_empty() {
            return wrong("audience", "is empty: tokens for anything else would be good here");
        }
        let from = match (config.jwks_url, config.jwks_file) {
            (Some(url), None) if is_safe(&url) => {
                match Http::new(config.ca_file.as_deref(), config.deadline) {
                    Ok(http) => From::Url(JsonWebKeySetUrl::from_url(url), http),
                    Err(why) => return wrong("ca_file", &why),
                }
            }
            (Some(_), None) => return wrong("jwks_url", "is not of the form https://host/path"),
            (None, Some(path)) => From::File(path),
            _ => return wrong("jwks_url", "or jwks_file must be set, and one of them alone"),
        };
        let realm = Realms::default().owner_in(realm, "somebody")?.realm;
        let (audience, claims) = (ClientId::new(config.audience), config.claims);
        let (deadline, pause) = (config.deadline, config.pause);
        Ok(Self { realm, issuer, audience, from, claims, deadline, pause, known: Mutex::default() })
    }

    /// The present keys.
    async fn keys(&self) -> Result<Arc<CoreJsonWebKeySet>> {
        let mut known = self.within(async { Ok(self.known.lock().await) }).await?;
        let (kept, age) = match &known.keys {
            Some((at, keys)) => (Some(Arc::clone(keys)), at.elapsed()),
            None => (None, Duration::MAX),
        };
        if let Some(keys) = kept.clone()
            && age < FRESH
        {
            return Ok(keys);
        }
        let in_vain = |(at, failed): (Instant, bool)| failed && at.elapsed() < RESPITE;
        let asked = if known.asked.is_some_and(in_vain) {
            Err(self.error(Kind::Unavailable, "the issuer did not give its keys a moment ago"))
        } else {
            self.ask(&mut known).await
        };
        match (asked, kept) {
            (Ok(keys), _) => Ok(keys),
            (Err(error), Some(keys)) if age < STALE => {
                tracing::warn!(error = error.chain(), "keys that were known before are used");
                Ok(keys)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Others than `old`, when there are any; asked for now and then only.
    async fn newer(&self, old: &Arc<CoreJsonWebKeySet>) -> Result<Option<Arc<CoreJsonWebKeySet>>> {
        let mut known = self.within(async { Ok(self.known.lock().await) }).await?;
        match (&known.keys, known.asked) {
            (Some((_, keys)), _) if !Arc::ptr_eq(keys, old) => return Ok(Some(Arc::clone(keys))),
            (_, Some((at, failed))) if at.elapsed() < self.pause => {
                return match failed {
                    false => Ok(None),
                    // Its key may be among those that could not be had.
                    true => Err(self.error(Kind::Unavailable, "the issuer does not give its keys")),
                };
            }
            _ => {}
        }
        self.ask(&mut known).await.map(Some)
    }

    async fn ask(&self, known: &mut Known) -> Result<Arc<CoreJsonWebKeySet>> {
        let asked = self.within(self.fetch()).await.map(Arc::new);
        known.asked = Some((Instant::now(), asked.is_err()));
        let keys = asked?;
        known.keys = Some((Instant::now(), Arc::clone(&keys)));
        Ok(keys)
    }

    async fn fetch(&self) -> Result<CoreJsonWebKeySet> {
        let away = |why: String| self.error(Kind::Unavailable, why);
        let keys = match &self.from {
            From::Url(url, http) => {
                let fetched = CoreJsonWebKeySet::fetch_async(url, http).await;
                fetched.map_err(|error| match error {
                    DiscoveryError::Request(error) => away(error.to_string()),
                    error => away(format!("no keys are at sign_in.jwt.jwks_url: {error}")),
                })?
            }
            From::File(path) => {
                let at = path.display();
                let cannot = |error: std::io::Error| away(format!("cannot read {at}: {error}"));
                let length = tokio::fs::metadata(path).await.map_err(cannot)?.len();
                if length > FILE_BYTES_MAX {
                    return Err(away(format!("{at} is longer than {FILE_BYTES_MAX} bytes")));
                }
                let bytes = tokio::fs::read(path).await.map_err(cannot)?;
                let keys = serde_json::from_slice(&bytes);
                keys.map_err(|_| away(format!("{at} is no JSON Web Key Set")))?
            }
        };
        if keys.keys().len() > KEYS_MAX {
            return Err(away(format!("the issuer has more than {KEYS_MAX} keys")));
        }
        Ok(keys)
    }

    /// Whether `token` is for us, for now, and signed by one of `keys`.
    fn verify(
        &self,
        token: &CoreIdToken,
        keys: &CoreJsonWebKeySet,
        now: Timestamp,
    ) -> Result<(), ClaimsVerificationError> {
        let types = ["JWT", "at+jwt"].map(|name| JsonWebTokenType::new(name.to_owned()));
        let types = types.iter().filter_map(|name| name.normalize().ok());
        let late = SystemTime::from(now) - LEEWAY;
        let verifier = CoreIdTokenVerifier::new_public_client(
            self.audience.clone(),
            self.issuer.clone(),
            keys.clone(),
        );
        let verifier = verifier
            .set_allowed_algs(ALGORITHMS)
            .set_allowed_jose_types(types)
            // Theirs too, as long as it is ours.
            .set_other_audience_verifier_fn(|_| true)
            .set_time_fn(move || late.into());
        token.claims(&verifier, |_: Option<&Nonce>| Ok(())).map(drop)
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let after = self.deadline;
        match tokio::time::timeout(after, work).await {
            Ok(done) => done,
            Err(_) => Err(self.error(Kind::Unavailable, format!("no keys within {after:?}"))),
        }
    }

    fn error(&self, kind: Kind, why: impl fmt::Display) -> Error {
        Error::new(kind, Operation::Check, format!("realm {}", self.realm), why.to_string())
    }

    fn refused(&self, why: impl fmt::Display) -> Error {
        self.error(Kind::Denied, why)
    }
}

/// Whether a token's key is not among those that are known.
fn is_unknown_key(error: &ClaimsVerificationError) -> bool {
    use ClaimsVerificationError::SignatureVerification;
    matches!(error, SignatureVerification(SignatureVerificationError::NoMatchingKey))
}

/// When a claim says that something begins, in seconds.
fn seconds(claims: &Value, name: &str) -> Result<Option<f64>, ()> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or(()),
    }
}

#[async_trait]
impl TokenSource for Jwt {
    fn realm(&self) -> &str {
        &self.realm
    }

    fn issuer(&self) -> &str {
        self.issuer.as_str()
    }

    async fn check(&self) -> Result<()> {
        let keys = self.within(self.fetch()).await?;
        if keys.keys().is_empty() {
            return Err(self.error(Kind::Invalid, "the issuer has no key that we could use"));
        }
        Ok(())
    }

    async fn bearer(&self, token: &str, now: Timestamp) -> Result<Verdict> {
        let Ok(parsed) = token.parse::<CoreIdToken>() else {
            return Err(self.refused("the token cannot be read"));
        };
        let keys = self.keys().await?;
        let mut judged = self.verify(&parsed, &keys, now);
        if judged.as_ref().is_err_and(is_unknown_key)
            && let Some(newer) = self.newer(&keys).await?
        {
            judged = self.verify(&parsed, &newer, now);
        }
        if let Err(error) = judged {
            return Err(self.refused(error));
        }
        let claims = bearer::claims(token).ok_or_else(|| self.refused("it cannot be read"))?;
        let begins = seconds(&claims, "nbf").map_err(|()| self.refused("its nbf is no number"))?;
        #[expect(clippy::cast_precision_loss, reason = "seconds are exact in 53 bits")]
        let latest = now.as_second() as f64 + LEEWAY.as_secs_f64();
        if begins.is_some_and(|begins| begins > latest) {
            return Err(self.refused("it is not good yet"));
        }
        self.claims.person(&claims, &self.realm, &format!("sign_in.jwt.{}", self.realm))
    }
}
