//! Whole lifecycles on the in-memory backends, on paused time.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use std::time::Duration;

use daas_core::access::Role;
use daas_core::engine::{Ask, Caller};
use daas_core::event::What;
use daas_core::fake::{PlatformAct, Timing};
use daas_core::ids::{Cursor, SessionId};
use daas_core::owner::Owner;
use daas_core::session::{Goal, Outcome, Phase};
use daas_core::store::{EventFilter, SessionStore};
use daas_core::template::{Lifetime, OnFailure};
use daas_core::{Kind, Operation};
use world::World;

#[tokio::test(start_paused = true)]
async fn a_desktop_comes_and_goes_and_nothing_is_left() {
    let world =
        World::with(Timing { create: Duration::from_secs(3), boot: Duration::from_secs(17) });
    let engine = world.engine().await;
    let running = engine.start();
    let session = engine.ask(&world.alice(), world.ask()).await.unwrap().session;
    let ready = world.phase(&session.id, Phase::Ready).await;
    assert!(ready.prepared && ready.assigned && ready.seen);
    assert_eq!(ready.time_to_ready().unwrap().as_secs(), 20);
    assert_eq!(world.guests.accounts(), vec![format!("CN={}", session.id)]);

    engine.destroy(&world.alice(), &session.id, "done").await.unwrap();
    let ended = world.phase(&session.id, Phase::Ended).await;
    assert_eq!(ended.outcome, Some(Outcome::Destroyed));
    assert!(world.platform.machines().is_empty());
    assert!(world.guests.accounts().is_empty());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_hypervisor_that_is_away_ends_nothing_and_makes_nothing() {
    let world = World::new();
    let engine = world.engine().await;
    let running = engine.start();
    let session = engine.ask(&world.alice(), world.ask()).await.unwrap().session;
    world.phase(&session.id, Phase::Ready).await;
    world.platform.set_away(true);
    engine.destroy(&world.alice(), &session.id, "done").await.unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let still = world.get(&session.id).await;
    assert!(still.is_live(), "an hour of silence proves nothing");
    assert_eq!(world.platform.machines().len(), 1);
    world.platform.set_away(false);
    world.phase(&session.id, Phase::Ended).await;
    assert!(world.platform.machines().is_empty());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_vanished_machine_is_lost_and_never_made_again() {
    let world = World::new();
    let engine = world.engine().await;
    let running = engine.start();
    let session = engine.ask(&world.alice(), world.ask()).await.unwrap().session;
    let ready = world.phase(&session.id, Phase::Ready).await;
    world.platform.remove_by_hand(&ready.reservation.unwrap().machine);
    world.phase(&session.id, Phase::Lost).await;
    let ended = world.phase(&session.id, Phase::Ended).await;
    assert!(matches!(ended.outcome, Some(Outcome::Failed { .. })), "{:?}", ended.outcome);
    let made = world.platform.log().iter().filter(|a| matches!(a, PlatformAct::Made(..))).count();
    assert_eq!(made, 1);
    assert!(world.guests.accounts().is_empty());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_id_that_is_somebody_elses_is_left_alone_and_another_taken() {
    let world = World::with(Timing { create: Duration::from_secs(1), ..Timing::default() });
    let engine = world.engine().await;
    // Somebody takes the id between the reservation and the order.
    let session = engine.ask(&world.alice(), world.ask()).await.unwrap().session;
    world.steal_next_id.store(true, std::sync::atomic::Ordering::SeqCst);
    let running = engine.start();
    let ready = world.phase(&session.id, Phase::Ready).await;
    assert_eq!(ready.past_reservations.len(), 1);
    engine.destroy(&world.alice(), &session.id, "done").await.unwrap();
    world.phase(&session.id, Phase::Ended).await;
    let left = world.platform.machines();
    assert_eq!(left.len(), 1, "the stranger's machine stays: {left:?}");
    assert_eq!(left[0].1, None);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_desktop_is_not_waited_for() {
    let world = World::with(Timing { create: Duration::from_secs(600), ..Timing::default() });
    let engine = world.engine().await;
    let running = engine.start();
    let session = engine.ask(&world.alice(), world.ask()).await.unwrap().session;
    world.phase(&session.id, Phase::Creating).await;
    let asked = tokio::time::Instant::now();
    engine.destroy(&world.alice(), &session.id, "changed my mind").await.unwrap();
    world.phase(&session.id, Phase::Ended).await;
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert!(world.platform.machines().is_empty());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_desktop_that_cannot_be_configured_is_given_up_with_its_reason() {
    let world = World::new();
    let engine = world.engine().await;
    world.guests.set_away(true);
    let running = engine.start();
    let session = engine.ask(&world.alice(), world.ask()).await.unwrap().session;
    world.goal(&session.id, Goal::Gone).await;
    // Its account may exist: it is not ended before the directory answers.
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(world.get(&session.id).await.is_live());
    world.guests.set_away(false);
    let ended = world.phase(&session.id, Phase::Ended).await;
    let Some(Outcome::Failed { reason }) = ended.outcome else { panic!("{:?}", ended.outcome) };
    assert!(reason.contains("does not answer"), "{reason}");
    assert!(world.platform.machines().is_empty());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_desktop_that_cannot_be_configured_is_kept_where_its_template_says_so() {
    let world = World::failing(OnFailure::Keep);
    let engine = world.engine().await;
    world.guests.set_away(true);
    let running = engine.start();
    let session = engine.ask(&world.alice(), world.ask()).await.unwrap().session;
    let kept = world.phase(&session.id, Phase::Parked).await;
    assert!(kept.reason.contains("does not answer"), "{}", kept.reason);
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    assert_eq!(world.platform.machines().len(), 1);
    world.guests.set_away(false);
    engine.destroy(&world.alice(), &session.id, "looked at").await.unwrap();
    world.phase(&session.id, Phase::Ended).await;
    assert!(world.platform.machines().is_empty());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_desktop_is_handed_over_unconfigured_where_its_template_says_so_and_says_so_itself() {
    let world = World::failing(OnFailure::HandOver);
    let engine = world.engine().await;
    world.guests.set_away(true);
    let running = engine.start();
    let session = engine.ask(&world.alice(), world.ask()).await.unwrap().session;
    let ready = world.phase(&session.id, Phase::Ready).await;
    assert!(!ready.assigned && ready.address.is_some());
    let why = ready.unconfigured.unwrap();
    assert!(why.contains("does not answer") && ready.reason.contains(&why), "{}", ready.reason);
    // Nobody came to it: it ends as any other does.
    world.goal(&session.id, Goal::Gone).await;
    world.guests.set_away(false);
    let ended = world.phase(&session.id, Phase::Ended).await;
    assert_eq!(ended.outcome, Some(Outcome::Destroyed));
    assert!(world.platform.machines().is_empty());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_personal_desktop_that_fails_is_parked_and_can_be_tried_again() {
    let world = World::new();
    let engine = world.engine().await;
    world.guests.set_away(true);
    let running = engine.start();
    let ask = Ask { lifetime: Some(Lifetime::Personal), ..world.ask() };
    let session = engine.ask(&world.alice(), ask).await.unwrap().session;
    world.phase(&session.id, Phase::Parked).await;
    assert_eq!(world.platform.machines().len(), 1);
    world.guests.set_away(false);
    engine.start_session(&world.alice(), &session.id).await.unwrap();
    world.phase(&session.id, Phase::Ready).await;
    engine.stop(&world.alice(), &session.id).await.unwrap();
    world.phase(&session.id, Phase::Stopped).await;
    engine.start_session(&world.alice(), &session.id).await.unwrap();
    world.phase(&session.id, Phase::Ready).await;
    engine.restart(&world.alice(), &session.id).await.unwrap();
    world.until(&session.id, |s| s.restarts.done == 1, "restart").await;
    world.phase(&session.id, Phase::Ready).await;
    let stops =
        world.platform.log().iter().filter(|a| matches!(a, PlatformAct::Stopped(_))).count();
    assert_eq!(stops, 2, "one stop was asked for, and one restart");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_desktop_shut_down_from_inside_is_gone() {
    let world = World::new();
    let engine = world.engine().await;
    let running = engine.start();
    let session = engine.ask(&world.alice(), world.ask()).await.unwrap().session;
    let ready = world.phase(&session.id, Phase::Ready).await;
    world.platform.power_off_by_hand(&ready.reservation.unwrap().machine);
    world.phase(&session.id, Phase::Ended).await;
    assert!(world.platform.machines().is_empty());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_desktop_that_nobody_connects_to_ends_with_its_evidence() {
    let world = World::new();
    let engine = world.engine().await;
    let running = engine.start();
    let session = engine.ask(&world.alice(), world.ask()).await.unwrap().session;
    world.phase(&session.id, Phase::Ready).await;
    world.report_every(&engine, &session.id, Duration::from_secs(30), 25).await;
    let ended = world.phase(&session.id, Phase::Ended).await;
    assert_eq!(ended.evidence.unwrap().rule, "never_connected");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn orphans_go_strangers_stay_and_unknown_ones_are_quarantined() {
    let world = World::new();
    let engine = world.engine().await;
    let running = engine.start();
    let session = engine.ask(&world.alice(), world.ask()).await.unwrap().session;
    world.phase(&session.id, Phase::Ready).await;
    engine.destroy(&world.alice(), &session.id, "done").await.unwrap();
    world.phase(&session.id, Phase::Ended).await;
    // A machine of an ended session reappears, and one that nobody knows.
    world.put_marked("2000", &session.id).await;
    world.put_marked("2001", &"desktop-zzzzzzz".parse().unwrap()).await;
    world.platform.put_stranger(&"2002".parse().unwrap());
    tokio::time::sleep(Duration::from_secs(600)).await;
    let left: Vec<_> =
        world.platform.machines().into_iter().map(|(id, _)| id.to_string()).collect();
    assert_eq!(left, ["2001", "2002"]);
    let report = engine.swept().unwrap();
    assert_eq!(report.quarantined.len(), 1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn room_is_given_in_order_and_the_queue_tells_its_place() {
    let mut world = World::new();
    world.brakes.machines_max = 1;
    let engine = world.engine().await;
    let running = engine.start();
    let first = engine.ask(&world.alice(), world.ask()).await.unwrap().session;
    world.phase(&first.id, Phase::Ready).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let second = engine.ask(&world.alice(), world.ask()).await.unwrap().session;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let third = engine.ask(&world.alice(), world.ask()).await.unwrap().session;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(engine.brakes().place(&second.id, second.created_at), Some(1));
    assert_eq!(engine.brakes().place(&third.id, third.created_at), Some(2));
    assert!(engine.board().notice(&third.id).unwrap().what.contains("place 2"));
    engine.destroy(&world.alice(), &first.id, "done").await.unwrap();
    world.phase(&second.id, Phase::Ready).await;
    assert_eq!(world.get(&third.id).await.phase, Phase::Queued);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn wrong_wishes_are_refused_before_anything_exists() {
    let world = World::new();
    let engine = world.engine().await;
    let check = async |ask: Ask, field: &str| {
        let error = engine.ask(&world.alice(), ask).await.unwrap_err();
        assert_eq!((error.kind(), error.subject()), (Kind::Invalid, field), "{error}");
    };
    check(Ask::for_template("nothing".parse().unwrap()), "template").await;
    check(Ask { session_user: Some("Alice".into()), ..world.ask() }, "session_user").await;
    let ask = Ask { session_password: Some("x".into()), ..world.ask() };
    check(ask, "session_user").await;
    let user = Some("alice".to_owned());
    let ask = Ask { session_user: user, session_password: Some("a\nb".into()), ..world.ask() };
    check(ask, "session_password").await;
    let past = engine.clock().now() - Duration::from_secs(1);
    check(Ask { not_after: Some(past), ..world.ask() }, "not_after").await;
    assert!(world.platform.log().is_empty());
    let unknown = engine.session(&world.alice(), &"desktop-abcdefg".parse().unwrap()).await;
    let error = unknown.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (Kind::NotFound, Operation::Request));
}

#[tokio::test(start_paused = true)]
async fn sessions_of_others_do_not_exist_for_a_user() {
    let world = World::new();
    let engine = world.engine().await;
    let running = engine.start();
    let session = engine.ask(&world.alice(), world.ask()).await.unwrap().session;
    world.phase(&session.id, Phase::Ready).await;
    let bob = world.caller("bob");
    assert_eq!(engine.session(&bob, &session.id).await.unwrap_err().kind(), Kind::NotFound);
    let destroyed = engine.destroy(&bob, &session.id, "mischief").await;
    assert_eq!(destroyed.unwrap_err().kind(), Kind::NotFound);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_operator_ends_a_machine_in_quarantine_and_only_such_a_one() {
    let world = World::new();
    let engine = world.engine().await;
    let running = engine.start();
    let operator = Caller { role: Role::Operator, ..world.caller("operator") };
    let ours = engine.ask(&world.alice(), world.ask()).await.unwrap().session;
    world.phase(&ours.id, Phase::Ready).await;
    let forgotten: SessionId = "desktop-aaaaaaa".parse().unwrap();

    let nobody = engine.end_quarantined(&operator, &forgotten).await.unwrap_err();
    assert_eq!(nobody.kind(), Kind::NotFound, "{nobody}");
    let held = engine.end_quarantined(&operator, &ours.id).await.unwrap_err();
    assert_eq!(held.kind(), Kind::Conflict, "{held}");

    world.put_marked("7777", &forgotten).await;
    world.platform.set_away(true);
    let away = engine.end_quarantined(&operator, &forgotten).await.unwrap_err();
    assert_eq!(away.kind(), Kind::Unavailable, "{away}");
    world.platform.set_away(false);

    let (one, two) = tokio::join!(
        engine.end_quarantined(&operator, &forgotten),
        engine.end_quarantined(&operator, &forgotten)
    );
    assert_eq!((one.unwrap().goal, two.unwrap().goal), (Goal::Gone, Goal::Gone));
    let ended = world.phase(&forgotten, Phase::Ended).await;
    assert_eq!(ended.outcome, Some(Outcome::Destroyed));
    let left: Vec<_> = world.platform.machines().into_iter().map(|(_, s)| s).collect();
    assert_eq!(left, [Some(ours.id)]);
    let destroyed = |act: &PlatformAct| matches!(act, PlatformAct::Destroyed(..));
    assert_eq!(world.platform.log().iter().filter(|a| destroyed(a)).count(), 1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_whose_mark_was_taken_away_is_left_alone_and_people_are_told() {
    let world = World::new();
    let engine = world.engine().await;
    let session = engine.ask(&world.alice(), world.ask()).await.unwrap().session;
    let running = engine.start();
    let ready = world.phase(&session.id, Phase::Ready).await;
    let machine = ready.reservation.unwrap().machine;
    world.platform.take_mark_away(&machine);
    engine.destroy(&world.alice(), &session.id, "done").await.unwrap();
    world.phase(&session.id, Phase::Ended).await;
    assert_eq!(world.platform.machines().len(), 1, "nobody can prove that it is ours");

    let filter = EventFilter { session: Some(session.id.clone()), ..EventFilter::default() };
    let told = world.store.events(Cursor(0), &filter, 100).await.unwrap();
    let left_alone =
        |what: &What| matches!(what, What::Note { text } if text.contains("left alone"));
    assert!(told.iter().any(|event| left_alone(&event.what)), "{told:?}");
    tokio::time::sleep(Duration::from_secs(600)).await;
    let report = engine.swept().unwrap();
    let found: Vec<_> = report.left_alone.iter().map(|f| (&f.machine, &f.session)).collect();
    assert_eq!(found, [(&machine, &session.id)]);
    assert_eq!((report.orphans, report.quarantined), (vec![], vec![]));
    assert_eq!(world.platform.machines().len(), 1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_template_for_some_is_not_there_for_others() {
    let world = World { groups: vec!["Staff@lab".to_owned()], ..World::new() };
    let engine = world.engine().await;
    let alice = world.alice();
    let refused = engine.ask(&alice, world.ask()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Invalid, "as for one that never was: {refused}");
    assert!(engine.templates_for(&alice).is_empty());
    let member = Caller { groups: ["staff".to_owned()].into(), ..alice.clone() };
    let elsewhere =
        Caller { owner: Owner { realm: "pve".into(), name: "alice".into() }, ..member.clone() };
    assert!(engine.ask(&elsewhere, world.ask()).await.is_err(), "another realm's group");
    assert_eq!(engine.templates_for(&member).len(), 1);
    let session = engine.ask(&member, world.ask()).await.unwrap().session;
    // What she has stays hers when she leaves the group.
    assert_eq!(engine.session(&alice, &session.id).await.unwrap().id, session.id);
    engine.destroy(&alice, &session.id, "done").await.unwrap();
    let operator = Caller { role: Role::Operator, ..world.caller("olga") };
    engine.ask(&operator, world.ask()).await.unwrap();
}
