//! Tests that need real terraform: where it is not there, they are ignored and say why and what to do;
//! in continuous integration they fail instead.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

/// What the trials need, and how to get it.
const NEEDED: [(&str, &str); 2] = [
    ("terraform", "install it, 1.4 or later: https://developer.hashicorp.com/terraform/install"),
    ("curl", "apt-get install curl"),
];

/// A trial that needs real terraform.
pub(crate) fn trial(name: &str, run: impl Future<Output = ()> + Send + 'static) -> Trial {
    let Some(reason) = missing() else { return always(name, run) };
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    Trial::test(name, move || Err(Failed::from(reason))).with_ignored_flag(!ci)
}

/// A trial that needs nothing.
pub(crate) fn always(name: &str, run: impl Future<Output = ()> + Send + 'static) -> Trial {
    Trial::test(name, move || {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(2).enable_all().build()?.block_on(run);
        Ok(())
    })
}

/// Runs them as an ordinary test program does, and says why some are ignored.
#[expect(clippy::print_stdout, reason = "a runner's output, which the test command adds up")]
pub(crate) fn run(trials: Vec<Trial>) -> ExitCode {
    let arguments = Arguments::from_args();
    let ignored = trials.iter().filter(|trial| trial.has_ignored_flag()).count();
    if let (Some(reason), false, true) = (missing(), arguments.list, ignored > 0) {
        println!("ignored {ignored}: {reason}");
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// What is not there.
fn missing() -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |name: &str| std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    let (name, way_out) = NEEDED.iter().find(|(name, _)| !there(name))?;
    Some(format!("needs {name}; to run them: {way_out}"))
}
