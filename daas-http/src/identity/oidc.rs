//! Sign-in by OpenID Connect: the browser is sent to the provider and comes back with a code, which
//! is exchanged for who somebody is (OpenID Connect Core 1.0, 3.1; PKCE by RFC 7636).
//!
//! Nothing is kept here between the two: the browser keeps state, nonce and verifier in a cookie, so
//! that any instance may end what another began.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use daas_core::identity::{Person, Refusal, Verdict};
use daas_core::owner::Realms;
use daas_core::secret::Secret;
use daas_core::{Error, Kind, Operation, Result};
use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreIdToken, CoreJwsSigningAlgorithm, CoreProviderMetadata,
};
use openidconnect::{
    AsyncHttpClient, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointMaybeSet,
    EndpointNotSet, EndpointSet, HttpRequest, HttpResponse, IssuerUrl, Nonce, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, Scope, TokenResponse,
};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

/// How long what the provider says of itself is believed.
const METADATA_AGE: Duration = Duration::from_secs(600);
/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// The longest code or state that is looked at, in bytes.
const TEXT_BYTES_MAX: usize = 4096;
/// Groups of one person; more are an error, as none may be left out in silence.
const GROUPS_MAX: usize = 2000;
/// The longest display name, in characters; more is cut off.
const DISPLAY_MAX: usize = 256;
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

/// How people of an OpenID Connect provider sign in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcConfig {
    /// The provider's issuer, `https://login.school.test/realms/school`: what is before
    /// `/.well-known/openid-configuration`.
    pub issuer: Url,
    /// The name that we have there.
    pub client_id: String,
    /// A file with our secret there; absent: we have none, and PKCE alone protects the code.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// Where the browser comes back to, as it is registered there:
    /// `https://desk.school.test/sign-in/oidc/NAME/callback`.
    pub redirect_url: Url,
    /// The realm of its people, as owners have it.
    pub realm: String,
    /// What is asked for beside `openid`. Default `profile`; some need `groups`.
    #[serde(default = "default_scopes")]
    pub scopes: Vec<String>,
    /// The claim with somebody's name. It must be one that people cannot change by themselves.
    /// Default `preferred_username`.
    #[serde(default = "default_name_claim")]
    pub name_claim: String,
    /// What follows an `@` in that name and is left out; a name with another one is refused.
    #[serde(default)]
    pub name_domain: Option<String>,
    /// The claim with what people call them. Default `name`.
    #[serde(default = "default_display_claim")]
    pub display_claim: String,
    /// The claim with their groups, a list. Default `groups`.
    #[serde(default = "default_groups_claim")]
    pub groups_claim: String,
    /// A file with the certificate authorities to trust, in PEM; absent: the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How long the provider may take for each of the two steps. Default 10 s.
    #[serde(default = "default_deadline", with = "humantime_serde")]
    pub deadline: Duration,
}

fn default_scopes() -> Vec<String> {
    vec!["profile".to_owned()]
}

fn default_name_claim() -> String {
    "preferred_username".to_owned()
}

fn default_display_claim() -> String {
    "name".to_owned()
}

fn default_groups_claim() -> String {
    "groups".to_owned()
}

fn default_deadline() -> Duration {
    Duration::from_secs(10)
}

impl OidcConfig {
    /// A provider with all that can be by default.
    pub fn new(issuer: Url, client_id: &str, redirect_url: Url, realm: &str) -> Self {
        Self {
            issuer,
            client_id: client_id.to_owned(),
            client_secret_file: None,
            redirect_url,
            realm: realm.to_owned(),
            scopes: default_scopes(),
            name_claim: default_name_claim(),
            name_domain: None,
            display_claim: default_display_claim(),
            groups_claim: default_groups_claim(),
            ca_file: None,
            deadline: default_deadline(),
        }
    }
}

/// One provider.
#[derive(Debug)]
pub struct Oidc {
    config: OidcConfig,
    issuer: IssuerUrl,
    secret: Option<ClientSecret>,
    realm: String,
    realms: Realms,
    http: Http,
    known: Mutex<Option<(Instant, Arc<CoreProviderMetadata>)>>,
}

