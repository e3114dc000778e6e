//! Sign-in by OpenID Connect, against a small provider that checks what a provider checks.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod provider;

use std::time::Duration;

use daas_core::Kind;
use daas_core::identity::{Refusal, Verdict};
use daas_core::secret::Secret;
use daas_http::identity::{Oidc, OidcConfig, RedirectSource};
use provider::{BACK, Provider, SECRET, Twist};
use serde_json::json;
use url::Url;

fn back() -> Url {
    BACK.parse().unwrap()
}

fn config(provider: &Provider, secret: &str) -> (OidcConfig, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{secret}\n")).unwrap();
    let mut config = OidcConfig::new(provider.url.clone(), "desk");
    config.client_secret_file = Some(file.path().to_owned());
    config.claims.name_domain = Some("school.test".to_owned());
    (config, file)
}

fn oidc(provider: &Provider) -> Oidc {
    let (config, _file) = config(provider, SECRET);
    Oidc::new("Lab", config).unwrap()
}

/// A whole sign-in.
async fn sign_in(oidc: &Oidc, provider: &Provider) -> daas_core::Result<Verdict> {
    let begun = oidc.begin(&back()).await.unwrap();
    let (state, code) = provider.authorize(&begun.url);
    oidc.finish(&begun.kept, &back(), &state, &code).await
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
    let begun = oidc.begin(&back()).await.unwrap();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    assert!(begun.kept.expose().bytes().all(plain));
    task.abort();
}

#[tokio::test]
async fn what_another_browser_began_is_not_ended() {
    let (provider, task) = Provider::start().await;
    let oidc = oidc(&provider);
    let (ours, theirs) = (oidc.begin(&back()).await.unwrap(), oidc.begin(&back()).await.unwrap());
    let (our_state, _) = provider.authorize(&ours.url);
    let (their_state, their_code) = provider.authorize(&theirs.url);
    // Their code brought to our browser, with their state or with ours (RFC 6749, 10.12).
    let error = oidc.finish(&ours.kept, &back(), &their_state, &their_code).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict, "{error}");
    // With our own state it is the verifier that is not theirs.
    let error = oidc.finish(&ours.kept, &back(), &our_state, &their_code).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict, "{error}");
    assert!(error.to_string().contains("invalid_grant"), "{error}");
    for kept in ["", "a.b", "a.b.c.d"] {
        let error = oidc.finish(&Secret::from(kept), &back(), "", "code").await.unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict, "{kept}: {error}");
    }
    let error = oidc.finish(&ours.kept, &back(), &our_state, "").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict, "{error}");
    // A code is good for once.
    let begun = oidc.begin(&back()).await.unwrap();
    let (state, code) = provider.authorize(&begun.url);
    oidc.finish(&begun.kept, &back(), &state, &code).await.unwrap();
    let error = oidc.finish(&begun.kept, &back(), &state, &code).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict, "{error}");
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
            "claims.name",
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
    let error = sign_in(&Oidc::new("Lab", wrong).unwrap(), &provider).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("invalid_client"), "{error}");
    assert!(!error.chain().contains("wrong"), "{error}");

    let (mut elsewhere, _file) = config(&provider, SECRET);
    elsewhere.issuer = provider.url.join("/realms/other").unwrap();
    let error = Oidc::new("Lab", elsewhere).unwrap().check().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("sign_in.oidc.lab.issuer"), "{error}");

    let (mut away, _file) = config(&provider, SECRET);
    away.issuer = "http://127.0.0.1:1/".parse().unwrap();
    let error = Oidc::new("Lab", away).unwrap().begin(&back()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("check its address"), "{error}");

    // It takes the connection and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut slow, _file) = config(&provider, SECRET);
    slow.issuer = format!("http://{}/", silent.local_addr().unwrap()).parse().unwrap();
    slow.deadline = Duration::from_millis(200);
    let error = Oidc::new("Lab", slow).unwrap().begin(&back()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");

    for url in ["http://login.school.test/", "ftp://127.0.0.1/"] {
        let (mut config, _file) = config(&provider, SECRET);
        config.issuer = url.parse().unwrap();
        assert_eq!(Oidc::new("Lab", config).unwrap_err().kind(), Kind::Invalid, "{url}");
    }
    task.abort();
}
