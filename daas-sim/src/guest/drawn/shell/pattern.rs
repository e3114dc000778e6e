//! Shell patterns: `*`, `?`, `[...]`; a backslash takes the meaning away.

/// Whether the whole text fits the pattern.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    // Where to go back to when what follows the last `*` does not fit.
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some(_) => {
                if let Some(next) = one(&pattern, p, text[t]) {
                    (p, t) = (next, t + 1);
                    continue;
                }
            }
            None => {}
        }
        let Some((at, from)) = star else { return false };
        (p, t) = (at + 1, from + 1);
        star = Some((at, from + 1));
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Makes text fit itself only.
pub(super) fn escaped(text: &str) -> String {
    text.chars().flat_map(|c| "*?[]\\".contains(c).then_some('\\').into_iter().chain([c])).collect()
}

/// Whether the pattern has a character that is special.
pub(super) fn is_pattern(pattern: &str) -> bool {
    let mut escaped = false;
    pattern.chars().any(|c| {
        let special = !escaped && "*?[".contains(c);
        escaped = c == '\\' && !escaped;
        special
    })
}

/// Takes the backslashes away.
pub(super) fn plain(pattern: &str) -> String {
    let mut plain = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        plain.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
    }
    plain
}

/// Fits one character; the position after that part of the pattern.
fn one(pattern: &[char], at: usize, c: char) -> Option<usize> {
    match pattern[at] {
        '?' => Some(at + 1),
        '\\' => (pattern.get(at + 1) == Some(&c)).then_some(at + 2),
        '[' => match set(pattern, at, c) {
            Some((fits, next)) => fits.then_some(next),
            None => (c == '[').then_some(at + 1),
        },
        other => (other == c).then_some(at + 1),
    }
}

fn set(pattern: &[char], at: usize, c: char) -> Option<(bool, usize)> {
    let mut i = at + 1;
    let negated = matches!(pattern.get(i), Some('!' | '^'));
    if negated {
        i += 1;
    }
    let (first, mut fits) = (i, false);
    loop {
        let low = *pattern.get(i)?;
        if low == ']' && i > first {
            return Some((fits != negated, i + 1));
        }
        if pattern.get(i + 1) == Some(&'-') && pattern.get(i + 2).is_some_and(|high| *high != ']') {
            fits |= (low..=pattern[i + 2]).contains(&c);
            i += 3;
        } else {
            fits |= low == c;
            i += 1;
        }
    }
}
