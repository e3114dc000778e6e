//! Events as a stream: nothing missed, nothing twice, whoever comes back.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use axum::body::BodyDataStream;
use daas_core::ids::Cursor;
use daas_core::session::Phase;
use daas_core::store::{EventFilter, Prune, SessionStore};
use daas_http::HttpConfig;
use futures::StreamExt;
use world::{Answer, PATIENCE, Wanted, World, request, with_key};

/// One event of a stream.
#[derive(Debug, Default, Clone, PartialEq)]
struct Told {
    id: Option<u64>,
    event: String,
    data: serde_json::Value,
}

/// A reader of a stream.
struct Reader {
    body: BodyDataStream,
    text: String,
}

impl Reader {
    async fn open(world: &World, path: &str, key: &str, last: Option<u64>) -> Self {
        let mut request = with_key(request("GET", path), key);
        if let Some(last) = last {
            request.headers_mut().insert("last-event-id", last.into());
        }
        let response = world.send(request).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next event; absent at the stream's end.
    async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some((one, rest)) = self.text.split_once("\n\n") {
                let told = parse(one);
                self.text = rest.to_owned();
                return Some(told);
            }
            let some = tokio::time::timeout(PATIENCE, self.body.next()).await.expect("an event");
            self.text.push_str(std::str::from_utf8(&some?.unwrap()).unwrap());
        }
    }

    /// The next event of the log, progress passed over.
    async fn next_durable(&mut self) -> Told {
        loop {
            let told = self.next().await.expect("the stream goes on");
            if told.id.is_some() {
                return told;
            }
        }
    }
}

fn parse(text: &str) -> Told {
    let mut told = Told::default();
    for line in text.lines() {
        match line.split_once(": ").or_else(|| line.split_once(':')) {
            Some(("id", id)) => told.id = Some(id.parse().unwrap()),
            Some(("event", event)) => told.event = event.to_owned(),
            Some(("data", data)) => told.data = serde_json::from_str(data).unwrap(),
            _ => {}
        }
    }
    told
}

#[tokio::test]
async fn a_sessions_whole_life_is_replayed_and_then_followed() {
    let world = World::new().await;
    let id = world.asked().await;
    world.phase(&id, Phase::Ready).await;
    let path = format!("/api/v1/sessions/{id}/events");
    let mut reader = Reader::open(&world, &path, &world.keys.alice, None).await;
    let first = reader.next_durable().await;
    assert_eq!((first.event.as_str(), &first.data["template"]), ("requested", &"lab".into()));
    let mut told = first;
    while told.data["to"] != "ready" {
        told = reader.next_durable().await;
    }
    world.delete(&format!("/api/v1/sessions/{id}"), &world.keys.alice).await;
    let wished = reader.next_durable().await;
    assert_eq!((wished.event.as_str(), &wished.data["goal"]), ("goal", &"gone".into()));
    while told.data["to"] != "ended" {
        told = reader.next_durable().await;
        assert_eq!(told.data["session"], id.as_str());
    }
    let mut late = Reader::open(&world, &path, &world.keys.alice, wished.id).await;
    assert!(late.next_durable().await.id > wished.id, "only what came after the last one seen");
    world.stop().await;
}

#[tokio::test]
async fn readers_that_come_back_miss_nothing_and_see_nothing_twice() {
    let world = World::new().await;
    let ask = async {
        for _ in 0..60 {
            let id = world.asked().await;
            world.delete(&format!("/api/v1/sessions/{id}"), &world.keys.alice).await;
            world.phase(&id, Phase::Ended).await;
        }
    };
    let read = async {
        let (mut seen, mut ended) = (Vec::new(), 0);
        let mut last = Some(0);
        while ended < 60 {
            let mut reader =
                Reader::open(&world, "/api/v1/events", &world.keys.operator, last).await;
            // Each reader leaves after a few events, wherever it stands.
            for _ in 0..7 {
                let told = reader.next_durable().await;
                ended += usize::from(told.data["to"] == "ended");
                last = told.id;
                seen.push(told.id.unwrap());
                if ended == 60 {
                    break;
                }
            }
        }
        seen
    };
    let ((), seen) = tokio::join!(ask, read);
    let all = world.store.events(Cursor(0), &EventFilter::default(), 10_000).await.unwrap();
    let all: Vec<u64> = all.iter().map(|event| event.cursor.0).collect();
    assert_eq!(seen, all);
    world.stop().await;
}

