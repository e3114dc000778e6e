//! Makes words out of their pieces: variables, substitutions, splitting and file names.

use futures::future::BoxFuture;

use super::arithmetic;
use super::interpret::{Leave, Process, Shell, Streams};
use super::pattern::{self, escaped};
use super::stream::{Output, taken};
use super::syntax::{Change, List, Piece, Word};

/// The longest word a script may make.
const WORD_BYTES_MAX: usize = 16 << 20;

type Expanded<T> = Result<T, Leave>;

/// A part of an expanded word: its text, and whether blanks and patterns in it mean nothing.
struct Part {
    text: String,
    quoted: bool,
    /// Came from a substitution, so that it is split at blanks.
    split: bool,
    /// A field ends before this part (`"$@"`).
    boundary: bool,
}

impl Shell {
    /// Words as a command gets them: split at blanks and with patterns replaced by file names.
    pub(super) async fn fields(
        &self,
        process: &mut Process,
        words: &[Word],
        streams: &Streams,
    ) -> Expanded<Vec<String>> {
        let mut fields = Vec::new();
        for word in words {
            let parts = self.parts(process, word, streams).await?;
            for field in split(&parts) {
                self.with_file_names(process, field, &mut fields);
            }
        }
        Ok(fields)
    }

    /// A word that stays one: not split, no file names.
    pub(super) async fn single(
        &self,
        process: &mut Process,
        word: &Word,
        streams: &Streams,
    ) -> Expanded<String> {
        Ok(joined(&self.parts(process, word, streams).await?))
    }

    /// A word as a pattern: what is quoted means itself.
    pub(super) async fn pattern(
        &self,
        process: &mut Process,
        word: &Word,
        streams: &Streams,
    ) -> Expanded<String> {
        let parts = self.parts(process, word, streams).await?;
        Ok(parts.iter().map(|p| if p.quoted { escaped(&p.text) } else { p.text.clone() }).collect())
    }

    fn parts<'a>(
        &'a self,
        process: &'a mut Process,
        word: &'a Word,
        streams: &'a Streams,
    ) -> BoxFuture<'a, Expanded<Vec<Part>>> {
        Box::pin(async move {
            let mut parts = Vec::new();
            for (i, piece) in word.iter().enumerate() {
                match piece {
                    Piece::Text { text, quoted } => {
                        let home = (i == 0 && !quoted).then(|| home(process, text)).flatten();
                        let text = home.unwrap_or_else(|| text.clone());
                        parts.push(Part { text, quoted: *quoted, split: false, boundary: false });
                    }
                    Piece::Variable { name, change: None, quoted: true } if name == "@" => {
                        for (i, text) in process.arguments.iter().skip(1).cloned().enumerate() {
                            parts.push(Part { text, quoted: true, split: false, boundary: i > 0 });
                        }
                    }
                    Piece::Variable { name, change, quoted } => {
                        let text = self.variable(process, name, change.as_ref(), streams).await?;
                        parts.push(Part { text, quoted: *quoted, split: !quoted, boundary: false });
                    }
                    Piece::Commands { list, quoted } => {
                        let text = self.substitute(process, list, streams).await?;
                        parts.push(Part { text, quoted: *quoted, split: !quoted, boundary: false });
                    }
                    Piece::Arithmetic { expression, quoted } => {
                        let text = self.arithmetic(process, expression, streams).await?;
                        parts.push(Part { text, quoted: *quoted, split: !quoted, boundary: false });
                    }
                }
            }
            if parts.iter().map(|part| part.text.len()).sum::<usize>() > WORD_BYTES_MAX {
                self.complain(process, streams, "1: a word is longer than 16 MiB").await;
                return Err(Leave::Exit(2));
            }
            Ok(parts)
        })
    }

    async fn variable(
        &self,
        process: &mut Process,
        name: &str,
        change: Option<&Change>,
        streams: &Streams,
    ) -> Expanded<String> {
        let value = value(process, name);
        match change {
            None if value.is_none() && process.unset_is_error && !matches!(name, "@" | "*") => {
                self.complain(process, streams, &format!("1: {name}: parameter not set")).await;
                Err(Leave::Exit(2))
            }
            None => Ok(value.unwrap_or_default()),
            Some(Change::Length) => Ok(value.unwrap_or_default().chars().count().to_string()),
            Some(Change::Instead { operator, empty_too, word }) => {
                let given = value.filter(|value| !(*empty_too && value.is_empty()));
                match (operator, given) {
                    ('+', Some(_)) => self.single(process, word, streams).await,
                    ('+', None) => Ok(String::new()),
                    (_, Some(value)) => Ok(value),
                    ('-', None) => self.single(process, word, streams).await,
                    ('=', None) => {
                        let value = self.single(process, word, streams).await?;
                        process.variables.insert(name.into(), (value.clone(), false));
                        Ok(value)
                    }
                    (_, None) => {
                        let reason = self.single(process, word, streams).await?;
                        self.complain(process, streams, &format!("1: {name}: {reason}")).await;
                        Err(Leave::Exit(2))
                    }
                }
            }
            Some(Change::Cut { from_end, longest, pattern }) => {
                let pattern = self.pattern(process, pattern, streams).await?;
                Ok(cut(&value.unwrap_or_default(), &pattern, *from_end, *longest))
            }
        }
    }

    async fn substitute(
        &self,
        process: &mut Process,
        list: &List,
        streams: &Streams,
    ) -> Expanded<String> {
        let mut copy = process.clone();
        copy.lenient = 0;
        self.entered(&mut copy, streams).await?;
        let (output, buffer) = Output::memory();
        let inner = Streams { output, ..streams.clone() };
        process.substituted = match self.list(&mut copy, list, &inner).await {
            Ok(status) | Err(Leave::Exit(status) | Leave::Return(status)) => status,
            Err(Leave::Break(_) | Leave::Continue(_)) => 0,
        };
        let bytes = taken(&buffer);
        Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\n').replace('\0', ""))
    }

    async fn arithmetic(
        &self,
        process: &mut Process,
        expression: &Word,
        streams: &Streams,
    ) -> Expanded<String> {
        let text = self.single(process, expression, streams).await?;
        match arithmetic::evaluate(&with_values(process, &text)) {
            Ok(value) => Ok(value.to_string()),
            Err(reason) => {
                self.complain(process, streams, &format!("1: {reason}")).await;
                Err(Leave::Exit(2))
            }
        }
    }

    /// Adds the files that fit a pattern, or the text itself when none does.
    fn with_file_names(&self, process: &Process, field: String, fields: &mut Vec<String>) {
        if !pattern::is_pattern(&field) {
            fields.push(pattern::plain(&field));
            return;
        }
        let absolute = process.path(&field);
        let cut = absolute.len() - field.len();
        let slashes = absolute.matches('/').count();
        let found: Vec<String> = self.guest.with_disk(|disk| {
            let all = disk.below("/").filter(|path| path.matches('/').count() == slashes);
            all.filter(|path| pattern::matches(&absolute, path))
                .filter(|path| !path.rsplit('/').next().is_some_and(|n| n.starts_with('.')))
                .map(|path| path.get(cut..).unwrap_or(path).to_owned())
                .collect()
        });
        if found.is_empty() {
            fields.push(pattern::plain(&field));
        } else {
            fields.extend(found);
        }
    }
}

