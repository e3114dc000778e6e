//! Finds and ends the processes of a run, also those that have left its process group: Ansible's
//! workers do so (2.19), and the SSH connection that the tasks share.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The variable in the environment of every process of a run; its value is the run's directory.
pub(crate) const MARK: &str = "DAAS_ANSIBLE_RUN";

/// How long killed processes may take to be gone.
const END: Duration = Duration::from_secs(10);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Kills the processes of the run in `directory`, and those that they start meanwhile; answers
/// whether all are gone. Blocks.
pub(crate) fn end(directory: &Path) -> bool {
    let begun = Instant::now();
    loop {
        let there = of_run(directory);
        if there.is_empty() {
            return true;
        }
        for process in &there {
            // It may be gone by itself, which is as good.
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
        if begun.elapsed() >= END {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}

/// The processes of the run, held: a number that is given to another process later does not count.
pub(crate) fn of_run(directory: &Path) -> Vec<OwnedFd> {
    let own = std::process::id();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|number: &u32| *number != own).filter_map(|n| held(n, directory)).collect()
}

fn held(number: u32, directory: &Path) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(number).ok()?)?;
    // Looked at only while it is held, so that it is the one that was looked at.
    is_of_run(number, directory).then_some(())?;
    let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    is_of_run(number, directory).then_some(process)
}

fn is_of_run(number: u32, directory: &Path) -> bool {
    let read = |file: &str| fs::read(format!("/proc/{number}/{file}")).unwrap_or_default();
    let directory = directory.as_os_str().as_bytes();
    let mark = [MARK.as_bytes(), b"=", directory].concat();
    if read("environ").split(|b| *b == 0).any(|variable| variable == mark) {
        return true;
    }
    // A shared SSH connection writes its title over its environment: `ssh: <socket> [mux]`.
    let title = [b"ssh: ", directory, b"/"].concat();
    read("cmdline").starts_with(&title)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps an error has failed")]
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    #[test]
    fn ends_what_left_its_group_and_nothing_else() {
        let base = tempfile::tempdir().unwrap();
        let (mine, other) = (base.path().join("a"), base.path().join("ab"));
        let start = |run: &Path| {
            let mut command = Command::new("sleep");
            command.arg("60").env(MARK, run).process_group(0).spawn().unwrap()
        };
        let (mut one, mut two) = (start(&mine), start(&other));
        assert!(end(&mine));
        assert!(!one.wait().unwrap().success());
        assert!(two.try_wait().unwrap().is_none(), "it is of another run");
        two.kill().unwrap();
        two.wait().unwrap();
    }
}
