//! Talking to the program: one process group per run, bounded in time and in what it may say.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use daas_core::progress::Progress;
use daas_core::secret::Secret;
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::TerraformConfig;
use crate::error::TerraformError;
use crate::events::{Told, kind_of};
use crate::hidden::Hidden;
use crate::processes::{LOCK_DESCRIPTOR, signal_group};
use crate::run_dir::Held;

/// The longest line that is read; a state is one line.
const LINE_BYTES_MAX: u64 = 16 << 20;
/// How much of a run's words is kept for the administrator.
const LOG_BYTES_MAX: usize = 256 << 10;
/// How long the pipes of an ended program are read on: its children may hold them for ever.
const DRAIN: Duration = Duration::from_secs(2);
/// The program and what it is started with.
#[derive(Debug)]
pub(crate) struct Program {
    path: PathBuf,
    environment: Vec<(OsString, OsString)>,
    variables: Vec<(OsString, Secret<String>)>,
    hidden: Arc<Hidden>,
    room: Semaphore,
    interrupt_grace: Duration,
}

/// One run of the program.
pub(crate) struct Call<'a> {
    pub(crate) arguments: &'a [&'a str],
    pub(crate) directory: &'a Path,
    /// The run directory whose lock all its processes are to hold.
    pub(crate) held: Option<&'a Held>,
    pub(crate) log: PathBuf,
    pub(crate) deadline: Duration,
    pub(crate) progress: Progress,
    pub(crate) cancelled: &'a CancellationToken,
}

/// What a run that ended well said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) told: Told,
    /// The last line.
    pub(crate) last: String,
    /// The first of all that it printed, for short answers of several lines.
    pub(crate) said: String,
}

/// What is collected while it runs.
#[derive(Debug, Default)]
struct Words {
    told: Told,
    last: String,
    said: String,
    log: String,
    failed: Option<std::io::Error>,
}

type Shared = Arc<Mutex<Words>>;

/// How a run came to its end.
enum End {
    Itself(ExitStatus),
    Deadline,
    Cancelled,
}

/// Interrupts the group when the one who waits for it goes away; a successor ends it.
struct Interrupting(Option<u32>);

impl Drop for Interrupting {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            signal_group(leader, Signal::INT);
        }
    }
}

impl Program {
    pub(crate) fn new(config: &TerraformConfig, cache: &Path) -> Result<Self, TerraformError> {
        let secrets = config.secrets()?;
        let hidden = Arc::new(Hidden::new(secrets.values().cloned()));
        let mut environment: Vec<(OsString, OsString)> =
            std::env::vars_os().filter(|(name, _)| is_passed_on(name)).collect();
        let mut set = |name: &str, value: OsString| environment.push((name.into(), value));
        set("TF_IN_AUTOMATION", "1".into());
        set("TF_INPUT", "0".into());
        set("CHECKPOINT_DISABLE", "1".into());
        set("TF_PLUGIN_CACHE_DIR", cache.into());
        if let Some(file) = &config.cli_config_file {
            set("TF_CLI_CONFIG_FILE", file.into());
        }
        let named = |(name, value)| (OsString::from(format!("TF_VAR_{name}")), value);
        Ok(Self {
            path: config.program.clone(),
            environment,
            variables: secrets.into_iter().map(named).collect(),
            hidden,
            room: Semaphore::new(config.parallel),
            interrupt_grace: config.interrupt_grace,
        })
    }

    /// Runs it to its end.
    pub(crate) async fn run(&self, call: Call<'_>) -> Result<Answer, TerraformError> {
        let command = call.arguments.first().copied().unwrap_or_default();
        let cancelled = || TerraformError::Cancelled { command: self.named(command) };
        let room = tokio::select! {
            room = self.room.acquire() => room,
            () = call.cancelled.cancelled() => return Err(cancelled()),
        };
        let _room = room.map_err(|_| cancelled())?;
        let mut child = self.spawn(&call)?;
        let mut interrupting = Interrupting(child.id());
        let told = Told::without(Arc::clone(&self.hidden));
        let words: Shared = Arc::new(Mutex::new(Words { told, ..Words::default() }));
        let mut pumps = JoinSet::new();
        if let Some(out) = child.stdout.take() {
            pumps.spawn(pump(out, Arc::clone(&words), call.progress.clone(), false));
        }
        if let Some(err) = child.stderr.take() {
            pumps.spawn(pump(err, Arc::clone(&words), call.progress.clone(), true));
        }
        let end = self.wait(&mut child, call.deadline, call.cancelled).await;
        interrupting.0 = None;
        let drained = async { while pumps.join_next().await.is_some() {} };
        // What still holds the pipes then is told by the lock it holds as well.
        let _ = tokio::time::timeout(DRAIN, drained).await;
        drop(pumps);
        let words = std::mem::take(&mut *lock(&words));
        self.keep_log(&call.log, command, &words);
        match end? {
            End::Deadline => Err(TerraformError::Deadline {
                command: self.named(command),
                after: call.deadline,
                log: call.log,
            }),
            End::Cancelled => Err(cancelled()),
            End::Itself(status) if status.success() => match words.failed {
                Some(source) => Err(TerraformError::File {
                    doing: "read the output of",
                    path: self.path.clone(),
                    source,
                }),
                None => Ok(Answer { told: words.told, last: words.last, said: words.said }),
            },
            End::Itself(status) => Err(self.failed(command, status, &words.told)),
        }
    }

