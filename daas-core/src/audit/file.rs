//! A log as text, one JSON object a line, so that it can be kept and verified elsewhere.
//!
//! First a line of the kind `export`, then the signatures (`head`), the entries (`entry`) in the
//! order in which they were written, and `end` with their number: a file without it was cut.

use std::io::BufRead;
use std::sync::Arc;

use futures::stream::{self, Stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::chain::SignedHead;
use super::entry::Entry;
use super::key::PublicKey;
use super::verify::Verifier;
use super::{AuditFilter, AuditPage, AuditStore};
use crate::error::{Error, Operation, Result};
use crate::ids::DeploymentId;

/// How many are read from the store at once.
const PORTION: usize = 500;
/// The longest line that is read.
const LINE_MAX: usize = 1024 * 1024;

/// A line of the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Line {
    /// The first.
    Export(Export),
    /// A signature.
    Head(SignedHead),
    /// An entry.
    Entry(Box<Entry>),
    /// The last.
    End(End),
}

/// Whose log it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// The form of the file; 1.
    pub version: u32,
    /// The deployment.
    pub deployment: DeploymentId,
    /// What it says its signatures are checked with: believe it only if you know it.
    pub key: PublicKey,
    /// When it was made.
    pub at: Timestamp,
}

/// How much was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// Entries.
    pub entries: u64,
    /// Signatures.
    pub heads: u64,
}

enum At {
    Start(Export),
    Heads(u64),
    Entries { after: u64, until: u64 },
    Over,
}

struct Exporting {
    store: Arc<dyn AuditStore>,
    at: At,
    written: End,
}

/// The whole log as lines, each with its line feed, many to a piece.
pub fn export(
    store: Arc<dyn AuditStore>,
    about: Export,
) -> impl Stream<Item = Result<String>> + Send + 'static {
    let written = End { entries: 0, heads: 0 };
    let begin = Exporting { store, at: At::Start(about), written };
    stream::try_unfold(begin, |mut exporting| async move {
        let piece = exporting.piece().await?;
        Ok(piece.map(|piece| (piece, exporting)))
    })
}

impl Exporting {
    async fn piece(&mut self) -> Result<Option<String>> {
        let mut text = String::new();
        self.at = match &self.at {
            At::Start(about) => {
                write(&mut text, &Line::Export(about.clone()))?;
                At::Heads(0)
            }
            At::Heads(after) => {
                let heads = self.store.heads(*after, PORTION).await?;
                self.written.heads += heads.len() as u64;
                let last = heads.last().map(|(place, _)| *place);
                for (_, head) in heads {
                    write(&mut text, &Line::Head(head))?;
                }
                match last {
                    Some(last) => At::Heads(last),
                    // What is signed by now is there by now: no signature of it is missing.
                    None => At::Entries { after: 0, until: self.newest().await? },
                }
            }
            At::Entries { after, until } => self.entries(&mut text, *after, *until).await?,
            At::Over => return Ok(None),
        };
        Ok(Some(text))
    }

    async fn entries(&mut self, text: &mut String, after: u64, until: u64) -> Result<At> {
        let page = AuditPage::onwards(after, PORTION);
        let found = self.store.entries(&AuditFilter::default(), &page).await?;
        let mut last = None;
        for placed in found.into_iter().filter(|placed| placed.place <= until) {
            last = Some(placed.place);
            self.written.entries += 1;
            write(text, &Line::Entry(Box::new(placed.entry)))?;
        }
        Ok(match last {
            Some(after) => At::Entries { after, until },
            None => {
                write(text, &Line::End(self.written.clone()))?;
                At::Over
            }
        })
    }

    async fn newest(&self) -> Result<u64> {
        let page = AuditPage { after: None, newest_first: true, limit: 1 };
        let newest = self.store.entries(&AuditFilter::default(), &page).await?;
        Ok(newest.first().map_or(0, |placed| placed.place))
    }
}

fn write(text: &mut String, line: &Line) -> Result<()> {
    let line = serde_json::to_string(line).map_err(|why| {
        Error::new(crate::Kind::Internal, Operation::Check, "audit log", why.to_string())
    })?;
    text.push_str(&line);
    text.push('\n');
    Ok(())
}

/// Reads a file for verification; whose it says that it is. Without `keys` its own key is believed.
///
/// # Errors
/// `Invalid`, with the line: it is no such file, a line cannot be read, or its end is missing.
pub fn read(mut file: impl BufRead, keys: &[PublicKey]) -> Result<(Export, Verifier)> {
    let mut number = 0;
    let mut read: Option<(Export, Verifier)> = None;
    let mut seen = End { entries: 0, heads: 0 };
    loop {
        number += 1;
        let wrong = |why: String| Error::invalid(Operation::Check, format!("line {number}"), why);
        let Some(line) = next_line(&mut file).map_err(wrong)? else {
            return Err(wrong("the file ends before its last line: it was cut".to_owned()));
        };
        let line: Line = serde_json::from_str(&line).map_err(|why| wrong(why.to_string()))?;
        match (line, &mut read) {
            (Line::Export(about), None) if about.version == 1 => {
                let own = std::slice::from_ref(&about.key);
                let keys = if keys.is_empty() { own } else { keys };
                let verifier = Verifier::new(about.deployment.clone(), keys.to_vec());
                read = Some((about, verifier));
            }
            (Line::Export(about), None) => {
                return Err(wrong(format!("it is in form {}, which is newer", about.version)));
            }
            (Line::Export(_), Some(_)) => return Err(wrong("a second beginning".to_owned())),
            (_, None) => return Err(wrong("it does not begin as an export does".to_owned())),
            (Line::Head(head), Some((_, verifier))) => {
                seen.heads += 1;
                verifier.head(&head);
            }
            (Line::Entry(entry), Some((_, verifier))) => {
                seen.entries += 1;
                verifier.entry(&entry);
            }
            (Line::End(end), Some((_, verifier))) => {
                if let Some(after) = next_line(&mut file).map_err(wrong)? {
                    return Err(wrong(format!("after its end there is {:.40}…", after)));
                }
                if end != seen {
                    verifier.miscounted(end.entries + end.heads, seen.entries + seen.heads);
                }
                break;
            }
        }
    }
    read.ok_or_else(|| Error::invalid(Operation::Check, "file", "is empty"))
}

/// Reads the whole store for verification.
pub async fn read_store(store: &dyn AuditStore, verifier: &mut Verifier) -> Result<()> {
    let mut after = 0;
    loop {
        let heads = store.heads(after, PORTION).await?;
        let Some((last, _)) = heads.last() else { break };
        after = *last;
        heads.iter().for_each(|(_, head)| verifier.head(head));
    }
    after = 0;
    loop {
        let page = AuditPage::onwards(after, PORTION);
        let found = store.entries(&AuditFilter::default(), &page).await?;
        let Some(last) = found.last() else { return Ok(()) };
        after = last.place;
        found.iter().for_each(|placed| verifier.entry(&placed.entry));
    }
}

/// The next line that is not empty, without its end.
fn next_line(file: &mut impl BufRead) -> Result<Option<String>, String> {
    use std::io::Read;
    loop {
        let mut line = Vec::new();
        let limit = LINE_MAX as u64;
        let read = file.by_ref().take(limit).read_until(b'\n', &mut line);
        if read.map_err(|why| why.to_string())? == 0 {
            return Ok(None);
        }
        if line.len() as u64 == limit {
            return Err(format!("it is longer than {LINE_MAX} bytes"));
        }
        let text = String::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?;
        if !text.trim().is_empty() {
            return Ok(Some(text.trim().to_owned()));
        }
    }
}
