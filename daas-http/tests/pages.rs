//! The pages for people need nothing but this server, and know all that it serves.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use std::collections::BTreeSet;

use daas_core::access::Role;
use daas_core::session::Phase;
use daas_http::access::Who;
use daas_http::routes::{self, Verb};
use world::{Answer, Wanted, World, request, send};

/// What `text` refers to by `href`, `src` or an import.
fn references(text: &str) -> BTreeSet<String> {
    let starts = ["href=\"", "src=\"", " from \"", "fetch(\"", " url("];
    let found = starts.iter().flat_map(|start| text.split(start).skip(1));
    found.filter_map(|rest| rest.split(['"', ')']).next()).map(str::to_owned).collect()
}

/// All that is reached from `starts` by the browser with `cookie`.
async fn crawl(world: &World, cookie: &str, starts: &[&str]) -> BTreeSet<String> {
    let mut open: Vec<String> = starts.iter().map(|&start| start.to_owned()).collect();
    let mut seen = BTreeSet::new();
    while let Some(path) = open.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let answer = world.page(&path, cookie).await;
        if cookie.is_empty() && answer.status == 303 {
            open.push(answer.header("location").to_owned());
            continue;
        }
        assert_eq!(answer.status, 200, "{path}");
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        // The viewer of Remote Desktop is a program for WebAssembly, and styles itself.
        assert!(!policy.contains("unsafe") || path.ends_with("/rdp"), "{path}: {policy}");
        let media = answer.header("content-type").to_owned();
        if !["html", "css", "javascript", "svg"].iter().any(|sort| media.contains(sort)) {
            continue;
        }
        // The policy forbids these, and a browser would only complain to itself.
        for forbidden in ["style=\"", "onclick", "<script>", "<style", "eval(", "innerHTML"] {
            assert!(!answer.text.contains(forbidden), "{path}: {forbidden}");
        }
        for reference in references(&answer.text) {
            // Built by a script: the rest of it is not in the text.
            // What is for an app on a telephone leads nowhere in a browser.
            if reference.starts_with('#') || reference.starts_with("otpauth:") {
                continue;
            }
            let full = reference.replace("./", "/api/docs/");
            assert!(full.starts_with('/') && !full.starts_with("//"), "{path}: {reference}");
            open.push(full);
        }
    }
    seen
}

#[tokio::test]
async fn pages_need_nothing_but_this_server() {
    let world = World::with(Wanted { idle_engine: true, ..Wanted::default() }).await;
    let seen = crawl(&world, "", &["/", "/api/docs", "/sign-in"]).await;
    for needed in ["docs.js", "try.js", "style.css", "icon.svg"] {
        assert!(seen.contains(&format!("/api/docs/{needed}")), "{needed} in {seen:?}");
    }
    for needed in ["/api/v1/openapi.json", "/assets/portal.css", "/assets/portal.js"] {
        assert!(seen.contains(needed), "{needed} in {seen:?}");
    }
    world.stop().await;
}

#[tokio::test]
async fn the_pages_for_people_lead_everywhere_and_need_nothing_else() {
    let world = World::new().await;
    let (cookie, id) = (world.sign_in("alice").await, world.asked().await);
    world.phase(&id, Phase::Ready).await;
    let seen = crawl(&world, &cookie, &["/desktops"]).await;
    let admin = crawl(&world, &world.sign_in("root").await, &["/desktops"]).await;
    let all = routes::all().filter(|route| route.page && route.verb == Verb::Get);
    for route in all.filter(|route| route.is_for_people()) {
        let path = route.path.replace("{id}", &id);
        let everybodys = route.who == Who::Person(Role::User);
        let led = if everybodys { &seen } else { &admin };
        assert!(led.contains(&path), "no page leads to {path}: {led:?}");
        assert!(everybodys || !seen.contains(&path), "{path} is offered to users");
    }
    assert!(seen.contains(&format!("/api/v1/sessions/{id}/rdp")));
    world.stop().await;
}

#[tokio::test]
async fn the_page_of_the_compatible_listener_leads_nowhere_else() {
    let world = World::with(Wanted { idle_engine: true, ..Wanted::default() }).await;
    let page = Answer::of(send(world.face.compat.clone(), request("GET", "/")).await).await;
    assert!(page.text.contains("<h1>Orchestrateur DaaS</h1>"), "{}", page.text);
    let references = references(&page.text);
    assert!(references.contains("/api/sessions"), "{references:?}");
    for reference in references {
        let answer = send(world.face.compat.clone(), request("GET", &reference)).await;
        assert_eq!(answer.status(), 200, "{reference}");
    }
    world.stop().await;
}

#[tokio::test]
async fn the_page_can_tell_of_each_route_who_may_call_it_and_where_it_belongs() {
    let world = World::with(Wanted { idle_engine: true, ..Wanted::default() }).await;
    let api = world.get("/api/v1/openapi.json", "").await.json;
    let chapters: BTreeSet<&str> =
        api["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    let mut used = BTreeSet::new();
    for (path, methods) in api["paths"].as_object().unwrap() {
        for (method, route) in methods.as_object().unwrap() {
            assert!(route["x-who"].as_str().is_some_and(|who| !who.is_empty()), "{method} {path}");
            let chapter = route["tags"][0].as_str().unwrap();
            assert!(chapters.contains(chapter), "{method} {path}: {chapter}");
            used.insert(chapter);
        }
    }
    assert_eq!(used, chapters, "no chapter is empty");
    assert_eq!(api["paths"]["/api/v1/keys"]["post"]["x-who"], "admin");
    assert_eq!(api["paths"]["/api/v1/sessions/{id}/events"]["get"]["tags"][0], "Events");
    assert_eq!(api["paths"]["/api/v1/quarantine"]["get"]["tags"][0], "Administration");
    assert_eq!(api["paths"]["/api/sessions"]["get"]["tags"][0], "Earlier orchestrator");
    world.stop().await;
}
