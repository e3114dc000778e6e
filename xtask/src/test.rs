//! `cargo xtask test`: everything `cargo test` runs, the tests on real parts where they can run, and
//! one closing line.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::tally::Tally;
use crate::{ansible, apt, browser, cargo, in_ci, say};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Install what tests on real parts need (Debian, root). Implied by `CI=true`.
    #[arg(long)]
    install: bool,
    /// Only tests whose name contains this.
    #[arg(long)]
    filter: Option<String>,
    /// Only the tests of this crate.
    #[arg(long, short)]
    package: Option<String>,
}

/// Runs the tests; `false` when one failed, or in CI when one was skipped.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    if arguments.install || in_ci() {
        apt::install()?;
        ansible::install()?;
        browser::install()?;
    }
    let obstacle = apt::obstacle();
    let mut tally = Tally::default();
    let real_parts = obstacle.is_none();
    // Unit tests of libraries and programs are among `--tests`.
    run_cargo(arguments, &["--tests", "--examples"], real_parts, &mut tally)?;
    // Asked for a library, cargo fails where the one package has none.
    let library = |name: &String| crate::root().join(name).join("src/lib.rs").exists();
    if arguments.package.as_ref().is_none_or(library) {
        run_cargo(arguments, &["--doc"], false, &mut tally)?;
    }

    for name in &tally.failures {
        say(&format!("failed: {name}"));
    }
    for reason in &tally.reasons {
        say(&format!("skipped: {reason}"));
    }
    if let (Some(obstacle), 1..) = (&obstacle, tally.skipped) {
        say(&format!("tests on real parts were left out: {obstacle}"));
    }
    say(&tally.to_string());
    Ok(tally.failed == 0 && !(in_ci() && tally.skipped > 0))
}

/// Runs cargo's tests of some kinds of targets, shows the output and adds it up.
fn run_cargo(
    arguments: &Arguments,
    targets: &[&str],
    real_parts: bool,
    tally: &mut Tally,
) -> Result<()> {
    let mut command = cargo();
    command.args(["test", "--all-features", "--no-fail-fast"]).args(targets);
    match &arguments.package {
        Some(package) => command.args(["--package", package]),
        None => command.arg("--workspace"),
    };
    command.args(arguments.filter.as_deref());
    if real_parts {
        command.env("DAAS_TEST_LAB", "1").args(["--", "--include-ignored"]);
    }
    let failed_before = tally.failed;
    let succeeded = follow(&mut command, tally)?;
    if !succeeded && tally.failed == failed_before {
        // Counted, or the closing line would claim that all is well.
        tally.failed += 1;
        tally.failures.push("a target did not build, or ended without a result".to_owned());
    }
    Ok(())
}

fn follow(command: &mut Command, tally: &mut Tally) -> Result<bool> {
    let shown = format!("{command:?}");
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("start {shown}"))?;
    let stdout = child.stdout.take().context("cargo has no output")?;
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("read cargo's output")?;
        let line = String::from_utf8_lossy(&line);
        say(&line);
        tally.read(line.trim_end());
    }
    Ok(child.wait().context("wait for cargo")?.success())
}
