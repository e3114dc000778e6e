//! The pages for people: signing in, one's desktops, and what goes wrong, in both languages.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use std::time::Duration;

use daas_core::session::{Goal, Phase};
use daas_http::identity::{IdentityConfig, Others, Tries};
use daas_http::{HttpConfig, Tls};
use world::{Answer, RIGHT, Wanted, World, from, request, with_cookie, with_fields};

async fn quiet(identity: Option<IdentityConfig>) -> World {
    World::with(Wanted { idle_engine: true, identity, ..Wanted::default() }).await
}

#[tokio::test]
async fn somebody_signs_in_and_out() {
    let world = quiet(None).await;
    let sent_away = world.page("/desktops?all=true", "").await;
    assert_eq!(sent_away.status, 303);
    let form = sent_away.header("location");
    assert_eq!(form, "/sign-in?next=%2Fdesktops%3Fall%3Dtrue");
    let form = world.page(form, "").await;
    assert!(form.text.contains(r#"value="/desktops?all=true""#), "{}", form.text);

    let fields = format!("name=API%5CAlice&password={RIGHT}&next=%2Fdesktops%3Fall%3Dtrue");
    let entered = world.submit("/sign-in", "", &fields).await;
    assert_eq!((entered.status, entered.header("location")), (303, "/desktops?all=true"));
    let cookie = entered.header("set-cookie");
    for part in ["daas=", "; HttpOnly", "; SameSite=Lax", "; Path=/", "; Max-Age=43200"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let cookie = cookie.split(';').next().unwrap();
    let page = world.page("/desktops", cookie).await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("Älice &#60;b&#62;"), "{}", page.text);
    // The browser's scripts may call the API, as the same person.
    assert_eq!(world.page("/api/v1/sessions", cookie).await.status, 200);
    assert_eq!(world.page("/api/v1/keys", cookie).await.status, 403);

    let left = world.submit("/sign-out", cookie, "").await;
    assert_eq!((left.status, left.header("location")), (303, "/sign-in"));
    assert!(left.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(world.page("/desktops", cookie).await.status, 303, "the token is good no more");
    assert_eq!(world.page("/api/v1/sessions", cookie).await.status, 401);
    world.stop().await;
}

#[tokio::test]
async fn who_is_refused_is_told_the_same_whatever_the_reason() {
    let world = quiet(None).await;
    let mut said = Vec::new();
    for fields in [
        "name=alice&password=wrong",
        "name=alice&password=",
        "name=nobody&password=correct-horse",
        "name=locked&password=correct-horse",
        "name=&password=correct-horse",
        "name=alice&password=correct-horse&realm=elsewhere",
        &format!("name={}&password=x", "a".repeat(5_000)),
    ] {
        let answer = world.submit("/sign-in", "", fields).await;
        assert_eq!(answer.status, 401, "{fields}");
        assert_eq!(answer.header("set-cookie"), "");
        said.push(
            answer
                .text
                .split("role=\"alert\">")
                .nth(1)
                .unwrap()
                .split('<')
                .next()
                .unwrap()
                .to_owned(),
        );
    }
    said.dedup();
    assert_eq!(said.len(), 1, "{said:?}");
    let away = world.submit("/sign-in", "", "name=ghost&password=x").await;
    assert_eq!(away.status, 503);
    assert!(away.text.contains("cannot be checked") && !away.text.contains("no server"));
    let more = world.submit("/sign-in", "", &format!("name=twofold&password={RIGHT}")).await;
    assert_eq!(more.status, 403);
    assert!(more.text.contains("second factor"), "{}", more.text);
    let broken = world.submit("/sign-in", "", "name=alice&passwort=secret7").await;
    assert_eq!(broken.status, 400);
    assert!(!broken.text.contains("secret7"));
    world.stop().await;
}

#[tokio::test]
async fn wrong_passwords_run_out_for_an_account_and_an_address() {
    let tries = Tries { account: 3, address: 5, period: Duration::from_secs(600) };
    let world = quiet(Some(IdentityConfig { tries, ..IdentityConfig::default() })).await;
    let tried = async |name: &str, password: &str, address: &str| {
        let fields = format!("name={name}&password={password}");
        let request = from(with_fields(request("POST", "/sign-in"), &fields), address);
        Answer::of(world.send(request).await).await
    };
    // A whole class behind one address, each right at once.
    for _ in 0..20 {
        assert_eq!(tried("bob", RIGHT, "192.0.2.1").await.status, 303);
    }
    for _ in 0..3 {
        assert_eq!(tried("alice", "wrong", "192.0.2.1").await.status, 401);
    }
    let held = tried("ALICE", RIGHT, "192.0.2.2").await;
    assert_eq!((held.status, held.header("retry-after")), (429, "199"), "also the right one");
    assert!(held.text.contains("4 minutes"), "{}", held.text);
    for name in ["carol", "dora"] {
        assert_eq!(tried(name, "wrong", "192.0.2.1").await.status, 401);
    }
    assert_eq!(tried("bob", RIGHT, "192.0.2.1").await.status, 429);
    assert_eq!(tried("bob", RIGHT, "192.0.2.2").await.status, 303);
    // Who cannot be asked about costs nobody a try.
    for _ in 0..10 {
        assert_eq!(tried("ghost", "x", "192.0.2.3").await.status, 503);
    }
    world.stop().await;
}

#[tokio::test]
async fn groups_say_who_is_let_in_and_as_what() {
    let identity = IdentityConfig {
        roles: [("staff@api".to_owned(), daas_core::access::Role::Operator)].into(),
        others: Others::None,
        ..IdentityConfig::default()
    };
    let world = quiet(Some(identity)).await;
    let fields = format!("name=alice&password={RIGHT}");
    let answer = world.submit("/sign-in", "", &fields).await;
    assert_eq!(answer.status, 403);
    assert!(answer.text.contains("no group of yours"), "{}", answer.text);
    let olga = world.sign_in("olga").await;
    let id = world.asked().await;
    assert!(!world.page("/desktops", &olga).await.text.contains(&id));
    let all = world.page("/desktops?all=true", &olga).await;
    assert!(all.text.contains(&id) && all.text.contains("alice@api"), "{}", all.text);
    world.stop().await;
}

#[tokio::test]
async fn a_sign_in_ends_when_it_is_not_used_and_when_its_time_is_over() {
    let identity = IdentityConfig {
        lifetime: Duration::from_secs(3),
        idle: Duration::from_secs(1),
        ..IdentityConfig::default()
    };
    let world = quiet(Some(identity)).await;
    let cookie = world.sign_in("alice").await;
    let id = {
        let owner = world::alice().owner;
        world.store_sign_ins().sign_ins_of(&owner).await.unwrap().remove(0).id
    };
    assert_eq!(world.page("/desktops", &cookie).await.status, 200);
    // As if it had been used a moment ago, again and again; then its time is over all the same.
    let until = async |status: u16, used: bool| {
        let end = tokio::time::Instant::now() + world::PATIENCE;
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while tokio::time::Instant::now() < end {
            ticks.tick().await;
            if used {
                let now = world.engine.clock().now();
                world.store_sign_ins().see_sign_in(&id, now).await.unwrap();
            }
            if world.page("/desktops", &cookie).await.status == status {
                return;
            }
        }
        panic!("not {status} in time");
    };
    until(303, true).await;
    let now = world.engine.clock().now();
    let made = world.store_sign_ins().sign_ins_of(&world::alice().owner).await.unwrap().remove(0);
    assert!(now >= made.ends_at, "it ended before its time");
    let unused = world.sign_in("bob").await;
    assert_eq!(world.page("/desktops", &unused).await.status, 200);
    let gone = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while world.page("/desktops", &unused).await.status == 200 {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(world::PATIENCE, gone).await.unwrap();
    world.stop().await;
}

#[tokio::test]
async fn a_form_of_another_site_changes_nothing() {
    let world = quiet(None).await;
    let (cookie, id) = (world.sign_in("alice").await, world.asked().await);
    for headers in [
        vec![("sec-fetch-site", "cross-site")],
        vec![("sec-fetch-site", "same-site")],
        vec![("origin", "https://evil.test"), ("host", "127.0.0.1")],
        // No browser sends none.
        vec![],
    ] {
        let path = format!("/desktops/{id}/delete");
        let mut request = with_cookie(with_fields(request("POST", &path), ""), &cookie);
        for (name, value) in &headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let answer = Answer::of(world.send(request).await).await;
        assert_eq!(answer.status, 403, "{headers:?}");
        assert!(answer.text.contains("This is not for you"), "{}", answer.text);
    }
    assert_eq!(world.record(&id).await.goal, Goal::Running);
    world.stop().await;
}

#[tokio::test]
async fn a_desktop_is_asked_for_watched_and_deleted() {
    let world = World::new().await;
    let cookie = world.sign_in("alice").await;
    let catalogue = world.page("/desktops/new", &cookie).await;
    let once = catalogue.text.split("name=\"once\" value=\"").nth(1).unwrap();
    let once = once.split('"').next().unwrap();
    let fields = format!("template=lab&label=maths&session_user=&session_password=&once={once}");
    let made = world.submit("/desktops", &cookie, &fields).await;
    assert_eq!(made.status, 303, "{}", made.text);
    let path = made.header("location").to_owned();
    let id = path.strip_prefix("/desktops/").unwrap().to_owned();
    let twice = world.submit("/desktops", &cookie, &fields).await;
    assert_eq!(twice.header("location"), path, "a form sent twice is one desktop");
    world.phase(&id, Phase::Ready).await;
    let page = world.page(&path, &cookie).await;
    for part in ["<h1>maths</h1>", "Ready", &format!("/api/v1/sessions/{id}/rdp"), "One hour more"]
    {
        assert!(page.text.contains(part), "{part}: {}", page.text);
    }
    let rdp = world.page(&format!("/api/v1/sessions/{id}/rdp"), &cookie).await;
    assert!(rdp.text.contains("full address"), "{}", rdp.text);
    let more = world.submit(&format!("{path}/extend"), &cookie, "").await;
    assert_eq!((more.status, more.header("location")), (303, path.as_str()));
    let sure = world.page(&format!("{path}/deletion"), &cookie).await;
    assert!(sure.text.contains("Delete maths?"), "{}", sure.text);
    assert_eq!(world.record(&id).await.goal, Goal::Running, "a question deletes nothing");
    assert_eq!(world.submit(&format!("{path}/delete"), &cookie, "").await.status, 303);
    world.phase(&id, Phase::Ended).await;
    assert!(world.page(&path, &cookie).await.text.contains("Deleted"));
    assert!(!world.page("/desktops", &cookie).await.text.contains(&id));
    world.stop().await;
}

#[tokio::test]
async fn what_cannot_be_is_said_in_the_language_of_the_browser() {
    let world = quiet(None).await;
    let (bob, id) = (world.sign_in("bob").await, world.asked().await);
    let said = async |path: &str, cookie: &str, language: &str| {
        let mut request = with_cookie(request("GET", path), cookie);
        request.headers_mut().insert("accept-language", language.parse().unwrap());
        request.headers_mut().insert("accept", "text/html,*/*".parse().unwrap());
        Answer::of(world.send(request).await).await
    };
    // Somebody else's, one that never was, and what cannot be one look the same.
    for other in [&id, "desktop-bbbbbbb", "rubbish"] {
        let path = format!("/desktops/{other}");
        let english = said(&path, &bob, "en").await;
        assert_eq!(english.status, 404, "{other}");
        assert!(english.text.contains("This is not there"), "{}", english.text);
        let french = said(&path, &bob, "fr-CA,fr;q=0.9").await;
        assert!(french.text.contains("<html lang=\"fr\">"), "{}", french.text);
        assert!(french.text.contains("Cela n’existe pas"), "{}", french.text);
    }
    assert!(said("/nowhere", "", "fr").await.text.contains("Cela n’existe pas"));
    assert!(world.page("/api/v1/nowhere", "").await.json["error"].is_string());
    let wrong = "template=lab&label=Not%20a%20label&once=2";
    let refused = world.submit("/desktops", &bob, wrong).await;
    assert_eq!(refused.status, 400);
    assert!(refused.text.contains("value=\"Not a label\""), "{}", refused.text);
    world.stop().await;
}

#[tokio::test]
async fn somebody_sees_and_ends_their_sign_ins_and_no_others() {
    let world = quiet(None).await;
    let (here, there) = (world.sign_in("alice").await, world.sign_in("alice").await);
    let bob = world.sign_in("bob").await;
    let page = world.page("/account", &here).await;
    let link = page.text.split("action=\"/account/sign-ins/").nth(1).unwrap();
    let path = format!("/account/sign-ins/{}", link.split('"').next().unwrap());
    assert!(page.text.contains("this browser"), "{}", page.text);
    assert_eq!(world.submit(&path, &bob, "").await.status, 404);
    assert_eq!(world.page("/account", &there).await.status, 200);
    assert_eq!(world.submit(&path, &here, "").await.status, 303);
    assert_eq!(world.page("/account", &there).await.status, 303);
    assert_eq!(world.submit(&path, &here, "").await.status, 404);
    assert_eq!(world.page("/account", &here).await.status, 200);
    world.stop().await;
}

#[tokio::test]
async fn over_tls_the_cookie_is_the_hosts_alone() {
    let secure = HttpConfig {
        tls: Tls::SelfSigned { directory: "unused".into(), names: vec![] },
        ..HttpConfig::default()
    };
    let proxied =
        HttpConfig { trusted_proxies: vec!["192.0.2.9".parse().unwrap()], ..HttpConfig::default() };
    for (config, proto, is_secure) in [
        (secure, "", true),
        (proxied.clone(), "https", true),
        (proxied, "http", false),
        // Who is no proxy of ours may say what it likes.
        (HttpConfig::default(), "https", false),
    ] {
        let wanted = Wanted { config, idle_engine: true, ..Wanted::default() };
        let world = World::with(wanted).await;
        let fields = format!("name=alice&password={RIGHT}");
        let mut request = from(with_fields(request("POST", "/sign-in"), &fields), "192.0.2.9");
        if !proto.is_empty() {
            request.headers_mut().insert("x-forwarded-proto", proto.parse().unwrap());
        }
        let answer = Answer::of(world.send(request).await).await;
        let cookie = answer.header("set-cookie");
        assert_eq!(cookie.starts_with("__Host-daas="), is_secure, "{cookie}");
        assert_eq!(cookie.contains("; Secure"), is_secure, "{cookie}");
        world.stop().await;
    }
}
