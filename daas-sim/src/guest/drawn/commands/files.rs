//! `ls`, `mkdir`, `rm`, `rmdir`, `mv`, `cp`, `ln`, `touch`, `mktemp`, `readlink`.

use super::super::disk::{FileError, Kind};
use super::Call;

pub(super) fn list(call: &mut Call<'_>) -> i32 {
    let options = call.options("");
    if let Some(other) = options.other_than("1aAdlL", &[]) {
        return call.unknown(&other);
    }
    let mut status = 0;
    let paths = if options.rest.is_empty() { vec!["."] } else { options.rest.clone() };
    for path in paths {
        let full = call.path(path);
        let names: Vec<String> = match call.disk.stat(&full).map(|node| node.kind.clone()) {
            Ok(Kind::Directory) if !options.has('d') => {
                let resolved = call.disk.resolve(&full, true).unwrap_or(full);
                let all = options.has('a') || options.has('A');
                let names = call.disk.children(&resolved).filter(|n| all || !n.starts_with('.'));
                names.map(String::from).collect()
            }
            Ok(_) => vec![path.to_owned()],
            Err(error) => {
                status = call.fail(2, format!("cannot access '{path}': {error}"));
                continue;
            }
        };
        names.iter().for_each(|name| call.say(name));
    }
    status
}

pub(super) fn mkdir(call: &mut Call<'_>) -> i32 {
    let options = call.options("m");
    if let Some(other) = options.other_than("pmv", &["parents"]) {
        return call.unknown(&other);
    }
    let mode = match options.value('m').map(|text| u32::from_str_radix(text, 8)) {
        Some(Ok(mode)) => mode,
        Some(Err(_)) => return call.fail(1, "invalid mode"),
        None => call.new_mode(0o777),
    };
    let parents = options.has('p') || options.has_long("parents");
    each(call, &options.rest, "cannot create directory", |call, path| {
        let there = call.disk.stat(path).is_ok_and(|node| node.kind == Kind::Directory);
        if parents && there {
            return Ok(());
        }
        if parents {
            call.disk.make_directories(call.caller.who, path, call.new_mode(0o777))?;
            call.disk.chmod(call.caller.who, path, mode)
        } else {
            call.disk.make_directory(call.caller.who, path, mode)
        }
    })
}

pub(super) fn remove(call: &mut Call<'_>) -> i32 {
    let options = call.options("");
    if let Some(other) = options.other_than("rRfvd", &["recursive", "force"]) {
        return call.unknown(&other);
    }
    let recursive = options.has('r') || options.has('R') || options.has_long("recursive");
    let force = options.has('f') || options.has_long("force");
    each(call, &options.rest, "cannot remove", |call, path| match call.disk.lstat(path) {
        Err(FileError::NotFound | FileError::NotDirectory) if force => Ok(()),
        Err(error) => Err(error),
        Ok(node) if node.kind == Kind::Directory && !recursive => Err(FileError::IsDirectory),
        Ok(_) => call.disk.remove(call.caller.who, path, recursive),
    })
}

pub(super) fn rmdir(call: &mut Call<'_>) -> i32 {
    let rest = call.options("").rest;
    each(call, &rest, "failed to remove", |call, path| match call.disk.lstat(path)?.kind {
        Kind::Directory => call.disk.remove(call.caller.who, path, false),
        _ => Err(FileError::NotDirectory),
    })
}

pub(super) fn rename(call: &mut Call<'_>) -> i32 {
    let options = call.options("");
    if let Some(other) = options.other_than("fTvn", &[]) {
        return call.unknown(&other);
    }
    pairs(call, &options.rest, options.has('T'), |call, from, to| {
        call.disk.rename(call.caller.who, from, to)
    })
}

pub(super) fn copy(call: &mut Call<'_>) -> i32 {
    let options = call.options("");
    if let Some(other) = options.other_than("afprRTvdL", &["preserve"]) {
        return call.unknown(&other);
    }
    let recursive = options.has('r') || options.has('R') || options.has('a');
    let keep = options.has('a') || options.has('p');
    pairs(call, &options.rest, options.has('T'), |call, from, to| {
        copy_tree(call, from, to, recursive, keep)
    })
}

fn copy_tree(
    call: &mut Call<'_>,
    from: &str,
    to: &str,
    recursive: bool,
    keep: bool,
) -> Result<(), FileError> {
    let node = match from {
        "/dev/stdin" => None,
        _ => Some(call.disk.stat(from)?.clone()),
    };
    let who = call.caller.who;
    let is_directory = node.as_ref().is_some_and(|node| node.kind == Kind::Directory);
    if !is_directory {
        let contents = call.contents(from)?;
        let mode = call.new_mode(node.as_ref().map_or(0o666, |node| node.mode));
        call.disk.write(who, to, contents, mode)?;
    } else if !recursive {
        return Err(FileError::IsDirectory);
    } else {
        let from = call.disk.resolve(from, true)?;
        if to == from || to.starts_with(&format!("{from}/")) {
            return Err(FileError::Loop);
        }
        let names: Vec<String> = call.disk.children(&from).map(String::from).collect();
        call.disk.make_directories(who, to, 0o755)?;
        for name in names {
            copy_tree(call, &format!("{from}/{name}"), &format!("{to}/{name}"), true, keep)?;
        }
    }
    match node.filter(|_| keep) {
        Some(node) => {
            call.disk.chmod(who, to, node.mode)?;
            if who.uid == 0 {
                call.disk.chown(who, to, Some(node.owner), Some(node.group))?;
            }
            Ok(())
        }
        None => Ok(()),
    }
}

