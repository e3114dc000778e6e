//! What the tests on real parts need from Debian, and installing it where that is asked for.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{in_ci, must, say};

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
    ("qemu-system-x86", "qemu-system-x86_64"),
    ("e2fsprogs", "mke2fs"),
    ("python3-venv", "python3"),
    ("nodejs", "node"),
    ("npm", "npm"),
    ("chromium", "chromium"),
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

/// Installs what is missing. Nothing is removed for it but in CI, whose machines are thrown away.
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
    let install = ["install", "-y", "-qq", "--no-install-recommends"];
    let plan = apt().arg("--simulate").args(install).args(&missing).output();
    let plan = plan.context("start apt-get")?;
    let removed = removals(&String::from_utf8_lossy(&plan.stdout));
    let mut command = apt();
    command.args(install).args(&missing);
    match removed.as_slice() {
        // What the plan did not say must not happen either.
        [] => must(command.arg("--no-remove")).context(line),
        removed if in_ci() => {
            say(&format!("apt-get removes {} for them", removed.join(", ")));
            must(&mut command).context(line)
        }
        removed => bail!(
            "to install {} apt-get would remove {}, maybe of another release; install both from \
             that one (apt-get install --target-release RELEASE {0}), or let it be removed: {line}",
            missing.join(" "),
            removed.join(", "),
        ),
    }
}

/// Packages that a simulated run removes, with their versions: `Remv qemu-utils [1:10.0.2]`.
fn removals(plan: &str) -> Vec<String> {
    plan.lines().filter_map(|line| line.strip_prefix("Remv ")).map(str::to_owned).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_removed_is_seen_beforehand() {
        let plan = "Remv qemu-utils [1:10.0.2+ds-2~bpo12+1]\nInst seabios (1.16.2-1 Debian:12.12)\n\
                    Conf seabios (1.16.2-1 Debian:12.12)\n";
        assert_eq!(removals(plan), ["qemu-utils [1:10.0.2+ds-2~bpo12+1]"]);
        assert_eq!(removals("Inst seabios (1.16.2-1 Debian:12.12)\n"), Vec::<String>::new());
    }
}
