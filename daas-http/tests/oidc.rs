//! Sign-in by OpenID Connect, against a small provider that checks what a provider checks.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use daas_core::Kind;
use daas_core::identity::{Refusal, Verdict};
use daas_core::secret::Secret;
use daas_http::identity::{Begun, Oidc, OidcConfig};
use http::{HeaderMap, StatusCode};
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

const BACK: &str = "https://desk.school.test/sign-in/oidc/school/callback";
const SECRET: &str = "s3cret: of / the + client";

/// What a test changes in a token before it is signed: its header and its claims.
type Twist = fn(&mut Value, &mut Value);

struct Provider {
    url: Url,
    key: KeyPair,
    /// Codes given, each with its challenge and nonce.
    codes: Mutex<HashMap<String, (String, String)>>,
    twist: Mutex<Twist>,
    /// What another key signs.
    forged: Mutex<bool>,
}

type Shared = Arc<Provider>;

impl Provider {
    async fn start() -> (Shared, tokio::task::JoinHandle<()>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/realms/school", listener.local_addr().unwrap());
        let provider = Arc::new(Self {
            url: url.parse().unwrap(),
            key: KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(),
            codes: Mutex::default(),
            twist: Mutex::new(|_, _| {}),
            forged: Mutex::new(false),
        });
        let router = Router::new()
            .route("/realms/school/.well-known/openid-configuration", get(metadata))
            .route("/realms/school/keys", get(keys))
            .route("/realms/school/token", post(token))
            .with_state(Arc::clone(&provider));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (provider, task)
    }

