//! Sign-in by OpenID Connect: the browser is sent to the provider and comes back with a code, which
//! is exchanged for who somebody is (OpenID Connect Core 1.0, 3.1; PKCE by RFC 7636).
//!
//! Nothing is kept here between the two: the browser keeps state, nonce and verifier, sealed, so that
//! any instance may end what another began.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use daas_core::identity::Verdict;
use daas_core::owner::Realms;
use daas_core::secret::Secret;
use daas_core::{Error, Kind, Operation, Result};
use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreIdToken, CoreJwsSigningAlgorithm, CoreProviderMetadata,
};
use openidconnect::{
    AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointMaybeSet, EndpointNotSet,
    EndpointSet, IssuerUrl, Nonce, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope,
    TokenResponse,
};
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use super::fetch::{Http, is_safe};
use super::oidc_config::OidcConfig;
use super::redirect::{Begun, RedirectSource};

/// How long what the provider says of itself is believed.
const METADATA_AGE: Duration = Duration::from_secs(600);
/// How long a provider that did not answer is not asked again.
const RESPITE: Duration = Duration::from_secs(2);
/// The longest code or state that is looked at, in bytes.
const TEXT_BYTES_MAX: usize = 4096;
/// What an identity token may be signed with: keys that the provider alone has.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// One provider.
#[derive(Debug)]
pub struct Oidc {
    config: OidcConfig,
    issuer: IssuerUrl,
    secret: Option<ClientSecret>,
    realm: String,
    http: Http,
    known: Mutex<Known>,
}

/// What is known of the provider.
#[derive(Debug, Default)]
struct Known {
    metadata: Option<(Instant, Arc<CoreProviderMetadata>)>,
    /// When it was last asked to no avail.
    failed_at: Option<Instant>,
}

type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

impl Oidc {
    /// The provider of the people of `realm`. Does not connect.
    ///
    /// # Errors
    /// `Invalid`: a setting is wrong, or a file it names cannot be used.
    pub fn new(realm: &str, config: OidcConfig) -> Result<Self> {
        let wrong = |field: &str, why: String| {
            Error::invalid(Operation::Start, format!("sign_in.oidc.{realm}.{field}"), why)
        };
        if !is_safe(&config.issuer) {
            return Err(wrong("issuer", "is not of the form https://host".to_owned()));
        }
        if config.client_id.is_empty() {
            return Err(wrong("client_id", "is empty".to_owned()));
        }
        let secret = match (&config.client_secret, &config.client_secret_file) {
            (Some(_), Some(_)) => {
                let why = "is set beside client_secret; leave one of them out".to_owned();
                return Err(wrong("client_secret_file", why));
            }
            (Some(secret), None) => Some(secret.expose().trim().to_owned()),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    let why = format!("cannot read {}: {error}", path.display());
                    wrong("client_secret_file", why)
                })?;
                Some(text.trim().to_owned())
            }
            (None, None) => None,
        };
        if secret.as_ref().is_some_and(String::is_empty) {
            return Err(wrong(
                "client_secret",
                "is empty; leave it out for a client without".into(),
            ));
        }
        let issuer = IssuerUrl::from_url(config.issuer.clone());
        let realm = Realms::default().owner_in(realm, "somebody")?.realm;
        let http = Http::new(config.ca_file.as_deref(), config.deadline)
            .map_err(|why| wrong("ca_file", why))?;
        let secret = secret.map(ClientSecret::new);
        Ok(Self { issuer, secret, realm, http, known: Mutex::default(), config })
    }

    async fn exchange(
        &self,
        client: Client,
        code: &str,
        nonce: &Nonce,
        verifier: PkceCodeVerifier,
    ) -> Result<Verdict> {
        let request = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .map_err(|error| self.error(Kind::Internal, error))?
            .set_pkce_verifier(verifier);
        let tokens = request.request_async(&self.http).await.map_err(|error| {
            use openidconnect::RequestTokenError::{Other, Parse, Request, ServerResponse};
            match error {
                // Used before, or too old: a page that was loaded again, as a rule.
                ServerResponse(said) if said.error().as_ref() == "invalid_grant" => {
                    let why = "the provider refuses the code (invalid_grant); begin again";
                    self.error(Kind::Conflict, why)
                }
                // Its own words may hold what we sent.
                ServerResponse(said) => self.error(
                    Kind::Invalid,
                    format!(
                        "the provider refuses us ({}); check sign_in.oidc.{}.client_id, \
                         client_secret_file and what it has as redirect URI",
                        said.error(),
                        self.realm,
                    ),
                ),
                Request(error) => self.error(Kind::Unavailable, error),
                Parse(..) | Other(_) => {
                    self.error(Kind::Internal, "the provider's answer to the code makes no sense")
                }
            }
        })?;
        let Some(token) = tokens.id_token() else {
            return Err(self.error(Kind::Internal, "the provider gave no identity token"));
        };
        let judged = client.id_token_verifier().set_allowed_algs(ALGORITHMS);
        if let Err(error) = token.claims(&judged, nonce) {
            // It may have new keys.
            self.known.lock().await.metadata = None;
            let why = format!("the provider's identity token is refused: {error}");
            return Err(self.error(Kind::Denied, why));
        }
        self.person(token)
    }

    /// Who a token tells of; it was verified.
    fn person(&self, token: &CoreIdToken) -> Result<Verdict> {
        let claims = super::bearer::claims(&token.to_string());
        let nonsense = || self.error(Kind::Internal, "the identity token cannot be read");
        let claims = claims.ok_or_else(nonsense)?;
        let of = format!("sign_in.oidc.{}", self.realm);
        self.config.claims.person(&claims, &self.realm, &of)
    }

    fn client(&self, metadata: Arc<CoreProviderMetadata>, back: &Url) -> Client {
        let id = ClientId::new(self.config.client_id.clone());
        let back = RedirectUrl::from_url(back.clone());
        CoreClient::from_provider_metadata(metadata.as_ref().clone(), id, self.secret.clone())
            .set_redirect_uri(back)
    }

    async fn metadata(&self) -> Result<Arc<CoreProviderMetadata>> {
        let mut known = self.within(async { Ok(self.known.lock().await) }).await?;
        if let Some((at, metadata)) = &known.metadata
            && at.elapsed() < METADATA_AGE
        {
            return Ok(Arc::clone(metadata));
        }
        // Who waited here for one that is away does not wait for it once more.
        if known.failed_at.is_some_and(|at| at.elapsed() < RESPITE) {
            return Err(self.error(Kind::Unavailable, "the provider did not answer a moment ago"));
        }
        let found = self.within(self.discover()).await;
        known.failed_at = found.is_err().then(Instant::now);
        let metadata = found?;
        known.metadata = Some((Instant::now(), Arc::clone(&metadata)));
        Ok(metadata)
    }

    async fn discover(&self) -> Result<Arc<CoreProviderMetadata>> {
        use openidconnect::DiscoveryError::Request;
        let found = CoreProviderMetadata::discover_async(self.issuer.clone(), &self.http).await;
        found.map(Arc::new).map_err(|error| match error {
            Request(error) => self.error(Kind::Unavailable, error),
            error => {
                let field = format!("sign_in.oidc.{}.issuer", self.realm);
                let why = format!("no OpenID Connect provider: {error}; check {field}");
                self.error(Kind::Invalid, why)
            }
        })
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let after = self.config.deadline;
        match tokio::time::timeout(after, work).await {
            Ok(done) => done,
            Err(_) => Err(self.error(Kind::Unavailable, format!("no answer within {after:?}"))),
        }
    }

    fn error(&self, kind: Kind, why: impl fmt::Display) -> Error {
        Error::new(kind, Operation::Check, format!("realm {}", self.realm), why.to_string())
    }
}

