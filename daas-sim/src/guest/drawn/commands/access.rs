//! `chmod`, `chown`, `install`, `stat`.

use super::super::disk::{Disk, FileError, Kind};
use super::Call;
use super::files::each;

pub(super) fn chmod(call: &mut Call<'_>) -> i32 {
    // A mode like `-x` looks like an option; it is the first word that is not `-R`.
    let mut words = call.arguments.clone();
    let recursive = words.first() == Some(&"-R");
    if recursive {
        words.remove(0);
    }
    let Some((mode, paths)) = words.split_first() else { return call.fail(1, "missing operand") };
    if !is_mode(mode) {
        return call.fail(1, format!("invalid mode: '{mode}'"));
    }
    each(call, paths, "changing permissions of", |call, path| {
        for path in tree(call.disk, path, recursive)? {
            let (old, directory) = {
                let node = call.disk.stat(&path)?;
                (node.mode, node.kind == Kind::Directory)
            };
            call.disk.chmod(call.caller.who, &path, changed(mode, old, directory))?;
        }
        Ok(())
    })
}

pub(super) fn chown(call: &mut Call<'_>) -> i32 {
    let options = call.options("");
    if let Some(other) = options.other_than("Rhv", &[]) {
        return call.unknown(&other);
    }
    let Some((names, paths)) = options.rest.split_first() else {
        return call.fail(1, "missing operand");
    };
    let (owner, group) = match owners(call.disk, names) {
        Ok(found) => found,
        Err(reason) => return call.fail(1, reason),
    };
    each(call, paths, "changing ownership of", |call, path| {
        for path in tree(call.disk, path, options.has('R'))? {
            call.disk.chown(call.caller.who, &path, owner, group)?;
        }
        Ok(())
    })
}

pub(super) fn install(call: &mut Call<'_>) -> i32 {
    let options = call.options("mog");
    if let Some(other) = options.other_than("mogdDTv", &[]) {
        return call.unknown(&other);
    }
    let mode = match options.value('m').map(|text| u32::from_str_radix(text, 8)) {
        Some(Ok(mode)) => mode,
        Some(Err(_)) => return call.fail(1, "invalid mode"),
        None => 0o755,
    };
    let names = match (options.value('o'), options.value('g')) {
        (None, None) => String::new(),
        (owner, group) => format!("{}:{}", owner.unwrap_or_default(), group.unwrap_or_default()),
    };
    let (owner, group) = match owners(call.disk, &names) {
        Ok(found) => found,
        Err(reason) => return call.fail(1, reason),
    };
    let who = call.caller.who;
    let finish = |call: &mut Call<'_>, path: &str| {
        call.disk.chmod(who, path, mode)?;
        if owner.is_some() || group.is_some() {
            call.disk.chown(who, path, owner, group)?;
        }
        Ok(())
    };
    if options.has('d') {
        return each(call, &options.rest, "cannot create directory", |call, path| {
            call.disk.make_directories(who, path, 0o755)?;
            finish(call, path)
        });
    }
    let [from, to] = options.rest[..] else { return call.fail(1, "two names are needed") };
    let full = call.path(to);
    let into = call.disk.stat(&full).is_ok_and(|node| node.kind == Kind::Directory);
    let name = from.rsplit('/').next().unwrap_or(from);
    let target = if into { format!("{full}/{name}") } else { full };
    let copied = call.contents(from).and_then(|contents| {
        if options.has('D') {
            let parent = target.rsplit_once('/').map_or("/", |(parent, _)| parent);
            call.disk.make_directories(who, parent, 0o755)?;
        }
        call.disk.write(who, &target, contents, mode)?;
        finish(call, &target)
    });
    match copied {
        Ok(()) => 0,
        Err(error) => call.fail(1, format!("cannot create '{to}': {error}")),
    }
}

