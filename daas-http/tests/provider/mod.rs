//! A small provider of OpenID Connect that checks what a provider checks.

#![allow(clippy::unwrap_used, dead_code, reason = "shared by several test programs")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, StatusCode};
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

/// Where browsers come back to, unless a test says otherwise.
pub(crate) const BACK: &str = "https://desk.school.test/sign-in/oidc/school/callback";
/// Our secret there.
pub(crate) const SECRET: &str = "s3cret: of / the + client";

/// What a test changes in a token before it is signed: its header and its claims.
pub(crate) type Twist = fn(&mut Value, &mut Value);

pub(crate) struct Provider {
    pub(crate) url: Url,
    pub(crate) key: KeyPair,
    /// Codes given, each with its challenge and nonce.
    pub(crate) codes: Mutex<HashMap<String, (String, String)>>,
    pub(crate) twist: Mutex<Twist>,
    /// What another key signs.
    pub(crate) forged: Mutex<bool>,
    /// It has trouble of its own.
    pub(crate) away: AtomicBool,
    /// Where browsers come back to, as it is registered.
    pub(crate) back: Mutex<String>,
}

pub(crate) type Shared = Arc<Provider>;

impl Provider {
    pub(crate) async fn start() -> (Shared, tokio::task::JoinHandle<()>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/realms/school", listener.local_addr().unwrap());
        let provider = Arc::new(Self {
            url: url.parse().unwrap(),
            key: KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(),
            codes: Mutex::default(),
            twist: Mutex::new(|_, _| {}),
            forged: Mutex::new(false),
            away: AtomicBool::new(false),
            back: Mutex::new(BACK.to_owned()),
        });
        let router = Router::new()
            .route("/realms/school/.well-known/openid-configuration", get(metadata))
            .route("/realms/school/keys", get(keys))
            .route("/realms/school/token", post(token))
            .layer(from_fn_with_state(Arc::clone(&provider), trouble))
            .with_state(Arc::clone(&provider));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (provider, task)
    }

    /// Signs somebody in, as the browser sees it: state and code to bring back.
    pub(crate) fn authorize(&self, url: &Url) -> (String, String) {
        let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
        assert_eq!(url.path(), "/realms/school/authorize");
        let registered = self.back.lock().unwrap().clone();
        for (name, wished) in [
            ("response_type", "code"),
            ("client_id", "desk"),
            ("redirect_uri", registered.as_str()),
            ("code_challenge_method", "S256"),
            ("scope", "openid profile"),
        ] {
            assert_eq!(query.get(name).map(String::as_str), Some(wished), "{name}");
        }
        let code = format!("code {}+/", self.codes.lock().unwrap().len());
        let kept = (query["code_challenge"].clone(), query["nonce"].clone());
        self.codes.lock().unwrap().insert(code.clone(), kept);
        (query["state"].clone(), code)
    }

    pub(crate) fn sign(&self, nonce: &str) -> String {
        let now = jiff::Timestamp::now().as_second();
        let mut header = json!({"alg": "EdDSA", "kid": "one", "typ": "JWT"});
        let mut claims = json!({
            "iss": self.url.as_str(), "aud": "desk", "sub": "4711", "nonce": nonce,
            "iat": now, "exp": now + 60, "preferred_username": "Alice@school.test",
            "name": "Alice Martin", "groups": ["Pupils", "4A"],
        });
        (*self.twist.lock().unwrap())(&mut header, &mut claims);
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let forger = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let key = if *self.forged.lock().unwrap() { &forger } else { &self.key };
        let signature = match header["alg"].as_str() {
            Some("none") => Vec::new(),
            _ => key.sign(signed.as_bytes()).unwrap(),
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

async fn trouble(State(provider): State<Shared>, request: Request, next: Next) -> Response {
    if provider.away.load(Ordering::SeqCst) {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    next.run(request).await
}

async fn metadata(State(provider): State<Shared>) -> Json<Value> {
    let url = provider.url.as_str();
    Json(json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "jwks_uri": format!("{url}/keys"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        // More than we take.
        "id_token_signing_alg_values_supported": ["EdDSA", "HS256", "none"],
    }))
}

async fn keys(State(provider): State<Shared>) -> Json<Value> {
    let x = URL_SAFE_NO_PAD.encode(provider.key.der_bytes());
    let key = json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": "one", "x": x});
    Json(json!({"keys": [key]}))
}

async fn token(
    State(provider): State<Shared>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> (StatusCode, Json<Value>) {
    let refuse = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({"error": error})));
    // RFC 6749, 2.3.1: both form-encoded before they are put together.
    let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    let (id, secret): (String, String) = (encode("desk"), encode(SECRET));
    let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    if headers.get("authorization").and_then(|v| v.to_str().ok()) != Some(&basic) {
        return refuse("invalid_client");
    }
    // A code is good for once.
    let given = form.get("code").and_then(|code| provider.codes.lock().unwrap().remove(code));
    let Some((challenge, nonce)) = given else { return refuse("invalid_grant") };
    let verifier = form.get("code_verifier").cloned().unwrap_or_default();
    let proved = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) == challenge;
    let back = form.get("redirect_uri") == Some(&*provider.back.lock().unwrap());
    if !proved || !back || form.get("grant_type").is_none_or(|g| g != "authorization_code") {
        return refuse("invalid_grant");
    }
    let token = provider.sign(&nonce);
    let answer = json!({"access_token": "x", "token_type": "Bearer", "id_token": token});
    (StatusCode::OK, Json(answer))
}