pub(super) fn link(call: &mut Call<'_>) -> i32 {
    let options = call.options("");
    if let Some(other) = options.other_than("sfnTv", &[]) {
        return call.unknown(&other);
    }
    if !options.has('s') {
        return call.fail(1, "hard links are not known to a drawn guest; use -s");
    }
    let [target, path] = options.rest[..] else { return call.fail(1, "two names are needed") };
    let mut full = call.path(path);
    let into = call.disk.stat(&full).is_ok_and(|node| node.kind == Kind::Directory);
    if into && !options.has('T') && !options.has('n') {
        full = format!("{full}/{}", target.rsplit('/').next().unwrap_or(target));
    }
    if options.has('f')
        && call.disk.lstat(&full).is_ok_and(|node| node.kind != Kind::Directory)
        && let Err(error) = call.disk.remove(call.caller.who, &full, false)
    {
        return call.fail(1, format!("cannot remove '{full}': {error}"));
    }
    match call.disk.link(call.caller.who, target, &full) {
        Ok(()) => 0,
        Err(error) => call.fail(1, format!("failed to create symbolic link '{path}': {error}")),
    }
}

pub(super) fn touch(call: &mut Call<'_>) -> i32 {
    let rest = call.options("").rest;
    each(call, &rest, "cannot touch", |call, path| match call.disk.stat(path) {
        Ok(_) => Ok(()),
        Err(_) => {
            let mode = call.new_mode(0o666);
            call.disk.write(call.caller.who, path, Default::default(), mode)
        }
    })
}

pub(super) fn mktemp(call: &mut Call<'_>) -> i32 {
    let options = call.options("p");
    if let Some(other) = options.other_than("dptq", &[]) {
        return call.unknown(&other);
    }
    let directory = options.value('p').unwrap_or("/tmp");
    let template = options.rest.first().copied().unwrap_or("tmp.XXXXXXXXXX");
    let marks = template.len() - template.trim_end_matches('X').len();
    if marks < 3 {
        return call.fail(1, format!("too few X's in template '{template}'"));
    }
    let random: String =
        (0..marks).map(|_| char::from(b'a' + rand::random_range(0..26u8))).collect();
    let name = format!("{}{random}", &template[..template.len() - marks]);
    let path = if name.contains('/') { call.path(&name) } else { format!("{directory}/{name}") };
    let made = if options.has('d') {
        call.disk.make_directory(call.caller.who, &path, 0o700)
    } else {
        call.disk.write(call.caller.who, &path, Default::default(), 0o600)
    };
    match made {
        Ok(()) => {
            call.say(path);
            0
        }
        Err(error) => call.fail(1, format!("failed to create '{path}': {error}")),
    }
}

pub(super) fn readlink(call: &mut Call<'_>) -> i32 {
    let options = call.options("");
    if let Some(other) = options.other_than("fen", &[]) {
        return call.unknown(&other);
    }
    let Some(path) = options.rest.first() else { return call.fail(1, "missing operand") };
    let full = call.path(path);
    let found = if options.has('f') || options.has('e') {
        call.disk
            .resolve(&full, true)
            .ok()
            .filter(|at| options.has('f') || call.disk.stat(at).is_ok())
    } else {
        call.disk.lstat(&full).ok().and_then(|node| match &node.kind {
            Kind::Link(target) => Some(target.clone()),
            _ => None,
        })
    };
    match found {
        Some(path) => {
            call.say(path);
            0
        }
        None => 1,
    }
}

/// Does the same to each path and goes on after a failure, as the real programs do.
pub(super) fn each(
    call: &mut Call<'_>,
    paths: &[&str],
    doing: &str,
    mut act: impl FnMut(&mut Call<'_>, &str) -> Result<(), FileError>,
) -> i32 {
    if paths.is_empty() {
        return call.fail(1, "missing operand");
    }
    let mut status = 0;
    for path in paths {
        let full = call.path(path);
        if let Err(error) = act(call, &full) {
            status = call.fail(1, format!("{doing} '{path}': {error}"));
        }
    }
    status
}

/// `from to`, or `from... directory`.
fn pairs(
    call: &mut Call<'_>,
    names: &[&str],
    whole: bool,
    mut act: impl FnMut(&mut Call<'_>, &str, &str) -> Result<(), FileError>,
) -> i32 {
    let Some((to, from)) = names.split_last().filter(|(_, from)| !from.is_empty()) else {
        return call.fail(1, "missing file operand");
    };
    let to = call.path(to);
    let into = !whole && call.disk.stat(&to).is_ok_and(|node| node.kind == Kind::Directory);
    if from.len() > 1 && !into {
        return call.fail(1, format!("target '{to}' is not a directory"));
    }
    let mut status = 0;
    for name in from {
        let last = name.trim_end_matches('/').rsplit('/').next().unwrap_or(name);
        let to = if into { format!("{to}/{last}") } else { to.clone() };
        let from = call.path(name);
        if let Err(error) = act(call, &from, &to) {
            status = call.fail(1, format!("cannot use '{name}' for '{to}': {error}"));
        }
    }
    status
}
