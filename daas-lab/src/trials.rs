//! Runs trials on real guests as an ordinary test target (`harness = false`), told apart from unit
//! tests by what they need. Trials that cannot run are ignored, with the reason and the line that
//! makes them run; where `CI=true` they fail instead.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::tools::{DESKTOP_TOOLS, GUEST_TOOLS, Missing};

/// The line that makes ignored trials run.
const WAY_OUT: &str = "cargo xtask test --install";

/// What a trial needs of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Root, and the programs behind guests.
    Guests,
    /// The programs that look at a desktop as well.
    Desktop,
}

impl Needs {
    /// Why this machine cannot run it; `None` when it can.
    pub fn missing(self) -> Option<String> {
        let tools = match self {
            Needs::Guests => GUEST_TOOLS.to_vec(),
            Needs::Desktop => [GUEST_TOOLS, DESKTOP_TOOLS].concat(),
        };
        Missing::of(&tools).map(|missing| missing.to_string())
    }
}

/// A trial. It runs on a thread of its own, which it may move into a lab's network; a panic is a
/// failure.
pub fn trial(name: &str, needs: Needs, run: impl FnOnce() + Send + 'static) -> Trial {
    match needs.missing() {
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
    // What goes wrong beside a trial's own path: a boot that hangs, a guest out of order.
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN);
    // Refused where the caller has set one up already.
    let _ = log.with_writer(std::io::stderr).try_init();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if conclusion.exit_code() != ExitCode::SUCCESS {
        conclusion.exit();
    }
}

#[expect(clippy::print_stdout, reason = "a test runner's report")]
fn explain(trials: &[Trial]) {
    let ignored = trials.iter().filter(|trial| trial.has_ignored_flag()).count();
    if let (1.., Some(reason)) = (ignored, Needs::Desktop.missing()) {
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

fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}
