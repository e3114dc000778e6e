//! Who may call what: every route, called by everybody.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use std::fmt::Write as _;

use axum::body::Body;
use daas_core::session::Phase;
use daas_http::routes::{self, Listener, Route};
use daas_http::{CallRate, CompatConfig, HttpConfig, HttpLimits};
use http::Request;
use world::{
    Answer, Wanted, World, check_golden, from, request, send, with_body, with_cookie, with_fields,
    with_key,
};

const ELSEWHERE: &str = "203.0.113.9";
const CALLERS: [&str; 13] = [
    "anonymous",
    "elsewhere",
    "alice",
    "bob",
    "operator",
    "admin",
    "guest",
    "other-guest",
    // In a browser, and in one that another site's page lends.
    "signed:alice",
    "signed:bob",
    "signed:olga",
    "signed:root",
    "lent:alice",
];

#[tokio::test]
async fn every_route_answers_whom_its_row_says() {
    let mut matrix = String::new();
    for route in routes::all() {
        write!(matrix, "{:6} {}\n      ", route.verb.as_str(), route.path).unwrap();
        for caller in CALLERS {
            // A world of its own: what one caller may do must not change what the next one sees.
            let world = World::new().await;
            let id = world.asked().await;
            world.phase(&id, Phase::Ready).await;
            let (status, sent_to) = call(&world, route, caller, &id).await;
            let described = route.gives.iter().map(|g| g.status).chain(route.refusals());
            let described: Vec<u16> = described.collect();
            assert!(described.contains(&status), "{} {caller}: {status} not described", route.path);
            let sent_to = if sent_to.starts_with("/sign-in") { ">sign-in" } else { "" };
            write!(matrix, " {caller}={status}{sent_to}").unwrap();
            world.stop().await;
        }
        matrix.push('\n');
    }
    check_golden("access.txt", &matrix);
}

/// The status that `caller` gets for `route` on alice's session `id`, and where they are sent.
async fn call(world: &World, route: &Route, caller: &str, id: &str) -> (u16, String) {
    let file = if route.page { "portal.js" } else { "docs.js" };
    let path = route.path.replace("{id}", id).replace("{name}", "bob").replace("{file}", file);
    let path = path.replace("{act}", "delete").replace("{kind}", "vnc").replace("{*file}", "none");
    let mut request = request(route.verb.as_str(), &path);
    if path.starts_with("/gateway/") {
        request.headers_mut().insert("upgrade", "websocket".parse().unwrap());
    }
    if let Some((how, name)) = caller.split_once(':') {
        let cookie = world.sign_in(name).await;
        let site = if how == "lent" { "cross-site" } else { "same-origin" };
        request = with_cookie(request, &cookie);
        request.headers_mut().insert("sec-fetch-site", site.parse().unwrap());
    }
    let request = match route.takes {
        Some("SignIn") => with_fields(request, "name=alice&password=wrong"),
        Some("OwnKey") => with_fields(request, "name=own&role=user"),
        Some("OldKey") => with_fields(request, "name=bob"),
        Some("Code") => with_fields(request, "code=000000"),
        Some("PageWish") => with_fields(request, "template=lab&once=1"),
        Some("Chosen") => with_fields(request, &format!("act=extend&session={id}")),
        Some("Whose") => with_fields(request, "owner=bob@api"),
        _ => with_body(request, body(route, id)),
    };
    let request = from(request, if caller == "elsewhere" { ELSEWHERE } else { "127.0.0.1" });
    let token = |id: &str| world.engine.key().guest_token(&id.parse().unwrap(), 1).expose().clone();
    let key = match caller {
        "alice" => world.keys.alice.clone(),
        "bob" => world.keys.bob.clone(),
        "operator" => world.keys.operator.clone(),
        "admin" => world.keys.admin.clone(),
        "guest" => token(id),
        "other-guest" => token("desktop-bbbbbbb"),
        _ => String::new(),
    };
    let router = match route.listener {
        Listener::Guests => world.face.guests.clone(),
        Listener::Main | Listener::Compat => world.face.main.clone(),
    };
    let answer = send(router, with_key(request, &key)).await;
    let sent_to = answer.headers().get("location").map(|to| to.to_str().unwrap().to_owned());
    (answer.status().as_u16(), sent_to.unwrap_or_default())
}

