//! API keys of one's own, and templates for some groups alone.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use std::sync::Arc;
use std::time::Duration;

use daas_core::clock::ManualClock;
use daas_core::template::Template;
use serde_json::json;
use world::{Answer, Wanted, World, template};

async fn quiet(templates: Option<Vec<Template>>, clock: Option<Arc<ManualClock>>) -> World {
    World::with(Wanted { idle_engine: true, templates, clock, ..Wanted::default() }).await
}

/// The key that a page shows.
fn shown(page: &Answer) -> String {
    assert_eq!(page.status, 200, "{}", page.text);
    page.text.split("<code>").nth(1).unwrap().split('<').next().unwrap().to_owned()
}

fn said(answer: &Answer) -> &str {
    let after = answer.text.split("role=\"alert\">").nth(1);
    after.and_then(|text| text.split('<').next()).unwrap_or_else(|| panic!("{}", answer.text))
}

#[tokio::test]
async fn somebody_makes_a_key_uses_it_and_revokes_it() {
    let clock = Arc::new(ManualClock::starting_at("2026-11-20T10:11:12Z".parse().unwrap()));
    let world = quiet(None, Some(Arc::clone(&clock))).await;
    let alice = world.sign_in("alice").await;
    let made = world.submit("/account/keys", &alice, "name=laptop&role=user&ends=").await;
    let key = shown(&made);
    assert!(made.text.contains("the key laptop"), "{}", made.text);
    let account = world.page("/account", &alice).await;
    assert!(account.text.contains("<h3>laptop</h3>"), "{}", account.text);
    // The world's own key of alice is hers too; this one was never used.
    assert!(account.text.contains("Never used") && !account.text.contains(&key));
    clock.advance(Duration::from_secs(3_600 * 30));
    let mine = world.get("/api/v1/sessions", &key).await;
    assert_eq!(mine.status, 200, "{}", mine.text);
    assert_eq!(world.get("/api/v1/keys", &key).await.status, 403, "it is no administrator's");
    let alice = world.sign_in("alice").await;
    let account = world.page("/account", &alice).await;
    assert!(account.text.contains("Last used on 2026-11-21"), "{}", account.text);

    // An administrator sees it, and nobody else may touch it.
    let all = world.get("/api/v1/keys", &world.keys.admin).await;
    assert!(all.text.contains("alice@api/laptop") && all.text.contains("2026-11-21"));
    let bob = world.sign_in("bob").await;
    let revoke = async |cookie: &str, name: &str| {
        world.submit("/account/keys/revoke", cookie, &format!("name={name}")).await.status
    };
    assert_eq!(revoke(&bob, "alice%40api%2Flaptop").await, 404);
    assert!(!world.page("/account", &bob).await.text.contains("laptop"));
    // Bob may call his the same.
    shown(&world.submit("/account/keys", &bob, "name=laptop&role=user").await);
    assert_eq!(world.get("/api/v1/sessions", &key).await.status, 200);
    assert_eq!(revoke(&alice, "alice%40api%2Flaptop").await, 303);
    assert_eq!(revoke(&alice, "alice%40api%2Flaptop").await, 404);
    assert_eq!(world.get("/api/v1/sessions", &key).await.status, 401);
    // What an administrator made for her speaks for her: she may end it.
    assert_eq!(revoke(&alice, "alice").await, 303);
    assert_eq!(world.get("/api/v1/sessions", &world.keys.alice).await.status, 401);
    world.stop().await;
}

