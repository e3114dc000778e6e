//! Running programs and reading files in a guest, by entering its namespaces.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::GUEST_PATH;
use crate::process::Process;

/// How much of a program's output is kept; a QEMU guest agent keeps as much.
const OUTPUT_BYTES_MAX: u64 = 16 << 20;

/// How much of a file is read.
pub(super) const FILE_BYTES_MAX: u64 = 4 << 20;

/// How a program in a guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Standard output, up to 16 MiB.
    pub stdout: Vec<u8>,
    /// Standard error, up to 16 MiB.
    pub stderr: Vec<u8>,
    /// There was more of either.
    pub truncated: bool,
}

/// Runs `argv` with `env` (`NAME=value`) to its end in the guest whose init is `leader`.
pub(super) async fn exec(
    leader: Process,
    argv: &[String],
    env: &[String],
    input: &[u8],
) -> io::Result<Output> {
    if !leader.is_alive() {
        return Err(io::Error::other("the guest has ended"));
    }
    let mut command = Command::new("nsenter");
    command
        .args(["--mount", "--uts", "--ipc", "--net", "--pid", "--target"])
        .arg(leader.pid.to_string())
        .arg("--")
        .args(argv)
        .env_clear()
        .envs([("PATH", GUEST_PATH), ("HOME", "/root"), ("LANG", "C.UTF-8")])
        .envs(env.iter().filter_map(|pair| pair.split_once('=')))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A program that does not read its input is free not to.
            let _ = stdin.write_all(input).await;
        }
    };
    let (status, (), out, err) = tokio::join!(child.wait(), feed, collect(stdout), collect(stderr));
    let (status, (stdout, more_out), (stderr, more_err)) = (status?, out?, err?);
    Ok(Output {
        code: status.code(),
        signal: status.signal(),
        stdout,
        stderr,
        truncated: more_out || more_err,
    })
}

/// Reads a regular file as the guest sees it; the flag says whether that was all of it. Links and
/// `..` are followed within the guest's root and cannot lead out of it.
pub(super) fn read_file(leader: Process, path: &str) -> io::Result<(Vec<u8>, bool)> {
    let root = File::open(format!("/proc/{}/root", leader.pid))?;
    if !leader.is_alive() {
        return Err(io::Error::other("the guest has ended"));
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let confined = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = rustix::fs::openat2(root.as_fd(), path, flags, Mode::empty(), confined)?;
    let file = File::from(file);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    let whole = bytes.len() as u64 <= FILE_BYTES_MAX;
    bytes.truncate(usize::try_from(FILE_BYTES_MAX).unwrap_or(usize::MAX));
    Ok((bytes, whole))
}

async fn collect(pipe: Option<impl AsyncRead + Unpin>) -> io::Result<(Vec<u8>, bool)> {
    let mut kept = Vec::new();
    let Some(mut pipe) = pipe else { return Ok((kept, false)) };
    (&mut pipe).take(OUTPUT_BYTES_MAX).read_to_end(&mut kept).await?;
    // The rest is drained, or the program would wait for ever to write it.
    let more = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    Ok((kept, more > 0))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_read() {
        let own = Process::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(read_file(own, "/etc").is_err());
        assert!(read_file(own, "/dev/null").is_err());
        assert!(read_file(own, "/../../etc/os-release").unwrap().1);
    }
}
