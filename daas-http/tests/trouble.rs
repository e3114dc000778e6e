//! A store that is away, silent or broken: what callers are told.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use daas_core::access::{ApiKey, KeyStore, Role};
use daas_core::clock::SystemClock;
use daas_core::engine::{Engine, Parts, Settings};
use daas_core::fake::{FakePlatform, FakeProvisioner};
use daas_core::idle::TemplateRules;
use daas_core::ids::{Cursor, DeploymentId, Organisation};
use daas_core::owner::Owner;
use daas_core::secret::DeploymentKey;
use daas_core::store::MockSessionStore;
use daas_core::{Error, Kind, Operation, Result};
use daas_http::{Extra, Face, HttpConfig};
use world::{Answer, request, send, template, with_body, with_key};

const KEY: &str = "daas_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Keys of a store that works, or that never answers.
#[derive(Debug)]
struct OneKey {
    silent: bool,
}

#[async_trait::async_trait]
impl KeyStore for OneKey {
    async fn add_key(&self, _: &ApiKey) -> Result<()> {
        Err(away())
    }

    async fn key_by_hash(&self, hash: &str) -> Result<Option<ApiKey>> {
        if self.silent {
            std::future::pending::<()>().await;
        }
        Ok(Some(ApiKey {
            name: "admin".into(),
            hash: hash.into(),
            owner: Owner { realm: "api".into(), name: "root".into() },
            organisation: Organisation::default(),
            role: Role::Admin,
            groups: [].into(),
            created_at: jiff::Timestamp::UNIX_EPOCH,
            ends_at: None,
            used_at: None,
        }))
    }

    async fn keys(&self) -> Result<Vec<ApiKey>> {
        Err(away())
    }

    async fn revoke_key(&self, _: &str) -> Result<bool> {
        Err(away())
    }

    async fn add_key_within(&self, _: &ApiKey, _: u32) -> Result<()> {
        Err(away())
    }

    async fn keys_of(&self, _: &Owner) -> Result<Vec<ApiKey>> {
        Err(away())
    }

    async fn revoke_key_of(&self, _: &Owner, _: &str) -> Result<bool> {
        Err(away())
    }

    async fn see_key(&self, _: &str, _: jiff::Timestamp) -> Result<()> {
        Ok(())
    }
}

fn away() -> Error {
    Error::new(Kind::Unavailable, Operation::Store, "sessions", "the store does not answer")
        .because(std::io::Error::other("password=hunter2 rejected"))
}

/// A face on a store with these expectations.
async fn face(mut store: MockSessionStore, silent: bool) -> Router {
    let deployment = DeploymentId::mint();
    let id = deployment.clone();
    store.expect_deployment().returning(move || Ok(id.clone()));
    store.expect_reserved().returning(|_| Ok(Vec::new()));
    store.expect_keys().returning(move || Arc::new(OneKey { silent }));
    store.expect_watch().returning(|| tokio::sync::watch::channel(Cursor(0)).1);
    let platform = FakePlatform::new();
    let provisioner = FakeProvisioner::new("fake".parse().unwrap(), deployment, platform);
    let mut lab = template("lab");
    lab.configurator = None;
    let engine = Engine::new(Parts {
        store: Arc::new(store),
        provisioners: vec![Arc::new(provisioner)],
        configurators: Vec::new(),
        policy: Arc::new(TemplateRules),
        templates: vec![lab],
        clock: Arc::new(SystemClock),
        key: DeploymentKey::mint(),
        settings: Settings::default(),
    });
    Face::new(HttpConfig::default(), engine.await.unwrap(), Extra::default()).main
}

async fn call(router: &Router, method: &str, path: &str, body: &str) -> Answer {
    let request = with_body(with_key(request(method, path), KEY), body);
    Answer::of(send(router.clone(), request).await).await
}

#[tokio::test]
async fn a_store_that_is_away_is_503_and_its_causes_stay_inside() {
    let mut store = MockSessionStore::new();
    store.expect_insert().returning(|_| Err(away()));
    store.expect_get().returning(|_| Err(away()));
    store.expect_list().returning(|_, _| Err(away()));
    store.expect_next_due().returning(|| Err(away()));
    store.expect_events().returning(|_, _, _| Err(away()));
    store.expect_tally().returning(|| Err(away()));
    let router = face(store, false).await;
    let id = "/api/v1/sessions/desktop-aaaaaaa";
    for (method, path, body) in [
        ("POST", "/api/v1/sessions", r#"{"template":"lab"}"#),
        ("GET", "/api/v1/sessions", ""),
        ("GET", id, ""),
        ("DELETE", id, ""),
        ("GET", "/api/v1/events", ""),
        ("GET", "/api/v1/keys", ""),
        ("GET", "/metrics", ""),
    ] {
        let answer = call(&router, method, path, body).await;
        assert_eq!(answer.status, 503, "{method} {path}: {}", answer.text);
        assert_eq!(answer.json["kind"], "unavailable");
        assert!(!answer.header("retry-after").is_empty());
        assert!(!answer.text.contains("hunter2"), "{}", answer.text);
    }
    let ready = call(&router, "GET", "/ready", "").await;
    assert_eq!(ready.status, 503);
    assert!(ready.json["away"]["store"].is_string(), "{}", ready.text);
    for (path, body) in [
        ("/api/session/create", r#"{"username":"alice"}"#),
        ("/api/session/destroy", r#"{"session_id":"desktop-aaaaaaa"}"#),
    ] {
        let answer = call(&router, "POST", path, body).await;
        assert_eq!(answer.status, 500, "{path}: {}", answer.text);
        assert!(answer.json["details"].as_str().unwrap().contains("does not answer"));
        assert!(!answer.text.contains("hunter2"), "{}", answer.text);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_silent_is_not_waited_for_without_end() {
    let router = face(MockSessionStore::new(), true).await;
    let asked = tokio::time::Instant::now();
    let answer = call(&router, "GET", "/api/v1/sessions", "").await;
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert!(asked.elapsed() <= Duration::from_secs(10), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_panic_is_500_and_says_nothing_of_itself() {
    let mut store = MockSessionStore::new();
    store.expect_tally().returning(|| panic!("hunter2"));
    let router = face(store, false).await;
    let answer = call(&router, "GET", "/api/metrics", "").await;
    assert_eq!((answer.status, &answer.json["kind"]), (500, &"internal".into()));
    assert!(!answer.text.contains("hunter2"), "{}", answer.text);
    assert_eq!(answer.json["request_id"], answer.header("x-request-id"));
    assert_eq!(call(&router, "GET", "/health", "").await.status, 200, "it goes on");
}
