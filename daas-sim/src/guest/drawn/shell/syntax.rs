//! The tree a script is parsed into.

use std::sync::{Arc, OnceLock};

/// Commands one after the other.
pub(super) type List = Vec<AndOr>;

/// Pipelines joined by `&&` and `||`.
#[derive(Debug, Clone)]
pub(super) struct AndOr {
    pub(super) first: Pipeline,
    pub(super) rest: Vec<(Joint, Pipeline)>,
}

/// How a pipeline hangs on the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joint {
    And,
    Or,
}

/// Commands joined by `|`.
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    pub(super) negated: bool,
    pub(super) commands: Vec<Command>,
}

/// One command with its redirections.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) body: Body,
    pub(super) redirects: Vec<Redirect>,
}

/// What a command is.
#[derive(Debug, Clone)]
pub(super) enum Body {
    Simple { assignments: Vec<(String, Word)>, words: Vec<Word> },
    Group(List),
    Subshell(List),
    If { branches: Vec<(List, List)>, otherwise: List },
    While { until: bool, condition: List, body: List },
    For { name: String, words: Option<Vec<Word>>, body: List },
    Case { word: Word, arms: Vec<(Vec<Word>, List)> },
    Function { name: String, body: Arc<Command> },
}

/// `[fd]operator target`.
#[derive(Debug, Clone)]
pub(super) struct Redirect {
    pub(super) fd: u8,
    pub(super) target: Target,
}

/// Where a redirection leads.
#[derive(Debug, Clone)]
pub(super) enum Target {
    Read(Word),
    Write(Word),
    Append(Word),
    /// `2>&1`: as the other one is now.
    Same(u8),
    /// `>&-`
    Closed,
    /// A here-document, read when its line has ended.
    Here(Arc<OnceLock<Word>>),
}

/// A word is pieces that stand side by side.
pub(super) type Word = Vec<Piece>;

/// A part of a word.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    Text { text: String, quoted: bool },
    Variable { name: String, change: Option<Change>, quoted: bool },
    Commands { list: Arc<List>, quoted: bool },
    Arithmetic { expression: Word, quoted: bool },
}

/// What `${name...}` does besides standing for the value.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// `${#name}`
    Length,
    /// `-`, `=`, `+` or `?`, and whether an empty value counts as unset (`:-`).
    Instead { operator: char, empty_too: bool, word: Word },
    /// `#`, `##`, `%`, `%%`: cut a pattern off.
    Cut { from_end: bool, longest: bool, pattern: Word },
}

/// Why a script is no script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}: Syntax error: {reason}")]
pub(super) struct SyntaxError {
    pub(super) line: usize,
    pub(super) reason: String,
}

/// The word's text when it is written out without quotes or substitutions.
pub(super) fn literal(word: &Word) -> Option<&str> {
    match word.as_slice() {
        [Piece::Text { text, quoted: false }] => Some(text),
        _ => None,
    }
}
