//! What a shell does itself: its variables and its flow. Programs that run others are in `launch`.

use super::super::commands::{self, Caller};
use super::interpret::{Leave, Process, Ran, Shell, Streams};

impl Process {
    /// Who calls a command, and with what environment.
    pub(super) fn caller(&self) -> Caller<'_> {
        Caller {
            user: &self.user,
            who: &self.who,
            directory: &self.directory,
            umask: self.umask,
            environment: self
                .variables
                .iter()
                .filter(|(_, (_, exported))| *exported)
                .map(|(name, (value, _))| (name.as_str(), value.as_str()))
                .collect(),
        }
    }

    /// A new shell with the same exported variables and those arguments (`$0` first).
    pub(super) fn child(&self, arguments: Vec<String>) -> Self {
        let exported = self.variables.iter().filter(|(_, (_, exported))| *exported);
        Self {
            variables: exported.map(|(name, value)| (name.clone(), value.clone())).collect(),
            functions: Default::default(),
            arguments,
            exit_on_error: false,
            unset_is_error: false,
            status: 0,
            at_exit: None,
            lenient: 0,
            ..self.clone()
        }
    }
}

impl Shell {
    /// Runs what is built in; `None` when `words` is none of it.
    pub(super) async fn builtin(
        &self,
        process: &mut Process,
        words: &[String],
        streams: &Streams,
    ) -> Option<Ran> {
        let arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        let number = |default: i32| arguments.first().map_or(Some(default), |n| n.parse().ok());
        Some(match words[0].as_str() {
            ":" => Ok(0),
            "exit" => Err(Leave::Exit(number(process.status).unwrap_or(2) & 255)),
            "return" => Err(Leave::Return(number(process.status).unwrap_or(2) & 255)),
            "break" => Err(Leave::Break(number(1).unwrap_or(1).max(1) as u32)),
            "continue" => Err(Leave::Continue(number(1).unwrap_or(1).max(1) as u32)),
            "cd" => self.change_directory(process, &arguments, streams).await,
            "set" => self.set(process, words, streams).await,
            "shift" => {
                let count = number(1).unwrap_or(1).max(0) as usize;
                let given = process.arguments.len().saturating_sub(1);
                let count_fits = count <= given;
                process.arguments.drain(1..1 + count.min(given));
                Ok(i32::from(!count_fits))
            }
            "export" | "readonly" | "local" => {
                for argument in &arguments {
                    assign(process, argument, words[0] == "export");
                }
                Ok(0)
            }
            "unset" => {
                for name in arguments.iter().filter(|name| !name.starts_with('-')) {
                    process.variables.remove(*name);
                    process.functions.remove(*name);
                }
                Ok(0)
            }
            "umask" => self.umask(process, &arguments, streams).await,
            "trap" => self.trap(process, &arguments, streams).await,
            "read" => self.read(process, &arguments, streams).await,
            "eval" => self.eval(process, &arguments.join(" "), streams).await,
            "." | "source" => self.source(process, &arguments, streams).await,
            "exec" if !arguments.is_empty() => {
                match self.invoke(process, words[1..].to_vec(), streams).await {
                    Ok(status) => Err(Leave::Exit(status)),
                    leave => leave,
                }
            }
            "exec" | "wait" => Ok(0),
            "sh" | "bash" | "dash" | "/bin/sh" | "/bin/bash" | "/usr/bin/sh" => {
                self.another_shell(process, words, streams).await
            }
            "command" | "type" | "which" => self.locate(process, words, streams).await,
            _ => return self.wrapper(process, words, streams).await,
        })
    }

    async fn change_directory(
        &self,
        process: &mut Process,
        arguments: &[&str],
        streams: &Streams,
    ) -> Ran {
        let home = process.variables.get("HOME").map_or("/", |(value, _)| value).to_owned();
        let path = process.path(arguments.first().copied().unwrap_or(&home));
        let is_directory = self.guest.with_disk(|disk| {
            let resolved = disk.resolve(&path, true)?;
            disk.stat(&resolved).map(|node| (resolved, node.kind.clone()))
        });
        match is_directory {
            Ok((resolved, super::super::disk::Kind::Directory)) => {
                process.directory = resolved;
                Ok(0)
            }
            _ => {
                self.complain(process, streams, &format!("1: cd: can't cd to {path}")).await;
                Ok(2)
            }
        }
    }

