//! Bearer tokens of an issuer, shown to the API as programs do.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use daas_core::access::Role;
use daas_http::identity::{IdentityConfig, Jwt, JwtConfig, Others, Sources};
use http::StatusCode;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use world::{Answer, Wanted, World, request, template, with_key};

const ISSUER: &str = "https://login.school.test/realms/school";
/// Who has it can sign tokens of this test's issuer, and nothing else.
const RSA: &[u8] = include_bytes!("provider/rsa-for-tests-only.der");

/// A key of an issuer.
enum Key {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Key {
    fn ed25519() -> Self {
        let random = SystemRandom::new();
        let key = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        Self::Ed25519(Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap())
    }

    fn p256() -> Self {
        let (random, of) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let key = EcdsaKeyPair::generate_pkcs8(of, &random).unwrap();
        Self::P256(EcdsaKeyPair::from_pkcs8(of, key.as_ref(), &random).unwrap())
    }

    fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::from_der(RSA).unwrap())
    }

    /// As the issuer shows it (RFC 7517).
    fn shown(&self, id: &str) -> Value {
        match self {
            Self::Ed25519(key) => json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": id,
                "x": encoded(key.public_key())}),
            Self::P256(key) => {
                let point = key.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": id,
                    "x": encoded(&point[1..33]), "y": encoded(&point[33..])})
            }
            Self::Rsa(key) => {
                let PublicKeyComponents { n, e } =
                    PublicKeyComponents::<Vec<u8>>::from(key.public_key());
                json!({"kty": "RSA", "use": "sig", "kid": id, "n": encoded(n), "e": encoded(e)})
            }
        }
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "EdDSA",
            Self::P256(_) => "ES256",
            Self::Rsa(_) => "RS256",
        }
    }

    fn sign(&self, text: &str) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Ed25519(key) => key.sign(text.as_bytes()).as_ref().to_vec(),
            Self::P256(key) => key.sign(&random, text.as_bytes()).unwrap().as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature).unwrap();
                signature
            }
        }
    }

    /// A token with these, signed.
    fn token(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        let signature = encoded(self.sign(&signed));
        format!("{signed}.{signature}")
    }
}

/// Where keys are shown.
#[derive(Default)]
struct Shown {
    keys: Mutex<Vec<Value>>,
    away: AtomicBool,
    asked: AtomicUsize,
}

async fn show(State(shown): State<Arc<Shown>>) -> Result<Json<Value>, StatusCode> {
    shown.asked.fetch_add(1, Ordering::SeqCst);
    if shown.away.load(Ordering::SeqCst) {
        return Err(StatusCode::BAD_GATEWAY);
    }
    Ok(Json(json!({"keys": *shown.keys.lock().unwrap()})))
}

struct Place {
    world: World,
    shown: Arc<Shown>,
    task: JoinHandle<()>,
}

impl Place {
    async fn new(key: &Key, change: impl FnOnce(&mut JwtConfig)) -> Self {
        let roles = [("teachers@school".to_owned(), Role::Operator)].into();
        let identity = IdentityConfig { roles, ..IdentityConfig::default() };
        Self::with(key, identity, change).await
    }

    async fn with(
        key: &Key,
        identity: IdentityConfig,
        change: impl FnOnce(&mut JwtConfig),
    ) -> Self {
        let shown = Arc::new(Shown::default());
        shown.keys.lock().unwrap().push(key.shown("one"));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let router = Router::new().route("/keys", get(show)).with_state(Arc::clone(&shown));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let mut config = JwtConfig::new(ISSUER, "desk");
        config.jwks_url = Some(url.parse().unwrap());
        change(&mut config);
        let tokens = vec![Arc::new(Jwt::new("school", config).unwrap()) as _];
        let mut staff = template("staff");
        staff.groups = vec!["pupils@school".to_owned()];
        let world = World::with(Wanted {
            idle_engine: true,
            frozen: true,
            identity: Some(identity),
            no_passwords: true,
            sources: Sources { tokens, ..Sources::default() },
            templates: Some(vec![template("lab"), staff]),
            ..Wanted::default()
        });
        Self { world: world.await, shown, task }
    }

    fn now(&self) -> i64 {
        self.world.engine.clock().now().as_second()
    }

    /// What a good token has.
    fn good(&self, key: &Key) -> (Value, Value) {
        let header = json!({"alg": key.algorithm(), "kid": "one", "typ": "at+jwt"});
        let claims = json!({
            "iss": ISSUER, "aud": ["desk", "other"], "sub": "4711", "iat": self.now(),
            "exp": self.now() + 60, "preferred_username": "Alice", "groups": ["Pupils"],
        });
        (header, claims)
    }

    fn token(&self, key: &Key) -> String {
        let (header, claims) = self.good(key);
        key.token(&header, &claims)
    }

