//! Lives: a story with its faults, each in a world and a runtime of its own; and what came of them.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IteratorRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::fault::{Fault, Plan};
use super::gate::{APPLY, ENSURE};
use super::storage::Storage;
use super::story::Story;
use super::world::World;

/// After the end: long enough for every sweep, grace and lease to have had its turn.
const AFTERMATH: Duration = Duration::from_secs(5 * 60);
/// How late effects arrive. The last comes when all is over; it has an aftermath of its own.
const DELAYS: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(60),
    AFTERMATH,
];
/// Fewer calls than any story makes; with fewer, the gates are not where the engine passes.
const CALLS_MIN: usize = 10;
/// More calls than any life makes; a life that reaches it never rests.
const CALLS_MAX: usize = 5_000;

/// Makes the storage of a life.
pub type MakeStorage<'a> = &'a dyn Fn() -> Arc<dyn Storage>;

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
}

impl fmt::Display for Lives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { story, chosen, lives, planned, happened, .. } = self;
        write!(f, "{story}: {chosen}: {lives} lives, {happened} of {planned} faults happened")
    }
}

impl Lives {
    /// Judges that no life went wrong, and that nearly all faults really happened.
    ///
    /// # Panics
    ///
    /// When one did, naming each.
    pub fn judge(&self) {
        let wrong = self.wrong.join("\n");
        assert!(self.wrong.is_empty(), "{self}; {} went wrong:\n{wrong}", self.wrong.len());
        assert!(self.lives > 0, "{self}: there was nothing to live");
        assert!(self.happened * 10 >= self.planned * 9, "{self}: too few happened");
    }

    fn of(story: &Story, chosen: String) -> Self {
        Self { story: story.name, chosen, lives: 0, planned: 0, happened: 0, wrong: Vec::new() }
    }

    fn live(&mut self, story: &Story, make: MakeStorage<'_>, faults: Vec<(usize, Fault)>) {
        self.lives += 1;
        self.planned += faults.len();
        let plan = Plan::new(faults);
        match live(story, make, &plan) {
            Ok(_) => self.happened += plan.happened(),
            Err(why) => self.wrong.push(format!("call {plan}: {why}")),
        }
    }
}

/// Every call of `story` goes wrong in every way, one at a time.
pub fn every_point(story: &Story, make: MakeStorage<'_>, points: Points) -> Lives {
    let calls = calls_of(story, make);
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
    let mut lives = Lives::of(story, chosen);
    for point in lived {
        lives.live(story, make, vec![point]);
    }
    lives
}

/// `count` lives of `story` in which three calls go wrong, drawn by a generator that starts at
/// `seed`.
pub fn several_at_once(story: &Story, make: MakeStorage<'_>, seed: u64, count: usize) -> Lives {
    let calls = calls_of(story, make);
    let mut random = StdRng::seed_from_u64(seed);
    let mut draw = || {
        let fault = Fault::ALL[random.random_range(0..Fault::ALL.len())];
        (random.random_range(0..calls.len()), fault)
    };
    let mut lives = Lives::of(story, format!("three faults each, drawn with seed {seed}"));
    for _ in 0..count {
        lives.live(story, make, (0..3).map(|_| draw()).collect());
    }
    lives
}

/// Every order of a machine and every configuration of a guest in `story` arrives late: failed or
/// in silence, before and after the record has ended.
pub fn late_effects(story: &Story, make: MakeStorage<'_>) -> Lives {
    let calls = calls_of(story, make);
    let orders =
        calls.iter().enumerate().filter(|(_, call)| [ENSURE.name, APPLY.name].contains(call));
    let mut lives = Lives::of(story, format!("late effects of {} calls", orders.clone().count()));
    for (at, _) in orders {
        for delay in DELAYS {
            for fault in [Fault::Late(delay), Fault::LateInSilence(delay)] {
                lives.live(story, make, vec![(at, fault)]);
            }
        }
    }
    lives
}

/// The calls of a life in which nothing goes wrong.
fn calls_of(story: &Story, make: MakeStorage<'_>) -> Vec<&'static str> {
    let calls = live(story, make, &Plan::new(Vec::new()));
    let calls = calls.unwrap_or_else(|why| panic!("{} without a fault: {why}", story.name));
    assert!(calls.len() > CALLS_MIN, "{} makes {} calls only", story.name, calls.len());
    calls
}

/// Lives `story` once; the calls made until its end, or what went wrong.
fn live(
    story: &Story,
    make: MakeStorage<'_>,
    plan: &Arc<Plan>,
) -> Result<Vec<&'static str>, String> {
    let lived = AssertUnwindSafe(|| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().expect("a runtime");
        runtime.block_on(in_a_world(story, make(), plan))
    });
    catch_unwind(lived).map_err(said)
}

async fn in_a_world(
    story: &Story,
    storage: Arc<dyn Storage>,
    plan: &Arc<Plan>,
) -> Vec<&'static str> {
    let world = World::new(storage, Arc::clone(plan), story.machines_max);
    let life = async {
        (story.tell)(&world).await;
        let calls = plan.calls();
        // What arrives late may be made again meanwhile, and is the sweep's to remove.
        if plan.is_late() {
            tokio::time::sleep(AFTERMATH).await;
        } else {
            world.judge_left().await;
        }
        tokio::time::sleep(AFTERMATH).await;
        world.judge_left().await;
        if !plan.is_late() {
            world.judge_made_once();
        }
        assert!(calls.len() < CALLS_MAX, "{} calls", calls.len());
        calls
    };
    let calls = tokio::select! {
        never = world.operate() => match never {},
        calls = life => calls,
    };
    world.storage.kill().await;
    calls
}

fn said(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().map_or("it panicked", |text| text).to_owned(),
    }
}
