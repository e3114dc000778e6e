//! Parses a script: lists, pipelines, compound commands and redirections. Words are in `words`.

use std::sync::{Arc, OnceLock};

use super::syntax::{
    AndOr, Body, Command, Joint, List, Pipeline, Redirect, SyntaxError, Target, Word, literal,
};

/// How deep commands may nest.
pub(super) const DEPTH_MAX: usize = 100;

const RESERVED: &[&str] = &[
    "if", "then", "elif", "else", "fi", "while", "until", "for", "do", "done", "case", "esac",
    "in", "{", "}", "!",
];

pub(super) struct Parser {
    pub(super) text: Vec<char>,
    pub(super) at: usize,
    pub(super) depth: usize,
    /// Here-documents whose line has not ended yet.
    pending: Vec<Pending>,
}

struct Pending {
    end: String,
    strip_tabs: bool,
    expand: bool,
    document: Arc<OnceLock<Word>>,
}

pub(super) type Parsed<T> = Result<T, SyntaxError>;

/// Parses a whole script.
pub(super) fn parse(text: &str) -> Parsed<List> {
    let mut parser = Parser::new(text);
    let list = parser.list(&[])?;
    match parser.peek() {
        None => parser.finish(list),
        Some(other) => Err(parser.error(format!("{other:?} unexpected"))),
    }
}