#[tokio::test]
async fn a_key_ends_on_its_day() {
    let clock = Arc::new(ManualClock::starting_at("2026-11-20T10:00:00Z".parse().unwrap()));
    let world = quiet(None, Some(Arc::clone(&clock))).await;
    let alice = world.sign_in("alice").await;
    let key =
        shown(&world.submit("/account/keys", &alice, "name=a&role=user&ends=2026-11-20").await);
    clock.advance(Duration::from_secs(14 * 3_600 - 1));
    assert_eq!(world.get("/api/v1/templates", &key).await.status, 200);
    clock.advance(Duration::from_secs(1));
    let over = world.get("/api/v1/templates", &key).await;
    assert_eq!(over.status, 401);
    assert!(over.text.contains("has ended"), "{}", over.text);

    let body = json!({"name": "short", "owner": "carol", "role": "user",
        "ends_at": "2026-11-21T12:00:00Z"});
    let made = world.post("/api/v1/keys", &world.keys.admin, &body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let key = made.json["key"].as_str().unwrap().to_owned();
    assert_eq!(world.get("/api/v1/templates", &key).await.status, 200);
    clock.advance(Duration::from_secs(12 * 3_600));
    assert_eq!(world.get("/api/v1/templates", &key).await.status, 401);
    let late = world.post("/api/v1/keys", &world.keys.admin, &body).await;
    assert_eq!(late.status, 400, "{}", late.text);
    world.stop().await;
}

#[tokio::test]
async fn what_cannot_be_a_key_is_refused_with_its_reason() {
    let world = quiet(None, None).await;
    let (alice, olga) = (world.sign_in("alice").await, world.sign_in("olga").await);
    let tried =
        async |cookie: &str, fields: &str| world.submit("/account/keys", cookie, fields).await;
    for (fields, status, words) in [
        ("name=a&role=operator", 403, "higher role than yours"),
        ("name=a&role=root", 403, "higher role than yours"),
        ("name=A%20key&role=user", 400, "lower-case"),
        ("name=&role=user", 400, "lower-case"),
        ("name=a%2Fb&role=user", 400, "lower-case"),
        ("name=a&role=user&ends=2020-01-01", 400, "is over"),
        ("name=a&role=user&ends=tomorrow", 400, "is over"),
    ] {
        let refused = tried(&alice, fields).await;
        assert_eq!(refused.status, status, "{fields}: {}", refused.text);
        assert!(said(&refused).contains(words), "{fields}: {}", said(&refused));
    }
    let page = world.page("/account", &alice).await;
    assert!(page.text.contains("<option>user</option>") && !page.text.contains("<option>operator"));
    let made = tried(&olga, "name=a&role=operator").await;
    assert_eq!(world.get("/api/v1/quarantine", &shown(&made)).await.status, 200);
    assert_eq!(tried(&olga, "name=a&role=user").await.status, 409);
    // Twenty and no more; the world has made one for her.
    for n in 0..18 {
        shown(&tried(&olga, &format!("name=k{n}&role=user")).await);
    }
    let full = tried(&olga, "name=more&role=user").await;
    assert_eq!(full.status, 429);
    assert!(said(&full).contains("20 keys"), "{}", said(&full));
    world.stop().await;
}

/// `lab` is for everybody, `staff` for a group alone.
fn for_staff() -> Vec<Template> {
    let mut staff = template("staff");
    staff.groups = vec!["Staff@API".to_owned(), "teachers@elsewhere".to_owned()];
    vec![template("lab"), staff]
}

#[tokio::test]
async fn a_template_for_some_is_not_there_for_others() {
    let world = quiet(Some(for_staff()), None).await;
    let listed = async |key: &str| world.get("/api/v1/templates", key).await.text;
    let ask = r#"{"template":"staff"}"#;
    let unknown = world.post("/api/v1/sessions", &world.keys.alice, r#"{"template":"none"}"#).await;
    let refused = world.post("/api/v1/sessions", &world.keys.alice, ask).await;
    assert!(!listed(&world.keys.alice).await.contains("staff"));
    assert_eq!((refused.status, unknown.status), (400, 400));
    // As one that never was: nothing tells that it is there.
    assert_eq!(refused.text.replace("staff", "none").len(), unknown.text.len(), "{}", refused.text);
    assert!(!unknown.text.contains("staff"), "{}", unknown.text);
    let alice = world.sign_in("alice").await;
    assert!(!world.page("/desktops/new", &alice).await.text.contains("staff"));
    let form = world.submit("/desktops", &alice, "template=staff&once=1").await;
    assert_eq!(form.status, 400, "{}", form.text);
    // Operators may in any case.
    assert!(listed(&world.keys.operator).await.contains("staff"));

    // A key that somebody makes for themselves has their groups; an administrator says which.
    let olga = world.sign_in("olga").await;
    let key = shown(&world.submit("/account/keys", &olga, "name=least&role=user").await);
    assert!(listed(&key).await.contains("staff"));
    assert_eq!(world.post("/api/v1/sessions", &key, ask).await.status, 202);
    for (name, groups, status) in [("with", json!(["STAFF"]), 202), ("without", json!([]), 400)] {
        let new = json!({"name": name, "owner": "moodle", "role": "user", "groups": groups});
        let made = world.post("/api/v1/keys", &world.keys.admin, &new).await;
        let key = made.json["key"].as_str().unwrap().to_owned();
        assert_eq!(world.post("/api/v1/sessions", &key, ask).await.status, status, "{name}");
    }
    // Who is known by nobody is in no group.
    let compat = world.post("/api/session/create", "", r#"{"username":"olga","template":"staff"}"#);
    let compat = compat.await;
    assert_eq!(compat.status, 400, "{}", compat.text);
    world.stop().await;
}
