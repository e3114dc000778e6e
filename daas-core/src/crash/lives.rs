//! Lives: a story with its faults, each in a world and a runtime of its own; and what came of them.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::backends::{Backends, InFakes};
use super::fault::{Fault, Plan};
use super::gate::{APPLY, ENSURE};
use super::pace::Pace;
use super::storage::{InMemory, Storage};
use super::story::Story;
use super::world::World;

/// How late effects arrive, on paused time. The last comes when all is over; it has an aftermath of
/// its own.
const DELAYS: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
];
/// Fewer calls than any story makes; with fewer, the gates are not where the engine passes.
const CALLS_MIN: usize = 10;
/// More calls than any life makes; a life that reaches it never rests.
const CALLS_MAX: usize = 5_000;

/// Makes the storage of a life.
pub type MakeStorage<'a> = &'a (dyn Fn() -> Arc<dyn Storage> + Sync);

/// Makes the backends of a life, on the runtime of its world.
pub type MakeBackends<'a> = &'a (dyn Fn() -> LocalBoxFuture<'static, Arc<dyn Backends>> + Sync);

/// What the worlds of lives are made of.
#[derive(Clone)]
pub struct Worlds<'a> {
    /// Where sessions are kept.
    pub storage: MakeStorage<'a>,
    /// What machines and guests are.
    pub backends: MakeBackends<'a>,
    /// How time passes.
    pub pace: Pace,
    /// How many lives are lived at once, each on a thread of its own; those in real time mostly wait.
    pub lives_at_once: usize,
}

impl fmt::Debug for Worlds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pace, lives_at_once, .. } = self;
        let mut shown = f.debug_struct("Worlds");
        shown.field("pace", pace).field("lives_at_once", lives_at_once).finish_non_exhaustive()
    }
}

impl<'a> Worlds<'a> {
    /// Machines, guests and a directory in memory, on paused time.
    pub fn in_memory(storage: MakeStorage<'a>) -> Self {
        let backends =
            &|| async { Arc::new(InFakes::default()) as Arc<dyn Backends> }.boxed_local();
        Self { storage, backends, pace: Pace::paused(), lives_at_once: 1 }
    }

    /// Real backends in real time; sessions are kept in memory.
    pub fn real(backends: MakeBackends<'a>, lives_at_once: usize) -> Self {
        let storage = &|| Arc::new(InMemory::default()) as Arc<dyn Storage>;
        Self { storage, backends, pace: Pace::real(), lives_at_once }
    }
}

/// Which crash points of a story are lived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Points {
    /// Every one.
    All,
    /// As many, drawn by a generator that starts at `seed`.
    Some {
        /// How many at the most.
        lives_max: usize,
        /// Where the generator starts; the same seed draws the same points.
        seed: u64,
    },
}

/// What came of the lives of a story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lives {
    /// The story's name.
    pub story: &'static str,
    /// Which lives: how their faults were chosen.
    pub chosen: String,
    /// How many lives were lived.
    pub lives: usize,
    /// How many faults were planned in them.
    pub planned: usize,
    /// How many faults happened; a life may end before the call that should have gone wrong.
    pub happened: usize,
    /// What went wrong that should not have, a line for a life.
    pub wrong: Vec<String>,
    /// Of ten faults planned, so many must have happened.
    enough: usize,
}

impl fmt::Display for Lives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { story, chosen, lives, planned, happened, .. } = self;
        write!(f, "{story}: {chosen}: {lives} lives, {happened} of {planned} faults happened")
    }
}

impl Lives {
    /// Judges that no life went wrong, and that nearly all faults really happened; in real time, that
    /// most did.
    ///
    /// # Panics
    ///
    /// When one did, naming each.
    pub fn judge(&self) {
        let wrong = self.wrong.join("\n");
        assert!(self.wrong.is_empty(), "{self}; {} went wrong:\n{wrong}", self.wrong.len());
        assert!(self.lives > 0, "{self}: there was nothing to live");
        assert!(self.happened * 10 >= self.planned * self.enough, "{self}: too few happened");
    }

    fn of(story: &Story, worlds: &Worlds<'_>, chosen: String) -> Self {
        // In real time a life on a busy machine makes more of the calls that recur by the clock than
        // another on an idle one; the first tells how many there are to go wrong.
        let enough = if worlds.pace.paused { 9 } else { 5 };
        let (story, wrong) = (story.name, Vec::new());
        Self { story, chosen, lives: 0, planned: 0, happened: 0, wrong, enough }
    }

    /// Lives all of these, as many at once as the worlds allow.
    fn live(mut self, story: &Story, worlds: &Worlds<'_>, all: Vec<Vec<(usize, Fault)>>) -> Self {
        self.lives = all.len();
        self.planned = all.iter().map(Vec::len).sum();
        let to_come = Mutex::new(all.into_iter().enumerate());
        let told = Mutex::new(Vec::new());
        let next = || to_come.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            while let Some((number, faults)) = next() {
                let plan = Plan::new(faults);
                let lived = live(story, worlds, &plan);
                told.lock().unwrap_or_else(PoisonError::into_inner).push((number, plan, lived));
            }
        };
        match worlds.lives_at_once {
            0 | 1 => work(),
            many => std::thread::scope(|threads| (0..many).for_each(|_| drop(threads.spawn(work)))),
        }
        let mut told = told.into_inner().unwrap_or_else(PoisonError::into_inner);
        told.sort_by_key(|(number, ..)| *number);
        for (_, plan, lived) in told {
            match lived {
                Ok(_) => self.happened += plan.happened(),
                Err(why) => self.wrong.push(format!("call {plan}: {why}")),
            }
        }
        self
    }
}

