//! Runs simple commands, pipelines and lists; `compound` runs the rest of the tree.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;

use super::super::commands::{self, After, Call};
use super::super::disk::{LogKind, Who};
use super::super::drawn_guest::DrawnGuest;
use super::parse::parse;
use super::stream::{BYTES_MAX, Input, Output, taken};
use super::syntax::{AndOr, Body, Command, Joint, List, Pipeline, Word};

/// How many simple commands one script may run, loops included.
const STEPS_MAX: usize = 200_000;

/// How deep functions, `eval` and scripts may call each other.
const CALLS_MAX: usize = 40;

/// One script that runs in a guest.
#[derive(Debug, Clone)]
pub(in super::super) struct Shell {
    pub(super) guest: Arc<DrawnGuest>,
    steps: Arc<AtomicUsize>,
}

/// What a shell knows about itself; a subshell works on a copy.
#[derive(Debug, Clone)]
pub(in super::super) struct Process {
    pub(in super::super) user: String,
    pub(super) who: Who,
    pub(super) directory: String,
    /// Values by name, and whether they are exported.
    pub(super) variables: BTreeMap<String, (String, bool)>,
    pub(super) functions: BTreeMap<String, Arc<Command>>,
    /// `$0`, `$1` and so on.
    pub(super) arguments: Vec<String>,
    pub(super) exit_on_error: bool,
    pub(super) unset_is_error: bool,
    pub(super) status: i32,
    /// The status of the last command substitution in a command's words.
    pub(super) substituted: i32,
    /// What to run at the end (`trap ... EXIT`).
    pub(super) at_exit: Option<String>,
    /// Above 0 while a failure is looked at (a condition), so that `set -e` does not count.
    pub(super) lenient: usize,
    pub(super) calls: usize,
    /// Permission bits that new files do not get.
    pub(super) umask: u32,
}

/// The three standard streams.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    pub(super) input: Input,
    pub(super) output: Output,
    pub(super) error: Output,
}

/// Why running went no further down the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    Exit(i32),
    Return(i32),
    Break(u32),
    Continue(u32),
}

pub(super) type Ran = Result<i32, Leave>;

impl Process {
    /// A login shell of that account; `None` when there is no such account.
    pub(in super::super) fn login(guest: &DrawnGuest, user: &str) -> Option<Self> {
        let (who, home, hostname) = guest.with_disk(|disk| {
            let home = disk.accounts.get(user)?.home.clone();
            Some((disk.who(user)?, home, disk.hostname.clone()))
        })?;
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let set = [("HOME", home.as_str()), ("USER", user), ("LOGNAME", user), ("PATH", path)];
        let more = [("SHELL", "/bin/sh"), ("LANG", "C.UTF-8"), ("HOSTNAME", &hostname)];
        let all = set.into_iter().chain(more);
        Some(Self {
            user: user.into(),
            who,
            variables: all.map(|(name, value)| (name.into(), (value.into(), true))).collect(),
            directory: home,
            functions: BTreeMap::new(),
            arguments: vec!["sh".into()],
            exit_on_error: false,
            unset_is_error: false,
            status: 0,
            substituted: 0,
            at_exit: None,
            lenient: 0,
            calls: 0,
            umask: 0o022,
        })
    }

    /// With more exported variables.
    pub(in super::super) fn with_environment(mut self, more: Vec<(String, String)>) -> Self {
        let more = more.into_iter().map(|(name, value)| (name, (value, true)));
        self.variables.extend(more);
        self
    }

    /// The absolute form of a path.
    pub(super) fn path(&self, path: &str) -> String {
        if path.starts_with('/') { path.into() } else { format!("{}/{path}", self.directory) }
    }
}

impl Shell {
    pub(in super::super) fn new(guest: Arc<DrawnGuest>) -> Self {
        Self { guest, steps: Arc::default() }
    }

    /// Runs a script to its end and answers its exit status.
    pub(in super::super) async fn script(
        &self,
        mut process: Process,
        script: &str,
        input: Input,
        output: Output,
        error: Output,
    ) -> i32 {
        let streams = Streams { input, output, error };
        let user = process.user.clone();
        self.guest.with_disk(|disk| disk.note(LogKind::Script, &user, script));
        self.text(&mut process, script, &streams).await
    }

    /// Runs one program with its arguments, without a shell in between.
    pub(in super::super) async fn program(
        &self,
        mut process: Process,
        words: Vec<String>,
        input: Input,
        output: Output,
        error: Output,
    ) -> i32 {
        let streams = Streams { input, output, error };
        let user = process.user.clone();
        self.guest.with_disk(|disk| disk.note(LogKind::Script, &user, words.join(" ")));
        match self.invoke(&mut process, words, &streams).await {
            Ok(status) | Err(Leave::Exit(status) | Leave::Return(status)) => status,
            Err(Leave::Break(_) | Leave::Continue(_)) => 0,
        }
    }

