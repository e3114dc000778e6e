//! What the tests in a browser need from npm: below the target directory, where they look.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{must, root, say};

/// What decides what is installed; the versions are pinned with their checksums.
const LOCK: [&str; 3] = ["package.json", "package-lock.json", ".npmrc"];

fn room() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    root().join(target.unwrap_or_else(|| "target".into())).join("tmp/browser")
}

/// Installs it, unless it is there.
pub(crate) fn install() -> Result<()> {
    let (room, wanted) = (room(), root().join("daas-cli/tests/browser"));
    let read = |path: PathBuf| std::fs::read(path).ok();
    let is_there = room.join("node_modules").is_dir()
        && LOCK.iter().all(|file| read(room.join(file)) == read(wanted.join(file)));
    if is_there {
        return Ok(());
    }
    say("installing what drives the browser");
    std::fs::create_dir_all(&room).context("make room for what drives the browser")?;
    for file in LOCK {
        std::fs::copy(wanted.join(file), room.join(file))
            .with_context(|| format!("copy {file}"))?;
    }
    must(
        Command::new("npm").args(["ci", "--ignore-scripts", "--loglevel=error"]).current_dir(&room),
    )
    .context("npm ci")
}
