//! The description says what the API does.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use std::collections::BTreeSet;

use daas_core::session::Phase;
use daas_http::routes::{self, Listener};
use serde_json::Value;
use world::{Wanted, World, check_golden};

#[tokio::test]
async fn every_route_is_described_and_every_reference_leads_somewhere() {
    let world = World::with(Wanted { idle_engine: true, ..Wanted::default() }).await;
    let mut api = world.get("/api/v1/openapi.json", "").await.json;
    assert_eq!(api["openapi"], "3.1.0");
    assert_eq!(api["info"]["version"].take(), env!("CARGO_PKG_VERSION"));
    check_golden("openapi.json", &format!("{}\n", serde_json::to_string_pretty(&api).unwrap()));
    for route in routes::all().filter(|r| r.listener != Listener::Guests && !r.page) {
        let described = &api["paths"][route.path][route.verb.as_str().to_lowercase()];
        assert!(described["summary"].as_str().is_some_and(|s| !s.is_empty()), "{}", route.path);
        let responses = described["responses"].as_object().unwrap();
        let is_good = |status: &String| status.starts_with('2') || status == "101";
        assert!(responses.keys().any(is_good), "{}", route.path);
        for (status, response) in responses {
            assert!(response["description"].as_str().is_some(), "{} {status}", route.path);
        }
    }
    let mut ids = BTreeSet::new();
    let operations = api["paths"].as_object().unwrap().values();
    for operation in operations.flat_map(|methods| methods.as_object().unwrap().values()) {
        assert!(ids.insert(operation["operationId"].to_string()), "{operation}");
    }
    let mut references = Vec::new();
    gather(&api, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(api.pointer(pointer).is_some_and(Value::is_object), "{reference}");
    }
    world.stop().await;
}

#[tokio::test]
async fn answers_have_the_fields_that_are_described() {
    let world = World::new().await;
    let api = world.get("/api/v1/openapi.json", "").await.json;
    let fields = |name: &str| keys(&api["components"]["schemas"][name]["properties"]);
    let id = world.asked().await;
    world.phase(&id, Phase::Ready).await;
    let session = world.get(&format!("/api/v1/sessions/{id}"), &world.keys.alice).await.json;
    assert_eq!(keys(&session), fields("SessionView"));
    assert_eq!(keys(&session["machine"]), fields("MachineView"));
    let templates = world.get("/api/v1/templates", &world.keys.alice).await.json;
    assert_eq!(keys(&templates["templates"][0]), fields("TemplateView"));
    let figures = world.get("/api/metrics", "").await.json;
    assert_eq!(keys(&figures), fields("Figures"));
    let quarantine = world.get("/api/v1/quarantine", &world.keys.admin).await.json;
    assert_eq!(keys(&quarantine), fields("Quarantine"));
    let mut problem = world.get("/api/v1/nothing", "").await.json;
    problem["retry_after_seconds"] = Value::Null;
    assert_eq!(keys(&problem), fields("Problem"));
    world.stop().await;
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap_or_else(|| panic!("{value}")).keys().cloned().collect()
}

fn gather(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                match inner {
                    Value::String(to) if name == "$ref" => references.push(to.clone()),
                    _ => gather(inner, references),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, references)),
        _ => {}
    }
}
