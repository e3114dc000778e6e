//! Answers: tables for people, JSON for programs; always on standard output, all else on error.

use std::io::{IsTerminal, Write};

use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

use crate::exit::{Code, Failure, Outcome};
use crate::wire::{Session, Template};

/// How answers are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    pub(crate) fn sessions(self, sessions: &[Session]) -> Outcome {
        if self.json {
            return self.print_json(&sessions);
        }
        if sessions.is_empty() {
            tell("there are none");
            return Ok(());
        }
        let rows = sessions.iter().map(|s| {
            vec![
                s.id.clone(),
                s.label.clone().unwrap_or_default(),
                s.template.clone(),
                s.owner.clone().unwrap_or_default(),
                s.phase.clone(),
                s.rdp_address().unwrap_or_default(),
                s.doing().to_owned(),
            ]
        });
        print(&table(&["id", "label", "template", "owner", "phase", "address", "doing"], rows))
    }

    pub(crate) fn session(self, session: &Session) -> Outcome {
        if self.json {
            return self.print_json(session);
        }
        let mut rows = vec![
            row("id", &session.id),
            row("label", session.label.as_deref().unwrap_or("-")),
            row("owner", session.owner.as_deref().unwrap_or("-")),
            row("template", &session.template),
            row("lifetime", &session.lifetime),
            row("goal", &session.goal),
            row("phase", &session.phase),
            row("reason", &session.reason),
            row("doing", session.doing()),
            row("asked for", &session.created_at),
        ];
        let more = [
            ("ready", session.ready_at.clone()),
            ("ended", session.ended_at.clone()),
            ("failed", session.failure().map(str::to_owned)),
            ("address", session.rdp_address().filter(|_| !session.has_ended())),
            ("account", session.session_user.clone()),
        ];
        rows.extend(more.into_iter().filter_map(|(name, value)| Some(row(name, &value?))));
        print(&table(&[], rows.into_iter()))
    }

    pub(crate) fn templates(self, templates: &[Template]) -> Outcome {
        if self.json {
            return self.print_json(&templates);
        }
        let rows = templates.iter().map(|t| {
            vec![
                t.name.clone(),
                t.title.clone(),
                t.os.clone(),
                t.cores.to_string(),
                format!("{} MiB", t.memory_mib),
                t.lifetime.clone(),
            ]
        });
        print(&table(&["name", "title", "os", "cores", "memory", "lifetime"], rows))
    }

    /// A plain table of anything else.
    pub(crate) fn rows(
        self,
        value: &impl Serialize,
        header: &[&str],
        rows: impl Iterator<Item = Vec<String>>,
    ) -> Outcome {
        if self.json { self.print_json(value) } else { print(&table(header, rows)) }
    }

    pub(crate) fn print_json(self, value: &impl Serialize) -> Outcome {
        let text = serde_json::to_string_pretty(value)
            .map_err(|e| Failure::new(Code::Failed, e.to_string()))?;
        print(&text)
    }
}

/// Writes a line to standard output. A reader that has gone away is [`Code::Unread`]: whoever calls
/// cleans up before the end.
pub(crate) fn print(text: &str) -> Outcome {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Code::Unread, "nobody reads the answer"))
        }
        Err(error) => Err(Failure::new(Code::Failed, format!("standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// Tells people something, on standard error.
pub(crate) fn tell(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn row(name: &str, value: &str) -> Vec<String> {
    vec![name.to_owned(), value.to_owned()]
}

fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::TableStyle::new());
    table.set_content_arrangement(ContentArrangement::Dynamic);
    if !std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    if !header.is_empty() {
        table.set_header(header.iter().map(|h| h.to_uppercase()).collect::<Vec<_>>());
    }
    for row in rows {
        table.add_row(row);
    }
    table.trim_fmt()
}
