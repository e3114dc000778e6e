//! `echo`, `printf`, `cat`, `tee`, `head`, `tail`, `wc`, `cut`, `sort`, `tr`, `sha256sum` and the
//! parts of paths.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::Call;

pub(super) fn echo(call: &mut Call<'_>) -> i32 {
    let no_newline = call.arguments.first() == Some(&"-n");
    let text = call.arguments[usize::from(no_newline)..].join(" ");
    call.out.extend_from_slice(text.as_bytes());
    if !no_newline {
        call.out.push(b'\n');
    }
    0
}

/// `%s`, `%d`, `%b`, `%%` and backslash escapes; the format is used again while arguments are left.
pub(super) fn printf(call: &mut Call<'_>) -> i32 {
    let mut words = call.arguments.clone().into_iter();
    let Some(format) = words.next().map(unescaped) else { return call.fail(2, "missing operand") };
    let mut words = words.peekable();
    loop {
        let before = words.len();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            let text = match (c, c == '%') {
                (_, false) => c.to_string(),
                _ => match chars.next() {
                    Some('s') => words.next().unwrap_or_default().to_owned(),
                    Some('b') => unescaped(words.next().unwrap_or_default()),
                    Some('d') => match words.next().unwrap_or("0").trim().parse::<i64>() {
                        Ok(number) => number.to_string(),
                        Err(_) => return call.fail(1, "expected numeric value"),
                    },
                    Some('%') => "%".into(),
                    other => return call.unknown(&format!("%{}", other.unwrap_or_default())),
                },
            };
            call.out.extend_from_slice(text.as_bytes());
        }
        // A format that takes no argument is used once.
        if words.peek().is_none() || words.len() == before {
            return 0;
        }
    }
}

pub(super) fn cat(call: &mut Call<'_>) -> i32 {
    let options = call.options("");
    if let Some(other) = options.other_than("u", &[]) {
        return call.unknown(&other);
    }
    each_input(call, &options.rest, |call, _, contents| call.out.extend_from_slice(&contents))
}

pub(super) fn tee(call: &mut Call<'_>) -> i32 {
    let options = call.options("");
    if let Some(other) = options.other_than("ai", &["append"]) {
        return call.unknown(&other);
    }
    let append = options.has('a') || options.has_long("append");
    let input = call.input.clone();
    call.out.extend_from_slice(&input);
    let mut status = 0;
    for path in options.rest.iter().filter(|path| **path != "/dev/null") {
        let full = call.path(path);
        let old = if append { call.contents(path).unwrap_or_default() } else { Bytes::new() };
        let all = [old.as_ref(), input.as_ref()].concat();
        let mode = call.new_mode(0o666);
        if let Err(error) = call.disk.write(call.caller.who, &full, all.into(), mode) {
            status = call.fail(1, format!("{path}: {error}"));
        }
    }
    status
}

pub(super) fn head(call: &mut Call<'_>) -> i32 {
    part(call, |lines, count| (0, count.min(lines)))
}

pub(super) fn tail(call: &mut Call<'_>) -> i32 {
    part(call, |lines, count| (lines.saturating_sub(count), lines))
}

/// Prints the lines (or with `-c` the bytes) from one number up to another.
fn part(call: &mut Call<'_>, range: fn(usize, usize) -> (usize, usize)) -> i32 {
    let options = call.options("nc0123456789");
    if let Some(other) = options.other_than("nc123456789", &[]) {
        return call.unknown(&other);
    }
    let short = options.flags.iter().find(|(flag, _)| flag.is_ascii_digit());
    let short = short.map(|(flag, more)| format!("{flag}{more}"));
    let (bytes, count) = match (options.value('c'), options.value('n').or(short.as_deref())) {
        (Some(count), _) => (true, count.parse::<usize>()),
        (None, Some(count)) => (false, count.parse()),
        (None, None) => (false, Ok(10)),
    };
    let Ok(count) = count else { return call.fail(1, "invalid number of lines") };
    each_input(call, &options.rest, |call, _, contents| {
        let pieces: Vec<&[u8]> =
            if bytes { contents.chunks(1).collect() } else { lines(&contents).collect() };
        let (from, to) = range(pieces.len(), count);
        call.out.extend_from_slice(&pieces[from..to].concat());
    })
}

