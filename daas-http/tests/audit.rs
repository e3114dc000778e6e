//! Who did what is written down before it is done, and nothing that changes something escapes.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use std::sync::atomic::Ordering;

use daas_core::audit::{Entry, Stage, file};
use daas_core::session::{Goal, Phase};
use daas_http::audit::Audit;
use daas_http::routes::{self, Listener, Verb};
use world::{
    Answer, RIGHT, Wanted, World, from, request, send, with_body, with_cookie, with_fields,
};

async fn quiet() -> World {
    World::with(Wanted { idle_engine: true, ..Wanted::default() }).await
}

fn done(entry: &Entry) -> (&str, u16, Option<&str>) {
    (&entry.act, entry.status.unwrap(), entry.subject.as_deref())
}

#[test]
fn every_route_that_changes_something_says_what() {
    for route in routes::all() {
        let (path, audit) = (route.path, route.audit);
        match audit {
            Audit::Unheard => assert_eq!(route.listener, Listener::Guests, "{path}"),
            Audit::Named => assert!(path.contains("{act}"), "{path}"),
            Audit::Reads => assert_eq!(route.verb, Verb::Get, "{path}: say its act"),
            Audit::Does(_) | Audit::Tells(_) => {}
        }
    }
}

#[tokio::test]
async fn an_act_is_written_down_before_it_is_done_and_after() {
    let world = quiet().await;
    let answer = world.post("/api/v1/sessions", &world.keys.alice, r#"{"template":"lab"}"#).await;
    let id = answer.json["id"].as_str().unwrap();
    let found = world.audited().await;
    let [asked, done] = &found[..] else { panic!("{found:#?}") };
    assert_eq!((asked.stage, done.stage), (Stage::Asked, Stage::Done));
    for entry in [asked, done] {
        assert_eq!(entry.act, "session-create");
        assert_eq!(entry.owner.as_deref(), Some("alice@api"));
        assert_eq!(entry.role.as_deref(), Some("user"));
        assert_eq!(entry.known_by, "key:alice");
        assert_eq!(entry.address.as_deref(), Some("127.0.0.1"));
        assert_eq!(entry.request.as_deref(), Some(answer.header("x-request-id")));
    }
    assert_eq!((asked.session.as_deref(), asked.status), (None, None));
    assert_eq!((done.session.as_deref(), done.status), (Some(id), Some(202)));
    assert_eq!(done.answers, Some(asked.number));
    world.stop().await;
}

#[tokio::test]
async fn each_way_to_change_something_leaves_its_act() {
    let world = quiet().await;
    let (admin, cookie) = (world.keys.admin.clone(), world.sign_in("alice").await);
    let other = world.sign_in("alice").await;
    let id = world.asked().await;
    let session = format!("/api/v1/sessions/{id}");
    let one = &session;
    world.post(&format!("{one}/stop"), &admin, "").await;
    world.post(&format!("{one}/start"), &admin, "").await;
    world.post(&format!("{one}/restart"), &admin, "").await;
    world.post(&format!("{one}/extend"), &admin, r#"{"seconds":60}"#).await;
    world.submit(&format!("/desktops/{id}/extend"), &cookie, "").await;
    world.submit(&format!("/desktops/{id}/rubbish"), &cookie, "").await;
    world.submit("/desktops", &cookie, "template=lab&once=1&session_password=hunter2").await;
    world.post("/api/v1/keys", &admin, r#"{"name":"new","owner":"x","role":"user"}"#).await;
    world.delete("/api/v1/keys/new", &admin).await;
    world.delete("/api/v1/keys/never", &admin).await;
    world.delete("/api/v1/quarantine/desktop-bbbbbbb", &admin).await;
    world.submit("/account/keys", &cookie, "name=mine&role=user").await;
    world.submit("/account/keys/revoke", &cookie, "name=alice%40api%2Fmine").await;
    world.delete("/api/v1/connections/none", &world.keys.alice).await;
    world.delete("/api/v1/second-factors/bob", &admin).await;
    world.delete(one, &world.keys.alice).await;
    let sign_ins = world.store_sign_ins().sign_ins_of(&world::alice().owner).await.unwrap();
    let end = format!("/account/sign-ins/{}/end", sign_ins[1].id);
    world.submit(&end, &other, "").await;
    world.submit("/sign-out", &other, "").await;
    let found = world.audited().await;
    let ends: Vec<_> = found.iter().filter(|e| e.stage != Stage::Asked).map(done).collect();
    let signed_in = ("sign-in", 303, None);
    assert_eq!(
        ends,
        [
            signed_in,
            signed_in,
            ("session-create", 202, None),
            ("session-stop", 409, None),
            ("session-start", 202, None),
            ("session-restart", 409, None),
            ("session-extend", 200, None),
            ("session-extend", 303, None),
            ("session-create", 400, None),
            ("key-create", 201, Some("new")),
            ("key-revoke", 204, Some("new")),
            ("key-revoke", 404, Some("never")),
            ("quarantine-end", 404, None),
            ("key-create", 200, Some("alice@api/mine")),
            ("key-revoke", 303, Some("alice@api/mine")),
            ("console-end", 404, Some("none")),
            ("account-change", 404, Some("bob")),
            ("session-destroy", 202, None),
            ("sign-in-end", 303, Some(sign_ins[1].id.as_str())),
            ("sign-out", 303, None),
        ]
    );
    let mut about = found.iter().filter(|e| e.act == "session-stop");
    assert!(about.clone().all(|e| e.session.as_deref() == Some(&id)), "{found:#?}");
    assert_eq!(about.next_back().unwrap().reason.as_deref(), Some("conflict"));
    let known: Vec<&str> = found.iter().map(|e| e.known_by.as_str()).collect();
    assert!(known.contains(&format!("sign-in:{}", sign_ins[1].id).as_str()), "{known:?}");
    world.stop().await;
}

#[tokio::test]
async fn sign_ins_good_and_bad_are_written_down_and_names_that_nobody_has_are_not() {
    let world = quiet().await;
    world.sign_in("alice").await;
    for fields in [
        "name=bob&password=wrong-word",
        "name=locked&password=correct-horse",
        "name=my-secret-password&password=",
        "name=my-secret-password&password=x",
        "name=&password=x",
        "name=my-secret-password&password=x&realm=elsewhere",
        &format!("name=twofold&password={RIGHT}"),
    ] {
        world.submit("/sign-in", "", fields).await;
    }
    let found = world.audited().await;
    let told: Vec<_> = found
        .iter()
        .map(|e| (e.status.unwrap(), e.owner.as_deref(), e.subject.as_deref(), e.reason.as_deref()))
        .collect();
    assert_eq!(
        told,
        [
            (303, Some("alice@api"), None, None),
            (401, None, Some("bob@api"), Some("password")),
            (401, None, Some("locked@api"), Some("locked")),
            (401, None, None, Some("unknown")),
            (403, None, Some("twofold@api"), Some("needs more")),
        ]
    );
    assert!(found.iter().all(|e| e.act == "sign-in" && e.stage == Stage::Noted));
    let text = serde_json::to_string(&found).unwrap();
    for secret in ["my-secret-password", "wrong-word", RIGHT] {
        assert!(!text.contains(secret), "{text}");
    }
    world.stop().await;
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_done() {
    let world = quiet().await;
    let (id, cookie) = (world.asked().await, world.sign_in("alice").await);
    world.audit_away.store(true, Ordering::SeqCst);
    let session = format!("/api/v1/sessions/{id}");
    let refused = world.delete(&session, &world.keys.alice).await;
    assert_eq!(refused.status, 503, "{}", refused.text);
    assert!(refused.text.contains("nothing was done"), "{}", refused.text);
    assert_eq!(refused.header("retry-after"), "5");
    assert_eq!(world.record(&id).await.goal, Goal::Running);
    let page = world.submit(&format!("/desktops/{id}/delete"), &cookie, "").await;
    assert_eq!(page.status, 503);
    assert_eq!(world.record(&id).await.goal, Goal::Running);
    // The compatible API promises 400 and 500 alone.
    let compat = with_body(request("POST", "/api/session/create"), r#"{"username":"dave"}"#);
    let compat = Answer::of(world.send(compat).await).await;
    assert_eq!(compat.status, 500, "{}", compat.text);
    assert!(compat.json["details"].as_str().unwrap().contains("nothing was done"));
    let signed = world.submit("/sign-in", "", &format!("name=bob&password={RIGHT}")).await;
    assert_eq!((signed.status, signed.header("set-cookie")), (503, ""));
    // Reading goes on, and guests report.
    assert_eq!(world.get(&session, &world.keys.alice).await.status, 200);
    let token = world.engine.key().guest_token(&id.parse().unwrap(), 1).expose().clone();
    let report = format!("/guest/v1/sessions/{id}/activity");
    let body = r#"{"sessions":[],"uptime_seconds":1,"boot_id":"b"}"#;
    let report = world::with_key(with_body(request("POST", &report), body), &token);
    assert_eq!(send(world.face.guests.clone(), report).await.status(), 204);
    world.audit_away.store(false, Ordering::SeqCst);
    assert_eq!(world.delete(&session, &world.keys.alice).await.status, 202);
    world.stop().await;
}

#[tokio::test]
async fn who_may_not_is_written_down_when_they_are_known() {
    let world = quiet().await;
    let cookie = world.sign_in("alice").await;
    let before = world.audited().await.len();
    world.post("/api/v1/keys", &world.keys.alice, "{}").await;
    let lent = with_cookie(with_fields(request("POST", "/sign-out"), ""), &cookie);
    assert_eq!(world.send(lent).await.status(), 403);
    // Nobody, and what only reads.
    world.post("/api/v1/keys", "", "{}").await;
    world.post("/api/v1/keys", &format!("daas_{}", "0".repeat(64)), "{}").await;
    world.submit("/sign-out", "", "").await;
    world.get("/api/v1/keys", &world.keys.alice).await;
    let elsewhere = with_body(request("POST", "/api/session/create"), r#"{"username":"x"}"#);
    assert_eq!(world.send(from(elsewhere, "203.0.113.9")).await.status(), 401);
    world.delete("/api/v1/keys/bob", &world.keys.operator).await;
    let found = world.audited().await;
    let told: Vec<_> = found[before..]
        .iter()
        .map(|e| (done(e), e.owner.as_deref().unwrap(), e.reason.as_deref().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            (("key-create", 403, None), "alice@api", "denied"),
            (("sign-out", 403, None), "alice@api", "denied"),
            (("key-revoke", 403, Some("bob")), "olga@api", "denied"),
        ]
    );
    world.stop().await;
}

#[tokio::test]
async fn who_goes_away_before_the_end_leaves_one() {
    let world = quiet().await;
    let wish = with_body(request("POST", "/api/session/create"), r#"{"username":"dave"}"#);
    let mut changes = world.engine.store().watch();
    tokio::select! {
        answer = world.send(wish) => panic!("answered {}", answer.status()),
        // The desktop is asked for; nobody makes it, and the client does not wait.
        changed = changes.changed() => changed.unwrap(),
    }
    let found = world.audited().await;
    let last = found.last().unwrap();
    assert_eq!((last.stage, last.status), (Stage::Done, None));
    assert_eq!(last.reason.as_deref(), Some("the caller went away before the end"));
    assert_eq!((last.owner.as_deref(), &*last.known_by), (Some("dave@compat"), "network"));
    world.stop().await;
}

#[tokio::test]
async fn administrators_read_the_log_and_take_it_away_whole() {
    let world = World::new().await;
    let id = world.asked().await;
    world.phase(&id, Phase::Ready).await;
    world.delete(&format!("/api/v1/sessions/{id}"), &world.keys.operator).await;
    world.post("/api/v1/keys", &world.keys.admin, "{}").await;
    world.audited().await;
    let get = async |query: &str| {
        let answer = world.get(&format!("/api/v1/audit{query}"), &world.keys.admin).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json
    };
    let acts = |json: &serde_json::Value| -> Vec<String> {
        let entries = json["entries"].as_array().unwrap().iter();
        entries.map(|e| format!("{} {}", e["act"], e["stage"]).replace('"', "")).collect()
    };
    let all = get("").await;
    assert_eq!(
        acts(&all),
        [
            "key-create done",
            "key-create asked",
            "session-destroy done",
            "session-destroy asked",
            "session-create done",
            "session-create asked",
            "log-opened noted",
        ]
    );
    let first = get("?limit=3").await;
    let rest = get(&format!("?limit=1000&page={}", first["next"])).await;
    assert_eq!([acts(&first), acts(&rest)].concat(), acts(&all));
    assert!(rest["next"].is_null());
    assert_eq!(acts(&get("?owner=OLGA").await).len(), 2);
    assert_eq!(acts(&get(&format!("?session={id}&act=session-create")).await).len(), 1);
    assert_eq!(acts(&get("?until=2020-01-01T00:00:00Z").await).len(), 0);
    for bad in ["?limit=0", "?limit=1001", "?page=x", "?since=yesterday", "?nonsense=1"] {
        let path = format!("/api/v1/audit{bad}");
        assert_eq!(world.get(&path, &world.keys.admin).await.status, 400, "{bad}");
    }
    let export = world.get("/api/v1/audit/export", &world.keys.admin).await;
    assert_eq!(export.header("content-type"), "application/jsonl");
    let (about, verifier) = file::read(export.text.as_bytes(), &[]).unwrap();
    assert_eq!(&about.deployment, world.engine.deployment());
    let verdict = verifier.finish(&[]);
    assert_eq!(verdict.breaks, []);
    assert_eq!(verdict.entries, 8, "the asking for this export is in it");
    world.stop().await;
}