/// `stat -c FORMAT`, with `%a %u %g %U %G %s %n %F`.
pub(super) fn stat(call: &mut Call<'_>) -> i32 {
    let options = call.options("c");
    if let Some(other) = options.other_than("cL", &["format", "printf"]) {
        return call.unknown(&other);
    }
    let Some(format) = options.value('c').or(options.long("format")) else {
        return call.fail(2, "a drawn guest needs -c FORMAT");
    };
    each(call, &options.rest, "cannot stat", |call, path| {
        let node = call.disk.stat(path)?;
        let size = if let Kind::File(bytes) = &node.kind { bytes.len() } else { 4096 };
        let kind = match node.kind {
            Kind::Directory => "directory",
            Kind::Link(_) => "symbolic link",
            Kind::File(_) => "regular file",
        };
        let user = call.disk.account_name(node.owner).unwrap_or("UNKNOWN");
        let group = call.disk.group_name(node.group).unwrap_or("UNKNOWN");
        let text = format
            .replace("%a", &format!("{:o}", node.mode))
            .replace("%u", &node.owner.to_string())
            .replace("%g", &node.group.to_string())
            .replace("%U", user)
            .replace("%G", group)
            .replace("%s", &size.to_string())
            .replace("%F", kind)
            .replace("%n", path);
        call.say(text);
        Ok(())
    })
}

fn tree(disk: &Disk, path: &str, recursive: bool) -> Result<Vec<String>, FileError> {
    disk.stat(path)?;
    let mut paths = vec![path.to_owned()];
    if recursive {
        let resolved = disk.resolve(path, true)?;
        paths.extend(disk.below(&resolved).map(|path| path.to_string()));
    }
    Ok(paths)
}

/// `user`, `user:group`, `:group`, by name or number.
fn owners(disk: &Disk, names: &str) -> Result<(Option<u32>, Option<u32>), String> {
    let (user, group) = match names.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (names, None),
    };
    let account = disk.accounts.get(user);
    let uid = match (user, account) {
        ("", _) => None,
        (_, Some(account)) => Some(account.uid),
        (number, None) => Some(number.parse().map_err(|_| format!("invalid user: '{user}'"))?),
    };
    let gid = match group {
        None => None,
        Some("") => account.map(|account| account.gid),
        Some(name) => match disk.groups.get(name) {
            Some(group) => Some(group.gid),
            None => Some(name.parse().map_err(|_| format!("invalid group: '{name}'"))?),
        },
    };
    Ok((uid, gid))
}

fn is_mode(mode: &str) -> bool {
    let octal = u32::from_str_radix(mode, 8).is_ok_and(|mode| mode <= 0o7777);
    let symbolic = |part: &str| {
        let rest = part.trim_start_matches(['u', 'g', 'o', 'a']);
        rest.starts_with(['+', '-', '=']) && rest[1..].chars().all(|c| "rwxXst".contains(c))
    };
    octal || mode.split(',').all(symbolic)
}

fn changed(mode: &str, old: u32, directory: bool) -> u32 {
    if let Ok(mode) = u32::from_str_radix(mode, 8) {
        return mode;
    }
    let mut new = old;
    for part in mode.split(',') {
        let rest = part.trim_start_matches(['u', 'g', 'o', 'a']);
        let who = &part[..part.len() - rest.len()];
        let mut classes = 0;
        for (letter, bits) in [('u', 0o4700), ('g', 0o2070), ('o', 0o1007), ('a', 0o7777)] {
            if who.contains(letter) || who.is_empty() {
                classes |= bits;
            }
        }
        let mut bits = 0;
        for letter in rest.chars().skip(1) {
            bits |= match letter {
                'r' => 0o444,
                'w' => 0o222,
                'x' => 0o111,
                'X' if directory || old & 0o111 != 0 => 0o111,
                's' => 0o6000,
                't' => 0o1000,
                _ => 0,
            };
        }
        match rest.as_bytes().first() {
            Some(b'+') => new |= bits & classes,
            Some(b'-') => new &= !(bits & classes),
            _ => new = new & !classes | bits & classes,
        }
    }
    new
}