/// A sign-in that was begun.
#[derive(Debug)]
pub struct Begun {
    /// Where the browser goes.
    pub url: Url,
    /// What the browser keeps until it comes back: letters, digits, `-`, `_` and `.`.
    pub kept: Secret<String>,
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
    /// The provider that `config` names. Does not connect.
    ///
    /// # Errors
    /// `Invalid`: a setting is wrong, or a file it names cannot be used.
    pub fn new(config: OidcConfig) -> Result<Self> {
        let wrong = |field: &str, why: String| {
            Error::invalid(Operation::Start, format!("sign_in.oidc.{field}"), why)
        };
        for (field, url) in [("issuer", &config.issuer), ("redirect_url", &config.redirect_url)] {
            if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback(url)) {
                return Err(wrong(field, "is not of the form https://host".to_owned()));
            }
        }
        if config.client_id.is_empty() {
            return Err(wrong("client_id", "is empty".to_owned()));
        }
        let secret = match &config.client_secret_file {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    let why = format!("cannot read {}: {error}", path.display());
                    wrong("client_secret_file", why)
                })?;
                Some(ClientSecret::new(text.trim().to_owned()))
            }
            None => None,
        };
        let issuer = IssuerUrl::from_url(config.issuer.clone());
        let realms = Realms::default();
        let realm = realms.owner_in(&config.realm, "somebody")?.realm;
        let http = Http::new(&config).map_err(|why| wrong("ca_file", why))?;
        Ok(Self { issuer, secret, realm, realms, http, known: Mutex::default(), config })
    }

    /// The realm of its people, as owners have it.
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// Whether the provider answers and says what it is. Changes nothing.
    ///
    /// # Errors
    /// What is amiss, with the way out.
    pub async fn check(&self) -> Result<()> {
        self.within(self.discover()).await.map(drop)
    }

    /// Begins a sign-in.
    ///
    /// # Errors
    /// `Unavailable`: the provider does not answer. `Internal`: its answer makes no sense.
    pub async fn begin(&self) -> Result<Begun> {
        let client = self.client(self.within(self.metadata()).await?);
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

    /// Ends a sign-in: what the browser kept, and what the provider gave it to bring.
    ///
    /// # Errors
    /// `Invalid`: it is not the sign-in that this browser began, or it was too long ago.
    /// `Denied`: the provider refuses the code or our settings. `Unavailable`: it does not answer.
    pub async fn finish(&self, kept: &Secret<String>, state: &str, code: &str) -> Result<Verdict> {
        let refuse = |why: &str| Err(self.error(Kind::Invalid, why));
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
        self.within(self.exchange(code, &nonce, verifier)).await
    }

    async fn exchange(
        &self,
        code: &str,
        nonce: &Nonce,
        verifier: PkceCodeVerifier,
    ) -> Result<Verdict> {
        let client = self.client(self.metadata().await?);
        let request = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .map_err(|error| self.error(Kind::Internal, error))?
            .set_pkce_verifier(verifier);
        let tokens = request.request_async(&self.http).await.map_err(|error| {
            use openidconnect::RequestTokenError::{Other, Parse, Request, ServerResponse};
            match error {
                // Its own words may hold what we sent.
                ServerResponse(said) => self.error(
                    Kind::Denied,
                    format!(
                        "the provider refuses the code ({}); check sign_in.oidc.client_id, \
                         client_secret_file and redirect_url",
                        said.error()
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
            *self.known.lock().await = None;
            let why = format!("the provider's identity token is refused: {error}");
            return Err(self.error(Kind::Denied, why));
        }
        self.person(token)
    }

    /// Who a token tells of; it was verified.
    fn person(&self, token: &CoreIdToken) -> Result<Verdict> {
        let nonsense = || self.error(Kind::Internal, "the identity token cannot be read");
        let text = token.to_string();
        let claims = text.split('.').nth(1).ok_or_else(nonsense)?;
        let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| nonsense())?;
        let claims: Value = serde_json::from_slice(&claims).map_err(|_| nonsense())?;
        let Some(name) = claims.get(&self.config.name_claim).and_then(Value::as_str) else {
            let why = format!(
                "the identity token has no {:?}; check sign_in.oidc.name_claim and scopes",
                self.config.name_claim
            );
            return Err(self.error(Kind::Invalid, why));
        };
        let name = match (&self.config.name_domain, name.rsplit_once('@')) {
            (Some(ours), Some((name, domain))) if ours.eq_ignore_ascii_case(domain) => name,
            _ => name,
        };
        let owner = match self.realms.owner_in(&self.realm, name) {
            Ok(owner) => owner,
            Err(error) => {
                tracing::warn!(%error, realm = self.realm, "a name that no desktop takes");
                return Ok(Verdict::Refused(Refusal::Restricted));
            }
        };
        let groups = match claims.get(&self.config.groups_claim) {
            Some(Value::Array(groups)) if groups.len() <= GROUPS_MAX => groups
                .iter()
                .filter_map(Value::as_str)
                .map(|group| group.trim().to_lowercase())
                .collect(),
            None => BTreeSet::new(),
            Some(_) => {
                let claim = &self.config.groups_claim;
                let why =
                    format!("{claim:?} in the identity token is no list of at most {GROUPS_MAX}");
                return Err(self.error(Kind::Invalid, why));
            }
        };
        let display_name = claims.get(&self.config.display_claim).and_then(Value::as_str);
        let display_name = display_name.and_then(displayed);
        Ok(Verdict::Known(Person { owner, display_name, groups }))
    }

    fn client(&self, metadata: Arc<CoreProviderMetadata>) -> Client {
        let id = ClientId::new(self.config.client_id.clone());
        let back = RedirectUrl::from_url(self.config.redirect_url.clone());
        CoreClient::from_provider_metadata(metadata.as_ref().clone(), id, self.secret.clone())
            .set_redirect_uri(back)
    }

    async fn metadata(&self) -> Result<Arc<CoreProviderMetadata>> {
        let mut known = self.known.lock().await;
        match &*known {
            Some((at, metadata)) if at.elapsed() < METADATA_AGE => Ok(Arc::clone(metadata)),
            _ => {
                let metadata = self.discover().await?;
                *known = Some((Instant::now(), Arc::clone(&metadata)));
                Ok(metadata)
            }
        }
    }

    async fn discover(&self) -> Result<Arc<CoreProviderMetadata>> {
        use openidconnect::DiscoveryError::Request;
        let found = CoreProviderMetadata::discover_async(self.issuer.clone(), &self.http).await;
        found.map(Arc::new).map_err(|error| match error {
            Request(error) => self.error(Kind::Unavailable, error),
            error => {
                let why = format!("no OpenID Connect provider: {error}; check sign_in.oidc.issuer");
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

/// A name for people's eyes, on one line and within bounds.
fn displayed(name: &str) -> Option<String> {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    let name: String = name.chars().take(DISPLAY_MAX).map(shown).collect();
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Carries the library's requests, within bounds and never elsewhere.
#[derive(Debug)]
struct Http(reqwest::Client);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum HttpFailure {
    #[error("the provider does not answer: {}; check sign_in.oidc.issuer and ca_file", causes(.0))]
    Away(#[from] reqwest::Error),
    #[error("the provider's answer is longer than {ANSWER_BYTES_MAX} bytes")]
    Long,
    #[error("the provider's answer is no HTTP")]
    Http(#[from] http::Error),
}

impl Http {
    fn new(config: &OidcConfig) -> Result<Self, String> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(config.deadline);
        if let Some(path) = &config.ca_file {
            let pem = std::fs::read(path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| e.to_string())?;
            if roots.is_empty() {
                return Err(format!("there is no certificate in {}", path.display()));
            }
            builder = builder.tls_certs_only(roots);
        }
        builder.build().map(Self).map_err(|error| error.to_string())
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpFailure> {
        let mut answer = self.0.execute(request.try_into()?).await?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(HttpFailure::Long);
            }
            body.extend_from_slice(&chunk);
        }
        let mut response = http::Response::builder().status(answer.status());
        for (name, value) in answer.headers() {
            response = response.header(name, value);
        }
        Ok(response.body(body)?)
    }
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = HttpFailure;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpFailure>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

/// The causes of a failure, one behind the other.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