    /// Signs somebody in, as the browser sees it: state and code to bring back.
    fn authorize(&self, begun: &Begun) -> (String, String) {
        let query: HashMap<String, String> = begun.url.query_pairs().into_owned().collect();
        assert_eq!(begun.url.path(), "/realms/school/authorize");
        for (name, wished) in [
            ("response_type", "code"),
            ("client_id", "desk"),
            ("redirect_uri", BACK),
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

    fn sign(&self, nonce: &str) -> String {
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
    let back = form.get("redirect_uri").is_some_and(|back| back == BACK);
    if !proved || !back || form.get("grant_type").is_none_or(|g| g != "authorization_code") {
        return refuse("invalid_grant");
    }
    let token = provider.sign(&nonce);
    let answer = json!({"access_token": "x", "token_type": "Bearer", "id_token": token});
    (StatusCode::OK, Json(answer))
}

fn config(provider: &Provider, secret: &str) -> (OidcConfig, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{secret}\n")).unwrap();
    let mut config = OidcConfig::new(provider.url.clone(), "desk", BACK.parse().unwrap(), "Lab");
    config.client_secret_file = Some(file.path().to_owned());
    config.name_domain = Some("school.test".to_owned());
    (config, file)
}

fn oidc(provider: &Provider) -> Oidc {
    let (config, _file) = config(provider, SECRET);
    Oidc::new(config).unwrap()
}

/// A whole sign-in.
async fn sign_in(oidc: &Oidc, provider: &Provider) -> daas_core::Result<Verdict> {
    let begun = oidc.begin().await.unwrap();
    let (state, code) = provider.authorize(&begun);
    oidc.finish(&begun.kept, &state, &code).await
}

#[tokio::test]
async fn somebody_is_known_with_their_groups() {
    let (provider, task) = Provider::start().await;
    let oidc = oidc(&provider);
    oidc.check().await.unwrap();
    assert_eq!(oidc.realm(), "lab");
    let Verdict::Known(person) = sign_in(&oidc, &provider).await.unwrap() else {
        panic!("alice is known")
    };
    assert_eq!(person.owner.to_string(), "alice@lab");
    assert_eq!(person.display_name.as_deref(), Some("Alice Martin"));
    assert_eq!(person.groups.iter().collect::<Vec<_>>(), ["4a", "pupils"]);
    // What the browser keeps fits into a cookie as it is.
    let begun = oidc.begin().await.unwrap();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    assert!(begun.kept.expose().bytes().all(plain));
    task.abort();
}

#[tokio::test]
async fn what_another_browser_began_is_not_ended() {
    let (provider, task) = Provider::start().await;
    let oidc = oidc(&provider);
    let (ours, theirs) = (oidc.begin().await.unwrap(), oidc.begin().await.unwrap());
    let (our_state, _) = provider.authorize(&ours);
    let (their_state, their_code) = provider.authorize(&theirs);
    // Their code brought to our browser, with their state or with ours (RFC 6749, 10.12).
    let error = oidc.finish(&ours.kept, &their_state, &their_code).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    // With our own state it is the verifier that is not theirs.
    let error = oidc.finish(&ours.kept, &our_state, &their_code).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    assert!(error.to_string().contains("invalid_grant"), "{error}");
    for kept in ["", "a.b", "a.b.c.d"] {
        let error = oidc.finish(&Secret::from(kept), "", "code").await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{kept}: {error}");
    }
    let error = oidc.finish(&ours.kept, &our_state, "").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    // A code is good for once.
    let begun = oidc.begin().await.unwrap();
    let (state, code) = provider.authorize(&begun);
    oidc.finish(&begun.kept, &state, &code).await.unwrap();
    let error = oidc.finish(&begun.kept, &state, &code).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    task.abort();
}

/// INVARIANT: only a token that the provider signed for us, now and for this sign-in, tells who
/// somebody is.
#[tokio::test]
async fn a_token_that_is_not_for_us_is_refused() {
    let (provider, task) = Provider::start().await;
    let oidc = oidc(&provider);
    let twists: [(&str, Twist); 9] = [
        ("another issuer", |_, c| c["iss"] = json!("https://other.test")),
        ("another audience", |_, c| c["aud"] = json!("other")),
        ("two audiences", |_, c| c["aud"] = json!(["desk", "other"])),
        ("expired", |_, c| c["exp"] = json!(1_000_000)),
        ("another nonce", |_, c| c["nonce"] = json!("other")),
        ("no nonce", |_, c| drop(c.as_object_mut().unwrap().remove("nonce"))),
        ("not signed", |h, _| h["alg"] = json!("none")),
        ("signed by a secret", |h, _| h["alg"] = json!("HS256")),
        ("another key", |h, _| h["kid"] = json!("two")),
    ];
    for (what, twist) in twists {
        *provider.twist.lock().unwrap() = twist;
        let error = sign_in(&oidc, &provider).await.expect_err(what);
        assert_eq!(error.kind(), Kind::Denied, "{what}: {error}");
    }
    *provider.twist.lock().unwrap() = |_, _| {};
    *provider.forged.lock().unwrap() = true;
    let error = sign_in(&oidc, &provider).await.expect_err("forged");
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    *provider.forged.lock().unwrap() = false;
    sign_in(&oidc, &provider).await.unwrap();
    task.abort();
}

#[tokio::test]
async fn names_and_groups_are_read_with_care() {
    let (provider, task) = Provider::start().await;
    let oidc = oidc(&provider);
    let checks: [(&str, Twist); 3] = [
        ("another domain", |_, c| c["preferred_username"] = json!("alice@other.test")),
        ("no name at all", |_, c| c["preferred_username"] = json!("")),
        ("a path", |_, c| c["preferred_username"] = json!("../alice")),
    ];
    for (what, twist) in checks {
        *provider.twist.lock().unwrap() = twist;
        let verdict = sign_in(&oidc, &provider).await.unwrap();
        assert_eq!(verdict, Verdict::Refused(Refusal::Restricted), "{what}");
    }
    let checks: [(&str, Twist, &str); 2] = [
        (
            "absent",
            |_, c| drop(c.as_object_mut().unwrap().remove("preferred_username")),
            "name_claim",
        ),
        ("one group", |_, c| c["groups"] = json!("admins"), "no list"),
    ];
    for (what, twist, said) in checks {
        *provider.twist.lock().unwrap() = twist;
        let error = sign_in(&oidc, &provider).await.expect_err(what);
        assert_eq!(error.kind(), Kind::Invalid, "{what}: {error}");
        assert!(error.to_string().contains(said), "{what}: {error}");
    }
    task.abort();
}

#[tokio::test]
async fn what_is_amiss_is_told_with_the_way_out() {
    let (provider, task) = Provider::start().await;
    let (wrong, _file) = config(&provider, "wrong");
    let error = sign_in(&Oidc::new(wrong).unwrap(), &provider).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.to_string().contains("invalid_client"), "{error}");
    assert!(!error.chain().contains("wrong"), "{error}");

    let (mut elsewhere, _file) = config(&provider, SECRET);
    elsewhere.issuer = provider.url.join("/realms/other").unwrap();
    let error = Oidc::new(elsewhere).unwrap().check().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("sign_in.oidc.issuer"), "{error}");

    let (mut away, _file) = config(&provider, SECRET);
    away.issuer = "http://127.0.0.1:1/".parse().unwrap();
    let error = Oidc::new(away).unwrap().begin().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("sign_in.oidc.issuer"), "{error}");

    // It takes the connection and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut slow, _file) = config(&provider, SECRET);
    slow.issuer = format!("http://{}/", silent.local_addr().unwrap()).parse().unwrap();
    slow.deadline = Duration::from_millis(200);
    let error = Oidc::new(slow).unwrap().begin().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");

    for url in ["http://login.school.test/", "ftp://127.0.0.1/"] {
        let (mut config, _file) = config(&provider, SECRET);
        config.issuer = url.parse().unwrap();
        assert_eq!(Oidc::new(config).unwrap_err().kind(), Kind::Invalid, "{url}");
    }
    task.abort();
}