/// Every call of `story` goes wrong in every way, one at a time.
pub fn every_point(story: &Story, make: MakeStorage<'_>, points: Points) -> Lives {
    every_point_in(story, &Worlds::in_memory(make), points)
}

/// The same in worlds of other backends.
pub fn every_point_in(story: &Story, worlds: &Worlds<'_>, points: Points) -> Lives {
    let calls = calls_of(story, worlds);
    let all = (0..calls.len()).flat_map(|at| Fault::ALL.map(|fault| (at, fault)));
    let count = calls.len() * Fault::ALL.len();
    let of = format!("{count} crash points at {} calls", calls.len());
    let (chosen, lived) = match points {
        Points::Some { lives_max, seed } if lives_max < count => {
            let mut random = StdRng::seed_from_u64(seed);
            (format!("{of}, drawn with seed {seed}"), all.sample(&mut random, lives_max))
        }
        _ => (of, all.collect()),
    };
    let lived = lived.into_iter().map(|point| vec![point]).collect();
    Lives::of(story, worlds, chosen).live(story, worlds, lived)
}

/// `count` lives of `story` in which three calls go wrong, drawn by a generator that starts at
/// `seed`.
pub fn several_at_once(story: &Story, make: MakeStorage<'_>, seed: u64, count: usize) -> Lives {
    several_at_once_in(story, &Worlds::in_memory(make), seed, count)
}

/// The same in worlds of other backends.
pub fn several_at_once_in(story: &Story, worlds: &Worlds<'_>, seed: u64, count: usize) -> Lives {
    let calls = calls_of(story, worlds);
    let mut random = StdRng::seed_from_u64(seed);
    let mut draw = || {
        let fault = Fault::ALL[random.random_range(0..Fault::ALL.len())];
        (random.random_range(0..calls.len()), fault)
    };
    let lived = (0..count).map(|_| (0..3).map(|_| draw()).collect()).collect();
    let chosen = format!("three faults each, drawn with seed {seed}");
    Lives::of(story, worlds, chosen).live(story, worlds, lived)
}

/// Every order of a machine and every configuration of a guest in `story` arrives late: failed or
/// in silence, before and after the record has ended.
pub fn late_effects(story: &Story, make: MakeStorage<'_>) -> Lives {
    let worlds = Worlds::in_memory(make);
    let calls = calls_of(story, &worlds);
    let orders =
        calls.iter().enumerate().filter(|(_, call)| [ENSURE.name, APPLY.name].contains(call));
    let chosen = format!("late effects of {} calls", orders.clone().count());
    let faults = DELAYS.map(|delay| [Fault::Late(delay), Fault::LateInSilence(delay)]).concat();
    let lived = orders.flat_map(|(at, _)| faults.iter().map(move |fault| vec![(at, *fault)]));
    Lives::of(story, &worlds, chosen).live(story, &worlds, lived.collect())
}

/// The calls of a life in which nothing goes wrong.
fn calls_of(story: &Story, worlds: &Worlds<'_>) -> Vec<&'static str> {
    let calls = live(story, worlds, &Plan::new(Vec::new()));
    let calls = calls.unwrap_or_else(|why| panic!("{} without a fault: {why}", story.name));
    assert!(calls.len() > CALLS_MIN, "{} makes {} calls only", story.name, calls.len());
    calls
}

/// Lives `story` once; the calls made until its end, or what went wrong.
fn live(story: &Story, worlds: &Worlds<'_>, plan: &Arc<Plan>) -> Result<Vec<&'static str>, String> {
    let lived = AssertUnwindSafe(|| {
        let runtime = worlds.pace.runtime();
        runtime.block_on(in_a_world(story, worlds, plan))
    });
    catch_unwind(lived).map_err(said)
}

async fn in_a_world(story: &Story, worlds: &Worlds<'_>, plan: &Arc<Plan>) -> Vec<&'static str> {
    let parts = ((worlds.storage)(), (worlds.backends)().await);
    let world = World::new(parts, worlds.pace.clone(), Arc::clone(plan), story.machines_max);
    let life = async {
        tokio::select! {
            never = world.operate() => match never {},
            calls = to_its_end(story, &world, plan) => calls,
        }
    };
    // Ended in good order also when something is wrong.
    let lived = AssertUnwindSafe(life).catch_unwind().await;
    world.storage.kill().await;
    world.backends.close().await;
    lived.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Tells the story and judges what is left; the calls made until its end.
async fn to_its_end(story: &Story, world: &World, plan: &Plan) -> Vec<&'static str> {
    let aftermath = world.pace.aftermath;
    (story.tell)(world).await;
    let calls = plan.calls();
    // What arrives late may be made again meanwhile, and is the sweep's to remove.
    if plan.is_late() {
        tokio::time::sleep(aftermath).await;
    } else {
        world.judge_left().await;
    }
    tokio::time::sleep(aftermath).await;
    world.judge_left().await;
    world.judge_traces().await;
    if !plan.is_late() {
        world.judge_made_once().await;
    }
    assert!(calls.len() < CALLS_MAX, "{} calls", calls.len());
    calls
}

fn said(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().map_or("it panicked", |text| text).to_owned(),
    }
}
