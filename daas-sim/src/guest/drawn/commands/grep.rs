//! `grep`, with fixed strings and the simple part of regular expressions.

use super::text::each_input;
use super::{Call, Options};

pub(super) fn grep(call: &mut Call<'_>) -> i32 {
    let options = call.options("e");
    if let Some(other) = options.other_than("qxwFEiveclnshH", &[]) {
        return call.unknown(&other);
    }
    let mut rest = options.rest.clone();
    let pattern = match options.value('e') {
        Some(pattern) => pattern.to_owned(),
        None if rest.is_empty() => return call.fail(2, "no pattern"),
        None => rest.remove(0).to_owned(),
    };
    let alternatives = match alternatives(&pattern, &options) {
        Ok(alternatives) => alternatives,
        Err(what) => {
            return call.fail(2, format!("{what} in {pattern:?} is not known to a drawn guest"));
        }
    };
    let mut found = 0;
    let status = each_input(call, &rest, |call, path, contents| {
        let mut here = 0;
        for (number, line) in String::from_utf8_lossy(&contents).lines().enumerate() {
            let text = if options.has('i') { line.to_lowercase() } else { line.to_owned() };
            let fits = |text: &str| alternatives.iter().any(|pattern| pattern.matches(text));
            let word = |c: char| !c.is_alphanumeric() && c != '_';
            let found_here = match options.has('w') {
                true => text.split(word).any(fits),
                false => fits(&text),
            };
            if found_here == options.has('v') {
                continue;
            }
            here += 1;
            let quiet = ['q', 'c', 'l'].iter().any(|flag| options.has(*flag));
            let number = if options.has('n') { format!("{}:", number + 1) } else { String::new() };
            let name = if rest.len() > 1 && !options.has('h') {
                format!("{path}:")
            } else {
                String::new()
            };
            if !quiet {
                call.say(format!("{name}{number}{line}"));
            }
        }
        if options.has('c') && !options.has('q') {
            call.say(here);
        } else if options.has('l') && here > 0 && !options.has('q') {
            call.say(path);
        }
        found += here;
    });
    if options.has('s') {
        call.err.clear();
    }
    match (found > 0, status) {
        (true, 0) => 0,
        (true, _) if options.has('q') => 0,
        (false, 0) => 1,
        _ => 2,
    }
}

/// The patterns of which one has to fit.
fn alternatives(pattern: &str, options: &Options<'_>) -> Result<Vec<Pattern>, &'static str> {
    let (fixed, extended) = (options.has('F'), options.has('E'));
    let texts: Vec<&str> = match (fixed, extended) {
        (true, _) => vec![pattern],
        (false, true) => pattern.split('|').collect(),
        (false, false) => pattern.split("\\|").collect(),
    };
    let whole = options.has('x') || options.has('w');
    texts
        .into_iter()
        .map(|text| {
            let text = if options.has('i') { text.to_lowercase() } else { text.to_owned() };
            Pattern::new(&text, fixed, extended, whole)
        })
        .collect()
}

/// A line of atoms, each with how often it may stand.
struct Pattern {
    atoms: Vec<(Atom, usize, usize)>,
    from_start: bool,
    to_end: bool,
}

enum Atom {
    Any,
    One(char),
    Set { negated: bool, ranges: Vec<(char, char)> },
}

impl Pattern {
    fn new(text: &str, fixed: bool, extended: bool, whole: bool) -> Result<Self, &'static str> {
        let mut chars: Vec<char> = text.chars().collect();
        let (mut from_start, mut to_end) = (whole, whole);
        if !fixed && chars.first() == Some(&'^') {
            chars.remove(0);
            from_start = true;
        }
        if !fixed && chars.last() == Some(&'$') && !text.ends_with("\\$") {
            chars.pop();
            to_end = true;
        }
        let (mut atoms, mut i) = (Vec::new(), 0);
        while i < chars.len() {
            let c = chars[i];
            i += 1;
            let atom = match c {
                _ if fixed => Atom::One(c),
                '.' => Atom::Any,
                '[' => bracket(&chars, &mut i)?,
                '\\' => {
                    let next = *chars.get(i).ok_or("a backslash at the end")?;
                    i += 1;
                    match next {
                        's' => Atom::Set { negated: false, ranges: vec![(' ', ' '), ('\t', '\t')] },
                        '(' | ')' | '{' | '}' | '<' | '>' | 'b' | 'w' => return Err("an escape"),
                        other => Atom::One(other),
                    }
                }
                '(' | ')' | '{' | '}' if extended => return Err("a group or a count"),
                other => Atom::One(other),
            };
            let (least, most) = match chars.get(i) {
                Some('*') if !fixed => (0, usize::MAX),
                Some('+') if !fixed && extended => (1, usize::MAX),
                Some('?') if !fixed && extended => (0, 1),
                _ => {
                    atoms.push((atom, 1, 1));
                    continue;
                }
            };
            i += 1;
            atoms.push((atom, least, most));
        }
        Ok(Self { atoms, from_start, to_end })
    }

    fn matches(&self, line: &str) -> bool {
        let line: Vec<char> = line.chars().collect();
        // The set of positions an atom can have been reached at, instead of going back and forth.
        let starts = if self.from_start { 0..=0 } else { 0..=line.len() };
        let mut at: Vec<bool> = (0..=line.len()).map(|i| starts.contains(&i)).collect();
        for (atom, least, most) in &self.atoms {
            let mut next = vec![false; line.len() + 1];
            for start in (0..=line.len()).filter(|i| at[*i]) {
                let (mut i, mut count) = (start, 0);
                loop {
                    if count >= *least {
                        if next[i] && count > 0 {
                            break;
                        }
                        next[i] = true;
                    }
                    if count >= *most || i >= line.len() || !atom.fits(line[i]) {
                        break;
                    }
                    (i, count) = (i + 1, count + 1);
                }
            }
            at = next;
        }
        if self.to_end { at[line.len()] } else { at.contains(&true) }
    }
}

impl Atom {
    fn fits(&self, c: char) -> bool {
        match self {
            Self::Any => true,
            Self::One(one) => *one == c,
            Self::Set { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

fn bracket(chars: &[char], i: &mut usize) -> Result<Atom, &'static str> {
    let negated = chars.get(*i) == Some(&'^');
    *i += usize::from(negated);
    let (mut ranges, first) = (Vec::new(), *i);
    loop {
        let low = *chars.get(*i).ok_or("an unended set")?;
        let rest: String = chars[*i..].iter().take(9).collect();
        if low == ']' && *i > first {
            *i += 1;
            return Ok(Atom::Set { negated, ranges });
        } else if rest == "[:space:]" {
            ranges.extend([(' ', ' '), ('\t', '\r')]);
            *i += 9;
        } else if rest == "[:digit:]" {
            ranges.push(('0', '9'));
            *i += 9;
        } else if rest.starts_with("[:") {
            return Err("a class");
        } else if chars.get(*i + 1) == Some(&'-') && chars.get(*i + 2).is_some_and(|c| *c != ']') {
            ranges.push((low, chars[*i + 2]));
            *i += 3;
        } else {
            ranges.push((low, low));
            *i += 1;
        }
    }
}
