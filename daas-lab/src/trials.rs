//! Runs trials on real guests as an ordinary test target (`harness = false`). Trials that cannot run,
//! or were not asked for, are ignored, with the reason and the line that makes them run; where
//! `CI=true` they fail instead.

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;

use daas_sim::guest::GuestMaker;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::guest::NspawnGuests;
use crate::lab::{Lab, LabConfig};
use crate::leaks::Leaks;
use crate::template::Recipe;
use crate::tools::{DESKTOP_TOOLS, GUEST_TOOLS, Missing, ORCHESTRATION_TOOLS};

/// The line that makes ignored trials run.
const WAY_OUT: &str = "cargo xtask test --install";

/// Set to 1, real guests run wherever they can; they build templates, which takes the network.
const ASKED: &str = "DAAS_TEST_LAB";

/// What a trial needs of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Root, and the programs behind guests.
    Guests,
    /// The programs that look at a desktop as well.
    Desktop,
    /// Terraform as well, and what its module for trials runs.
    Orchestration,
}

impl Needs {
    /// Why this machine cannot run it; `None` when it can.
    pub fn missing(self) -> Option<String> {
        let tools = match self {
            Needs::Guests => GUEST_TOOLS.to_vec(),
            Needs::Desktop => [GUEST_TOOLS, DESKTOP_TOOLS].concat(),
            Needs::Orchestration => [GUEST_TOOLS, DESKTOP_TOOLS, ORCHESTRATION_TOOLS].concat(),
        };
        Missing::of(&tools).map(|missing| missing.to_string())
    }

    /// Why it does not run here: something is missing, or nobody asked for it. For trials with a
    /// runner of their own; `CI=true` asks.
    pub fn refusal(self) -> Option<String> {
        let unasked = || format!("real guests run where {ASKED}=1");
        self.missing().or_else(|| (!is_asked_for()).then(unasked))
    }
}

/// A trial. It runs on a thread of its own, which it may move into a lab's network; a panic is a
/// failure.
pub fn trial(name: &str, needs: Needs, run: impl FnOnce() + Send + 'static) -> Trial {
    match needs.missing() {
        None if !is_asked_for() => {
            Trial::test(name, move || on_own_thread(run)).with_ignored_flag(true)
        }
        None => Trial::test(name, move || on_own_thread(run)),
        Some(reason) if in_ci() => {
            Trial::test(name, move || Err(Failed::from(format!("{reason}: {WAY_OUT}"))))
        }
        Some(reason) => {
            Trial::test(name, move || Err(Failed::from(reason))).with_ignored_flag(true)
        }
    }
}

/// Runs the trials as the command line says, and ends the process.
pub fn run(trials: Vec<Trial>) {
    let arguments = Arguments::from_args();
    if !arguments.list && !in_ci() {
        explain(&trials);
    }
    crate::secrecy::start_log();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if conclusion.exit_code() != ExitCode::SUCCESS {
        conclusion.exit();
    }
}

/// Opens a lab, runs `trial` from within its network, closes the lab and checks that nothing of it
/// is left. For the thread of a [`trial`], which stays in the lab's network.
///
/// # Panics
/// The lab cannot be opened or cleared, or something is left of it; and when `trial` does, after
/// the lab has been cleared.
pub fn in_lab<F: Future<Output = ()>>(trial: impl FnOnce(Arc<Lab>) -> F) {
    let config = LabConfig::from_env();
    let run = || -> Result<(), crate::LabError> {
        let lab = Arc::new(Lab::open(config.clone())?);
        lab.enter()?;
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(crate::LabError::io("start a runtime"))?;
        runtime.block_on(trial(Arc::clone(&lab)));
        // What still runs in it is in the lab.
        drop(runtime);
        lab.close()?;
        match Leaks::of_absent(&config, lab.id()).check() {
            left if left.is_empty() => Ok(()),
            left => Err(crate::LabError::Left(left)),
        }
    };
    if let Err(error) = run() {
        panic!("{error}");
    }
}

/// The same, with guests made from these recipes under their names.
///
/// # Panics
/// As [`in_lab`]; and when a template cannot be prepared.
pub fn with_guests<F: Future<Output = ()>>(
    recipes: &[Recipe],
    trial: impl FnOnce(Arc<NspawnGuests>) -> F,
) {
    in_lab(async |lab| {
        let images: Vec<(&str, Recipe)> = recipes.iter().map(|r| (r.name, r.clone())).collect();
        let guests = match NspawnGuests::prepare(lab, &images).await {
            Ok(guests) => Arc::new(guests),
            Err(error) => panic!("{error}"),
        };
        trial(Arc::clone(&guests)).await;
        guests.close().await;
    });
}

#[expect(clippy::print_stdout, reason = "a test runner's report")]
fn explain(trials: &[Trial]) {
    let ignored = trials.iter().filter(|trial| trial.has_ignored_flag()).count();
    if ignored > 0 {
        let reason = Needs::Orchestration.missing();
        let reason = reason.unwrap_or_else(|| format!("real guests run where {ASKED}=1"));
        println!("ignored {ignored}: {reason}; to run them: {WAY_OUT}");
    }
}

fn on_own_thread(run: impl FnOnce() + Send + 'static) -> Result<(), Failed> {
    std::thread::spawn(run).join().map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        Failed::from(text.unwrap_or_else(|| "panicked".to_owned()))
    })
}

fn is_asked_for() -> bool {
    in_ci() || std::env::var(ASKED).is_ok_and(|value| value == "1")
}

fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}
