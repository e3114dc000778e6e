//! What ended long ago is forgotten, but for its id.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use std::time::Duration;

use daas_core::clock::earlier;
use daas_core::event::{NewEvent, What};
use daas_core::ids::{Organisation, SessionId, SessionPrefix};
use daas_core::owner::Owner;
use daas_core::session::{Phase, Session};
use daas_core::store::quota::Quotas;
use daas_core::store::{Change, NewSession, Next, SessionStore};
use world::World;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Puts a session into the store that was asked for, and ended, so long ago.
async fn ended(world: &World, ago: Duration) -> SessionId {
    let then = earlier(jiff::Timestamp::now(), ago);
    let owner = Owner { realm: "lab".into(), name: "alice".into() };
    let id = SessionId::mint(&SessionPrefix::default());
    let organisation = Organisation::default();
    let mut session = Session::new(id, World::template(), Some(owner), organisation, then);
    let note = NewEvent { at: then, what: What::Note { text: "long ago".into() } };
    let new = NewSession {
        session: session.clone(),
        quotas: Quotas::default(),
        events: vec![note],
        idempotency_key: Some(session.id.to_string()),
    };
    world.store.insert(new).await.unwrap();
    for phase in [Phase::Destroying, Phase::Ended] {
        session.enter(phase, "test", then).unwrap();
    }
    let change = Change { session, fence: None, events: vec![], next: Next::Release(None) };
    let id = change.session.id.clone();
    world.store.update(change).await.unwrap();
    id
}

#[tokio::test(start_paused = true)]
async fn what_ended_long_ago_is_forgotten_and_its_machine_is_still_an_orphan() {
    let world = World::new();
    let old = ended(&world, 91 * DAY).await;
    let young = ended(&world, 89 * DAY).await;
    let engine = world.engine().await;
    let running = engine.start();
    let live = engine.ask(&world.alice(), world.ask()).await.unwrap().session;
    world.phase(&live.id, Phase::Ready).await;
    tokio::time::sleep(Duration::from_secs(150)).await;
    assert_eq!(world.store.get(&old).await.unwrap(), None);
    assert!(world.store.retired(&old).await.unwrap());
    assert_eq!(world.get(&young).await.phase, Phase::Ended);
    assert_eq!(world.get(&live.id).await.phase, Phase::Ready);
    // The old session's machine comes back, say from a backup; another is nobody's.
    world.put_marked("2000", &old).await;
    world.put_marked("2001", &"desktop-zzzzzzz".parse().unwrap()).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    let left: Vec<_> =
        world.platform.machines().into_iter().map(|(id, _)| id.to_string()).collect();
    assert!(!left.contains(&"2000".to_owned()), "the orphan was not removed: {left:?}");
    assert!(left.contains(&"2001".to_owned()), "a quarantined machine is left: {left:?}");
    assert_eq!(engine.swept().unwrap().quarantined.len(), 1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn much_that_is_old_goes_within_a_few_turns() {
    let world = World::new();
    for _ in 0..2_000 {
        ended(&world, 100 * DAY).await;
    }
    let engine = world.engine().await;
    let running = engine.start();
    // A turn a minute, each of 20 portions of 256 rows; these are 6,000 rows.
    tokio::time::sleep(Duration::from_secs(150)).await;
    let old = daas_core::store::Prune {
        ended_before: jiff::Timestamp::MAX,
        keys_before: jiff::Timestamp::MAX,
        limit: 10,
    };
    assert_eq!(world.store.prune(&old).await.unwrap().rows(), 0, "the engine left something");
    assert_eq!(world.store.tally().await.unwrap().ended, 2_000);
    running.stop().await;
}
