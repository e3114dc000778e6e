//! Processes: running a program to its end within a deadline, and telling processes apart by pid
//! *and* start time, so that a reused pid is never taken for the one we knew.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};

use crate::error::LabError;

/// How much of a program's output is kept.
const OUTPUT_BYTES_MAX: u64 = 4 << 20;

/// A process, not to be confused with a later one of the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// Start time in clock ticks since boot (`proc_pid_stat(5)`, field 22).
    pub(crate) started: u64,
}

impl Process {
    /// The process that has this pid now; `None` when there is none, or only a zombie.
    pub(crate) fn of(pid: i32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, started) = parse_stat(&stat)?;
        (!matches!(state, 'Z' | 'X')).then_some(Process { pid, started })
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&self) -> bool {
        Process::of(self.pid) == Some(*self)
    }

    /// Sends a signal. A process that has ended is left alone.
    pub(crate) fn signal(&self, signal: Signal) {
        let Some(pid) = Pid::from_raw(self.pid) else { return };
        // The descriptor names one process for good; only then is the start time a proof.
        let Ok(fd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return };
        if self.is_alive() {
            // It may end in between, which is what was wanted.
            let _ = rustix::process::pidfd_send_signal(&fd, signal);
        }
    }

    /// Its name, for messages.
    pub(crate) fn name(&self) -> String {
        fs::read_to_string(format!("/proc/{}/comm", self.pid)).unwrap_or_default().trim().to_owned()
    }
}

/// Every process this process can see, zombies left out.
pub(crate) fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(Process::of)
        .collect()
}

/// The direct children of a process.
pub(crate) fn children(pid: u32) -> Vec<Process> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists =
        tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>()
        })
        .filter_map(Process::of)
        .collect()
}

/// Runs a program to its end and gives its standard output. On the deadline its whole process
/// group is killed.
///
/// # Errors
/// The program cannot start, fails (with the end of its standard error), or takes too long.
pub(crate) fn run(
    command: &mut Command,
    input: &[u8],
    deadline: Duration,
) -> Result<Vec<u8>, LabError> {
    let doing = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(LabError::io(&doing))?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    if let Some(mut stdin) = child.stdin.take() {
        // Inputs here fit a pipe; a program that reads none of it breaks the pipe, and its exit
        // status tells the rest.
        let _ = stdin.write_all(input);
    }
    let status = wait(&mut child, &doing, deadline)?;
    let stdout = stdout.join().unwrap_or_default();
    let stderr = stderr.join().unwrap_or_default();
    if status.success() {
        return Ok(stdout);
    }
    let stderr = tail(&String::from_utf8_lossy(&stderr), 2000);
    Err(LabError::Failed { doing, status: status.to_string(), stderr })
}

fn wait(
    child: &mut Child,
    doing: &str,
    deadline: Duration,
) -> Result<std::process::ExitStatus, LabError> {
    let found = poll(deadline, Duration::from_millis(2), || child.try_wait().transpose());
    if let Some(status) = found {
        return status.map_err(LabError::io(doing));
    }
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    child.wait().map_err(LabError::io(doing))?;
    Err(LabError::Deadline { doing: doing.to_owned(), after: deadline })
}

/// Asks until there is an answer or the deadline has passed. For threads; never in a task.
pub(crate) fn poll<T>(
    deadline: Duration,
    every: Duration,
    mut ask: impl FnMut() -> Option<T>,
) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(every);
    }
}

/// The same for tasks; the caller brings the deadline.
pub(crate) async fn poll_async<T>(every: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let mut ticks = tokio::time::interval(every);
    loop {
        ticks.tick().await;
        if let Some(answer) = ask() {
            return answer;
        }
    }
}

/// The last `max` characters.
pub(crate) fn tail(text: &str, max: usize) -> String {
    let text = text.trim_end();
    let skip = text.chars().count().saturating_sub(max);
    text.chars().skip(skip).collect()
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.by_ref().take(OUTPUT_BYTES_MAX).read_to_end(&mut kept);
            // The rest is drained, or the program would wait for ever to write it.
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        }
        kept
    })
}

/// State and start time. The name in parentheses may hold anything, so count from its end.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let rest = &stat[stat.rfind(')')? + 1..];
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let started = fields.nth(18)?.parse().ok()?;
    Some((state, started))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_move_the_fields() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1";
        assert_eq!(parse_stat(stat), Some(('S', 4711)));
    }

    #[test]
    fn a_program_that_outstays_its_deadline_is_killed_with_its_children() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 60 & echo $!; wait"]);
        let error = run(&mut command, b"", Duration::from_millis(200)).unwrap_err();
        assert!(matches!(error, LabError::Deadline { .. }), "{error}");
    }

    #[test]
    fn a_failing_program_is_quoted() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no luck >&2; exit 3"]);
        let error = run(&mut command, b"", Duration::from_secs(5)).unwrap_err();
        assert!(error.to_string().contains("no luck"), "{error}");
    }

    #[test]
    fn another_start_time_is_another_process() {
        let own = Process::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.is_alive());
        assert!(!Process { started: own.started + 1, ..own }.is_alive());
    }
}
