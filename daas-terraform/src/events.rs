//! Reading what the program tells with `-json`: one object a line.

use std::sync::Arc;

use daas_core::Kind;
use daas_core::progress::Progress;
use serde::Deserialize;
use serde_json::Value;

use crate::hidden::Hidden;

/// How much of the errors is kept for a message.
const ERRORS_BYTES_MAX: usize = 2_000;

/// One line (`terraform apply -json`, "Machine-Readable UI").
#[derive(Debug, Deserialize)]
struct Line {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    hook: Option<Value>,
    #[serde(default)]
    change: Option<Value>,
    #[serde(default)]
    diagnostic: Option<Diagnostic>,
}

#[derive(Debug, Deserialize)]
struct Diagnostic {
    severity: String,
    summary: String,
    #[serde(default)]
    detail: String,
}

/// What the lines of one run came to.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// The errors, joined and bounded.
    pub(crate) errors: String,
    /// Planned changes: the address and what is to be done to it.
    pub(crate) planned: Vec<(String, String)>,
    done: usize,
    hidden: Arc<Hidden>,
}

impl Told {
    /// Nothing yet; `hidden` is kept out of it.
    pub(crate) fn without(hidden: Arc<Hidden>) -> Self {
        Self { hidden, ..Self::default() }
    }

    /// Takes a line in; a line that is none of the known ones is passed over.
    pub(crate) fn hear(&mut self, line: &str, progress: &Progress) {
        let Ok(line) = serde_json::from_str::<Line>(line) else { return };
        let address = || {
            let about = line.hook.as_ref().or(line.change.as_ref());
            let address = about.and_then(|a| a.pointer("/resource/addr")).and_then(Value::as_str);
            address.unwrap_or("a resource").to_owned()
        };
        match line.kind.as_str() {
            "planned_change" => {
                let action = line.change.as_ref().and_then(|c| c["action"].as_str());
                self.planned.push((address(), action.unwrap_or_default().to_owned()));
            }
            "apply_start" => {
                let action = line.hook.as_ref().and_then(|h| h["action"].as_str());
                let doing = match action {
                    Some("delete") => "removes",
                    Some("create") => "makes",
                    _ => "changes",
                };
                progress.tell(format!("terraform {doing} {}", address()), self.fraction());
            }
            "apply_complete" => {
                self.done += 1;
                progress.tell(format!("terraform has done {}", address()), self.fraction());
            }
            "diagnostic" => {
                if let Some(d) = line.diagnostic.filter(|d| d.severity == "error") {
                    self.note_error(&format!("{}: {}", d.summary, d.detail));
                }
            }
            _ => {}
        }
    }

    /// Takes in what was written to standard error.
    pub(crate) fn note_error(&mut self, text: &str) {
        // Before its spaces are changed, which may be a secret's own.
        let text = self.hidden.scrub(text);
        let flat: Vec<&str> = text.split_whitespace().filter(|word| !is_frame(word)).collect();
        if flat.is_empty() {
            return;
        }
        if !self.errors.is_empty() {
            self.errors.push_str("; ");
        }
        self.errors.push_str(&flat.join(" "));
        let end = self.errors.floor_char_boundary(ERRORS_BYTES_MAX);
        self.errors.truncate(end);
    }

    fn fraction(&self) -> Option<f32> {
        let planned = self.planned.len();
        (planned > 0).then(|| self.done as f32 / planned as f32)
    }
}

/// Whether a word is the box that is drawn around errors.
fn is_frame(word: &str) -> bool {
    word.chars().all(|c| matches!(c, '╷' | '│' | '╵'))
}

