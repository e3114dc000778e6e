//! `cargo xtask check`: all that must hold besides the tests. Every check runs, also after one has
//! failed; the closing lines say which.

use std::process::Command;

use anyhow::Result;

use crate::{cargo, must, say, tidy};

/// The version is pinned, so that a new release breaks nobody's day.
const DENY: &str = "cargo-deny@0.20.2";

/// A check's name, and the check.
type Check = (&'static str, fn() -> Result<()>);

/// Runs the checks; `false` when one failed.
pub(crate) fn run() -> Result<bool> {
    let checks: [Check; 5] = [
        ("format", || must(cargo().args(["fmt", "--all", "--check"]))),
        ("tidy", tidy::run),
        ("lints", lints),
        ("documentation", documentation),
        ("dependencies", dependencies),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        say(&format!("check {name}"));
        if let Err(error) = check() {
            say(&format!("check {name}: {error:#}"));
            failed.push(name);
        }
    }
    say("not checked here: advisories, which need the network: cargo deny check advisories");
    match failed.as_slice() {
        [] => say("all checks passed"),
        failed => say(&format!("failed checks: {}", failed.join(", "))),
    }
    Ok(failed.is_empty())
}

fn lints() -> Result<()> {
    let scope = ["--workspace", "--all-targets", "--all-features"];
    must(cargo().arg("clippy").args(scope).args(["--", "-D", "warnings"]))
}

fn documentation() -> Result<()> {
    let scope = ["--workspace", "--all-features", "--no-deps"];
    must(cargo().arg("doc").args(scope).env("RUSTDOCFLAGS", "-D warnings"))
}

fn dependencies() -> Result<()> {
    let there = Command::new("cargo-deny").arg("--version").output();
    if !there.is_ok_and(|output| output.status.success()) {
        say("installing cargo-deny, once");
        // Unoptimised: it runs for a second, and is built in a third of the time.
        must(cargo().args(["install", "--locked", "--debug", DENY]))?;
    }
    must(cargo().args(["deny", "--locked", "check", "bans", "licenses", "sources"]))
}
