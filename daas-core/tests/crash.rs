//! Crash points: a whole life of a desktop, and for every call that it makes every way in which
//! that call can go wrong. In the end nothing is left, nothing was made twice, nothing is stuck.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod crash_world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crash_world::faults::Fault;
use crash_world::{World, alice};
use daas_core::Kind;
use daas_core::session::Phase;
use daas_core::template::Lifetime;

/// After the end: long enough for every sweep, grace and lease to have had its turn.
const AFTERMATH: Duration = Duration::from_secs(10 * 60);
/// More calls than any life here makes; a life that reaches it never rests.
const CALLS_MAX: usize = 5_000;

/// What happens in a world.
type Story = for<'w> fn(&'w World) -> futures::future::LocalBoxFuture<'w, ()>;

/// An ephemeral desktop comes and goes.
async fn ephemeral(world: &World) {
    let id = world.ask("one", Lifetime::Ephemeral).await;
    world.phase(&id, Phase::Ready).await;
    assert_eq!(world.platform.machines().len(), 1);
    world.destroy(&id).await;
    world.phase(&id, Phase::Ended).await;
}

/// A personal desktop is stopped, started and restarted before it goes.
async fn personal(world: &World) {
    let id = world.ask("one", Lifetime::Personal).await;
    world.phase(&id, Phase::Ready).await;
    world.insist("stop", async |engine| engine.stop(&alice(), &id).await).await;
    world.phase(&id, Phase::Stopped).await;
    assert_eq!(world.platform.machines().len(), 1, "its disk is kept");
    world.insist("start", async |engine| engine.start_session(&alice(), &id).await).await;
    world.phase(&id, Phase::Ready).await;
    let restart = async |engine: daas_core::engine::Engine| {
        match engine.restart(&alice(), &id).await {
            // The wish was written, its answer lost, and it is being granted already.
            Err(error) if error.kind() == Kind::Conflict => {
                engine.session(&alice(), &id).await.map(|s| assert!(s.restarts.wanted > 0))
            }
            asked => asked.map(|_| ()),
        }
    };
    world.insist("restart", restart).await;
    let back = |s: &daas_core::session::Session| {
        s.restarts.done > 0 && s.restarts.done == s.restarts.wanted && s.phase == Phase::Ready
    };
    world.until(&id, "restarted", back).await;
    world.destroy(&id).await;
    world.phase(&id, Phase::Ended).await;
}

/// Two desktops at once want the first free machine id.
async fn together(world: &World) {
    let (one, two) =
        tokio::join!(world.ask("one", Lifetime::Ephemeral), world.ask("two", Lifetime::Ephemeral));
    tokio::join!(world.phase(&one, Phase::Ready), world.phase(&two, Phase::Ready));
    assert_eq!(world.platform.machines().len(), 2);
    tokio::join!(world.destroy(&one), world.destroy(&two));
    tokio::join!(world.phase(&one, Phase::Ended), world.phase(&two, Phase::Ended));
}

/// The second is asked for when the first has a reservation, but no machine yet.
async fn close_behind(world: &World) {
    let one = world.ask("one", Lifetime::Ephemeral).await;
    world.until(&one, "begun", |s| s.reservation.is_some()).await;
    let two = world.ask("two", Lifetime::Ephemeral).await;
    tokio::join!(world.phase(&one, Phase::Ready), world.phase(&two, Phase::Ready));
    tokio::join!(world.destroy(&one), world.destroy(&two));
    tokio::join!(world.phase(&one, Phase::Ended), world.phase(&two, Phase::Ended));
}

/// Where there is room for one, the second comes when the first has gone.
async fn in_turn(world: &World) {
    let one = world.ask("one", Lifetime::Ephemeral).await;
    world.phase(&one, Phase::Ready).await;
    let two = world.ask("two", Lifetime::Ephemeral).await;
    world.destroy(&one).await;
    world.phase(&one, Phase::Ended).await;
    world.phase(&two, Phase::Ready).await;
    assert_eq!(world.platform.machines().len(), 1);
    world.destroy(&two).await;
    world.phase(&two, Phase::Ended).await;
}

/// A desktop that is cancelled while its machine is being made.
async fn cancelled(world: &World) {
    let id = world.ask("one", Lifetime::Ephemeral).await;
    world.until(&id, "begun", |s| s.reservation.is_some()).await;
    world.destroy(&id).await;
    world.phase(&id, Phase::Ended).await;
}

/// Lives `story` in a world of its own with these faults; the calls made, and how many faults
/// happened.
fn live(
    story: Story,
    machines_max: usize,
    faults: Vec<(usize, Fault)>,
) -> (Vec<&'static str>, usize) {
    paused().block_on(async {
        let world = World::new(faults, machines_max);
        let operator = tokio::spawn(Arc::clone(&world).operate());
        story(&world).await;
        let calls = world.plan.calls();
        world.judge().await;
        tokio::time::sleep(AFTERMATH).await;
        world.judge().await;
        assert!(calls.len() < CALLS_MAX, "{} calls", calls.len());
        operator.abort();
        (calls, world.plan.fired())
    })
}

