//! The pages of operators and administrators.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use std::sync::atomic::Ordering;
use std::time::Duration;

use daas_core::audit::{AuditFilter, AuditPage};
use daas_core::event::{NewEvent, What};
use daas_core::idle::Evidence;
use daas_core::session::{Goal, Phase};
use daas_core::store::{Change, Next, SessionStore};
use daas_core::template::Lifetime;
use world::{Answer, Wanted, World, request, template, with_cookie};

async fn quiet() -> World {
    World::with(Wanted { idle_engine: true, ..Wanted::default() }).await
}

/// A desktop of alice's with this name.
async fn asked(world: &World, label: &str) -> String {
    let body = format!(r#"{{"template":"lab","label":"{label}"}}"#);
    let made = world.post("/api/v1/sessions", &world.keys.alice, body).await;
    made.json["id"].as_str().unwrap().to_owned()
}

/// The page once it shows `part`: what is looked at behind it takes a moment.
async fn shows(world: &World, path: &str, cookie: &str, part: &str) -> String {
    let wait = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        loop {
            ticks.tick().await;
            let page = world.page(path, cookie).await;
            assert_eq!(page.status, 200, "{}", page.text);
            if page.text.contains(part) {
                return page.text;
            }
        }
    };
    tokio::time::timeout(world::PATIENCE, wait).await.unwrap()
}

#[tokio::test]
async fn desktops_are_found_by_whatever_is_known_of_them() {
    let world = quiet().await;
    let olga = world.sign_in("olga").await;
    let (maths, physics) = (asked(&world, "maths").await, asked(&world, "physics").await);
    let found = async |query: &str| {
        let page = world.page(&format!("/admin/sessions{query}"), &olga).await;
        assert_eq!(page.status, 200, "{}", page.text);
        (page.text.contains(&maths), page.text.contains(&physics))
    };
    for (query, expected) in [
        ("", (true, true)),
        ("?owner=ALICE&phase=&template=&label=&text=", (true, true)),
        ("?owner=bob", (false, false)),
        ("?label=maths", (true, false)),
        ("?text=PHYS", (false, true)),
        ("?phase=queued&template=lab", (true, true)),
        ("?phase=ready", (false, false)),
    ] {
        assert_eq!(found(query).await, expected, "{query}");
    }
    let text = format!("?text={}", &maths[8..]);
    assert_eq!(found(&text).await, (true, false));
    for bad in ["?phase=nonsense", "?label=No%20label", "?owner=a/b", "?page=x", "?nonsense=1"] {
        let page = world.page(&format!("/admin/sessions{bad}"), &olga).await;
        assert_eq!(page.status, 400, "{bad}");
    }
    // A user sees none of it.
    let alice = world.sign_in("alice").await;
    assert_eq!(world.page("/admin/sessions", &alice).await.status, 403);
    assert!(!world.page("/desktops", &alice).await.text.contains("/admin"));
    world.stop().await;
}

#[tokio::test]
async fn a_long_list_goes_on_from_page_to_page() {
    let world = quiet().await;
    let olga = world.sign_in("olga").await;
    for n in 0..60 {
        asked(&world, &format!("n{n}")).await;
    }
    let (mut path, mut seen) = ("/admin/sessions?owner=alice".to_owned(), 0);
    for _ in 0..2 {
        let page = world.page(&path, &olga).await.text;
        seen += page.matches("type=\"checkbox\" name=\"session\"").count();
        let next = page.split("href=\"/admin/sessions?owner=").nth(1);
        let Some(next) = next else { break };
        let next = next.split('"').next().unwrap().replace("&#38;", "&").replace("&amp;", "&");
        path = format!("/admin/sessions?owner={next}");
    }
    assert_eq!(seen, 60);
    world.stop().await;
}