    async fn set(&self, process: &mut Process, words: &[String], streams: &Streams) -> Ran {
        let mut rest = words[1..].iter().peekable();
        while let Some(word) = rest.next_if(|word| word.starts_with(['-', '+'])) {
            let on = word.starts_with('-');
            if word == "--" {
                break;
            }
            for flag in word[1..].chars() {
                match flag {
                    'e' => process.exit_on_error = on,
                    'u' => process.unset_is_error = on,
                    'x' | 'f' | 'a' => {}
                    'o' => match rest.next().map(String::as_str) {
                        Some("errexit") => process.exit_on_error = on,
                        Some("nounset") => process.unset_is_error = on,
                        // Which part of a pipe failed is not told apart here.
                        Some("pipefail" | "noglob" | "xtrace") => {}
                        other => {
                            let reason = format!("1: set: Illegal option -o {other:?}");
                            self.complain(process, streams, &reason).await;
                            return Err(Leave::Exit(2));
                        }
                    },
                    other => {
                        let reason = format!("1: set: Illegal option -{other}");
                        self.complain(process, streams, &reason).await;
                        return Err(Leave::Exit(2));
                    }
                }
            }
        }
        if words.get(1).is_some_and(|word| word == "--") || rest.peek().is_some() {
            process.arguments.truncate(1);
            process.arguments.extend(rest.cloned());
        }
        Ok(0)
    }

    async fn umask(&self, process: &mut Process, arguments: &[&str], streams: &Streams) -> Ran {
        match arguments.first().map(|text| u32::from_str_radix(text, 8)) {
            Some(Ok(bits)) if bits <= 0o777 => process.umask = bits,
            Some(_) => {
                self.complain(process, streams, "1: umask: a drawn guest needs octal digits").await;
                return Ok(2);
            }
            None => {
                let text = format!("{:04o}\n", process.umask);
                self.write(process, &streams.output, text.into_bytes()).await;
            }
        }
        Ok(0)
    }

    async fn trap(&self, process: &mut Process, arguments: &[&str], streams: &Streams) -> Ran {
        let Some((action, signals)) = arguments.split_first() else { return Ok(0) };
        if signals.iter().any(|signal| matches!(*signal, "EXIT" | "0")) {
            process.at_exit = (*action != "-" && !action.is_empty()).then(|| (*action).to_owned());
        } else if signals.is_empty() {
            self.complain(process, streams, "1: trap: no signal").await;
            return Ok(2);
        }
        Ok(0)
    }

    async fn read(&self, process: &mut Process, arguments: &[&str], streams: &Streams) -> Ran {
        let names: Vec<&&str> = arguments.iter().filter(|name| !name.starts_with('-')).collect();
        let line = match streams.input.read_line().await {
            Ok(line) => line,
            Err(error) => {
                self.complain(process, streams, &error.to_string()).await;
                return Ok(2);
            }
        };
        let text = line.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let mut rest = text.trim();
        for (i, name) in names.iter().enumerate() {
            let value = if i + 1 == names.len() {
                std::mem::take(&mut rest)
            } else {
                let (value, more) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
                rest = more.trim_start();
                value
            };
            process.variables.insert((**name).into(), (value.into(), false));
        }
        Ok(i32::from(line.is_none()))
    }

    /// Runs a text in this very shell.
    async fn eval(&self, process: &mut Process, text: &str, streams: &Streams) -> Ran {
        let list = match super::parse::parse(text) {
            Ok(list) => list,
            Err(error) => {
                self.complain(process, streams, &error.to_string()).await;
                return Err(Leave::Exit(2));
            }
        };
        self.entered(process, streams).await?;
        let ran = self.list(process, &list, streams).await;
        process.calls -= 1;
        ran
    }

    async fn source(&self, process: &mut Process, arguments: &[&str], streams: &Streams) -> Ran {
        let path = process.path(arguments.first().copied().unwrap_or_default());
        match self.guest.with_disk(|disk| disk.read(&process.who, &path)) {
            Ok(text) => self.eval(process, &String::from_utf8_lossy(&text), streams).await,
            Err(error) => {
                self.complain(process, streams, &format!("1: .: {path}: {error}")).await;
                Err(Leave::Exit(2))
            }
        }
    }

    async fn locate(&self, process: &mut Process, words: &[String], streams: &Streams) -> Ran {
        let rest = &words[1..];
        if words[0] == "command" && !matches!(rest.first().map(String::as_str), Some("-v" | "-V")) {
            return self.invoke(process, rest.to_vec(), streams).await;
        }
        let (mut found, mut status) = (String::new(), 0);
        for name in rest.iter().filter(|name| !name.starts_with('-')) {
            let is_function = process.functions.contains_key(name);
            let path =
                self.guest.with_disk(|disk| commands::location(disk, &process.path(name), name));
            match path {
                Some(path) => found.push_str(&format!("{path}\n")),
                None if is_function => found.push_str(&format!("{name}\n")),
                None => status = if words[0] == "which" { 1 } else { 127 },
            }
        }
        self.write(process, &streams.output, found.into_bytes()).await;
        Ok(status)
    }
}

/// `name=value` or `name`; `true` when it was an assignment.
pub(super) fn assign(process: &mut Process, text: &str, export: bool) -> bool {
    match text.split_once('=') {
        Some((name, value)) => {
            process.variables.insert(name.into(), (value.into(), export));
            true
        }
        None => {
            if let Some((_, exported)) = process.variables.get_mut(text) {
                *exported |= export;
            }
            false
        }
    }
}
