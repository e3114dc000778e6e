//! Programs that run others: shells, script files, `sudo`, `env`, `timeout`, and `sleep`.

use std::time::Duration;

use super::super::commands;
use super::super::disk::FileError;
use super::builtins::assign;
use super::interpret::{Leave, Process, Ran, Shell, Streams};
use super::stream::Input;

impl Shell {
    /// Programs that run another one.
    pub(super) async fn wrapper(
        &self,
        process: &mut Process,
        words: &[String],
        streams: &Streams,
    ) -> Option<Ran> {
        Some(match words[0].as_str() {
            "sleep" => self.sleep(process, words, streams).await,
            "sudo" | "runuser" | "su" => self.as_other(process, words, streams).await,
            "env" if words.len() > 1 => {
                let mut child = process.clone();
                let rest = words[1..].iter().position(|word| !word.contains('='));
                let count = rest.unwrap_or(words.len() - 1);
                for word in &words[1..=count] {
                    assign(&mut child, word, true);
                }
                let program = words[1 + count..].to_vec();
                let program = if program.is_empty() { vec!["env".into()] } else { program };
                self.invoke(&mut child, program, streams).await
            }
            "nohup" | "nice" | "ionice" | "time" | "setsid" => {
                let program = words.iter().skip(1).skip_while(|word| word.starts_with('-'));
                let program: Vec<String> = program.cloned().collect();
                self.invoke(process, program, streams).await
            }
            "timeout" => {
                let rest: Vec<&String> = words.iter().skip(1).collect();
                let at = rest.iter().position(|word| !word.starts_with('-')).unwrap_or(0);
                let Some(limit) = rest.get(at).and_then(|word| seconds(word)) else {
                    self.complain(process, streams, "timeout: invalid time interval").await;
                    return Some(Ok(125));
                };
                let program = rest.into_iter().skip(at + 1).cloned().collect();
                let run = self.invoke(process, program, streams);
                tokio::time::timeout(limit, run).await.unwrap_or(Ok(124))
            }
            _ => return None,
        })
    }

    /// Runs a file of the guest as a script.
    pub(super) async fn file(
        &self,
        process: &mut Process,
        name: &str,
        words: &[String],
        streams: &Streams,
    ) -> Ran {
        let path = process.path(name);
        let read = self.guest.with_disk(|disk| {
            let executable = disk.stat(&path)?.mode & 0o111 != 0;
            if executable { disk.read(&process.who, &path) } else { Err(FileError::Denied) }
        });
        let text = match read {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(FileError::NotFound) => {
                self.complain(process, streams, &format!("1: {name}: not found")).await;
                return Ok(127);
            }
            Err(error) => {
                self.complain(process, streams, &format!("1: {name}: {error}")).await;
                return Ok(126);
            }
        };
        if let Some(interpreter) = text.strip_prefix("#!") {
            let first = interpreter.lines().next().unwrap_or_default();
            if !["/sh", "/bash", "/dash", " sh", " bash"].iter().any(|s| first.trim().ends_with(s))
            {
                let reason =
                    format!("1: {name}: no interpreter {:?} in a drawn guest", first.trim());
                self.complain(process, streams, &reason).await;
                return Ok(126);
            }
        }
        let mut child = process.child(words.to_vec());
        self.entered(&mut child, streams).await?;
        Ok(self.text(&mut child, &text, streams).await)
    }

