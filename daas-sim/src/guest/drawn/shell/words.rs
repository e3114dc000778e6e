//! Parses words: quotes, escapes and substitutions.

use std::sync::Arc;

use super::parse::{DEPTH_MAX, Parsed, Parser};
use super::syntax::{Change, Piece, Word};

/// Where the characters of a word stand, which decides what ends them and what is special.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the open: blanks and operators end the word.
    Open,
    /// Inside `"..."`.
    Quoted,
    /// Inside `${name-...}`; `}` ends it.
    Braced { quoted: bool },
    /// Inside `$((...))`.
    Arithmetic,
    /// A here-document's body; only its end ends it.
    Here,
}

impl Parser {
    /// The word that starts here, if one does.
    pub(super) fn word(&mut self) -> Parsed<Option<Word>> {
        let start = self.at;
        let word = self.pieces(Place::Open)?;
        Ok((self.at > start).then_some(word))
    }

    /// A here-document's body.
    pub(super) fn here_text(&mut self) -> Parsed<Word> {
        self.pieces(Place::Here)
    }

    fn pieces(&mut self, place: Place) -> Parsed<Word> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.error("quotes and substitutions nest too deep"));
        }
        let mut pieces = Word::new();
        let quoted = matches!(place, Place::Quoted | Place::Here | Place::Braced { quoted: true });
        let mut parentheses = 0;
        while let Some(c) = self.peek() {
            match (c, place) {
                (' ' | '\t' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')', Place::Open) => break,
                ('"', Place::Quoted) | ('}', Place::Braced { .. }) => break,
                (')', Place::Arithmetic) if parentheses == 0 => break,
                ('(', Place::Arithmetic) => {
                    parentheses += 1;
                    self.take_text(&mut pieces, true);
                }
                (')', Place::Arithmetic) => {
                    parentheses -= 1;
                    self.take_text(&mut pieces, true);
                }
                ('\'', Place::Open | Place::Braced { quoted: false }) => {
                    self.single_quotes(&mut pieces)?;
                }
                ('"', Place::Open | Place::Braced { .. }) => {
                    self.at += 1;
                    // An empty pair of quotes is still a word.
                    push(&mut pieces, String::new(), true);
                    pieces.extend(self.pieces(Place::Quoted)?);
                    self.expect_quote()?;
                }
                ('\\', _) => self.escape(&mut pieces, place),
                ('$', _) => self.dollar(&mut pieces, quoted)?,
                ('`', _) => self.backquotes(&mut pieces, quoted)?,
                _ => self.take_text(&mut pieces, quoted),
            }
        }
        self.depth -= 1;
        Ok(pieces)
    }

    fn take_text(&mut self, pieces: &mut Word, quoted: bool) {
        if let Some(c) = self.peek() {
            push(pieces, c.to_string(), quoted);
            self.at += 1;
        }
    }

    fn single_quotes(&mut self, pieces: &mut Word) -> Parsed<()> {
        let rest = &self.text[self.at + 1..];
        let Some(length) = rest.iter().position(|c| *c == '\'') else {
            return Err(self.error("Unterminated quoted string"));
        };
        push(pieces, rest[..length].iter().collect(), true);
        self.at += length + 2;
        Ok(())
    }

    fn expect_quote(&mut self) -> Parsed<()> {
        if self.peek() != Some('"') {
            return Err(self.error("Unterminated quoted string"));
        }
        self.at += 1;
        Ok(())
    }

    fn escape(&mut self, pieces: &mut Word, place: Place) {
        self.at += 1;
        let Some(next) = self.peek() else {
            push(pieces, "\\".into(), true);
            return;
        };
        self.at += 1;
        let special = match place {
            Place::Open | Place::Braced { quoted: false } => true,
            Place::Quoted | Place::Braced { quoted: true } => "$`\"\\\n}".contains(next),
            Place::Here | Place::Arithmetic => "$`\\\n".contains(next),
        };
        match (special, next) {
            (true, '\n') => {}
            (true, _) => push(pieces, next.to_string(), true),
            (false, _) => push(pieces, format!("\\{next}"), true),
        }
    }

    fn dollar(&mut self, pieces: &mut Word, quoted: bool) -> Parsed<()> {
        if self.looking_at("$((") {
            self.at += 3;
            let expression = self.pieces(Place::Arithmetic)?;
            if !self.looking_at("))") {
                return Err(self.error("missing \"))\""));
            }
            self.at += 2;
            pieces.push(Piece::Arithmetic { expression, quoted });
            return Ok(());
        }
        if self.looking_at("$(") {
            self.at += 2;
            let list = Arc::new(self.list(&[])?);
            self.expect(')')?;
            pieces.push(Piece::Commands { list, quoted });
            return Ok(());
        }
        self.at += 1;
        if self.peek() == Some('{') {
            self.at += 1;
            let (name, change) = self.braced(quoted)?;
            pieces.push(Piece::Variable { name, change, quoted });
            return Ok(());
        }
        match self.variable_name() {
            Some(name) => pieces.push(Piece::Variable { name, change: None, quoted }),
            None => push(pieces, "$".into(), true),
        }
        Ok(())
    }

    fn backquotes(&mut self, pieces: &mut Word, quoted: bool) -> Parsed<()> {
        self.at += 1;
        let mut inner = String::new();
        loop {
            match self.peek() {
                None => return Err(self.error("missing \"`\"")),
                Some('`') => break,
                Some('\\') if self.text.get(self.at + 1).is_some_and(|c| "$`\\".contains(*c)) => {
                    inner.push(self.text[self.at + 1]);
                    self.at += 2;
                }
                Some(c) => {
                    inner.push(c);
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        let list = Arc::new(super::parse::parse(&inner)?);
        pieces.push(Piece::Commands { list, quoted });
        Ok(())
    }

    /// What stands between `${` and `}`.
    fn braced(&mut self, quoted: bool) -> Parsed<(String, Option<Change>)> {
        if self.peek() == Some('#') && self.text.get(self.at + 1) != Some(&'}') {
            self.at += 1;
            let name = self.variable_name().ok_or_else(|| self.error("Bad substitution"))?;
            self.closing_brace()?;
            return Ok((name, Some(Change::Length)));
        }
        let name = self.variable_name().ok_or_else(|| self.error("Bad substitution"))?;
        let empty_too = self.peek() == Some(':');
        if empty_too {
            self.at += 1;
        }
        let change = match self.peek() {
            Some('}') if !empty_too => None,
            Some(operator @ ('-' | '=' | '+' | '?')) => {
                self.at += 1;
                let word = self.pieces(Place::Braced { quoted })?;
                Some(Change::Instead { operator, empty_too, word })
            }
            Some(operator @ ('#' | '%')) if !empty_too => {
                self.at += 1;
                let longest = self.peek() == Some(operator);
                if longest {
                    self.at += 1;
                }
                let pattern = self.pieces(Place::Braced { quoted: false })?;
                Some(Change::Cut { from_end: operator == '%', longest, pattern })
            }
            _ => return Err(self.error("Bad substitution")),
        };
        self.closing_brace()?;
        Ok((name, change))
    }

    fn closing_brace(&mut self) -> Parsed<()> {
        if self.peek() != Some('}') {
            return Err(self.error("Bad substitution"));
        }
        self.at += 1;
        Ok(())
    }

    fn variable_name(&mut self) -> Option<String> {
        let first = self.peek()?;
        if "?#@*$!-0123456789".contains(first) {
            self.at += 1;
            return Some(first.to_string());
        }
        let rest = &self.text[self.at..];
        let length = rest.iter().take_while(|c| c.is_ascii_alphanumeric() || **c == '_').count();
        self.at += length;
        (length > 0).then(|| rest[..length].iter().collect())
    }
}

/// Adds text, joined to the text before it when both are quoted alike.
fn push(pieces: &mut Word, more: String, is_quoted: bool) {
    match pieces.last_mut() {
        Some(Piece::Text { text, quoted }) if *quoted == is_quoted => text.push_str(&more),
        _ => pieces.push(Piece::Text { text: more, quoted: is_quoted }),
    }
}
