//! Crash points over the real backends: a whole life of a desktop on a simulated cluster, by each of
//! the two ways that ship, and every call to store, provisioner and configurator going wrong in
//! every way.
//!
//! A selection is lived, drawn anew in each run; what it was drawn with is told. `DAAS_CRASH_SEED`
//! draws the same again. `DAAS_CRASH_POINTS` is how many to live of each story, or `all`; then more
//! stories are told. These lives are lived in real time: a seed draws the same points, but what else
//! happens at that moment may differ.

#![allow(clippy::unwrap_used, reason = "a trial that unwraps None has failed")]

mod cluster;
mod native;
mod programs;
mod sabotage;

use std::time::SystemTime;

use daas_core::crash::{MakeBackends, Points, Story, Worlds, every_point_in, several_at_once_in};
use daas_lab::trials::{self, trial_unless};

fn main() {
    let missing = programs::missing();
    let mut trials = vec![
        trial_unless(None, "a_native_desktop_over_ssh_survives_crashes", || {
            survives("ephemeral", &native::at_once, 48, 16);
        }),
        trial_unless(None, "a_machine_made_twice_is_found_out", || {
            sabotage::is_found_out(&sabotage::doubling, "made more than once");
        }),
        trial_unless(None, "a_machine_that_is_forgotten_is_found_out", || {
            sabotage::is_found_out(&sabotage::forgetting, "machines are left");
        }),
    ];
    for story in stories(&["ephemeral", "personal"], &NATIVE) {
        let name = format!("native_amid_the_clusters_tasks::{}", story.replace(' ', "_"));
        trials.push(trial_unless(None, &name, || survives(story, &native::in_time, 8, 16)));
    }
    for story in stories(&["ephemeral"], &PROGRAMS) {
        let name = format!("by_terraform_and_ansible::{}", story.replace(' ', "_"));
        let run = || survives(story, &programs::make, 16, 3);
        trials.push(trial_unless(missing.clone(), &name, run));
    }
    trials.push(trial_unless(None, "native_with_three_faults_each", || {
        several("close behind", &native::in_time, 16, 16);
    }));
    trials.push(trial_unless(
        missing.clone(),
        "by_terraform_and_ansible_with_three_faults_each",
        || {
            several("ephemeral", &programs::make, 6, 3);
        },
    ));
    trials::run_or_explain(trials, &missing.unwrap_or_default());
}

/// What is told only where somebody chose how much.
const NATIVE: [&str; 4] = ["together", "close behind", "in turn", "cancelled"];
const PROGRAMS: [&str; 4] = ["cancelled", "cancelled inside", "personal", "close behind"];

fn stories(always: &[&'static str], chosen_only: &[&'static str]) -> Vec<&'static str> {
    let more = if chosen().is_some() { chosen_only } else { &[] };
    [always, more].concat()
}

fn survives(story: &str, make: MakeBackends<'_>, lives_max: usize, lives_at_once: usize) {
    let worlds = Worlds::real(make, lives_at_once);
    let lives = every_point_in(&Story::named(story), &worlds, points(lives_max));
    eprintln!("{lives}");
    lives.judge();
}

/// The same with three faults in each life.
fn several(story: &str, make: MakeBackends<'_>, lives: usize, lives_at_once: usize) {
    let worlds = Worlds::real(make, lives_at_once);
    let count = match points(lives) {
        Points::All => 200,
        Points::Some { lives_max, .. } => lives_max,
    };
    let lives = several_at_once_in(&Story::named(story), &worlds, seed(), count);
    eprintln!("{lives}");
    lives.judge();
}

/// Which points are lived, unless told otherwise.
fn points(lives_max: usize) -> Points {
    match chosen().as_deref() {
        Some("all") => Points::All,
        Some(number) => match number.parse() {
            Ok(lives_max) => Points::Some { lives_max, seed: seed() },
            Err(_) => panic!("DAAS_CRASH_POINTS is {number:?}; set it to a number or \"all\""),
        },
        None => Points::Some { lives_max, seed: seed() },
    }
}

/// How many points somebody chose to have lived.
fn chosen() -> Option<String> {
    std::env::var("DAAS_CRASH_POINTS").ok()
}

/// What the lives are drawn with.
fn seed() -> u64 {
    match std::env::var("DAAS_CRASH_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => {
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() % 1_000_000
        }
    }
}