#[tokio::test]
async fn users_see_the_events_of_their_own_sessions_only() {
    let world = World::with(Wanted { idle_engine: true, ..Wanted::default() }).await;
    let hers = world.asked().await;
    let wish = r#"{"template":"lab"}"#;
    let his = world.post("/api/v1/sessions", &world.keys.bob, wish).await;
    let his = his.json["id"].as_str().unwrap().to_owned();
    let mut reader = Reader::open(&world, "/api/v1/events?after=0", &world.keys.bob, None).await;
    assert_eq!(reader.next_durable().await.data["session"], his.as_str());
    let path = format!("/api/v1/sessions/{hers}/events");
    let refused = world.get(&path, &world.keys.bob).await;
    assert_eq!(refused.status, 404, "{}", refused.text);
    world.stop().await;
}

#[tokio::test]
async fn who_comes_back_after_what_is_kept_is_told_so() {
    let world = World::new().await;
    let id = world.asked().await;
    let gone = world.delete(&format!("/api/v1/sessions/{id}"), &world.keys.alice).await;
    assert_eq!(gone.status, 202, "{}", gone.text);
    world.phase(&id, Phase::Ended).await;
    let newest = world.store.watch().borrow().0;
    let (ended_before, keys_before) = (jiff::Timestamp::MAX, jiff::Timestamp::MAX);
    let old = Prune { ended_before, keys_before, limit: 100 };
    while world.store.prune(&old).await.unwrap().rows() > 0 {}
    for stale in [0, newest - 1] {
        let path = format!("/api/v1/events?after={stale}");
        let refused = world.get(&path, &world.keys.alice).await;
        assert_eq!(refused.status, 404, "{}", refused.text);
        assert!(refused.text.contains("no longer kept"), "{}", refused.text);
    }
    let path = format!("/api/v1/sessions/{id}/events");
    assert_eq!(world.get(&path, &world.keys.alice).await.status, 404);
    // Who has seen all of it goes on, as does who begins now.
    let mut back = Reader::open(&world, "/api/v1/events", &world.keys.alice, Some(newest)).await;
    let mut fresh = Reader::open(&world, "/api/v1/events", &world.keys.alice, None).await;
    let next = world.asked().await;
    for reader in [&mut back, &mut fresh] {
        assert_eq!(reader.next_durable().await.data["session"], next.as_str());
    }
    world.stop().await;
}

#[tokio::test]
async fn progress_is_told_without_an_id() {
    let timing = daas_core::fake::Timing {
        create: std::time::Duration::from_secs(86_400),
        ..Default::default()
    };
    let world = World::with(Wanted { timing, ..Wanted::default() }).await;
    let id = world.asked().await;
    let path = format!("/api/v1/sessions/{id}/events");
    let mut reader = Reader::open(&world, &path, &world.keys.alice, None).await;
    let mut told = reader.next().await.unwrap();
    while told.event != "progress" {
        told = reader.next().await.unwrap();
    }
    assert_eq!((told.id, &told.data["session"]), (None, &id.as_str().into()));
    assert!(!told.data["what"].as_str().unwrap().is_empty());
    world.stop().await;
}

#[tokio::test]
async fn one_owner_cannot_take_the_streams_of_all() {
    let mut config = HttpConfig::default();
    config.limits.streams_of_one = 2;
    let world = World::with(Wanted { config, idle_engine: true, ..Wanted::default() }).await;
    let path = "/api/v1/events";
    let first = Reader::open(&world, path, &world.keys.alice, None).await;
    let _second = Reader::open(&world, path, &world.keys.alice, None).await;
    let third = world.send(with_key(request("GET", path), &world.keys.alice)).await;
    let third = Answer::of(third).await;
    assert_eq!(third.status, 429, "{}", third.text);
    assert!(third.text.contains("of this owner"), "{}", third.text);
    let _his = Reader::open(&world, path, &world.keys.bob, None).await;
    drop(first);
    let _again = Reader::open(&world, path, &world.keys.alice, None).await;
    world.stop().await;
}

#[tokio::test]
async fn streams_are_bounded_and_end_when_the_server_stops() {
    let mut config = HttpConfig::default();
    config.limits.streams = 1;
    let world = World::with(Wanted { config, idle_engine: true, ..Wanted::default() }).await;
    let reader = Reader::open(&world, "/api/v1/events", &world.keys.alice, None).await;
    let second = world.send(with_key(request("GET", "/api/v1/events"), &world.keys.alice)).await;
    let second = Answer::of(second).await;
    assert_eq!(second.status, 429, "{}", second.text);
    drop(reader);
    let mut reader = Reader::open(&world, "/api/v1/events", &world.keys.bob, None).await;
    world.face.stop();
    assert_eq!(reader.next().await, None);
    let bad = world.get("/api/v1/events?after=x", &world.keys.alice).await;
    assert_eq!(bad.status, 400);
    world.stop().await;
}
