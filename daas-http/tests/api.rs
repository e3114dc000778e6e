//! `/api/v1`: what is answered, and how what is wrong is named.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use daas_core::session::Phase;
use daas_core::store::quota::{Quota, Quotas};
use world::{Answer, Wanted, World, request, with_body, with_key};

const SESSIONS: &str = "/api/v1/sessions";

#[tokio::test]
async fn a_desktop_is_asked_for_shown_opened_and_ended() {
    let world = World::new().await;
    let key = &world.keys.alice;
    let wish = r#"{"template":"lab","label":"maths","session_user":"al","session_password":"p"}"#;
    let made = world.post(SESSIONS, key, wish).await;
    assert_eq!(made.status, 202, "{}", made.text);
    let id = made.json["id"].as_str().unwrap();
    let at = format!("{SESSIONS}/{id}");
    assert_eq!(made.header("location"), at);
    assert_eq!(made.json["owner"], "alice@api");
    world.phase(id, Phase::Ready).await;
    let shown = world.get(&at, key).await;
    assert_eq!((shown.status, &shown.json["phase"]), (200, &"ready".into()));
    assert_eq!(shown.json["session_user"], "al");
    assert!(!shown.text.contains("$6$"), "the password's hash stays inside: {}", shown.text);
    let file = world.get(&format!("{at}/rdp"), key).await;
    let address = shown.json["address"].as_str().unwrap();
    assert!(file.text.contains(&format!("full address:s:{address}:3389\r\n")), "{}", file.text);
    assert!(file.text.contains("username:s:al\r\n"), "{}", file.text);
    assert_eq!(file.header("content-disposition"), format!("attachment; filename=\"{id}.rdp\""));
    let more = world.post(&format!("{at}/extend"), key, r#"{"seconds":60}"#).await;
    assert_eq!(more.status, 200, "{}", more.text);
    assert_eq!(world.post(&format!("{at}/stop"), key, "").await.status, 409);
    assert_eq!(world.delete(&at, key).await.status, 202);
    world.phase(id, Phase::Ended).await;
    let ended = world.delete(&at, key).await;
    assert_eq!((ended.status, &ended.json["outcome"]), (200, &"destroyed".into()));
    assert_eq!(world.get(&format!("{at}/rdp"), key).await.status, 409);
    world.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let world = World::with(Wanted { idle_engine: true, ..Wanted::default() }).await;
    let check = async |body: &str, named: &str| {
        let answer = world.post(SESSIONS, &world.keys.alice, body).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text);
        let error = answer.json["error"].as_str().unwrap();
        assert!(error.contains(named), "{body}: {error} does not name {named}");
        assert_eq!(answer.json["kind"], "invalid");
        assert_eq!(answer.json["request_id"], answer.header("x-request-id"));
    };
    check("", "body").await;
    check("{", "body").await;
    check(r#"{"template":"lab"} x"#, "trailing").await;
    check("{}", "template").await;
    check(r#"{"template":"nothing"}"#, "there are: lab").await;
    check(r#"{"template":"No Name"}"#, "template").await;
    check(r#"{"template":7}"#, "template").await;
    check(r#"{"template":"lab","ram":1}"#, "ram").await;
    check(r#"{"template":"lab","label":"a b"}"#, "label").await;
    check(r#"{"template":"lab","lifetime":"long"}"#, "lifetime").await;
    check(r#"{"template":"lab","not_after":"tomorrow"}"#, "not_after").await;
    check(r#"{"template":"lab","not_after":"2001-01-01T00:00:00Z"}"#, "not_after").await;
    check(r#"{"template":"lab","session_user":"Al"}"#, "session_user").await;
    check(r#"{"template":"lab","session_password":"p"}"#, "session_user").await;
    // The field is named once, and no place in a body that nobody wrote by hand.
    let wrong =
        world.post(SESSIONS, &world.keys.alice, r#"{"template":"lab","label":"a b"}"#).await;
    let error = wrong.json["error"].as_str().unwrap();
    assert!(error.starts_with("label: \"a b\" is not a DNS label"), "{error}");
    assert!(!error.contains("column"), "{error}");
    let queries =
        ["limit=0", "limit=x", "colour=red", "phase=asleep", "page=zzz", "owner=a*b", "live=2"];
    for query in queries {
        let answer = world.get(&format!("{SESSIONS}?{query}"), &world.keys.operator).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text);
    }
    let listed = world.get(SESSIONS, &world.keys.operator).await;
    assert_eq!(listed.json["sessions"], serde_json::json!([]), "nothing came of all this");
    world.stop().await;
}

#[tokio::test]
async fn unknown_paths_methods_and_large_bodies_are_refused_as_such() {
    let world = World::with(Wanted { idle_engine: true, ..Wanted::default() }).await;
    let key = &world.keys.alice;
    assert_eq!(world.get("/api/v2", key).await.status, 404);
    assert_eq!(world.get("/api/v1/sessions/desktop-abcdefg", key).await.status, 404);
    assert_eq!(world.get("/api/v1/sessions/No%20Id", key).await.status, 404);
    assert_eq!(world.get("/api/v1/sessions/%ff", key).await.status, 404);
    let put = with_key(request("PUT", SESSIONS), key);
    let refused = Answer::of(world.send(put).await).await;
    assert_eq!((refused.status, &refused.json["kind"]), (405, &"unsupported".into()));
    assert!(refused.header("allow").contains("POST"), "{:?}", refused.headers);
    let large = "x".repeat(10_000_000);
    assert_eq!(world.post(SESSIONS, key, &large).await.status, 413);
    // Also one that does not tell its length beforehand.
    let mut lengthless = with_key(request("POST", SESSIONS), key);
    let parts = (0..100).map(|_| Ok::<_, std::io::Error>("x".repeat(100_000)));
    *lengthless.body_mut() = axum::body::Body::from_stream(futures::stream::iter(parts));
    assert_eq!(Answer::of(world.send(lengthless).await).await.status, 413);
    world.stop().await;
}

#[tokio::test]
async fn a_repeat_with_the_same_idempotency_key_is_the_first_wish() {
    let world = World::with(Wanted { idle_engine: true, ..Wanted::default() }).await;
    let ask = async |key: &str, body: &str| {
        let mut wish = with_body(with_key(request("POST", SESSIONS), key), body);
        wish.headers_mut().insert("idempotency-key", "k1".parse().unwrap());
        Answer::of(world.send(wish).await).await
    };
    let first = ask(&world.keys.alice, r#"{"template":"lab"}"#).await;
    let again = ask(&world.keys.alice, r#"{"template":"lab"}"#).await;
    assert_eq!((first.status, again.status), (202, 200));
    assert_eq!(first.json["id"], again.json["id"]);
    let other = ask(&world.keys.alice, r#"{"template":"lab","label":"b"}"#).await;
    assert_eq!(other.status, 409, "{}", other.text);
    let bobs = ask(&world.keys.bob, r#"{"template":"lab"}"#).await;
    assert_eq!(bobs.status, 202, "keys of others are others");
    assert_ne!(bobs.json["id"], first.json["id"]);
    world.stop().await;
}

#[tokio::test]
async fn over_quota_is_told_with_its_reason_and_when_to_ask_again() {
    let owner = Quota { sessions: Some(1), ..Quota::default() };
    let quotas = Quotas { owner, ..Quotas::default() };
    let world = World::with(Wanted { quotas, idle_engine: true, ..Wanted::default() }).await;
    world.asked().await;
    let refused = world.post(SESSIONS, &world.keys.alice, r#"{"template":"lab"}"#).await;
    assert_eq!((refused.status, &refused.json["kind"]), (429, &"exhausted".into()));
    assert!(refused.text.contains("1 of 1 sessions"), "{}", refused.text);
    assert_eq!(refused.header("retry-after"), "30");
    assert_eq!(refused.json["retry_after_seconds"], 30);
    world.stop().await;
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let world = World::with(Wanted { idle_engine: true, ..Wanted::default() }).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(world.asked().await);
    }
    let bobs = world.post(SESSIONS, &world.keys.bob, r#"{"template":"lab","label":"b"}"#).await;
    let bobs = bobs.json["id"].as_str().unwrap().to_owned();
    let mut seen = Vec::new();
    let mut path = format!("{SESSIONS}?limit=2");
    for _ in 0..3 {
        let page = world.get(&path, &world.keys.alice).await;
        let some = page.json["sessions"].as_array().unwrap().clone();
        seen.extend(some.iter().map(|s| s["id"].as_str().unwrap().to_owned()));
        path = format!("{SESSIONS}?limit=2&page={}", page.json["next"].as_str().unwrap_or("x"));
    }
    seen.sort();
    ids.sort();
    assert_eq!(seen, ids, "alice sees hers, each once, and not bob's");
    let find = async |query: &str| {
        let page = world.get(&format!("{SESSIONS}?{query}"), &world.keys.operator).await;
        assert_eq!(page.status, 200, "{}", page.text);
        let some = page.json["sessions"].as_array().unwrap();
        some.iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(find("").await.len(), 6);
    assert_eq!(find("owner=bob@api").await, std::slice::from_ref(&bobs));
    assert_eq!(find("label=b&live=true&phase=queued&template=lab").await, [bobs]);
    assert!(find("live=false").await.is_empty());
    let others = world.get(&format!("{SESSIONS}?owner=bob@api"), &world.keys.alice).await;
    assert_eq!(
        others.status, 403,
        "asking for others' sessions is not quietly answered with one's own"
    );
    world.stop().await;
}

#[tokio::test]
async fn keys_are_made_shown_once_and_revoked() {
    let world = World::with(Wanted { idle_engine: true, ..Wanted::default() }).await;
    let admin = &world.keys.admin;
    let wish = r#"{"name":"carol-laptop","owner":"Carol","role":"user"}"#;
    let made = world.post("/api/v1/keys", admin, wish).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let key = made.json["key"].as_str().unwrap();
    assert_eq!(made.json["owner"], "carol@api");
    assert_eq!(world.get(SESSIONS, key).await.status, 200);
    assert_eq!(world.post("/api/v1/keys", admin, wish).await.status, 409);
    let listed = world.get("/api/v1/keys", admin).await;
    assert!(listed.text.contains("carol-laptop") && !listed.text.contains(&key[5..]));
    let hash = daas_core::secret::sha256_hex(key);
    assert!(!listed.text.contains(&hash), "hashes stay inside");
    assert_eq!(world.delete("/api/v1/keys/carol-laptop", admin).await.status, 204);
    assert_eq!(world.delete("/api/v1/keys/carol-laptop", admin).await.status, 404);
    assert_eq!(world.get(SESSIONS, key).await.status, 401);
    world.stop().await;
}
