//! What a running playbook tells (`callback.py`), and what came of it.

use daas_core::progress::Progress;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The event plugin, as Ansible finds it by its file's name.
pub(crate) const PLUGIN: &str = include_str!("callback.py");
/// Its name.
pub(crate) const PLUGIN_NAME: &str = "daas_events";

/// The longest line it writes, in bytes; its texts are cut well below.
pub(crate) const LINE_BYTES_MAX: usize = 64 * 1024;
/// How many warnings are kept.
const WARNINGS_MAX: usize = 50;

#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event {
    Task { name: String },
    Failed { task: String, message: String, ignored: bool },
    Unreachable { message: String, ignored: bool },
    Warning { message: String },
    Recap { changed: u32, failures: u32, unreachable: u32, said: Map<String, Value> },
}

/// What no text may hold that leaves this crate.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    /// Adds one, in each of the forms in which a program may show it.
    pub(crate) fn add(&mut self, secret: &str) {
        if secret.is_empty() {
            return;
        }
        let quoted = Value::from(secret).to_string();
        self.0.push(secret.to_owned());
        let quoted = quoted.trim_matches('"');
        if quoted != secret {
            self.0.push(quoted.to_owned());
        }
    }

    /// The text without them.
    pub(crate) fn scrub(&self, text: &str) -> String {
        let scrub = |text: String, secret: &String| text.replace(secret, "[redacted]");
        self.0.iter().fold(text.to_owned(), scrub)
    }
}

/// What a playbook has told so far.
pub(crate) struct Told {
    secrets: Secrets,
    /// The task that began last.
    pub(crate) task: String,
    pub(crate) warnings: Vec<String>,
    /// The last task that failed and was not ignored, and why.
    pub(crate) failed: Option<(String, String)>,
    pub(crate) unreachable: Option<String>,
    /// How it ended; absent while it runs.
    pub(crate) recap: Option<Recap>,
}

/// How a playbook ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Recap {
    pub(crate) changed: u32,
    /// Whether a task failed without being rescued, or a host was lost.
    pub(crate) failed: bool,
    /// What it set by `set_stats`, the names that begin with `daas_` only.
    pub(crate) said: Map<String, Value>,
}

impl Told {
    pub(crate) fn new(secrets: Secrets) -> Self {
        Self {
            secrets,
            task: "(none has begun)".to_owned(),
            warnings: Vec::new(),
            failed: None,
            unreachable: None,
            recap: None,
        }
    }

    /// Takes a line. What is no event (a program that prints before the plugin is loaded) is none.
    pub(crate) fn hear(&mut self, line: &str, progress: &Progress) {
        let Ok(event) = serde_json::from_str(line) else {
            tracing::trace!("a line that is no event");
            return;
        };
        match event {
            Event::Task { name } => {
                self.task = self.secrets.scrub(&name);
                progress.tell(&self.task, None);
            }
            Event::Failed { task, message, ignored: false } => {
                self.failed = Some((self.secrets.scrub(&task), self.secrets.scrub(&message)));
            }
            Event::Failed { task, message, ignored: true } => {
                self.warn(&format!("task {task:?} failed, which is ignored: {message}"));
            }
            Event::Unreachable { message, ignored: false } => {
                self.unreachable = Some(self.secrets.scrub(&message));
            }
            Event::Unreachable { message, ignored: true } | Event::Warning { message } => {
                self.warn(&message);
            }
            Event::Recap { changed, failures, unreachable, said } => {
                let failed = failures > 0 || unreachable > 0;
                self.recap = Some(Recap { changed, failed, said });
            }
        }
    }

    fn warn(&mut self, message: &str) {
        let message = self.secrets.scrub(message);
        if self.warnings.len() < WARNINGS_MAX && !self.warnings.contains(&message) {
            self.warnings.push(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[&str]) -> Told {
        let mut secrets = Secrets::default();
        secrets.add("s\"cret");
        let mut told = Told::new(secrets);
        for line in lines {
            told.hear(line, &Progress::silent());
        }
        told
    }

    #[test]
    fn an_ignored_failure_is_a_warning_and_another_is_the_reason() {
        let ignored = r#"{"event":"failed","task":"a","message":"no","ignored":true}"#;
        let failed = r#"{"event":"failed","task":"b","message":"has s\"cret","ignored":false}"#;
        let told = told(&["rubbish", ignored, ignored, failed]);
        assert_eq!(told.warnings, ["task \"a\" failed, which is ignored: no"]);
        assert_eq!(told.failed, Some(("b".to_owned(), "has [redacted]".to_owned())));
    }

    #[test]
    fn a_secret_is_found_in_its_quoted_form_too() {
        let told = told(&[r#"{"event":"task","name":"x s\\\"cret s\"cret"}"#]);
        assert_eq!(told.task, "x [redacted] [redacted]");
    }

    #[test]
    fn the_recap_says_how_it_ended() {
        let line = r#"{"event":"recap","changed":2,"failures":0,"unreachable":1,"said":{"daas_joined":true}}"#;
        let recap = told(&[line]).recap.expect("told");
        assert!(recap.failed && recap.changed == 2 && recap.said["daas_joined"] == true);
    }
}
