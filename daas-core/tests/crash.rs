//! Crash points on the store in memory: a whole life of a desktop, and for every call that it makes
//! every way in which that call can go wrong.

use std::sync::Arc;

use daas_core::crash::{InMemory, Lives, Points, Storage, Story};
use daas_core::crash::{every_point, late_effects, several_at_once};

fn in_memory() -> Arc<dyn Storage> {
    Arc::new(InMemory::default())
}

fn judge(lives: &Lives) {
    eprintln!("{lives}");
    lives.judge();
}

fn every(story: &str) {
    judge(&every_point(&Story::named(story), &in_memory, Points::All));
}

#[test]
fn an_ephemeral_desktop_survives_every_crash() {
    every("ephemeral");
}

#[test]
fn a_personal_desktop_survives_every_crash() {
    every("personal");
}

#[test]
fn two_desktops_at_once_survive_every_crash() {
    every("together");
}

#[test]
fn one_close_behind_another_survives_every_crash() {
    every("close behind");
}

#[test]
fn a_full_house_survives_every_crash() {
    every("in turn");
}

#[test]
fn a_cancelled_desktop_survives_every_crash() {
    every("cancelled");
}

#[test]
fn a_desktop_cancelled_while_it_is_configured_survives_every_crash() {
    every("cancelled inside");
}

#[test]
fn lives_with_several_crashes_end_well() {
    for (seed, (story, lives)) in
        [("ephemeral", 300), ("personal", 200), ("cancelled", 300), ("close behind", 200)]
            .into_iter()
            .enumerate()
    {
        judge(&several_at_once(&Story::named(story), &in_memory, seed as u64 + 1, lives));
    }
}

/// An order that was still on its way when it was given up: what it causes may appear when its
/// record has ended, and is then found and removed.
#[test]
fn effects_that_arrive_late_leave_nothing_behind() {
    for story in ["ephemeral", "cancelled", "cancelled inside"] {
        judge(&late_effects(&Story::named(story), &in_memory));
    }
}