#[tokio::test]
async fn many_are_asked_about_once_and_each_is_told_of() {
    let mut personal = template("home");
    personal.lifetime = Lifetime::Personal;
    let templates = Some(vec![template("lab"), personal]);
    let world = World::with(Wanted { idle_engine: true, templates, ..Wanted::default() }).await;
    let olga = world.sign_in("olga").await;
    let ephemeral = asked(&world, "one").await;
    let home = r#"{"template":"home"}"#;
    let home = world.post("/api/v1/sessions", &world.keys.alice, home).await;
    let home = home.json["id"].as_str().unwrap().to_owned();
    let never = "desktop-bbbbbbb";
    let chosen = format!("act=stop&session={ephemeral}&session={home}&session={never}");
    let sure = world.page(&format!("/admin/sessions?{chosen}"), &olga).await;
    assert_eq!(sure.status, 200, "{}", sure.text);
    for part in ["Stop: really?", &ephemeral, &home, "loses its power", "it is refused"] {
        assert!(sure.text.contains(part), "{part}: {}", sure.text);
    }
    assert!(!sure.text.contains(never), "what is not there is not promised");
    assert_eq!(world.record(&home).await.goal, Goal::Running, "a question changes nothing");
    let done = world.submit("/admin/sessions", &olga, &chosen).await;
    assert_eq!(done.status, 200, "{}", done.text);
    for part in ["cannot be stopped", "there is no such session", "Done, or on its way"] {
        assert!(done.text.contains(part), "{part}: {}", done.text);
    }
    assert_eq!(world.record(&home).await.goal, Goal::Stopped);
    assert_eq!(world.record(&ephemeral).await.goal, Goal::Running);
    // Each is in the audit log, besides the whole.
    let filter = AuditFilter { owner: Some("olga@api".into()), ..AuditFilter::default() };
    let all = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        loop {
            ticks.tick().await;
            let page = AuditPage::onwards(0, 100);
            let found = world.audit.store().entries(&filter, &page).await.unwrap();
            if found.last().is_some_and(|last| last.entry.answers.is_some()) {
                return found;
            }
        }
    };
    let all = tokio::time::timeout(world::PATIENCE, all).await.unwrap();
    let told: Vec<_> = all
        .iter()
        .map(|p| (p.entry.act.as_str(), p.entry.session.as_deref(), p.entry.status))
        .collect();
    assert_eq!(
        told[1..],
        [
            ("sessions-bulk", None, None),
            ("session-stop", Some(ephemeral.as_str()), Some(409)),
            ("session-stop", Some(home.as_str()), Some(202)),
            ("session-stop", Some(never), Some(404)),
            ("sessions-bulk", None, Some(200)),
        ]
    );
    assert_eq!(all.last().unwrap().entry.subject.as_deref(), Some("stop of 3"));
    let gone = format!("act=delete&session={ephemeral}");
    world.submit("/admin/sessions", &olga, &gone).await;
    assert_eq!(world.record(&ephemeral).await.goal, Goal::Gone);
    for bad in ["act=nonsense", "session=desktop-bbbbbbb", "act=stop&session=No Id", "act=stop&x=1"]
    {
        assert_eq!(world.submit("/admin/sessions", &olga, bad).await.status, 400, "{bad}");
    }
    let none = world.page("/admin/sessions?act=delete", &olga).await;
    assert!(none.text.contains("None was chosen"), "{}", none.text);
    world.stop().await;
}

#[tokio::test]
async fn every_stop_shows_what_it_rested_on() {
    let world = quiet().await;
    let (alice, bob) = (world.sign_in("alice").await, world.sign_in("bob").await);
    let id = world.asked().await;
    let mut session = world.record(&id).await;
    let now = world.engine.clock().now();
    let evidence = Evidence {
        rule: "never_connected".into(),
        measured_seconds: 3_725,
        limit_seconds: 600,
        reported_at: Some("2026-11-20T09:08:07Z".parse().unwrap()),
        passed_at: None,
    };
    let goal = What::Goal {
        goal: Goal::Gone,
        by: "idle".into(),
        reason: "nobody came".into(),
        evidence: Some(evidence),
    };
    session.goal = Goal::Gone;
    let events = vec![NewEvent { at: now, what: goal }];
    let change = Change { session, fence: None, events, next: Next::DueNow };
    world.store.update(change).await.unwrap();
    let path = format!("/desktops/{id}/history");
    assert!(world.page(&format!("/desktops/{id}"), &alice).await.text.contains(&path));
    let page = world.page(&path, &alice).await;
    for part in [
        "Asked for",
        "To be deleted",
        "nobody came",
        "Nobody ever connected",
        "1 h 2 min",
        "10 min 0 s",
        "2026-11-20 09:08:07 UTC",
    ] {
        assert!(page.text.contains(part), "{part}: {}", page.text);
    }
    let mut french = with_cookie(request("GET", &path), &alice);
    french.headers_mut().insert("accept-language", "fr".parse().unwrap());
    let french = Answer::of(world.send(french).await).await;
    assert!(french.text.contains("Personne ne s’est jamais connecté"), "{}", french.text);
    assert_eq!(world.page(&path, &bob).await.status, 404, "it is somebody else's");
    let olga = world.sign_in("olga").await;
    assert_eq!(world.page(&path, &olga).await.status, 200);
    world.stop().await;
}

