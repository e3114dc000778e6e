//! Processes of runs: told apart by pid *and* start time, and found by the lock they hold.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, Signal};

/// The descriptor under which every process of a run holds its directory's lock.
pub(crate) const LOCK_DESCRIPTOR: u32 = 9;

/// A process, not to be confused with a later one of the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pid: i32,
    /// Start time in clock ticks since boot (`proc_pid_stat(5)`, field 22).
    started: u64,
}

impl Process {
    /// The process that has this pid now; `None` when there is none, or only a zombie.
    fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (found, state) = Self::read(&stat)?;
        (!matches!(state, 'Z' | 'X')).then_some(found)
    }

    /// From the text of `/proc/PID/stat`, with its state. The name in parentheses may hold
    /// anything, so the fields are counted from its end.
    fn read(stat: &str) -> Option<(Self, char)> {
        let pid = stat.split_whitespace().next()?.parse().ok()?;
        let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
        let state = fields.next()?.chars().next()?;
        let started = fields.nth(18)?.parse().ok()?;
        Some((Self { pid, started }, state))
    }

    /// The leader that a run wrote down, if it still runs.
    fn recorded(path: &Path) -> Option<Self> {
        let (recorded, _) = Self::read(&fs::read_to_string(path).ok()?)?;
        (Self::of(recorded.pid) == Some(recorded)).then_some(recorded)
    }

    fn signal(self, signal: Signal) {
        let Some(pid) = Pid::from_raw(self.pid) else { return };
        // The descriptor names one process for good; only then is the start time a proof.
        let Ok(fd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return };
        if Self::of(self.pid) == Some(self) {
            // It may end in between, which is what was wanted.
            let _ = rustix::process::pidfd_send_signal(&fd, signal);
        }
    }
}

/// Signals a process group of a child of ours that has not been waited for yet.
pub(crate) fn signal_group(leader: u32, signal: Signal) {
    if let Some(group) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        // It may end in between, which is what was wanted.
        let _ = rustix::process::kill_process_group(group, signal);
    }
}

/// Signals what an earlier run left running: the group of its leader, and whatever holds `lock`.
pub(crate) fn signal_run(leader: &Path, lock: &Path, signal: Signal) {
    if let Some(leader) = Process::recorded(leader)
        && let Ok(pid) = u32::try_from(leader.pid)
    {
        signal_group(pid, signal);
    }
    for process in holders(lock) {
        process.signal(signal);
    }
}

/// The processes, ourselves left out, that hold `lock` as runs do.
pub(crate) fn holders(lock: &Path) -> Vec<Process> {
    let Ok(lock) = fs::metadata(lock) else { return Vec::new() };
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let own = i32::try_from(std::process::id()).unwrap_or(-1);
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own)
        .filter_map(|pid| {
            let process = Process::of(pid)?;
            let held = fs::metadata(format!("/proc/{pid}/fd/{LOCK_DESCRIPTOR}")).ok()?;
            (held.dev() == lock.dev() && held.ino() == lock.ino()).then_some(process)
        })
        .collect()
}

/// Pids and names, for messages.
pub(crate) fn names(processes: &[Process]) -> String {
    let name = |p: &Process| {
        let comm = fs::read_to_string(format!("/proc/{}/comm", p.pid)).unwrap_or_default();
        format!("{} {}", p.pid, comm.trim())
    };
    if processes.is_empty() {
        return "none that can be seen".to_owned();
    }
    processes.iter().map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_move_the_fields() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1";
        assert_eq!(Process::read(stat), Some((Process { pid: 7, started: 4711 }, 'S')));
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("child");
        let stat = fs::read_to_string("/proc/self/stat").expect("our own");
        fs::write(&path, &stat).expect("written");
        assert!(Process::recorded(&path).is_some());
        let own = Process::recorded(&path).expect("ourselves");
        let later = stat.replacen(&own.started.to_string(), "1", 1);
        fs::write(&path, later).expect("written");
        assert_eq!(Process::recorded(&path), None);
        fs::write(&path, "").expect("written");
        assert_eq!(Process::recorded(&path), None);
    }
}
