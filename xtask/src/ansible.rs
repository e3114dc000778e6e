//! Ansible for the tests: in a virtual environment below the target directory, where they look.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{must, root, say};

/// What is installed; the versions are pinned, so that a lint rule of tomorrow fails nobody today.
const WANTED: [&str; 2] = ["ansible-core==2.19.14", "ansible-lint==26.10.1"];

/// The environment, as tests have it in `CARGO_TARGET_TMPDIR`.
fn environment() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    root().join(target.unwrap_or_else(|| "target".into())).join("tmp/ansible")
}

/// Whether it is there.
pub(crate) fn is_there() -> bool {
    ["ansible-playbook", "ansible-lint"].iter().all(|p| environment().join("bin").join(p).is_file())
}

/// Installs it, unless it is there.
pub(crate) fn install() -> Result<()> {
    if is_there() {
        return Ok(());
    }
    let environment = environment();
    say(&format!("installing {}", WANTED.join(" ")));
    must(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))
        .context("make a virtual environment for Ansible")?;
    must(Command::new(environment.join("bin/pip")).args(["install", "--quiet"]).args(WANTED))
        .context("install Ansible")
}