    async fn call(&self, token: &str) -> Answer {
        self.world.get("/api/v1/sessions", token).await
    }

    fn asked(&self) -> usize {
        self.shown.asked.load(Ordering::SeqCst)
    }

    async fn stop(self) {
        self.task.abort();
        self.world.stop().await;
    }
}

#[tokio::test]
async fn a_token_speaks_for_somebody_with_their_groups() {
    for key in [Key::ed25519(), Key::p256(), Key::rsa()] {
        let place = Place::new(&key, |_| {}).await;
        let token = place.token(&key);
        let mine = place.call(&token).await;
        assert_eq!(mine.status, 200, "{}: {}", key.algorithm(), mine.text);
        let made = place.world.post("/api/v1/sessions", &token, r#"{"template":"staff"}"#).await;
        assert_eq!(made.json["owner"], "alice@school", "{}", made.text);
        assert_eq!(place.world.get("/api/v1/quarantine", &token).await.status, 403);
        let (header, mut claims) = place.good(&key);
        claims["groups"] = json!(["Teachers"]);
        let teacher = key.token(&header, &claims);
        assert_eq!(place.world.get("/api/v1/quarantine", &teacher).await.status, 200);
        assert_eq!(place.world.get("/api/v1/keys", &teacher).await.status, 403);
        claims["groups"] = json!([]);
        let nobody = key.token(&header, &claims);
        let refused =
            place.world.post("/api/v1/sessions", &nobody, r#"{"template":"staff"}"#).await;
        assert_eq!(refused.status, 400, "{}", refused.text);
        assert_eq!(place.asked(), 1, "the keys are kept");
        // A token is for programs: no page takes it, and nobody signs in by one.
        let page =
            Answer::of(place.world.send(with_key(request("GET", "/desktops"), &token)).await);
        assert_eq!(page.await.status, 303);
        assert_eq!(place.world.page("/sign-in", "").await.status, 404);
        place.stop().await;
    }
}

/// INVARIANT: only what the issuer signed with a key of its own, for us and for now, speaks for
/// somebody.
#[tokio::test]
async fn a_token_that_is_not_for_us_is_refused() {
    type Twist = fn(&mut Value, &mut Value, i64);
    let twists: [(&str, Twist); 17] = [
        ("not signed", |h, _, _| h["alg"] = json!("none")),
        ("another algorithm", |h, _, _| h["alg"] = json!("ES384")),
        ("of RSA", |h, _, _| h["alg"] = json!("RS256")),
        ("PSS", |h, _, _| h["alg"] = json!("PS256")),
        ("expired", |_, c, now| c["exp"] = json!(now - 61)),
        ("without an end", |_, c, _| drop(c.as_object_mut().unwrap().remove("exp"))),
        ("not yet good", |_, c, now| c["nbf"] = json!(now + 61)),
        ("good from nowhen", |_, c, _| c["nbf"] = json!("soon")),
        ("another audience", |_, c, _| c["aud"] = json!("other")),
        ("no audience", |_, c, _| drop(c.as_object_mut().unwrap().remove("aud"))),
        ("another issuer", |_, c, _| c["iss"] = json!("https://other.test")),
        ("no issuer", |_, c, _| drop(c.as_object_mut().unwrap().remove("iss"))),
        ("another key", |h, _, _| h["kid"] = json!("two")),
        ("another type", |h, _, _| h["typ"] = json!("logout+jwt")),
        ("what must be understood", |h, _, _| h["crit"] = json!(["x"])),
        ("no name", |_, c, _| drop(c.as_object_mut().unwrap().remove("preferred_username"))),
        ("a path", |_, c, _| c["preferred_username"] = json!("../alice")),
    ];
    let key = Key::p256();
    let place = Place::new(&key, |_| {}).await;
    assert_eq!(place.call(&place.token(&key)).await.status, 200);
    for (what, twist) in twists {
        let (mut header, mut claims) = place.good(&key);
        twist(&mut header, &mut claims, place.now());
        let refused = place.call(&key.token(&header, &claims)).await;
        assert_eq!(refused.status, 401, "{what}: {}", refused.text);
        assert!(refused.text.contains("the bearer token is refused"), "{what}: {}", refused.text);
    }
    let forged = place.call(&place.token(&Key::p256())).await;
    assert_eq!(forged.status, 401, "{}", forged.text);
    // Signed with what everybody can read, as if it were a secret.
    let (mut header, claims) = place.good(&key);
    header["alg"] = json!("HS256");
    for secret in [key.shown("one").to_string(), key.shown("one")["x"].as_str().unwrap().to_owned()]
    {
        let signed = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
        let tag = encoded(ring::hmac::sign(&secret, signed.as_bytes()));
        let refused = place.call(&format!("{signed}.{tag}")).await;
        assert_eq!(refused.status, 401, "{}", refused.text);
    }
    let (mut header, claims) = place.good(&key);
    header["alg"] = json!("none");
    let bare = format!("{}.{}.", encoded(header.to_string()), encoded(claims.to_string()));
    let good = place.token(&key);
    let changed = good.replacen('.', ".e30", 1);
    for rubbish in [&bare, "..", "a.b.c", &changed, &good[..good.len() - 4], &"a.".repeat(9_000)] {
        assert_eq!(place.call(rubbish).await.status, 401, "{rubbish:.40}");
    }
    assert_eq!(place.asked(), 1, "made up keys make nobody ask for more");
    // Clocks differ a little.
    for (name, at) in [("exp", -59), ("nbf", 59)] {
        let (header, mut claims) = place.good(&key);
        claims[name] = json!(place.now() + at);
        assert_eq!(place.call(&key.token(&header, &claims)).await.status, 200, "{name}");
    }
    place.stop().await;
}

#[tokio::test]
async fn a_key_that_is_new_is_asked_for_and_not_too_often() {
    let (old, new) = (Key::ed25519(), Key::p256());
    for (pause, status, asked) in [(Duration::ZERO, 200, 2), (Duration::from_secs(60), 401, 1)] {
        let place = Place::new(&old, |config| config.pause = pause).await;
        assert_eq!(place.call(&place.token(&old)).await.status, 200);
        *place.shown.keys.lock().unwrap() = vec![new.shown("two")];
        let (mut header, claims) = place.good(&new);
        header["kid"] = json!("two");
        for _ in 0..3 {
            let answer = place.call(&new.token(&header, &claims)).await;
            assert_eq!(answer.status, status, "{pause:?}: {}", answer.text);
            assert_eq!(place.asked(), asked, "{pause:?}");
        }
        // What was taken away is good no more once that is known.
        let gone = place.call(&place.token(&old)).await.status;
        assert_eq!(gone, if pause.is_zero() { 401 } else { 200 });
        place.stop().await;
    }
}

#[tokio::test]
async fn keys_that_cannot_be_had_make_no_token_bad() {
    let key = Key::ed25519();
    let place = Place::new(&key, |config| config.pause = Duration::ZERO).await;
    place.shown.away.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let away = place.call(&place.token(&key)).await;
        assert_eq!(away.status, 503, "{}", away.text);
        assert!(!away.header("retry-after").is_empty());
    }
    assert_eq!(place.asked(), 1, "it is not asked again at once");
    place.stop().await;

    let place = Place::new(&key, |config| config.pause = Duration::ZERO).await;
    assert_eq!(place.call(&place.token(&key)).await.status, 200);
    place.shown.away.store(true, Ordering::SeqCst);
    assert_eq!(place.call(&place.token(&key)).await.status, 200, "its key is known");
    let (mut header, claims) = place.good(&key);
    header["kid"] = json!("two");
    let unknown = place.call(&key.token(&header, &claims)).await;
    assert_eq!(unknown.status, 503, "it may be a new one: {}", unknown.text);
    place.stop().await;
}

#[tokio::test]
async fn keys_may_be_in_a_file_that_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    let write = |path: &Path, key: Value| {
        std::fs::write(path, json!({"keys": [key]}).to_string()).unwrap();
    };
    let (old, new) = (Key::ed25519(), Key::ed25519());
    let place = Place::new(&old, |config| {
        config.jwks_url = None;
        config.jwks_file = Some(path.clone());
        config.pause = Duration::ZERO;
    });
    let place = place.await;
    write(&path, old.shown("one"));
    assert_eq!(place.call(&place.token(&old)).await.status, 200);
    write(&path, new.shown("two"));
    let (mut header, claims) = place.good(&new);
    header["kid"] = json!("two");
    assert_eq!(place.call(&new.token(&header, &claims)).await.status, 200);
    std::fs::write(&path, "rubbish").unwrap();
    header["kid"] = json!("three");
    assert_eq!(place.call(&new.token(&header, &claims)).await.status, 503);
    place.stop().await;
}

#[tokio::test]
async fn who_is_in_no_group_that_is_let_in_may_call_nothing() {
    let key = Key::ed25519();
    let roles = [("teachers@school".to_owned(), Role::User)].into();
    let identity = IdentityConfig { roles, others: Others::None, ..IdentityConfig::default() };
    let place = Place::with(&key, identity, |_| {}).await;
    let refused = place.call(&place.token(&key)).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    place.stop().await;
    // Where no issuer is known a token is a key that nobody has.
    let world = World::with(Wanted { idle_engine: true, ..Wanted::default() }).await;
    assert_eq!(world.get("/api/v1/sessions", "a.b.c").await.status, 401);
    world.stop().await;
}