    /// Runs a text as a script of its own and its exit trap after it.
    pub(super) fn text<'a>(
        &'a self,
        process: &'a mut Process,
        text: &'a str,
        streams: &'a Streams,
    ) -> BoxFuture<'a, i32> {
        Box::pin(async move {
            let list = match parse(text) {
                Ok(list) => list,
                Err(error) => {
                    self.complain(process, streams, &error.to_string()).await;
                    return 2;
                }
            };
            let status = match self.list(process, &list, streams).await {
                Ok(status) | Err(Leave::Exit(status) | Leave::Return(status)) => status,
                Err(Leave::Break(_) | Leave::Continue(_)) => 0,
            };
            if let Some(last) = process.at_exit.take() {
                process.status = status;
                self.text(process, &last, streams).await;
            }
            status
        })
    }

    pub(super) fn list<'a>(
        &'a self,
        process: &'a mut Process,
        list: &'a List,
        streams: &'a Streams,
    ) -> BoxFuture<'a, Ran> {
        Box::pin(async move {
            let mut status = 0;
            for entry in list {
                status = self.and_or(process, entry, streams).await?;
            }
            Ok(status)
        })
    }

    async fn and_or(&self, process: &mut Process, entry: &AndOr, streams: &Streams) -> Ran {
        let last = entry.rest.len();
        let mut status = self.pipeline(process, &entry.first, streams, last > 0).await?;
        for (i, (joint, pipeline)) in entry.rest.iter().enumerate() {
            if (*joint == Joint::And) == (status == 0) {
                status = self.pipeline(process, pipeline, streams, i + 1 < last).await?;
            }
        }
        Ok(status)
    }

    /// `watched`: somebody looks at the status, so that `set -e` does not end the script.
    async fn pipeline(
        &self,
        process: &mut Process,
        pipeline: &Pipeline,
        streams: &Streams,
        watched: bool,
    ) -> Ran {
        let lenient = usize::from(watched || pipeline.negated);
        process.lenient += lenient;
        let ran = match pipeline.commands.as_slice() {
            [only] => self.command(process, only, streams).await,
            several => self.piped(process, several, streams).await,
        };
        process.lenient -= lenient;
        let status = ran?;
        let status = if pipeline.negated { i32::from(status == 0) } else { status };
        process.status = status;
        if status != 0 && process.exit_on_error && process.lenient == 0 && lenient == 0 {
            return Err(Leave::Exit(status));
        }
        Ok(status)
    }

    /// One after the other: each reads what the one before has written.
    async fn piped(&self, process: &mut Process, commands: &[Command], streams: &Streams) -> Ran {
        let (mut input, mut status) = (streams.input.clone(), 0);
        for (i, command) in commands.iter().enumerate() {
            let (memory, buffer) = Output::memory();
            let output = if i + 1 == commands.len() { streams.output.clone() } else { memory };
            let part = Streams { input, output, error: streams.error.clone() };
            let mut copy = process.clone();
            status = match self.command(&mut copy, command, &part).await {
                Ok(status) | Err(Leave::Exit(status) | Leave::Return(status)) => status,
                Err(Leave::Break(_) | Leave::Continue(_)) => 0,
            };
            input = Input::bytes(taken(&buffer).into());
        }
        Ok(status)
    }

    /// Any command with its redirections.
    pub(super) fn command<'a>(
        &'a self,
        process: &'a mut Process,
        command: &'a Command,
        streams: &'a Streams,
    ) -> BoxFuture<'a, Ran> {
        Box::pin(async move {
            let streams = match self.redirected(process, &command.redirects, streams).await? {
                Ok(streams) => streams,
                Err(reason) => {
                    self.complain(process, streams, &reason).await;
                    return Ok(2);
                }
            };
            match &command.body {
                Body::Simple { assignments, words } => {
                    self.simple(process, assignments, words, &streams).await
                }
                body => self.compound(process, body, &streams).await,
            }
        })
    }

    async fn simple(
        &self,
        process: &mut Process,
        assignments: &[(String, Word)],
        words: &[Word],
        streams: &Streams,
    ) -> Ran {
        self.step(process, streams).await?;
        process.substituted = 0;
        let words = self.fields(process, words, streams).await?;
        let mut set = Vec::new();
        for (name, word) in assignments {
            set.push((name.clone(), self.single(process, word, streams).await?));
        }
        if words.is_empty() {
            for (name, value) in set {
                let exported = process.variables.get(&name).is_some_and(|(_, exported)| *exported);
                process.variables.insert(name, (value, exported));
            }
            return Ok(process.substituted);
        }
        let mut hidden = Vec::new();
        for (name, value) in set {
            let old = process.variables.insert(name.clone(), (value, true));
            hidden.push((name, old));
        }
        let ran = self.invoke(process, words, streams).await;
        for (name, old) in hidden.into_iter().rev() {
            match old {
                Some(old) => process.variables.insert(name, old),
                None => process.variables.remove(&name),
            };
        }
        ran
    }

    /// A function, something built in, a command or a file that is a script.
    pub(super) fn invoke<'a>(
        &'a self,
        process: &'a mut Process,
        words: Vec<String>,
        streams: &'a Streams,
    ) -> BoxFuture<'a, Ran> {
        Box::pin(async move {
            let Some(name) = words.first().cloned() else { return Ok(0) };
            if let Some(body) = process.functions.get(&name).cloned() {
                return self.function(process, words, &body, streams).await;
            }
            if let Some(ran) = self.builtin(process, &words, streams).await {
                return ran;
            }
            // What a real shell does itself is no process, so that nobody sees its words.
            if !commands::is_in_shells(&name) {
                let text = words.join(" ");
                self.guest.with_disk(|disk| disk.note(LogKind::Command, &process.user, text));
            }
            let installed = self.guest.with_disk(|disk| commands::find(disk, &name));
            if let Some(command) = installed {
                return Ok(self.external(process, command, &words, streams).await);
            }
            if name.contains('/') {
                return self.file(process, &name, &words, streams).await;
            }
            if self.guest.with_disk(|disk| disk.packages.contains(name.as_str())) {
                let reason = format!("1: {name}: installed, but a drawn guest cannot run it");
                self.complain(process, streams, &reason).await;
                return Ok(126);
            }
            self.complain(process, streams, &format!("1: {name}: not found")).await;
            Ok(127)
        })
    }

    async fn external(
        &self,
        process: &Process,
        command: commands::Command,
        words: &[String],
        streams: &Streams,
    ) -> i32 {
        let input = if commands::reads_input(&words[0], &words[1..]) {
            match streams.input.read_all().await {
                Ok(input) => input,
                Err(error) => {
                    self.complain(process, streams, &error.to_string()).await;
                    return 1;
                }
            }
        } else {
            Bytes::new()
        };
        let (status, out, err, after) = self.guest.with_disk(|disk| {
            let mut call = Call::new(&self.guest, disk, process.caller(), words, input);
            let status = command(&mut call);
            (status, call.out, call.err, call.after)
        });
        let written = self.write(process, &streams.output, out).await;
        self.write(process, &streams.error, err).await;
        for after in after {
            self.after(after).await;
        }
        if written { status } else { 1 }
    }

    async fn after(&self, after: After) {
        match after {
            After::UnitStarted(unit) => self.guest.unit_started(&unit),
            After::UnitStopped(unit) => self.guest.unit_stopped(&unit).await,
            After::Reboot => self.guest.reboot_soon(),
            After::PowerOff => self.guest.power_off_soon(),
        }
    }

    /// Counts a call; too many within each other end the script.
    pub(super) async fn entered(
        &self,
        process: &mut Process,
        streams: &Streams,
    ) -> Result<(), Leave> {
        process.calls += 1;
        if process.calls > CALLS_MAX {
            self.complain(process, streams, "calls nest too deep").await;
            return Err(Leave::Exit(2));
        }
        Ok(())
    }

    async fn step(&self, process: &Process, streams: &Streams) -> Result<(), Leave> {
        tokio::task::consume_budget().await;
        if self.steps.fetch_add(1, Ordering::Relaxed) >= STEPS_MAX {
            self.complain(process, streams, "the script runs too many commands").await;
            return Err(Leave::Exit(2));
        }
        Ok(())
    }

    /// Writes; `false` when nobody takes it any more.
    pub(super) async fn write(&self, process: &Process, to: &Output, bytes: Vec<u8>) -> bool {
        if bytes.is_empty() {
            return true;
        }
        match to {
            Output::Null => true,
            Output::Memory(buffer) => {
                let mut buffer = buffer.lock().unwrap_or_else(PoisonError::into_inner);
                let room = BYTES_MAX.saturating_sub(buffer.len());
                buffer.extend_from_slice(&bytes[..bytes.len().min(room)]);
                bytes.len() <= room
            }
            Output::Stream(sender) => sender.send(bytes.into()).await.is_ok(),
            Output::File(path) => self.guest.with_disk(|disk| {
                let mut all = disk.read(&Who::root(), path).unwrap_or_default().to_vec();
                all.extend_from_slice(&bytes);
                disk.write(&process.who, path, all.into(), 0o644).is_ok()
            }),
        }
    }

    /// Says on standard error what is wrong, as `sh` does.
    pub(super) async fn complain(&self, process: &Process, streams: &Streams, reason: &str) {
        let name = process.arguments.first().map_or("sh", String::as_str);
        self.write(process, &streams.error, format!("{name}: {reason}\n").into_bytes()).await;
    }
}
