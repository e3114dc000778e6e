//! Which programs real guests need, and what to install when they are missing.

use std::fmt;
use std::path::{Path, PathBuf};

/// A program the lab runs, and the Debian package that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    /// The program's name in `PATH`.
    pub program: &'static str,
    /// The Debian package.
    pub package: &'static str,
}

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

/// What a guest needs.
pub const GUEST_TOOLS: &[Tool] = &[
    tool("systemd-nspawn", "systemd-container"),
    tool("mmdebstrap", "mmdebstrap"),
    tool("dnsmasq", "dnsmasq-base"),
    tool("ip", "iproute2"),
    tool("nsenter", "util-linux"),
    tool("unshare", "util-linux"),
    tool("ssh-keygen", "openssh-client"),
    tool("tar", "tar"),
    tool("zstd", "zstd"),
];

/// What the desktop probe needs on top.
pub const DESKTOP_TOOLS: &[Tool] = &[
    tool("xfreerdp", "freerdp2-x11"),
    tool("Xvfb", "xvfb"),
    tool("import", "imagemagick"),
    tool("identify", "imagemagick"),
];

/// What a virtual machine needs on top of a guest.
pub const MACHINE_TOOLS: &[Tool] = &[
    tool("qemu-system-x86_64", "qemu-system-x86"),
    tool("mke2fs", "e2fsprogs"),
    tool("ssh", "openssh-client"),
];

/// What trials with Terraform need, and how to get it: not all of it is in Debian. For Ansible see
/// [`ansible_playbook`].
const TERRAFORM_TOOLS: [(&str, &str); 2] = [
    ("terraform", "install it, 1.4 or later: https://developer.hashicorp.com/terraform/install"),
    ("curl", "apt-get install curl"),
];

/// What trials with Terraform lack here, with the way to get it.
pub(crate) fn missing_for_terraform() -> Option<String> {
    let (name, way_out) = TERRAFORM_TOOLS.iter().find(|(name, _)| find(name).is_none())?;
    Some(format!("needs {name}; to run them: {way_out}"))
}

/// `ansible-playbook`, in the place where `cargo xtask test --install` puts it below a build's
/// directory for temporary files, or where `DAAS_ANSIBLE_PLAYBOOK` says.
pub fn ansible_playbook(temporary: &Path) -> Option<PathBuf> {
    let set = std::env::var_os("DAAS_ANSIBLE_PLAYBOOK").map(PathBuf::from);
    let installed = temporary.join("ansible/bin/ansible-playbook");
    set.or(Some(installed)).filter(|program| program.is_file())
}

/// What is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The process does not run as root.
    pub root: bool,
    /// Programs that are not in `PATH`.
    pub tools: Vec<Tool>,
}

impl Missing {
    /// What of `tools` this machine lacks; `None` when real guests can run.
    pub fn of(tools: &[Tool]) -> Option<Missing> {
        let tools: Vec<Tool> =
            tools.iter().copied().filter(|tool| find(tool.program).is_none()).collect();
        let root = !rustix::process::geteuid().is_root();
        (root || !tools.is_empty()).then_some(Missing { root, tools })
    }

    /// The line that installs what is missing; empty when only root is.
    pub fn install_line(&self) -> String {
        if self.tools.is_empty() {
            return String::new();
        }
        let mut packages: Vec<&str> = self.tools.iter().map(|tool| tool.package).collect();
        packages.sort_unstable();
        packages.dedup();
        format!("apt-get install --no-install-recommends {}", packages.join(" "))
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.root {
            parts.push("needs root".to_owned());
        }
        if !self.tools.is_empty() {
            let names: Vec<&str> = self.tools.iter().map(|tool| tool.program).collect();
            parts.push(format!("needs {}; {}", names.join(", "), self.install_line()));
        }
        f.write_str(&parts.join("; "))
    }
}

impl std::error::Error for Missing {}

/// Where a program is, looking through `PATH` and the places of system programs.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn names_what_to_install_once() {
        let missing = Missing::of(&[
            tool("sh", "dash"),
            tool("no-such-program-a", "alpha"),
            tool("no-such-program-b", "alpha"),
        ])
        .unwrap();
        assert_eq!(missing.install_line(), "apt-get install --no-install-recommends alpha");
        assert!(missing.to_string().contains("no-such-program-a, no-such-program-b"));
    }
}