#[async_trait]
impl RedirectSource for Oidc {
    fn realm(&self) -> &str {
        &self.realm
    }

    fn label(&self) -> Option<&str> {
        self.config.label.as_deref()
    }

    async fn check(&self) -> Result<()> {
        self.within(self.discover()).await.map(drop)
    }

    async fn begin(&self, back: &Url) -> Result<Begun> {
        let client = self.client(self.metadata().await?, back);
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let mut request = client.authorize_url(
            CoreAuthenticationFlow::AuthorizationCode,
            CsrfToken::new_random,
            Nonce::new_random,
        );
        for scope in &self.config.scopes {
            request = request.add_scope(Scope::new(scope.clone()));
        }
        let (url, state, nonce) = request.set_pkce_challenge(challenge).url();
        let kept = [state.secret(), nonce.secret(), verifier.secret()].map(String::as_str);
        Ok(Begun { url, kept: Secret::new(kept.join(".")) })
    }

    async fn finish(
        &self,
        kept: &Secret<String>,
        back: &Url,
        state: &str,
        code: &str,
    ) -> Result<Verdict> {
        let refuse = |why: &str| Err(self.error(Kind::Conflict, why));
        let parts: Vec<&str> = kept.expose().split('.').collect();
        let [own_state, nonce, verifier] = parts.as_slice() else {
            return refuse("this browser began no sign-in; begin again");
        };
        let own = CsrfToken::new((*own_state).to_owned());
        if state.len() > TEXT_BYTES_MAX || own != CsrfToken::new(state.to_owned()) {
            return refuse("this is not the sign-in that this browser began; begin again");
        }
        if code.is_empty() || code.len() > TEXT_BYTES_MAX {
            return refuse("the provider gave no code; begin again");
        }
        let nonce = Nonce::new((*nonce).to_owned());
        let verifier = PkceCodeVerifier::new((*verifier).to_owned());
        let client = self.client(self.metadata().await?, back);
        self.within(self.exchange(client, code, &nonce, verifier)).await
    }
}
