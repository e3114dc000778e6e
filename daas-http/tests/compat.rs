//! The API of the earlier orchestrator, against golden files, and what becomes of abandoned asks.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use std::time::Duration;

use daas_core::fake::Timing;
use daas_core::session::{Goal, Phase};
use daas_core::store::quota::{Quota, Quotas};
use daas_core::store::{Filter, Page, SessionStore};
use daas_core::template::{OnFailure, Template};
use daas_http::{CompatConfig, Extra, HttpConfig, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use world::{Answer, PATIENCE, Wanted, World, check_golden, from, request, template, with_body};

const CREATE: &str = "/api/session/create";
const DESTROY: &str = "/api/session/destroy";

/// A desktop that never becomes ready.
const NEVER: Timing = Timing { create: Duration::from_secs(86_400), boot: Duration::ZERO };

/// The answer as it is kept in the golden files: status and body, the minted id replaced.
fn written(answer: &Answer, id: &str) -> String {
    let text = if id.is_empty() { answer.text.clone() } else { answer.text.replace(id, "ID") };
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    format!("{}\n{}\n", answer.status, serde_json::to_string_pretty(&json).unwrap())
}

#[tokio::test]
async fn a_desktop_is_made_listed_and_destroyed_as_ever() {
    let world = World::with(Wanted { frozen: true, ..Wanted::default() }).await;
    let wish =
        r#"{"username":"Alice","session_user":"al","session_password":"p","resolution":"x"}"#;
    let made = world.post(CREATE, "", wish).await;
    let id = made.json["session_id"].as_str().unwrap_or_default().to_owned();
    check_golden("compat-create.txt", &written(&made, &id));
    let listed = world.get("/api/sessions", "").await;
    check_golden("compat-list-active.txt", &written(&listed, &id));
    let end = format!(r#"{{"session_id":"{id}"}}"#);
    let gone = world.post(DESTROY, "", &end).await;
    check_golden("compat-destroy.txt", &written(&gone, &id));
    assert_eq!(world.record(&id).await.phase, Phase::Ended, "answered after proof");
    assert!(world.platform.machines().is_empty());
    let again = world.post(DESTROY, "", &end).await;
    check_golden("compat-destroy.txt", &written(&again, &id));
    let listed = world.get("/api/sessions", "").await;
    check_golden("compat-list-destroyed.txt", &written(&listed, &id));
    let page = world.get("/", "").await;
    assert!(page.text.contains("<h1>Orchestrateur DaaS</h1>"), "{}", page.text);
    assert!(page.header("content-type").starts_with("text/html"));
    world.stop().await;
}

#[tokio::test]
async fn a_class_that_arrives_at_once_gets_a_desktop_each() {
    let timing = Timing { create: Duration::from_millis(20), boot: Duration::from_millis(20) };
    let world = World::with(Wanted { timing, ..Wanted::default() }).await;
    let pupils = (0..100).map(|n| {
        let wish = with_body(request("POST", CREATE), format!(r#"{{"username":"pupil{n}"}}"#));
        let router = world.face.main.clone();
        async move { Answer::of(world::send(router, wish).await).await }
    });
    let answers = futures::future::join_all(pupils).await;
    let mut addresses = std::collections::BTreeSet::new();
    for answer in &answers {
        assert_eq!(answer.status, 200, "{}", answer.text);
        addresses.insert(answer.json["vm_ip"].to_string());
    }
    assert_eq!(addresses.len(), 100);
    let listed = world.get("/api/sessions", "").await;
    assert_eq!(listed.json.as_object().unwrap().len(), 100);
    world.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_400_and_nothing_is_made() {
    let world = World::with(Wanted { idle_engine: true, ..Wanted::default() }).await;
    let mut all = String::new();
    let creates = [
        "",
        "[]",
        "{}",
        r#"{"username":""}"#,
        r#"{"username":7}"#,
        r#"{"username":"a/b"}"#,
        r#"{"username":"alice","template":"nothing"}"#,
        r#"{"username":"alice","session_user":"Not Valid"}"#,
    ];
    let destroys = ["{}", r#"{"session_id":""}"#, r#"{"session_id":"desktop-aaaaaaa"}"#];
    let calls = creates.map(|b| (CREATE, b)).into_iter().chain(destroys.map(|b| (DESTROY, b)));
    for (path, body) in calls {
        let answer = world.post(path, "", body).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text);
        all.push_str(&format!("{path} {body}\n{}", written(&answer, "")));
    }
    let large = world.post(CREATE, "", "x".repeat(10_000_000)).await;
    all.push_str(&format!("{CREATE} (10 MB)\n{}", written(&large, "")));
    check_golden("compat-errors.txt", &all);
    assert_eq!(world.get("/api/sessions", "").await.text, "{}");
    world.stop().await;
}

#[tokio::test]
async fn callers_of_other_networks_are_refused() {
    let world = World::with(Wanted { idle_engine: true, ..Wanted::default() }).await;
    let wish = with_body(request("POST", CREATE), r#"{"username":"alice"}"#);
    let refused = Answer::of(world.send(from(wish, "203.0.113.9")).await).await;
    check_golden("compat-elsewhere.txt", &written(&refused, ""));
    world.stop().await;
}

#[tokio::test]
async fn sessions_of_the_modern_api_are_not_shown_and_not_ended_here() {
    let world = World::with(Wanted { idle_engine: true, ..Wanted::default() }).await;
    let id = world.asked().await;
    assert_eq!(world.get("/api/sessions", "").await.text, "{}");
    let end = format!(r#"{{"session_id":"{id}"}}"#);
    assert_eq!(world.post(DESTROY, "", &end).await.status, 400);
    assert_eq!(world.record(&id).await.goal, Goal::Running);
    world.stop().await;
}

#[tokio::test]
async fn a_desktop_that_cannot_be_made_is_500_with_its_reason() {
    let mut broken = template("lab");
    broken.source = "missing".to_owned();
    let world = World::with(Wanted { templates: Some(vec![broken]), ..Wanted::default() }).await;
    let answer = world.post(CREATE, "", r#"{"username":"alice"}"#).await;
    assert_eq!(answer.status, 500, "{}", answer.text);
    assert_eq!(answer.json["error"], "Session creation failed");
    assert!(answer.json["details"].as_str().unwrap().contains("no image"), "{}", answer.text);
    assert!(answer.json.get("kind").is_none(), "the earlier clients know two keys only");
    world.stop().await;
}

async fn with_guests_away(on_failure: OnFailure) -> World {
    let template = Template { on_failure, ..template("lab") };
    let world = World::with(Wanted { templates: Some(vec![template]), ..Wanted::default() }).await;
    world.guests.set_away(true);
    world
}

#[tokio::test(start_paused = true)]
async fn a_desktop_that_is_kept_for_an_operator_is_not_ended_by_its_failed_create() {
    let world = with_guests_away(OnFailure::Keep).await;
    let answer = world.post(CREATE, "", r#"{"username":"alice"}"#).await;
    assert_eq!(answer.status, 500, "{}", answer.text);
    let listed = world.get("/api/sessions", "").await;
    let id = listed.json.as_object().unwrap().keys().next().unwrap().clone();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let kept = world.record(&id).await;
    assert_eq!((kept.phase, kept.goal), (Phase::Parked, Goal::Running));
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_desktop_handed_over_unconfigured_is_not_silently_ready() {
    let world = with_guests_away(OnFailure::HandOver).await;
    let answer = world.post(CREATE, "", r#"{"username":"alice"}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let message = answer.json["message"].as_str().unwrap();
    assert!(message.contains("could not be configured"), "{message}");
    let id = answer.json["session_id"].as_str().unwrap();
    let shown = world.get(&format!("/api/v1/sessions/{id}"), &world.keys.operator).await;
    assert!(shown.json["unconfigured"].as_str().unwrap().contains("does not answer"));
    world.stop().await;
}

#[tokio::test]
async fn no_room_is_500_with_its_reason() {
    let all = Quota { sessions: Some(0), ..Quota::default() };
    let quotas = Quotas { all, ..Quotas::default() };
    let world = World::with(Wanted { quotas, idle_engine: true, ..Wanted::default() }).await;
    let answer = world.post(CREATE, "", r#"{"username":"alice"}"#).await;
    assert_eq!(answer.status, 500, "{}", answer.text);
    assert!(answer.json["details"].as_str().unwrap().contains("0 of 0"), "{}", answer.text);
    world.stop().await;
}

#[tokio::test]
async fn a_create_that_reaches_its_deadline_says_so_and_leaves_nothing() {
    let compat =
        CompatConfig { create_deadline: Duration::from_millis(100), ..CompatConfig::default() };
    let config = HttpConfig { compat, ..HttpConfig::default() };
    let world = World::with(Wanted { config, timing: NEVER, ..Wanted::default() }).await;
    let answer = world.post(CREATE, "", r#"{"username":"alice"}"#).await;
    assert_eq!(answer.status, 500, "{}", answer.text);
    assert!(answer.json["details"].as_str().unwrap().contains("not ready within"));
    let session = only_session(&world).await;
    world.phase(&session, Phase::Ended).await;
    assert!(world.platform.machines().is_empty());
    world.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_gives_up_blocked_creates_and_says_so() {
    let world = World::with(Wanted { timing: NEVER, ..Wanted::default() }).await;
    let router = world.face.main.clone();
    let wish = with_body(request("POST", CREATE), r#"{"username":"alice"}"#);
    let asking = tokio::spawn(world::send(router, wish));
    let session = first_session(&world).await;
    world.phase(&session, Phase::Creating).await;
    world.face.stop();
    let answer = Answer::of(asking.await.unwrap()).await;
    assert_eq!(answer.status, 500);
    assert!(answer.text.contains("the server is stopping"), "{}", answer.text);
    assert_eq!(world.record(&session).await.goal, Goal::Gone, "written before it is said");
    world.stop().await;
}

#[tokio::test]
async fn a_create_whose_client_goes_away_leaves_nothing() {
    let world = World::with(Wanted { timing: NEVER, ..Wanted::default() }).await;
    let config = HttpConfig { listen: "127.0.0.1:0".parse().unwrap(), ..HttpConfig::default() };
    let server = Server::bind(config, world.engine.clone(), Extra::default()).await.unwrap();
    let address = server.addresses().main;
    let stop = CancellationToken::new();
    let running = tokio::spawn(server.run(stop.clone()));
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    let body = r#"{"username":"alice"}"#;
    let head = format!(
        "POST {CREATE} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let session = first_session(&world).await;
    world.phase(&session, Phase::Creating).await;
    let mut nothing = [0];
    let early = tokio::time::timeout(Duration::from_millis(50), client.read(&mut nothing)).await;
    assert!(early.is_err(), "it blocks until the desktop is ready");
    drop(client);
    let ended = world.phase(&session, Phase::Ended).await;
    assert_eq!(ended.goal, Goal::Gone);
    assert!(world.platform.machines().is_empty());
    stop.cancel();
    tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap().unwrap();
    world.stop().await;
}

/// The id of the only session there is.
async fn only_session(world: &World) -> String {
    let found = world.store.list(&Filter::default(), &Page::first(10)).await.unwrap();
    assert_eq!(found.sessions.len(), 1);
    found.sessions[0].id.to_string()
}

/// The id of the only session, once there is one.
async fn first_session(world: &World) -> String {
    let mut news = world.store.watch();
    let there = news.wait_for(|cursor| cursor.0 > 0);
    tokio::time::timeout(PATIENCE, there).await.unwrap().unwrap();
    only_session(world).await
}