/// Lives `story`, and judges what is left only after the sweeps have had their turn.
fn live_and_sweep(story: Story, faults: Vec<(usize, Fault)>) {
    paused().block_on(async {
        let world = World::new(faults, 200);
        let operator = tokio::spawn(Arc::clone(&world).operate());
        story(&world).await;
        tokio::time::sleep(AFTERMATH).await;
        world.judge_left().await;
        assert_eq!(world.plan.fired(), 1);
        operator.abort();
    });
}

fn paused() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().unwrap()
}

/// Lives `story` with these faults; what went wrong, or how many faults happened.
fn outcome(
    story: Story,
    machines_max: usize,
    faults: &[(usize, Fault)],
    calls: &[&'static str],
) -> Result<usize, String> {
    let lived = AssertUnwindSafe(|| live(story, machines_max, faults.to_vec()));
    catch_unwind(lived).map(|(_, fired)| fired).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let why = panic.downcast_ref::<String>().cloned().or(text).unwrap_or_default();
        let at: Vec<String> =
            faults.iter().map(|(at, fault)| format!("{at} ({}) {fault:?}", calls[*at])).collect();
        format!("call {}: {why}", at.join(", "))
    })
}

/// Every call of `story` goes wrong in every way, one at a time.
fn every_point(name: &str, machines_max: usize, story: Story) {
    let (calls, _) = live(story, machines_max, Vec::new());
    assert!(calls.len() > 10, "{name} makes {} calls only", calls.len());
    let (mut wrong, mut points, mut reached) = (Vec::new(), 0, 0);
    for at in 0..calls.len() {
        for fault in Fault::ALL {
            points += 1;
            match outcome(story, machines_max, &[(at, fault)], &calls) {
                Ok(fired) => reached += fired,
                Err(why) => wrong.push(why),
            }
        }
    }
    eprintln!("{name}: {points} crash points at {} calls, {reached} reached", calls.len());
    assert!(wrong.is_empty(), "{} of {points} went wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(reached * 10 >= points * 9, "only {reached} of {points} points were reached");
}

/// Several calls go wrong in one life of `story`, chosen by a generator that starts at `seed`.
fn several_at_once(name: &str, seed: u64, lives: usize, story: Story) {
    let (calls, _) = live(story, 200, Vec::new());
    let mut random = seed;
    let mut next = |below: usize| {
        // Knuth's MMIX generator: any spread will do, as long as it is the same every time.
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        usize::try_from(random >> 33).unwrap() % below
    };
    let (mut wrong, mut happened) = (Vec::new(), 0);
    for _ in 0..lives {
        let faults: Vec<_> =
            (0..3).map(|_| (next(calls.len()), Fault::ALL[next(Fault::ALL.len())])).collect();
        match outcome(story, 200, &faults, &calls) {
            Ok(fired) => happened += fired,
            Err(why) => wrong.push(why),
        }
    }
    eprintln!("{name}: {lives} lives with {happened} faults, seed {seed}");
    assert!(wrong.is_empty(), "{} of {lives} went wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(happened > lives * 2, "only {happened} faults happened in {lives} lives");
}

#[test]
fn an_ephemeral_desktop_survives_every_crash() {
    every_point("ephemeral", 200, |world| Box::pin(ephemeral(world)));
}

#[test]
fn a_personal_desktop_survives_every_crash() {
    every_point("personal", 200, |world| Box::pin(personal(world)));
}

#[test]
fn two_desktops_at_once_survive_every_crash() {
    every_point("together", 200, |world| Box::pin(together(world)));
}

#[test]
fn one_close_behind_another_survives_every_crash() {
    every_point("close behind", 200, |world| Box::pin(close_behind(world)));
}

#[test]
fn a_full_house_survives_every_crash() {
    every_point("in turn", 1, |world| Box::pin(in_turn(world)));
}

#[test]
fn a_cancelled_desktop_survives_every_crash() {
    every_point("cancelled", 200, |world| Box::pin(cancelled(world)));
}

#[test]
fn lives_with_several_crashes_end_well() {
    several_at_once("ephemeral", 1, 300, |world| Box::pin(ephemeral(world)));
    several_at_once("personal", 2, 200, |world| Box::pin(personal(world)));
    several_at_once("cancelled", 3, 300, |world| Box::pin(cancelled(world)));
    several_at_once("close behind", 4, 200, |world| Box::pin(close_behind(world)));
}

/// An order of a machine that was still on its way when it was given up: the machine may appear
/// when its record has ended, and is then found and removed as an orphan.
#[test]
fn an_order_that_arrives_late_leaves_nothing_behind() {
    let stories: [(&str, Story); 2] = [
        ("ephemeral", |world| Box::pin(ephemeral(world))),
        ("cancelled", |world| Box::pin(cancelled(world))),
    ];
    let mut points = 0;
    for (name, story) in stories {
        let (calls, _) = live(story, 200, Vec::new());
        let orders = calls.iter().enumerate().filter(|(_, call)| **call == "ensure");
        for (at, _) in orders {
            for seconds in [1, 5, 15, 60] {
                points += 1;
                let late = Fault::Late(Duration::from_secs(seconds));
                let lived = AssertUnwindSafe(|| live_and_sweep(story, vec![(at, late)]));
                let fired = catch_unwind(lived);
                assert!(fired.is_ok(), "{name}: call {at}, {late:?}");
            }
        }
    }
    eprintln!("late: {points} crash points");
    assert!(points >= 8, "{points} points only");
}