/// What sort of failure the errors tell of. Terraform has no codes; these are words that Go, its
/// providers and Proxmox use.
pub(crate) fn kind_of(errors: &str) -> Kind {
    let text = errors.to_lowercase();
    let any = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
    if any(&["no space left", "disk quota exceeded", "not enough space"]) {
        Kind::Exhausted
    } else if any(&["already exists", "resourcealreadyexists"]) {
        Kind::Conflict
    } else if any(&["401 ", "403 ", "unauthorized", "authentication failed", "permission check"]) {
        Kind::Denied
    } else if any(&[
        "connection refused",
        "no such host",
        "timeout",
        "timed out",
        "could not connect",
        "failed to request",
        "state lock",
        "connection reset",
        "network is unreachable",
    ]) {
        Kind::Unavailable
    } else if any(&[
        "unsupported argument",
        "unsupported block type",
        "missing required argument",
        "invalid reference",
        "reference to undeclared",
        "no value for required variable",
        "invalid value for variable",
        "argument or block definition required",
        "invalid resource type",
        "failed to query available provider packages",
        "unsupported terraform core version",
        "unreadable module directory",
        "module not installed",
        "precondition failed",
        "postcondition failed",
        "invalid function argument",
    ]) {
        Kind::Invalid
    } else {
        Kind::Unavailable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daas_core::secret::Secret;
    use std::sync::Mutex;

    #[test]
    fn progress_is_told_with_its_fraction() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&heard);
        let progress = Progress::to(move |step| {
            sink.lock().expect("no panic").push((step.what, step.fraction));
        });
        let mut told = Told::default();
        let planned =
            r#"{"type":"planned_change","change":{"resource":{"addr":"a.b"},"action":"create"}}"#;
        told.hear(planned, &progress);
        told.hear(
            r#"{"type":"apply_start","hook":{"resource":{"addr":"a.b"},"action":"create"}}"#,
            &progress,
        );
        told.hear(r#"{"type":"apply_complete","hook":{"resource":{"addr":"a.b"}}}"#, &progress);
        told.hear("not json", &progress);
        told.hear(r#"{"type":"of a later version"}"#, &progress);
        assert_eq!(
            *heard.lock().expect("no panic"),
            [
                ("terraform makes a.b".to_owned(), Some(0.0)),
                ("terraform has done a.b".to_owned(), Some(1.0))
            ]
        );
        assert_eq!(told.errors, "");
    }

    #[test]
    fn errors_are_kept_and_warnings_are_not() {
        let mut told = Told::default();
        let line = |severity: &str| {
            let detail = r#""summary":"S","detail":"d\n e""#;
            format!(r#"{{"type":"diagnostic","diagnostic":{{"severity":"{severity}",{detail}}}}}"#)
        };
        told.hear(&line("warning"), &Progress::silent());
        assert_eq!(told.errors, "");
        told.hear(&line("error"), &Progress::silent());
        told.note_error("╷\n│ Error: x\n╵\n");
        assert_eq!(told.errors, "S: d e; Error: x");
        told.note_error(&"é".repeat(ERRORS_BYTES_MAX));
        assert!(told.errors.len() <= ERRORS_BYTES_MAX);
    }

    #[test]
    fn a_secret_with_two_spaces_is_kept_out_of_errors() {
        let hidden = Hidden::new(std::iter::once(Secret::from("two  spaces")));
        let mut told = Told::without(Arc::new(hidden));
        told.note_error("it is two  spaces !");
        assert_eq!(told.errors, "it is [redacted] !");
    }

    #[test]
    fn the_words_of_errors_are_understood() {
        let check = |text: &str, kind: Kind| assert_eq!(kind_of(text), kind, "{text}");
        check("mkdir: No space left on device", Kind::Exhausted);
        check("unable to create VM 107: config file already exists", Kind::Conflict);
        check("received an HTTP 401 response", Kind::Denied);
        check("dial tcp 127.0.0.1:1: connect: connection refused", Kind::Unavailable);
        check("Unsupported argument: An argument named \"x\"", Kind::Invalid);
        check("Resource precondition failed: name the storage", Kind::Invalid);
        check("Invalid function argument: cannot parse \"x\" as decimal", Kind::Invalid);
        check("local-exec provisioner error: exit status 3", Kind::Unavailable);
    }
}
