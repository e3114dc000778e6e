//! Programs in Python for the tests: each in a virtual environment below the target directory, where
//! they look.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{must, root, say};

/// A virtual environment.
struct Environment {
    name: &'static str,
    /// What is installed; the versions are pinned, so that a rule of tomorrow fails nobody today.
    wanted: &'static [&'static str],
    programs: &'static [&'static str],
}

const ENVIRONMENTS: [Environment; 2] = [
    Environment {
        name: "ansible",
        wanted: &["ansible-core==2.19.14", "ansible-lint==26.10.1"],
        programs: &["ansible-playbook", "ansible-lint"],
    },
    Environment {
        name: "schemathesis",
        wanted: &["schemathesis==4.32.5"],
        programs: &["schemathesis"],
    },
];

impl Environment {
    /// Where it is, as tests have it in `CARGO_TARGET_TMPDIR`.
    fn path(&self) -> PathBuf {
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        root().join(target.unwrap_or_else(|| "target".into())).join("tmp").join(self.name)
    }

    fn is_there(&self) -> bool {
        self.programs.iter().all(|program| self.path().join("bin").join(program).is_file())
    }

    fn install(&self) -> Result<()> {
        let (path, wanted) = (self.path(), self.wanted);
        say(&format!("installing {}", wanted.join(" ")));
        must(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&path))
            .with_context(|| format!("make a virtual environment for {}", self.name))?;
        must(Command::new(path.join("bin/pip")).args(["install", "--quiet"]).args(wanted))
            .with_context(|| format!("install {}", self.name))
    }
}

/// Whether all are there.
pub(crate) fn is_there() -> bool {
    ENVIRONMENTS.iter().all(Environment::is_there)
}

/// Installs those that are not there.
pub(crate) fn install() -> Result<()> {
    let missing = ENVIRONMENTS.iter().filter(|environment| !environment.is_there());
    missing.into_iter().try_for_each(Environment::install)
}
