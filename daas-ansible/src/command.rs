//! Runs `ansible-playbook`: its environment and arguments, its events as they come, its end.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use daas_core::progress::Progress;
use futures::StreamExt;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;
use tokio_util::codec::{FramedRead, LinesCodec};

use crate::config::AnsibleConfig;
use crate::error::AnsibleError;
use crate::events::{self, Told};
use crate::processes::MARK;
use crate::run_dir::RunDir;

/// How much of Ansible's complaints is kept, in bytes.
const STDERR_BYTES_MAX: usize = 4 * 1024;
/// How long the last of its output may take once it has ended.
const REST: Duration = Duration::from_secs(2);
/// How long `--version` may take.
const VERSION_DEADLINE: Duration = Duration::from_secs(30);
/// The oldest ansible-core whose events the plugin knows.
const OLDEST: (u32, u32) = (2, 14);

/// Of our environment, what Ansible gets.
const PASSED: [&str; 5] = ["PATH", "HOME", "USER", "TZ", "TMPDIR"];

/// One run of a playbook.
pub(crate) struct Playbook<'a> {
    pub(crate) playbook: &'a Path,
    pub(crate) tags: &'a [String],
    pub(crate) skip_tags: &'a [String],
    pub(crate) inventory: &'a Path,
    /// Files of variables; later ones win.
    pub(crate) variables: &'a [PathBuf],
    pub(crate) roles: &'a Path,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// The end of what it complained of.
    pub(crate) stderr: String,
}