pub(super) fn wc(call: &mut Call<'_>) -> i32 {
    let options = call.options("");
    if let Some(other) = options.other_than("lcw", &[]) {
        return call.unknown(&other);
    }
    each_input(call, &options.rest, |call, path, contents| {
        let lines = contents.iter().filter(|byte| **byte == b'\n').count();
        let words = contents.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count();
        let all = [('l', lines), ('w', words), ('c', contents.len())];
        let wanted = all.iter().filter(|(flag, _)| options.flags.is_empty() || options.has(*flag));
        let mut columns: Vec<String> = wanted.map(|(_, count)| count.to_string()).collect();
        columns.extend((path != "-").then(|| path.to_owned()));
        call.say(columns.join(" "));
    })
}

/// `cut -dX -fLIST` and `cut -cLIST`.
pub(super) fn cut(call: &mut Call<'_>) -> i32 {
    let options = call.options("dfc");
    if let Some(other) = options.other_than("dfcs", &[]) {
        return call.unknown(&other);
    }
    let Some(list) = options.value('f').or(options.value('c')) else {
        return call.fail(1, "you must specify a list of bytes, characters, or fields");
    };
    let Some(ranges) = ranges(list) else { return call.fail(1, "invalid field list") };
    let delimiter = options.value('d').unwrap_or("\t").to_owned();
    let by_character = options.value('f').is_none();
    let is_in = |number: usize| ranges.iter().any(|(from, to)| (*from..=*to).contains(&number));
    each_input(call, &options.rest, |call, _, contents| {
        for line in String::from_utf8_lossy(&contents).lines() {
            let numbered = |(i, part): (usize, String)| is_in(i + 1).then_some(part);
            let text = if by_character {
                line.chars().map(String::from).enumerate().filter_map(numbered).collect()
            } else if line.contains(&delimiter) {
                let fields = line.split(&delimiter).map(String::from).enumerate();
                fields.filter_map(numbered).collect::<Vec<_>>().join(&delimiter)
            } else {
                line.to_owned()
            };
            call.say(text);
        }
    })
}

pub(super) fn sort(call: &mut Call<'_>) -> i32 {
    let options = call.options("");
    if let Some(other) = options.other_than("run", &[]) {
        return call.unknown(&other);
    }
    let mut all: Vec<String> = Vec::new();
    let status = each_input(call, &options.rest, |_, _, contents| {
        all.extend(String::from_utf8_lossy(&contents).lines().map(String::from));
    });
    if options.has('n') {
        all.sort_by_key(|line| line.trim().parse::<i64>().unwrap_or(0));
    } else {
        all.sort();
    }
    if options.has('u') {
        all.dedup();
    }
    if options.has('r') {
        all.reverse();
    }
    all.iter().for_each(|line| call.say(line));
    status
}

/// `tr SET1 SET2` and `tr -d SET1`, with ranges and the classes `[:upper:]` and `[:lower:]`.
pub(super) fn tr(call: &mut Call<'_>) -> i32 {
    let options = call.options("");
    if let Some(other) = options.other_than("d", &[]) {
        return call.unknown(&other);
    }
    let sets: Vec<Vec<char>> = options.rest.iter().map(|set| character_set(set)).collect();
    let text = String::from_utf8_lossy(&call.input).into_owned();
    let changed: String = match (options.has('d'), sets.as_slice()) {
        (true, [gone]) => text.chars().filter(|c| !gone.contains(c)).collect(),
        (false, [from, to]) if !to.is_empty() => text
            .chars()
            .map(|c| match from.iter().position(|known| *known == c) {
                Some(at) => to[at.min(to.len() - 1)],
                None => c,
            })
            .collect(),
        _ => return call.fail(1, "two sets are needed, or one with -d"),
    };
    call.out.extend_from_slice(changed.as_bytes());
    0
}