#[tokio::test]
async fn people_are_seen_with_their_groups_and_signed_out_everywhere() {
    let world = quiet().await;
    let (alice, again) = (world.sign_in("alice").await, world.sign_in("alice").await);
    let (olga, root) = (world.sign_in("olga").await, world.sign_in("root").await);
    let page = world.page("/admin/people", &olga).await.text;
    for part in ["alice@api", "Älice &#60;b&#62;", "students@api", "root@api", "operator"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let ended = world.submit("/admin/people/end", &olga, "owner=alice%40api").await;
    assert_eq!((ended.status, ended.header("location")), (303, "/admin/people"));
    for cookie in [&alice, &again] {
        assert_eq!(world.page("/desktops", cookie).await.status, 303);
    }
    let twice = world.submit("/admin/people/end", &olga, "owner=alice%40api").await;
    assert_eq!(twice.status, 404);
    let higher = world.submit("/admin/people/end", &olga, "owner=root%40api").await;
    assert_eq!(higher.status, 403, "{}", higher.text);
    assert_eq!(world.page("/admin", &root).await.status, 200);
    assert_eq!(world.submit("/admin/people/end", &olga, "owner=nonsense").await.status, 400);
    world.stop().await;
}

#[tokio::test]
async fn no_page_waits_for_a_hypervisor_and_each_says_how_old_its_figures_are() {
    let world = World::new().await;
    let olga = world.sign_in("olga").await;
    let first = world.page("/admin/places", &olga).await.text;
    assert!(first.contains("being looked at"), "{first}");
    let places = shows(&world, "/admin/places", &olga, "As seen").await;
    for part in ["node1", "Online", "25 %", "1024 / 4096 MiB"] {
        assert!(places.contains(part), "{part}: {places}");
    }
    let id = world.asked().await;
    world.phase(&id, Phase::Ready).await;
    let overview = shows(&world, "/admin", &olga, "Store and hypervisors answer").await;
    assert!(overview.contains("Desktops ever asked for"), "{overview}");
    let templates = world.page("/admin/templates", &olga).await.text;
    assert!(templates.contains("lab") && templates.contains("Everybody"), "{templates}");
    world.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_said_on_the_first_page() {
    let world = quiet().await;
    world.away.store(true, Ordering::SeqCst);
    let olga = world.sign_in("olga").await;
    let page = shows(&world, "/admin", &olga, "does not answer").await;
    assert!(page.contains("have not been compared"), "{page}");
    world.audit_away.store(true, Ordering::SeqCst);
    world.submit("/sign-out", &olga, "").await;
    let page = world.page("/admin", &olga).await.text;
    assert!(page.contains("audit log cannot be written"), "{page}");
    world.stop().await;
}

#[tokio::test]
async fn administrators_read_who_did_what() {
    let world = quiet().await;
    let (olga, root) = (world.sign_in("olga").await, world.sign_in("root").await);
    let id = world.asked().await;
    assert_eq!(world.page("/admin/audit", &olga).await.status, 403);
    assert!(!world.page("/admin", &olga).await.text.contains("/admin/audit"));
    let page = shows(&world, "/admin/audit", &root, "202").await;
    for part in ["session-create", "alice@api", "key:alice", "127.0.0.1", &id, "sign-in:"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(page.contains(&world.audit.public_key().to_string()));
    let rows = async |query: &str| {
        let page = world.page(&format!("/admin/audit{query}"), &root).await;
        assert_eq!(page.status, 200, "{}", page.text);
        page.text.matches("<tr><td>").count()
    };
    assert_eq!(rows("?owner=alice&session=&act=&from=&to=").await, 2);
    assert_eq!(rows("?act=sign-in").await, 2);
    assert_eq!(rows(&format!("?session={id}")).await, 1);
    assert_eq!(rows("?from=2026-11-20&to=2026-11-20").await, rows("").await);
    assert_eq!(rows("?to=2026-11-19").await, 0);
    for bad in ["?from=today", "?page=x", "?owner=a/b", "?nonsense=1"] {
        let page = world.page(&format!("/admin/audit{bad}"), &root).await;
        assert_eq!(page.status, 400, "{bad}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_machine_in_quarantine_is_shown_asked_about_and_ended() {
    let world = quiet().await;
    let olga = world.sign_in("olga").await;
    let id = world.machine_without_record().await;
    let unknown = world.page("/admin/quarantine", &olga).await.text;
    assert!(unknown.contains("have not been compared"), "{unknown}");
    let running = world.engine.start();
    let page = shows(&world, "/admin/quarantine", &olga, &id).await;
    let ask = format!("/admin/quarantine?end={id}");
    assert!(page.contains(&ask), "{page}");
    let sure = world.page(&ask, &olga).await.text;
    assert!(sure.contains(&format!("Delete {id}?")), "{sure}");
    assert_eq!(world.platform.machines().len(), 1, "a question ends nothing");
    let other = world.page("/admin/quarantine?end=desktop-bbbbbbb", &olga).await;
    assert_eq!(other.status, 404);
    let ended = world.submit(&format!("/admin/quarantine/{id}/end"), &olga, "").await;
    assert_eq!(ended.header("location"), format!("/desktops/{id}/history"), "{}", ended.text);
    world.phase(&id, Phase::Ended).await;
    assert_eq!(world.platform.machines().len(), 0);
    running.stop().await;
    world.stop().await;
}
