//! Tests that need real terraform, as trials: ignored where it is not there.

use daas_lab::trials::{self, Needs};
use libtest_mimic::Trial;

/// A trial that needs real terraform.
pub(crate) fn trial(name: &str, run: impl Future<Output = ()> + Send + 'static) -> Trial {
    trials::trial(name, Needs::Terraform, || block_on(run))
}

/// A trial that needs nothing.
pub(crate) fn always(name: &str, run: impl Future<Output = ()> + Send + 'static) -> Trial {
    trials::trial_unless(None, name, || block_on(run))
}

/// Runs them as an ordinary test program does.
pub(crate) fn run(all: Vec<Trial>) {
    trials::run_with_terraform(all);
}

fn block_on(run: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().unwrap().block_on(run);
}
