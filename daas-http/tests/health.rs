//! Health, readiness, figures, guests' reports and what every answer carries.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use std::sync::atomic::Ordering;
use std::time::Duration;

use daas_core::activity::Connection;
use daas_core::session::Phase;
use daas_core::store::SessionStore;
use world::{Answer, Wanted, World, request, send, with_body, with_key};

#[tokio::test]
async fn a_hypervisor_that_is_away_is_named_and_desktops_are_still_taken() {
    let world = World::with(Wanted { idle_engine: true, ..Wanted::default() }).await;
    world.away.store(true, Ordering::SeqCst);
    let ready = world.get("/ready", "").await;
    assert_eq!((ready.status, &ready.json["ready"]), (503, &false.into()));
    let why = ready.json["away"]["fake"].as_str().unwrap();
    assert!(why.contains("does not answer") && !why.contains("url"), "{why}");
    assert_eq!(world.get("/health", "").await.status, 200);
    world.asked().await;
    let figures = world.get("/api/metrics", "").await;
    assert_eq!(figures.json["system_load"], serde_json::json!({}));
    world.stop().await;
}

#[tokio::test]
async fn readiness_is_looked_at_once_for_all_who_ask_in_a_while() {
    let world = World::with(Wanted { idle_engine: true, ..Wanted::default() }).await;
    assert_eq!(world.get("/ready", "").await.status, 200);
    world.away.store(true, Ordering::SeqCst);
    assert_eq!(world.get("/ready", "").await.status, 200, "as seen a moment ago");
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(6)).await;
    assert_eq!(world.get("/ready", "").await.status, 503);
    world.stop().await;
}

#[tokio::test]
async fn figures_follow_the_sessions() {
    let world = World::new().await;
    let id = world.asked().await;
    world.phase(&id, Phase::Ready).await;
    let figures = world.get("/api/metrics", "").await;
    assert_eq!(figures.json["total_sessions_created"], 1);
    assert_eq!(figures.json["active_sessions"], 1);
    assert_eq!(figures.json["system_load"]["node1"]["cpu"], 0.25);
    let text = world.get("/metrics", "").await;
    assert!(text.header("content-type").starts_with("text/plain; version=0.0.4"));
    assert!(text.text.contains("daas_sessions{phase=\"ready\"} 1\n"), "{}", text.text);
    world.delete(&format!("/api/v1/sessions/{id}"), &world.keys.alice).await;
    world.phase(&id, Phase::Ended).await;
    let text = world.get("/metrics", "").await.text;
    assert!(text.contains("daas_sessions{phase=\"ready\"} 0\n"), "{text}");
    assert!(text.contains("daas_sessions_ended_total 1\n"), "{text}");
    let names: Vec<_> = text.lines().filter(|l| l.starts_with("# TYPE")).collect();
    let unique: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(unique.len(), names.len(), "each family once");
    world.stop().await;
}

#[tokio::test]
async fn a_guest_speaks_for_its_own_session_and_is_told_nothing_of_others() {
    let world = World::new().await;
    let id = world.asked().await;
    world.phase(&id, Phase::Ready).await;
    let token = |id: &str| world.engine.key().guest_token(&id.parse().unwrap(), 1);
    let report = r#"{"uptime_seconds":9,"boot_id":"b","sessions":[
        {"user":"al","display":":10","state":"connected","idle_seconds":3}]}"#;
    let call = async |id: &str, token: &str, body: &str| {
        let path = format!("/guest/v1/sessions/{id}/activity");
        let request = with_body(with_key(request("POST", &path), token), body);
        Answer::of(send(world.face.guests.clone(), request).await).await
    };
    let mine = token(&id);
    assert_eq!(call(&id, mine.expose(), report).await.status, 204);
    let known = world.store.activity(&id.parse().unwrap()).await.unwrap();
    let (_, last) = known.last.unwrap();
    assert_eq!(last.sessions[0].state, Connection::Connected);
    let wrong = call(&id, token("desktop-bbbbbbb").expose(), report).await;
    let absent = call("desktop-bbbbbbb", mine.expose(), report).await;
    let no_id = call("No-Id", mine.expose(), report).await;
    for refused in [&wrong, &absent, &no_id] {
        assert_eq!((refused.status, &refused.json["error"]), (401, &wrong.json["error"]));
    }
    assert_eq!(call(&id, mine.expose(), "{}").await.status, 400);
    assert_eq!(call(&id, mine.expose(), &"x".repeat(100_000)).await.status, 413);
    world.stop().await;
}

#[tokio::test]
async fn every_answer_has_an_id_and_forbids_what_pages_do_not_need() {
    let world = World::with(Wanted { idle_engine: true, ..Wanted::default() }).await;
    let mut ids = std::collections::BTreeSet::new();
    for path in ["/", "/health", "/api/docs", "/api/v1/sessions", "/nothing"] {
        let answer = world.get(path, "").await;
        assert!(ids.insert(answer.header("x-request-id").to_owned()), "{path}");
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "", "{path}");
    }
    let page = world.get("/api/docs", "").await.text;
    for line in page.lines().filter(|l| l.contains("<script") || l.contains("<link")) {
        assert!(line.contains("=\"/api/docs/"), "nothing from elsewhere: {line}");
    }
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_knows_in_a_directory_is_shown_to_operators() {
    let world = World::with(Wanted { joining: true, ..Wanted::default() }).await;
    world.guests.put_account(&"desktop-2mtb88m".parse().unwrap());
    // Time for several looks.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let shown = world.get("/api/v1/quarantine", &world.keys.operator).await.json;
    let unknown = &shown["effects"]["unknown"];
    assert_eq!(unknown[0]["session"], "desktop-2mtb88m", "{shown:#}");
    assert_eq!(unknown[0]["configurator"], "inside");
    assert_eq!(unknown.as_array().unwrap().len(), 1);
    let metrics = world.get("/metrics", "").await.text;
    assert!(metrics.contains("\ndaas_unknown_effects 1\n"), "{metrics}");
    world.stop().await;
}
