//! Runs trials on real guests as an ordinary test target (`harness = false`). Trials that cannot run,
//! or were not asked for, are ignored, with the reason and the line that makes them run; where
//! `CI=true` they fail instead.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use daas_sim::guest::GuestMaker;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::guest::NspawnGuests;
use crate::lab::{Lab, LabConfig};
use crate::leaks::Leaks;
use crate::template::Recipe;
use crate::tools::{
    DESKTOP_TOOLS, GUEST_TOOLS, MACHINE_TOOLS, Missing, Tool, missing_for_terraform,
};

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
    /// What boots a virtual machine, beside guests.
    Machine,
    /// Terraform as well, and what its module for trials runs.
    Orchestration,
    /// Terraform alone, and the same: no guests, no root.
    Terraform,
}

impl Needs {
    /// Why this machine cannot run it; `None` when it can.
    pub fn missing(self) -> Option<String> {
        let all_of = |tools: &[Tool]| Missing::of(tools).map(|missing| missing.to_string());
        match self {
            Needs::Guests => all_of(GUEST_TOOLS),
            Needs::Desktop => all_of(&[GUEST_TOOLS, DESKTOP_TOOLS].concat()),
            Needs::Machine => all_of(&[GUEST_TOOLS, MACHINE_TOOLS].concat()),
            Needs::Orchestration => Needs::Desktop.missing().or_else(missing_for_terraform),
            Needs::Terraform => missing_for_terraform(),
        }
    }

    /// Whether it runs here only where somebody asked for real guests.
    fn is_for_askers(self) -> bool {
        self != Needs::Terraform
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
    let missing = needs.missing();
    let unasked = missing.is_none() && needs.is_for_askers() && !is_asked_for();
    let trial = trial_unless(missing, name, run);
    if unasked { trial.with_ignored_flag(true) } else { trial }
}

/// A trial that needs no lab, but may lack what `missing` tells: then it is ignored, and where
/// `CI=true` it fails.
pub fn trial_unless(
    missing: Option<String>,
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> Trial {
    match missing {
        None => Trial::test(name, move || on_own_thread(run)),
        Some(reason) => {
            Trial::test(name, move || Err(Failed::from(reason))).with_ignored_flag(!in_ci())
        }
    }
}

/// Runs the trials as the command line says, and ends the process.
pub fn run(trials: Vec<Trial>) {
    let asked = || format!("real guests run where {ASKED}=1");
    let reason = Needs::Orchestration.missing().unwrap_or_else(asked);
    run_or_explain(trials, &format!("{reason}; to run them: {WAY_OUT}"));
}

/// The same, for trials that are ignored for this reason, which names the way out.
pub fn run_or_explain(trials: Vec<Trial>, reason: &str) {
    let arguments = Arguments::from_args();
    if !arguments.list && !in_ci() {
        explain(&trials, reason);
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

/// What is in a directory, what is hidden left out: what runs have left.
///
/// # Errors
/// It cannot be read.
pub fn visible(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let is_hidden = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
    };
    let entries = std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path()));
    let all: std::io::Result<Vec<PathBuf>> = entries.collect();
    Ok(all?.into_iter().filter(|path| !is_hidden(path)).collect())
}

#[expect(clippy::print_stdout, reason = "a test runner's report")]
fn explain(trials: &[Trial], reason: &str) {
    let ignored = trials.iter().filter(|trial| trial.has_ignored_flag()).count();
    if ignored > 0 {
        println!("ignored {ignored}: {reason}");
    }
}

/// Runs trials that need Terraform alone: see [`run`].
pub fn run_with_terraform(trials: Vec<Trial>) {
    run_or_explain(trials, &Needs::Terraform.missing().unwrap_or_default());
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
