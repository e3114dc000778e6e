//! Effects that come when nobody waits for them any more, and the sweep that finds them.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use std::time::Duration;

use daas_core::engine::{BrakeRules, Engine};
use daas_core::ids::SessionId;
use daas_core::session::Phase;
use world::World;

/// Longer than the sweeps and the grace of an orphan.
const LONG_ENOUGH: Duration = Duration::from_secs(300);

/// A session that has come and gone.
async fn ended(world: &World, engine: &Engine) -> SessionId {
    let id = engine.ask(&world.alice(), world.ask()).await.unwrap().session.id;
    world.phase(&id, Phase::Ready).await;
    engine.destroy(&world.alice(), &id, "done").await.unwrap();
    world.phase(&id, Phase::Ended).await;
    id
}

fn account(id: &SessionId) -> String {
    format!("CN={id}")
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_the_end_is_retracted_and_all_else_is_left_alone() {
    let world = World::new();
    let engine = world.engine().await;
    let running = engine.start();
    let gone = ended(&world, &engine).await;
    let live = engine.ask(&world.alice(), world.ask()).await.unwrap().session.id;
    world.phase(&live, Phase::Ready).await;
    let nobody: SessionId = "desktop-zzzzzzz".parse().unwrap();
    world.guests.put_account(&gone);
    world.guests.put_account(&nobody);
    world.guests.put_strange_account("CN=a stranger's");
    // Seen once by now, which is not enough: its order may not be the last.
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert!(world.guests.accounts().contains(&account(&gone)));
    assert_eq!(engine.swept_effects().unwrap().orphans.len(), 1);
    tokio::time::sleep(LONG_ENOUGH).await;
    let mut left = world.guests.accounts();
    left.sort();
    let mut expected = vec!["CN=a stranger's".to_owned(), account(&live), account(&nobody)];
    expected.sort();
    assert_eq!(left, expected);
    let report = engine.swept_effects().unwrap();
    assert_eq!((report.effects, report.orphans.len(), report.braked), (2, 0, false));
    assert_eq!(report.unknown.len(), 1, "{report:?}");
    assert_eq!(report.unknown[0].session, nobody);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_is_away_is_told_of_and_asked_again() {
    let world = World::new();
    let engine = world.engine().await;
    let running = engine.start();
    let gone = ended(&world, &engine).await;
    world.guests.put_account(&gone);
    world.guests.set_away(true);
    tokio::time::sleep(LONG_ENOUGH).await;
    let report = engine.swept_effects().unwrap();
    assert!(report.failures[0].contains("does not answer"), "{report:?}");
    assert_eq!(world.guests.accounts(), [account(&gone)]);
    world.guests.set_away(false);
    tokio::time::sleep(LONG_ENOUGH).await;
    assert!(world.guests.accounts().is_empty());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_would_retract_too_much_stops() {
    let mut world = World::new();
    world.brakes = BrakeRules { sweep_removals_free: 1, ..BrakeRules::default() };
    let engine = world.engine().await;
    let running = engine.start();
    for _ in 0..2 {
        let gone = ended(&world, &engine).await;
        world.guests.put_account(&gone);
    }
    tokio::time::sleep(LONG_ENOUGH).await;
    let report = engine.swept_effects().unwrap();
    assert!(report.braked, "{report:?}");
    assert_eq!((report.orphans.len(), world.guests.accounts().len()), (2, 2));
    running.stop().await;
}