fn joined(parts: &[Part]) -> String {
    let mut text = String::new();
    for part in parts {
        if part.boundary {
            text.push(' ');
        }
        text.push_str(&part.text);
    }
    text
}

/// Fields whose quoted characters are escaped, so that they can still be seen as patterns.
fn split(parts: &[Part]) -> Vec<String> {
    let mut fields = Vec::new();
    let mut field: Option<String> = None;
    for part in parts {
        if part.boundary {
            fields.extend(field.take());
        }
        if part.quoted {
            field.get_or_insert_default().push_str(&escaped(&part.text));
        } else if part.split {
            for c in part.text.chars() {
                if c.is_ascii_whitespace() {
                    fields.extend(field.take());
                } else {
                    let field = field.get_or_insert_default();
                    field.extend((c == '\\').then_some('\\').into_iter().chain([c]));
                }
            }
        } else if !part.text.is_empty() {
            field.get_or_insert_default().push_str(&part.text);
        }
    }
    fields.extend(field);
    fields
}

fn home(process: &Process, text: &str) -> Option<String> {
    let rest = text.strip_prefix('~')?;
    if !rest.is_empty() && !rest.starts_with('/') {
        return None;
    }
    Some(format!("{}{rest}", value(process, "HOME")?))
}

fn value(process: &Process, name: &str) -> Option<String> {
    match name {
        "?" => Some(process.status.to_string()),
        "#" => Some(process.arguments.len().saturating_sub(1).to_string()),
        "@" | "*" => Some(process.arguments.get(1..).unwrap_or_default().join(" ")),
        "$" => Some("4242".into()),
        "!" => None,
        "-" => Some(String::new()),
        _ => match name.parse::<usize>() {
            Ok(number) => process.arguments.get(number).cloned(),
            Err(_) => process.variables.get(name).map(|(value, _)| value.clone()),
        },
    }
}

/// Puts the values of bare names into an arithmetic expression.
fn with_values(process: &Process, text: &str) -> String {
    let mut result = String::new();
    let mut name = String::new();
    for c in text.chars().chain([' ']) {
        if c == '_' || c.is_ascii_alphabetic() || (!name.is_empty() && c.is_ascii_digit()) {
            name.push(c);
            continue;
        }
        if !name.is_empty() {
            let value = value(process, &name).filter(|value| !value.is_empty());
            result.push_str(value.as_deref().unwrap_or("0"));
            name.clear();
        }
        result.push(c);
    }
    result
}

fn cut(value: &str, pattern: &str, from_end: bool, longest: bool) -> String {
    let mut ends: Vec<usize> =
        value.char_indices().map(|(at, _)| at).chain([value.len()]).collect();
    if from_end != longest {
        ends.reverse();
    }
    for at in ends {
        let (head, tail) = value.split_at(at);
        let (gone, kept) = if from_end { (tail, head) } else { (head, tail) };
        if pattern::matches(pattern, gone) {
            return kept.into();
        }
    }
    value.into()
}
