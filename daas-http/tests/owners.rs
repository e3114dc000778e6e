//! One user is one owner, however their name is written.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use daas_core::owner::Realms;
use daas_http::{Extra, Face};
use serde_json::json;
use world::{Answer, Wanted, World, request, send, with_body, with_key};

/// A face of the world's engine for a deployment whose people are in the realm `lab`.
async fn lab() -> (World, Face) {
    let world = World::with(Wanted { idle_engine: true, ..Wanted::default() }).await;
    let aliases = [("LAB".to_owned(), "lab".to_owned()), ("lab.test".to_owned(), "lab".to_owned())];
    let realms = Realms { default: "lab".to_owned(), aliases: aliases.into() };
    let extra = Extra { realms, ..Extra::default() };
    let face = Face::new(world.config.clone(), world.engine.clone(), extra);
    (world, face)
}

async fn call(face: &Face, method: &str, path: &str, key: &str, body: impl ToString) -> Answer {
    let request = with_body(with_key(request(method, path), key), body);
    Answer::of(send(face.main.clone(), request).await).await
}

#[tokio::test]
async fn spellings_of_one_user_are_one_owner_through_the_api() {
    let (world, face) = lab().await;
    let mut keys = Vec::new();
    let spellings = ["LAB\\alice", "alice@lab.test", "Alice"];
    for (number, spelling) in spellings.into_iter().enumerate() {
        let new = json!({"name": format!("key-{number}"), "owner": spelling, "role": "user"});
        let made = call(&face, "POST", "/api/v1/keys", &world.keys.admin, new).await;
        assert_eq!((made.status, &made.json["owner"]), (201, &"alice@lab".into()), "{spelling}");
        keys.push(made.json["key"].as_str().unwrap().to_owned());
    }
    // What one key asks for is the others' too.
    let wish = json!({"template": "lab"});
    let asked = call(&face, "POST", "/api/v1/sessions", &keys[0], wish).await;
    let id = asked.json["id"].as_str().unwrap();
    for key in &keys {
        let shown = call(&face, "GET", &format!("/api/v1/sessions/{id}"), key, "").await;
        assert_eq!(shown.status, 200, "{}", shown.text);
        for spelling in ["LAB%5Calice", "alice@LAB.test", "ALICE", "alice@lab"] {
            let list = format!("/api/v1/sessions?owner={spelling}");
            let found = call(&face, "GET", &list, key, "").await;
            assert_eq!(found.json["sessions"][0]["id"], id, "{spelling}: {}", found.text);
        }
        let others = call(&face, "GET", "/api/v1/sessions?owner=alice@api", key, "").await;
        assert_eq!(others.status, 403, "another realm's alice is another: {}", others.text);
    }
    world.stop().await;
}

#[tokio::test]
async fn an_owner_that_cannot_be_is_named() {
    let (world, face) = lab().await;
    for owner in ["", "a*b", "LAB\\", "@lab"] {
        let new = json!({"name": "new", "owner": owner, "role": "user"});
        let refused = call(&face, "POST", "/api/v1/keys", &world.keys.admin, new).await;
        assert_eq!(refused.status, 400, "{owner:?}: {}", refused.text);
        assert!(refused.text.contains("owner"), "{owner:?}: {}", refused.text);
    }
    world.stop().await;
}
