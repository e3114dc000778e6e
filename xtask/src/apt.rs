//! What the tests on real parts need from Debian, and installing it where that is asked for.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{must, say};

/// Debian packages, each with a file in `PATH` or an absolute path that tells whether it is there.
const NEEDED: &[(&str, &str)] = &[
    ("systemd-container", "systemd-nspawn"),
    ("mmdebstrap", "mmdebstrap"),
    ("dnsmasq-base", "dnsmasq"),
    ("iproute2", "ip"),
    ("util-linux", "nsenter"),
    ("freerdp2-x11", "xfreerdp"),
    ("xvfb", "Xvfb"),
    ("imagemagick", "import"),
    ("zstd", "zstd"),
    ("openssh-client", "ssh"),
    ("curl", "curl"),
    ("python3-venv", "python3"),
];

/// The packages that are missing.
pub(crate) fn missing() -> Vec<&'static str> {
    NEEDED.iter().filter(|(_, program)| !is_there(program)).map(|(package, _)| *package).collect()
}

/// Why the tests on real parts cannot run; `None` when they can.
pub(crate) fn obstacle() -> Option<String> {
    if !is_root() {
        return Some("needs root: sudo -E cargo xtask test --install".to_owned());
    }
    let mut missing = missing();
    if !crate::ansible::is_there() {
        missing.push("Ansible");
    }
    (!missing.is_empty())
        .then(|| format!("needs {}: cargo xtask test --install", missing.join(" ")))
}

/// Installs what is missing.
pub(crate) fn install() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let line = format!("apt-get install --no-install-recommends {}", missing.join(" "));
    if !Path::new("/etc/debian_version").exists() {
        bail!("only Debian is known here; install the like of: {line}");
    }
    if !is_root() {
        bail!("installing needs root: {line}");
    }
    say(&format!("installing {}", missing.join(" ")));
    must(apt().args(["update", "-qq"])).context("apt-get update")?;
    must(apt().args(["install", "-y", "-qq", "--no-install-recommends"]).args(&missing))
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&path).chain(system).any(|dir| dir.join(program).is_file())
}

/// Read from the kernel, as the standard library does not tell.
fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    ids.is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"))
}