fn body(route: &Route, id: &str) -> String {
    match route.takes {
        None => String::new(),
        Some("Wish") => r#"{"template":"lab"}"#.to_owned(),
        Some("NewTicket") => r#"{"kind":"vnc"}"#.to_owned(),
        Some("MoreTime") => r#"{"seconds":60}"#.to_owned(),
        Some("NewKey") => r#"{"name":"new","owner":"new","role":"user"}"#.to_owned(),
        Some("CompatWish") => r#"{"username":"dave"}"#.to_owned(),
        Some("CompatEnd") => format!(r#"{{"session_id":"{id}"}}"#),
        Some("Report") => r#"{"sessions":[],"uptime_seconds":1,"boot_id":"b"}"#.to_owned(),
        Some(other) => panic!("this test knows no body for {other}"),
    }
}

#[tokio::test]
async fn each_listener_serves_its_own_routes_only() {
    let world = World::new().await;
    let faces = [
        (Listener::Main, world.face.main.clone()),
        (Listener::Compat, world.face.compat.clone()),
        (Listener::Guests, world.face.guests.clone()),
    ];
    for (listener, router) in faces {
        for route in routes::all() {
            let serves = route.listener == listener
                || (listener == Listener::Main && route.listener == Listener::Compat);
            if serves {
                continue;
            }
            let path = route.path.replace("{id}", "desktop-aaaaaaa");
            let request = with_key(request(route.verb.as_str(), &path), &world.keys.admin);
            let status = send(router.clone(), request).await.status().as_u16();
            assert_eq!(status, 404, "{listener:?} {path}");
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn without_compat_its_routes_are_not_there() {
    let compat = CompatConfig { enabled: false, ..CompatConfig::default() };
    let config = HttpConfig { compat, ..HttpConfig::default() };
    let world = World::with(Wanted { config, ..Wanted::default() }).await;
    for path in ["/", "/api/sessions"] {
        assert_eq!(world.get(path, &world.keys.admin).await.status, 404, "{path}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_callers_network_is_seen_through_trusted_proxies_only() {
    let proxies = vec!["192.0.2.1".parse().unwrap()];
    let config = HttpConfig { trusted_proxies: proxies, ..HttpConfig::default() };
    let world = World::with(Wanted { config, idle_engine: true, ..Wanted::default() }).await;
    let check = async |peer: &str, forwarded: &str, status: u16| {
        let mut request: Request<Body> = from(request("GET", "/api/sessions"), peer);
        if !forwarded.is_empty() {
            request.headers_mut().insert("x-forwarded-for", forwarded.parse().unwrap());
        }
        let answer = world.send(request).await.status().as_u16();
        assert_eq!(answer, status, "{peer} for {forwarded:?}");
    };
    check("127.0.0.1", "", 200).await;
    check("192.0.2.1", "127.0.0.1", 200).await;
    check("192.0.2.1", "127.0.0.1, 203.0.113.9", 401).await;
    check("192.0.2.1", "203.0.113.9, 127.0.0.1, 192.0.2.1", 200).await;
    check("192.0.2.1", "127.0.0.1, rubbish", 401).await;
    check("192.0.2.1", "", 401).await;
    check("203.0.113.9", "127.0.0.1", 401).await;
    world.stop().await;
}

#[tokio::test]
async fn a_proxy_of_this_machine_that_is_not_trusted_lends_nobody_its_address() {
    let world = World::with(Wanted { idle_engine: true, ..Wanted::default() }).await;
    for (path, host, status) in [
        ("/api/sessions", "daas.example", 401),
        ("/metrics", "daas.example", 401),
        ("/api/sessions", "localhost:5000", 200),
        ("/metrics", "[::1]:5000", 200),
    ] {
        let mut request = request("GET", path);
        request.headers_mut().insert("host", host.parse().unwrap());
        assert_eq!(world.send(request).await.status().as_u16(), status, "{path} as {host}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_page_of_another_site_cannot_use_its_readers_network() {
    let world = World::with(Wanted { idle_engine: true, ..Wanted::default() }).await;
    let mut request = with_body(request("POST", "/api/session/create"), r#"{"username":"x"}"#);
    request.headers_mut().insert("origin", "http://evil.test".parse().unwrap());
    request.headers_mut().insert("host", "127.0.0.1:5000".parse().unwrap());
    let refused = Answer::of(world.send(request).await).await;
    assert_eq!(refused.status, 401, "{}", refused.text);
    assert_eq!(world.get("/api/sessions", "").await.text, "{}");
    world.stop().await;
}

#[tokio::test]
async fn calls_are_limited_by_address_and_by_caller() {
    let few = CallRate { per_second: 1, burst: 3 };
    let check = async |limits: HttpLimits, address: &str, path: &str, taken: usize, over: u16| {
        let compat =
            CompatConfig { networks: vec!["0.0.0.0/0".parse().unwrap()], ..Default::default() };
        let config = HttpConfig { limits, compat, ..HttpConfig::default() };
        let world = World::with(Wanted { config, idle_engine: true, ..Wanted::default() }).await;
        let call = async |key: &str| {
            let request = from(with_key(request("GET", path), key), address);
            Answer::of(world.send(request).await).await
        };
        for n in 0..taken {
            assert_eq!(call(&world.keys.alice).await.status, 200, "{path} {n}");
        }
        let refused = call(&world.keys.alice).await;
        assert_eq!(refused.status, over, "{path}: {}", refused.text);
        if over != 200 {
            assert!(refused.text.contains("too many calls"), "{}", refused.text);
            assert_eq!(refused.header("retry-after"), "1");
        }
        (call(&world.keys.bob).await.status, world.stop().await).0
    };
    let (of_address, of_caller) = (
        HttpLimits { calls_of_address: few, ..HttpLimits::default() },
        HttpLimits { calls_of_caller: few, ..HttpLimits::default() },
    );
    let sessions = "/api/v1/sessions";
    assert_eq!(check(of_address.clone(), ELSEWHERE, sessions, 3, 429).await, 429);
    assert_eq!(check(of_address.clone(), ELSEWHERE, "/health", 3, 429).await, 429);
    assert_eq!(check(of_address.clone(), ELSEWHERE, "/api/sessions", 3, 500).await, 500);
    assert_eq!(check(of_address, "127.0.0.1", sessions, 3, 200).await, 200, "its own");
    assert_eq!(check(of_caller.clone(), ELSEWHERE, sessions, 3, 429).await, 200, "another caller");
    assert_eq!(check(of_caller, ELSEWHERE, "/health", 3, 200).await, 200, "nobody asked who");
}