pub(super) fn sha256sum(call: &mut Call<'_>) -> i32 {
    let options = call.options("");
    if options.has('c') || options.has_long("check") {
        return check_sums(call, &options.rest, options.has_long("status"));
    }
    if let Some(other) = options.other_than("b", &[]) {
        return call.unknown(&other);
    }
    each_input(call, &options.rest, |call, path, contents| {
        call.say(format!("{}  {path}", digest(&contents)));
    })
}

fn check_sums(call: &mut Call<'_>, paths: &[&str], silent: bool) -> i32 {
    let mut wrong = false;
    let status = each_input(call, paths, |call, _, list| {
        for line in String::from_utf8_lossy(&list).lines() {
            let Some((sum, path)) = line.split_once("  ") else { continue };
            let right = call.contents(path).is_ok_and(|contents| digest(&contents) == sum);
            wrong |= !right;
            if !silent {
                call.say(format!("{path}: {}", if right { "OK" } else { "FAILED" }));
            }
        }
    });
    status.max(i32::from(wrong))
}

pub(super) fn basename(call: &mut Call<'_>) -> i32 {
    let Some(path) = call.arguments.first() else { return call.fail(1, "missing operand") };
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or("/");
    let suffix = call.arguments.get(1).copied().unwrap_or_default();
    let name = name.strip_suffix(suffix).filter(|name| !name.is_empty()).unwrap_or(name);
    call.say(name);
    0
}

pub(super) fn dirname(call: &mut Call<'_>) -> i32 {
    let Some(path) = call.arguments.first() else { return call.fail(1, "missing operand") };
    let parent = match path.trim_end_matches('/').rsplit_once('/') {
        Some(("", _)) => "/",
        Some((parent, _)) => parent,
        None => ".",
    };
    call.say(parent);
    0
}

/// Goes through the files named, or the standard input when none is.
pub(super) fn each_input(
    call: &mut Call<'_>,
    paths: &[&str],
    mut act: impl FnMut(&mut Call<'_>, &str, Bytes),
) -> i32 {
    let mut status = 0;
    for path in if paths.is_empty() { &["-"] } else { paths } {
        match call.contents(path) {
            Ok(contents) => act(call, path, contents),
            Err(error) => status = call.fail(1, format!("{path}: {error}")),
        }
    }
    status
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n')
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn ranges(list: &str) -> Option<Vec<(usize, usize)>> {
    list.split(',')
        .map(|part| match part.split_once('-') {
            Some(("", to)) => Some((1, to.parse().ok()?)),
            Some((from, "")) => Some((from.parse().ok()?, usize::MAX)),
            Some((from, to)) => Some((from.parse().ok()?, to.parse().ok()?)),
            None => part.parse().ok().map(|one| (one, one)),
        })
        .collect()
}

fn character_set(set: &str) -> Vec<char> {
    let set = set.replace("[:upper:]", "A-Z").replace("[:lower:]", "a-z");
    let set = unescaped(&set.replace("[:digit:]", "0-9").replace("[:space:]", " \t\n\r"));
    let chars: Vec<char> = set.chars().collect();
    let (mut all, mut i) = (Vec::new(), 0);
    while i < chars.len() {
        match (chars.get(i + 1), chars.get(i + 2)) {
            (Some('-'), Some(last)) => {
                all.extend(chars[i]..=*last);
                i += 3;
            }
            _ => {
                all.push(chars[i]);
                i += 1;
            }
        }
    }
    all
}

fn unescaped(text: &str) -> String {
    let mut result = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            result.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => result.push('\n'),
            Some('t') => result.push('\t'),
            Some('r') => result.push('\r'),
            Some('\\') | None => result.push('\\'),
            Some('0') => result.push('\0'),
            Some(other) => result.extend(['\\', other]),
        }
    }
    result
}