    /// `sh -c 'text' name arguments`, `sh -s arguments`, `sh file arguments`.
    pub(super) async fn another_shell(
        &self,
        process: &mut Process,
        words: &[String],
        streams: &Streams,
    ) -> Ran {
        let (mut flags, mut at) = (String::new(), 1);
        while words.get(at).is_some_and(|w| w.len() > 1 && w.starts_with('-') && w != "--") {
            if !words[at].starts_with("--") {
                flags.push_str(&words[at][1..]);
            }
            at += 1;
        }
        let rest = &words[at..];
        let (text, arguments, streams) = if flags.contains('c') {
            let Some((text, rest)) = rest.split_first() else {
                self.complain(process, streams, "-c requires an argument").await;
                return Ok(2);
            };
            let name = rest.first().unwrap_or(&words[0]).clone();
            let more = rest.iter().skip(1).cloned();
            (text.clone(), [name].into_iter().chain(more).collect(), streams.clone())
        } else if flags.contains('s') || rest.is_empty() {
            let text = match streams.input.read_all().await {
                Ok(text) => String::from_utf8_lossy(&text).into_owned(),
                Err(error) => {
                    self.complain(process, streams, &error.to_string()).await;
                    return Ok(2);
                }
            };
            let arguments: Vec<String> =
                [words[0].clone()].into_iter().chain(rest.iter().cloned()).collect();
            // The script itself is what standard input held.
            (text, arguments, Streams { input: Input::empty(), ..streams.clone() })
        } else {
            let path = process.path(&rest[0]);
            match self.guest.with_disk(|disk| disk.read(&process.who, &path)) {
                Ok(text) => {
                    (String::from_utf8_lossy(&text).into_owned(), rest.to_vec(), streams.clone())
                }
                Err(_) => {
                    let reason = format!("0: cannot open {}: No such file", rest[0]);
                    self.complain(process, streams, &reason).await;
                    return Ok(2);
                }
            }
        };
        let mut child = process.child(arguments);
        child.exit_on_error = flags.contains('e');
        child.unset_is_error = flags.contains('u');
        self.entered(&mut child, &streams).await?;
        Ok(self.text(&mut child, &text, &streams).await)
    }

    async fn sleep(&self, process: &mut Process, words: &[String], streams: &Streams) -> Ran {
        match words.get(1).and_then(|word| seconds(word)) {
            Some(time) => {
                tokio::time::sleep(time).await;
                Ok(0)
            }
            None => {
                self.complain(process, streams, "sleep: invalid time interval").await;
                Ok(1)
            }
        }
    }

    /// `sudo [-u user] program`, `runuser -u user -- program`, `su user -c 'text'`.
    async fn as_other(&self, process: &mut Process, words: &[String], streams: &Streams) -> Ran {
        let (mut user, mut text, mut rest) = ("root".to_owned(), None, Vec::new());
        let mut arguments = words[1..].iter();
        while let Some(word) = arguments.next() {
            match word.as_str() {
                "-u" => user = arguments.next().cloned().unwrap_or_default(),
                "-c" => text = arguments.next().cloned(),
                "-s" if words[0] == "su" => drop(arguments.next()),
                "-n" | "-E" | "-H" | "-i" | "-l" | "-S" | "-" | "--" | "-k" => {
                    if word == "--" && words[0] != "su" {
                        rest.extend(arguments.by_ref().cloned());
                    }
                }
                name if words[0] == "su" && rest.is_empty() => user = name.to_owned(),
                _ => {
                    rest.push(word.clone());
                    rest.extend(arguments.by_ref().cloned());
                }
            }
        }
        let allowed = process.who.uid == 0
            || words[0] == "sudo"
                && self.guest.with_disk(|disk| commands::may_sudo(disk, &process.user));
        let login = Process::login(&self.guest, &user);
        let (true, Some(login)) = (allowed, login) else {
            let reason =
                if allowed { format!("unknown user {user}") } else { "not allowed".into() };
            self.complain(process, streams, &format!("{}: {reason}", words[0])).await;
            return Ok(1);
        };
        let directory = process.directory.clone();
        let mut child = Process { directory, calls: process.calls, ..login };
        self.entered(&mut child, streams).await?;
        let program = match text {
            Some(text) => vec!["sh".into(), "-c".into(), text],
            None if rest.is_empty() => vec!["sh".into()],
            None => rest
                .into_iter()
                .skip_while(|word| {
                    let assigned = word.split_once('=');
                    assigned.is_some_and(|_| assign(&mut child, word, true))
                })
                .collect(),
        };
        match self.invoke(&mut child, program, streams).await {
            Ok(status) | Err(Leave::Exit(status)) => Ok(status),
            leave => leave,
        }
    }
}

/// `90`, `1.5`, `2m`, `1h`.
fn seconds(text: &str) -> Option<Duration> {
    let (number, factor) = match text.as_bytes().last()? {
        b's' => (&text[..text.len() - 1], 1.0),
        b'm' => (&text[..text.len() - 1], 60.0),
        b'h' => (&text[..text.len() - 1], 3600.0),
        _ => (text, 1.0),
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * factor).ok()
}