impl Parser {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.chars().collect(), at: 0, depth: 0, pending: Vec::new() }
    }

    fn finish(&mut self, list: List) -> Parsed<List> {
        if self.pending.is_empty() { Ok(list) } else { self.here_documents().map(|()| list) }
    }

    /// Commands up to one of the reserved words (not consumed), a `)` or the end.
    pub(super) fn list(&mut self, ends: &[&str]) -> Parsed<List> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.error("commands nest too deep"));
        }
        let mut list = List::new();
        loop {
            self.newlines()?;
            let closing = matches!(self.peek(), None | Some(')'));
            if closing
                || self.looking_at(";;")
                || self.reserved().is_some_and(|w| ends.contains(&w))
            {
                break;
            }
            list.push(self.and_or()?);
            self.blanks();
            match self.peek() {
                Some(';') if !self.looking_at(";;") => self.at += 1,
                Some('\n') | None | Some(')') => {}
                Some(';') => {}
                Some('&') => return Err(self.error("background commands (&) are not supported")),
                Some(other) => return Err(self.error(format!("{other:?} unexpected"))),
            }
        }
        self.depth -= 1;
        Ok(list)
    }

    fn and_or(&mut self) -> Parsed<AndOr> {
        let first = self.pipeline()?;
        let mut rest = Vec::new();
        loop {
            self.blanks();
            let joint = if self.looking_at("&&") {
                Joint::And
            } else if self.looking_at("||") {
                Joint::Or
            } else {
                return Ok(AndOr { first, rest });
            };
            self.at += 2;
            self.newlines()?;
            rest.push((joint, self.pipeline()?));
        }
    }

    fn pipeline(&mut self) -> Parsed<Pipeline> {
        self.blanks();
        let mut negated = false;
        while self.reserved() == Some("!") {
            self.at += 1;
            self.blanks();
            negated = !negated;
        }
        let mut commands = vec![self.command()?];
        loop {
            self.blanks();
            if self.peek() != Some('|') || self.looking_at("||") {
                return Ok(Pipeline { negated, commands });
            }
            self.at += 1;
            self.newlines()?;
            commands.push(self.command()?);
        }
    }

    fn command(&mut self) -> Parsed<Command> {
        self.blanks();
        let body = match (self.peek(), self.reserved()) {
            (Some('('), _) => {
                self.at += 1;
                let list = self.list(&[])?;
                self.expect(')')?;
                Body::Subshell(list)
            }
            (_, Some("{")) => {
                self.at += 1;
                let list = self.list(&["}"])?;
                self.word_expected("}")?;
                Body::Group(list)
            }
            (_, Some("if")) => self.conditional()?,
            (_, Some(word @ ("while" | "until"))) => {
                self.at += word.len();
                let condition = self.list(&["do"])?;
                Body::While { until: word == "until", condition, body: self.do_group()? }
            }
            (_, Some("for")) => self.for_loop()?,
            (_, Some("case")) => self.case()?,
            (_, Some(word)) => return Err(self.error(format!("\"{word}\" unexpected"))),
            (None, None) => return Err(self.error("end of file unexpected")),
            (Some(_), None) => return self.simple_or_function(),
        };
        let redirects = self.redirects()?;
        Ok(Command { body, redirects })
    }

    fn simple_or_function(&mut self) -> Parsed<Command> {
        if let Some(name) = self.function_name() {
            self.newlines()?;
            let body = Arc::new(self.command()?);
            return Ok(Command { body: Body::Function { name, body }, redirects: Vec::new() });
        }
        let (mut assignments, mut words, mut redirects) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            self.blanks();
            if let Some(redirect) = self.redirect()? {
                redirects.push(redirect);
            } else if words.is_empty()
                && let Some(name) = self.assignment_name()
            {
                assignments.push((name, self.word()?.unwrap_or_default()));
            } else if let Some(word) = self.word()? {
                words.push(word);
            } else {
                break;
            }
        }
        if assignments.is_empty() && words.is_empty() && redirects.is_empty() {
            let what = self.peek().map_or("end of file".into(), |c| format!("{c:?}"));
            return Err(self.error(format!("{what} unexpected")));
        }
        Ok(Command { body: Body::Simple { assignments, words }, redirects })
    }

    fn conditional(&mut self) -> Parsed<Body> {
        let (mut branches, mut otherwise) = (Vec::new(), List::new());
        self.word_expected("if")?;
        loop {
            let condition = self.list(&["then"])?;
            self.word_expected("then")?;
            let body = self.list(&["elif", "else", "fi"])?;
            branches.push((condition, body));
            match self.reserved() {
                Some("elif") => self.at += "elif".len(),
                Some("else") => {
                    self.at += "else".len();
                    otherwise = self.list(&["fi"])?;
                    break;
                }
                _ => break,
            }
        }
        self.word_expected("fi")?;
        Ok(Body::If { branches, otherwise })
    }

    fn for_loop(&mut self) -> Parsed<Body> {
        self.word_expected("for")?;
        self.blanks();
        let name = self.name().ok_or_else(|| self.error("bad for loop variable"))?;
        self.newlines()?;
        let words = if self.reserved() == Some("in") {
            self.at += "in".len();
            let mut words = Vec::new();
            self.blanks();
            while let Some(word) = self.word()? {
                words.push(word);
                self.blanks();
            }
            Some(words)
        } else {
            None
        };
        if self.peek() == Some(';') {
            self.at += 1;
        }
        self.newlines()?;
        Ok(Body::For { name, words, body: self.do_group()? })
    }

    fn do_group(&mut self) -> Parsed<List> {
        self.word_expected("do")?;
        let body = self.list(&["done"])?;
        self.word_expected("done")?;
        Ok(body)
    }

    fn case(&mut self) -> Parsed<Body> {
        self.word_expected("case")?;
        self.blanks();
        let word = self.word()?.ok_or_else(|| self.error("case without a word"))?;
        self.newlines()?;
        self.word_expected("in")?;
        let mut arms = Vec::new();
        loop {
            self.newlines()?;
            if self.reserved() == Some("esac") {
                self.at += "esac".len();
                return Ok(Body::Case { word, arms });
            }
            if self.peek() == Some('(') {
                self.at += 1;
            }
            let mut patterns = Vec::new();
            loop {
                self.blanks();
                patterns.push(self.word()?.ok_or_else(|| self.error("case without a pattern"))?);
                self.blanks();
                if self.peek() != Some('|') {
                    break;
                }
                self.at += 1;
            }
            self.expect(')')?;
            let list = self.list(&["esac"])?;
            arms.push((patterns, list));
            if self.looking_at(";;") {
                self.at += 2;
            }
        }
    }

    fn redirects(&mut self) -> Parsed<Vec<Redirect>> {
        let mut redirects = Vec::new();
        loop {
            self.blanks();
            match self.redirect()? {
                Some(redirect) => redirects.push(redirect),
                None => return Ok(redirects),
            }
        }
    }

    fn redirect(&mut self) -> Parsed<Option<Redirect>> {
        let start = self.at;
        let digit = self.peek().and_then(|c| c.to_digit(10));
        if digit.is_some() {
            self.at += 1;
        }
        let default = match self.peek() {
            Some('<') => 0,
            Some('>') => 1,
            _ => {
                self.at = start;
                return Ok(None);
            }
        };
        let fd = digit.unwrap_or(default) as u8;
        if fd > 2 {
            return Err(self.error("only file descriptors 0, 1 and 2 are supported"));
        }
        for (operator, length) in
            [("<<-", 3), ("<<", 2), (">>", 2), (">&", 2), ("<&", 2), (">|", 2)]
        {
            if self.looking_at(operator) {
                self.at += length;
                let target = match operator {
                    "<<" | "<<-" => self.here(operator == "<<-")?,
                    ">>" => Target::Append(self.target()?),
                    ">|" => Target::Write(self.target()?),
                    _ => self.duplicate()?,
                };
                return Ok(Some(Redirect { fd, target }));
            }
        }
        self.at += 1;
        let word = self.target()?;
        let target = if default == 0 { Target::Read(word) } else { Target::Write(word) };
        Ok(Some(Redirect { fd, target }))
    }

    fn target(&mut self) -> Parsed<Word> {
        self.blanks();
        self.word()?.ok_or_else(|| self.error("redirection without a file"))
    }

    fn duplicate(&mut self) -> Parsed<Target> {
        let word = self.target()?;
        match literal(&word) {
            Some("-") => Ok(Target::Closed),
            Some(fd @ ("0" | "1" | "2")) => Ok(Target::Same(fd.as_bytes()[0] - b'0')),
            _ => Err(self.error("bad file descriptor")),
        }
    }

    fn here(&mut self, strip_tabs: bool) -> Parsed<Target> {
        self.blanks();
        let start = self.at;
        let word = self.target()?;
        let raw: String = self.text[start..self.at].iter().collect();
        let end = raw.chars().filter(|c| !matches!(c, '\'' | '"' | '\\')).collect();
        let document = Arc::new(OnceLock::new());
        let expand = literal(&word).is_some() && !raw.contains(['\'', '"', '\\']);
        self.pending.push(Pending { end, strip_tabs, expand, document: document.clone() });
        Ok(Target::Here(document))
    }

    /// Reads the here-documents that the line just ended has asked for.
    fn here_documents(&mut self) -> Parsed<()> {
        for pending in std::mem::take(&mut self.pending) {
            let mut body = String::new();
            loop {
                if self.at >= self.text.len() {
                    return Err(self.error(format!("here-document without {:?}", pending.end)));
                }
                let rest = &self.text[self.at..];
                let length = rest.iter().position(|c| *c == '\n').unwrap_or(rest.len());
                let line: String = rest[..length].iter().collect();
                self.at = (self.at + length + 1).min(self.text.len());
                let line = if pending.strip_tabs { line.trim_start_matches('\t') } else { &line };
                if line == pending.end {
                    break;
                }
                body.push_str(line);
                body.push('\n');
            }
            let word = if pending.expand {
                Parser::new(&body).here_text()?
            } else {
                vec![super::syntax::Piece::Text { text: body, quoted: true }]
            };
            // Set once only: every here-document has a cell of its own.
            let _ = pending.document.set(word);
        }
        Ok(())
    }

    /// Skips blanks, comments and line ends, reading the here-documents in between.
    pub(super) fn newlines(&mut self) -> Parsed<()> {
        loop {
            self.blanks();
            if self.peek() != Some('\n') {
                return Ok(());
            }
            self.at += 1;
            self.here_documents()?;
        }
    }

    pub(super) fn blanks(&mut self) {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\r') => self.at += 1,
                Some('\\') if self.text.get(self.at + 1) == Some(&'\n') => self.at += 2,
                Some('#') if self.at == 0 || " \t\r\n;()&|".contains(self.text[self.at - 1]) => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    /// The reserved word that stands here by itself.
    fn reserved(&self) -> Option<&'static str> {
        RESERVED.iter().copied().find(|word| {
            let after = self.text.get(self.at + word.len());
            self.looking_at(word)
                && after.is_none_or(|c| c.is_whitespace() || ";()<>|&".contains(*c))
        })
    }

    fn word_expected(&mut self, word: &str) -> Parsed<()> {
        if self.reserved().is_none_or(|found| found != word) {
            return Err(self.error(format!("expecting \"{word}\"")));
        }
        self.at += word.len();
        Ok(())
    }

    pub(super) fn expect(&mut self, wanted: char) -> Parsed<()> {
        self.blanks();
        if self.peek() != Some(wanted) {
            return Err(self.error(format!("expecting \"{wanted}\"")));
        }
        self.at += 1;
        Ok(())
    }

    fn name(&mut self) -> Option<String> {
        let rest = &self.text[self.at..];
        let length = rest.iter().take_while(|c| c.is_ascii_alphanumeric() || **c == '_').count();
        let name: String = rest[..length].iter().collect();
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        self.at += length;
        Some(name)
    }

    /// `name=` before an assignment's value.
    fn assignment_name(&mut self) -> Option<String> {
        let start = self.at;
        let name = self.name();
        if name.is_some() && self.peek() == Some('=') {
            self.at += 1;
            return name;
        }
        self.at = start;
        None
    }

    /// `name()` before a function's body.
    fn function_name(&mut self) -> Option<String> {
        let start = self.at;
        let name = self.name();
        if name.is_some() {
            self.blanks();
            if self.peek() == Some('(') {
                self.at += 1;
                self.blanks();
                if self.peek() == Some(')') {
                    self.at += 1;
                    return name;
                }
            }
        }
        self.at = start;
        None
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    pub(super) fn looking_at(&self, wanted: &str) -> bool {
        let mut rest = self.text[self.at.min(self.text.len())..].iter();
        wanted.chars().all(|c| rest.next() == Some(&c))
    }

    pub(super) fn error(&self, reason: impl Into<String>) -> SyntaxError {
        let read = &self.text[..self.at.min(self.text.len())];
        SyntaxError { line: 1 + read.iter().filter(|c| **c == '\n').count(), reason: reason.into() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever comes in, the parser answers: no panic, no endless loop.
        #[test]
        fn any_text_is_parsed_or_refused(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "if ", "then ", "fi", "for x in ", "do ", "done", "case ", "esac", "in ", "{ ",
                    "}", "(", ")", "$(", "$((", "))", "${", "`", "'", "\"", "\\", "<<", "<<-", "EOF",
                    "\n", ";", ";;", "&&", "||", "|", "&", "!", ">", "2>&1", "<", "#", "x", "=", "*",
                    "é", " ", "\t", "[", "]", "%", ":-", "while ", "until ", "f()", "~",
                ]),
                0..40,
            )
        ) {
            let text = pieces.concat();
            if let Err(error) = parse(&text) {
                prop_assert!(error.line >= 1 && !error.reason.is_empty());
            }
        }
    }
}