/// Refuses a program that is not there, or too old.
pub(crate) async fn check_version(config: &AnsibleConfig) -> Result<(), AnsibleError> {
    let program = &config.program;
    let not_started = |why: String| AnsibleError::NotStarted { program: program.clone(), why };
    let mut command = Command::new(program);
    command.arg("--version").current_dir("/").stdin(Stdio::null()).kill_on_drop(true);
    environment(&mut command, config);
    if let Some(file) = &config.config_file {
        command.env("ANSIBLE_CONFIG", file);
    }
    let output = timeout(VERSION_DEADLINE, command.output()).await;
    let output = output
        .map_err(|_| not_started(format!("--version took over {} s", VERSION_DEADLINE.as_secs())))?
        .map_err(|error| start_error(program, error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().unwrap_or_default();
    match version(line) {
        Some(found) if found >= OLDEST => Ok(()),
        Some(_) => Err(AnsibleError::TooOld { program: program.clone(), found: line.to_owned() }),
        None => {
            let stderr = tail(&output.stderr);
            Err(not_started(format!("--version says {line:?} {stderr}")))
        }
    }
}

/// The version in `ansible-playbook [core 2.19.14]`, or in the older `ansible-playbook 2.9.6`.
fn version(line: &str) -> Option<(u32, u32)> {
    let words = line.split([' ', '[', ']']);
    let mut numbers = words.filter(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    let mut parts = numbers.next()?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn start_error(program: &Path, error: io::Error) -> AnsibleError {
    let program = program.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => AnsibleError::NoProgram {
            program,
            way_out: "install ansible-core 2.14 or later, or set ansible.program",
        },
        _ => AnsibleError::NotStarted { program, why: error.to_string() },
    }
}

/// Runs a playbook in `run` to its end; `told` hears its events. After an error the playbook may
/// still run: it ends with `run`.
pub(crate) async fn play(
    config: &AnsibleConfig,
    run: &mut RunDir,
    playbook: &Playbook<'_>,
    told: &mut Told,
    progress: &Progress,
) -> Result<Ended, AnsibleError> {
    let mut command = command(config, run, playbook);
    let child = command.spawn().map_err(|error| start_error(&config.program, error))?;
    let Some(place) = run.child() else {
        return Err(AnsibleError::Busy { path: run.path().to_owned() });
    };
    let child = place.insert(child);
    let followed = timeout(config.deadline, follow(child, told, progress)).await;
    let ended = followed.map_err(|_| AnsibleError::Slow {
        playbook: playbook.playbook.display().to_string(),
        task: told.task.clone(),
        within: config.deadline,
    })?;
    *place = None;
    ended.map_err(|error| AnsibleError::NotStarted {
        program: config.program.clone(),
        why: error.to_string(),
    })
}

fn command(config: &AnsibleConfig, run: &RunDir, playbook: &Playbook<'_>) -> Command {
    let mut command = Command::new(&config.program);
    command.arg("--inventory").arg(playbook.inventory);
    command.args(["--forks", &config.forks.to_string()]);
    for file in playbook.variables {
        let mut argument = OsString::from("@");
        argument.push(file);
        command.arg("--extra-vars").arg(argument);
    }
    for (option, tags) in [("--tags", playbook.tags), ("--skip-tags", playbook.skip_tags)] {
        if !tags.is_empty() {
            command.arg(option).arg(tags.join(","));
        }
    }
    if let Some(file) = &config.vault_password_file {
        command.arg("--vault-password-file").arg(file);
    }
    command.arg(playbook.playbook);
    environment(&mut command, config);
    let yes = |yes: bool| if yes { "True" } else { "False" };
    let own = |name: &str| run.path().join(name);
    let mut roles = playbook.roles.as_os_str().to_owned();
    if let Some(more) = config.environment.get("ANSIBLE_ROLES_PATH") {
        roles.push(":");
        roles.push(more);
    }
    // An empty one of ours: Ansible would look for others by itself.
    let settings = config.config_file.clone().unwrap_or_else(|| own("ansible.cfg"));
    command
        .env(MARK, run.path())
        .env("ANSIBLE_CONFIG", settings)
        .env("ANSIBLE_ROLES_PATH", roles)
        .env("ANSIBLE_CALLBACK_PLUGINS", own("plugins"))
        .env("ANSIBLE_STDOUT_CALLBACK", events::PLUGIN_NAME)
        .env("ANSIBLE_LOCAL_TEMP", own("tmp"))
        // One that is there: each module makes a directory of its own in it, for its user alone, and
        // warns of nothing that people should know.
        .env("ANSIBLE_REMOTE_TEMP", "/var/tmp")
        .env("ANSIBLE_SSH_CONTROL_PATH_DIR", own("c"))
        .env("ANSIBLE_HOST_KEY_CHECKING", "True")
        .env("ANSIBLE_PIPELINING", yes(config.pipelining))
        .env("ANSIBLE_RETRY_FILES_ENABLED", "False")
        .env("ANSIBLE_DEPRECATION_WARNINGS", "False")
        .env("ANSIBLE_NOCOLOR", "True")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(run.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    command
}

/// An environment with nothing of ours that a playbook has no business with.
fn environment(command: &mut Command, config: &AnsibleConfig) {
    command.env_clear();
    for name in PASSED {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    // Ansible refuses to run where texts are not UTF-8.
    command.env("LC_ALL", "C.UTF-8").envs(&config.environment);
}

/// Hears the events until the process has ended.
async fn follow(child: &mut Child, told: &mut Told, progress: &Progress) -> io::Result<Ended> {
    let missing = || io::Error::other("it has no output");
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let complaints = tokio::spawn(last_of(child.stderr.take().ok_or_else(missing)?));
    let mut lines =
        FramedRead::new(stdout, LinesCodec::new_with_max_length(events::LINE_BYTES_MAX));
    let status = loop {
        tokio::select! {
            line = lines.next() => match line {
                Some(Ok(line)) => told.hear(&line, progress),
                // No more can be told; how it ended is still to be known.
                Some(Err(_)) | None => break child.wait().await?,
            },
            status = child.wait() => {
                rest(&mut lines, told, progress).await;
                break status?;
            }
        }
    };
    // What the playbook left behind may hold the other end: it is not waited for.
    let stderr = match timeout(REST, complaints).await {
        Ok(Ok(stderr)) => stderr,
        _ => "(its complaints did not end)".to_owned(),
    };
    Ok(Ended { status, stderr })
}

/// Hears what was told before the end and not read yet.
async fn rest(
    lines: &mut FramedRead<ChildStdout, LinesCodec>,
    told: &mut Told,
    progress: &Progress,
) {
    while let Ok(Some(Ok(line))) = timeout(REST, lines.next()).await {
        told.hear(&line, progress);
    }
}

/// The end of a stream.
async fn last_of(mut stream: impl AsyncRead + Unpin) -> String {
    let (mut kept, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut piece).await {
        kept.extend_from_slice(&piece[..read]);
        let excess = kept.len().saturating_sub(2 * STDERR_BYTES_MAX);
        kept.drain(..excess);
    }
    tail(&kept)
}

fn tail(bytes: &[u8]) -> String {
    let start = bytes.len().saturating_sub(STDERR_BYTES_MAX);
    String::from_utf8_lossy(&bytes[start..]).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_old_and_new() {
        for (line, expect) in [
            ("ansible-playbook [core 2.19.14]", Some((2, 19))),
            ("ansible-playbook [core 2.14.0rc1] (detached HEAD)", Some((2, 14))),
            ("ansible-playbook 2.9.6", Some((2, 9))),
            ("command not found", None),
            ("", None),
        ] {
            assert_eq!(version(line), expect, "{line}");
        }
    }

    #[tokio::test]
    async fn of_long_complaints_the_end_is_kept() {
        let long = format!("{}the end", "é".repeat(100_000));
        let kept = last_of(long.as_bytes()).await;
        assert!(kept.len() <= STDERR_BYTES_MAX + 8 && kept.ends_with("the end"), "{}", kept.len());
    }
}