    fn failed(&self, command: &str, status: ExitStatus, told: &Told) -> TerraformError {
        if let Some(signal) = status.signal() {
            return TerraformError::Killed { command: self.named(command), signal };
        }
        let errors = told.errors.clone();
        let kind = kind_of(&errors);
        let why = if errors.is_empty() { format!("it said nothing ({status})") } else { errors };
        TerraformError::Failed { program: self.shown(), command: command.to_owned(), kind, why }
    }

    /// Starts it. A shell writes down who it is and puts the lock where children inherit it, then
    /// becomes the program: no instant is left at which a child runs unrecorded.
    fn spawn(&self, call: &Call<'_>) -> Result<Child, TerraformError> {
        let mut command = match call.held {
            None => {
                let mut command = Command::new(&self.path);
                command.stdin(Stdio::null());
                command
            }
            Some(held) => {
                let mut command = Command::new("/bin/sh");
                let script = format!(
                    "read -r stat < /proc/$$/stat && printf '%s\\n' \"$stat\" > \"$1\" || exit 71\n\
                     shift; exec {LOCK_DESCRIPTOR}<&0 </dev/null; exec \"$@\""
                );
                command.arg("-c").arg(script).arg("sh").arg(held.leader_file()).arg(&self.path);
                let lock = held
                    .lock_for_child()
                    .map_err(TerraformError::file("hand on the lock of", call.directory))?;
                command.stdin(Stdio::from(lock));
                command
            }
        };
        command
            .args(call.arguments)
            .current_dir(call.directory)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .envs(self.variables.iter().map(|(name, value)| (name, value.expose())))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        command
            .spawn()
            .map_err(|source| TerraformError::Missing { program: self.path.clone(), source })
    }

    async fn wait(
        &self,
        child: &mut Child,
        deadline: Duration,
        cancelled: &CancellationToken,
    ) -> Result<End, TerraformError> {
        let lost = TerraformError::file("wait for", &self.path);
        let end = tokio::select! {
            status = child.wait() => return status.map(End::Itself).map_err(lost),
            () = tokio::time::sleep(deadline) => End::Deadline,
            () = cancelled.cancelled() => End::Cancelled,
        };
        if let Some(leader) = child.id() {
            signal_group(leader, Signal::INT);
            let ended = tokio::time::timeout(self.interrupt_grace, child.wait()).await;
            if ended.is_err() {
                signal_group(leader, Signal::KILL);
                child.wait().await.map_err(lost)?;
            }
        }
        Ok(end)
    }

    fn keep_log(&self, path: &Path, command: &str, words: &Words) {
        let text = format!("== {command}\n{}", self.hidden.scrub(&words.log));
        let written = std::fs::OpenOptions::new().append(true).create(true).open(path).and_then(
            |mut file| {
                if file.metadata()?.len() < LOG_BYTES_MAX as u64 {
                    file.write_all(text.as_bytes())?;
                }
                Ok(())
            },
        );
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "the log of a run cannot be kept");
        }
    }

    /// The error for a program that is none we can use.
    pub(crate) fn refused(&self, why: String) -> TerraformError {
        TerraformError::NotTerraform { program: self.path.clone(), why }
    }

    fn named(&self, command: &str) -> String {
        format!("{} {command}", self.shown())
    }

    fn shown(&self) -> String {
        self.path.display().to_string()
    }
}

/// Whether a variable of ours is for the program too: what steers it, or is ours alone, is not.
fn is_passed_on(name: &std::ffi::OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let kept = ["TF_CLI_CONFIG_FILE", "TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE"];
    kept.contains(&name)
        || name.starts_with("TF_TOKEN_")
        // What the backend of states by HTTP is told by: users and passwords mostly.
        || name.starts_with("TF_HTTP_")
        || !(name.starts_with("TF_") || name.starts_with("DAAS_"))
}

async fn pump(pipe: impl AsyncRead + Unpin, words: Shared, progress: Progress, errors: bool) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut pipe).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await;
        let mut words = lock(&words);
        match read {
            Ok(0) => return,
            Ok(_) => words.take_in(&String::from_utf8_lossy(&line), &progress, errors),
            Err(error) => {
                words.failed = Some(error);
                return;
            }
        }
    }
}

impl Words {
    fn take_in(&mut self, line: &str, progress: &Progress, errors: bool) {
        if errors {
            self.told.note_error(line);
            self.log(line);
            return;
        }
        self.told.hear(line, progress);
        let said = serde_json::from_str::<serde_json::Value>(line).ok();
        if let Some(message) = said.as_ref().and_then(|v| v["@message"].as_str()) {
            self.log(message);
            self.log("\n");
        }
        line.trim_end().clone_into(&mut self.last);
        keep(&mut self.said, line);
    }

    fn log(&mut self, text: &str) {
        keep(&mut self.log, text);
    }
}

/// Adds as much of `text` as there is room for.
fn keep(kept: &mut String, text: &str) {
    let room = LOG_BYTES_MAX.saturating_sub(kept.len());
    kept.push_str(&text[..text.floor_char_boundary(room)]);
}

fn lock(words: &Shared) -> MutexGuard<'_, Words> {
    words.lock().unwrap_or_else(PoisonError::into_inner)
}
