//! Accounts and groups: `id`, `getent`, `useradd`, `usermod`, `userdel`, `groupadd`, `groupdel`,
//! `chpasswd`, `passwd`; and who may use `sudo`.

use super::super::disk::{Disk, NO_PASSWORD};
use super::super::password;
use super::Call;

/// Whether `sudo` lets that account do what it wants.
pub(in super::super) fn may_sudo(disk: &Disk, user: &str) -> bool {
    let member = disk.groups.get("sudo").is_some_and(|g| g.members.iter().any(|m| m == user));
    let rule = disk.read(&super::Who::root(), "/etc/sudoers.d/90-cloud-init-users");
    let prefix = format!("{user} ALL");
    member || rule.is_ok_and(|text| String::from_utf8_lossy(&text).contains(&prefix))
}

pub(super) fn whoami(call: &mut Call<'_>) -> i32 {
    call.say(call.caller.user);
    0
}

/// `id`, `id -u|-g|-G [-n] [user]` and `groups [user]`.
pub(super) fn id(call: &mut Call<'_>) -> i32 {
    let options = call.options("");
    if let Some(other) = options.other_than("ugGn", &[]) {
        return call.unknown(&other);
    }
    let user = options.rest.first().copied().unwrap_or(call.caller.user);
    let Some(who) = call.disk.who(user) else {
        return call.fail(1, format!("'{user}': no such user"));
    };
    let disk = &*call.disk;
    let group = |gid: &u32| disk.group_name(*gid).map_or_else(|| gid.to_string(), String::from);
    let names = || who.gids.iter().map(group).collect::<Vec<_>>().join(" ");
    let numbers = || who.gids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    let text = match (options.has('u'), options.has('g'), options.has('G'), options.has('n')) {
        (true, _, _, true) => user.to_owned(),
        (true, ..) => who.uid.to_string(),
        (_, true, _, true) => group(&who.gids[0]),
        (_, true, ..) => who.gids[0].to_string(),
        (_, _, true, true) => names(),
        (_, _, true, false) => numbers(),
        _ if call.name == "groups" => names(),
        _ => {
            let all: Vec<_> = who.gids.iter().map(|gid| format!("{gid}({})", group(gid))).collect();
            format!("uid={}({user}) gid={} groups={}", who.uid, all[0], all.join(","))
        }
    };
    call.say(text);
    0
}

/// `getent passwd|group|shadow|hosts [key]`.
pub(super) fn getent(call: &mut Call<'_>) -> i32 {
    let Some((database, keys)) = call.arguments.split_first() else {
        return call.fail(1, "a database is needed");
    };
    let line = |disk: &Disk, key: &str| match *database {
        "passwd" => disk.passwd_line(key).or_else(|| {
            let name = disk.account_name(key.parse().ok()?)?;
            disk.passwd_line(name)
        }),
        "group" => disk.group_line(key).or_else(|| {
            let name = disk.group_name(key.parse().ok()?)?;
            disk.group_line(name)
        }),
        "shadow" => disk.shadow_line(key),
        "hosts" => {
            (key == "localhost" || key == disk.hostname).then(|| format!("127.0.0.1 {key}\n"))
        }
        _ => None,
    };
    if !["passwd", "group", "shadow", "hosts"].contains(database) {
        let reason = format!("Unknown database: {database}");
        return call.fail(1, reason);
    }
    if *database == "shadow" && !call.is_root() {
        return 2;
    }
    let all: Vec<String> = match *database {
        _ if !keys.is_empty() => keys.iter().map(|key| (*key).to_owned()).collect(),
        "group" => call.disk.groups.keys().cloned().collect(),
        "hosts" => vec!["localhost".into()],
        _ => call.disk.accounts.keys().cloned().collect(),
    };
    let mut status = 0;
    for key in all {
        match line(call.disk, &key) {
            Some(line) => call.out.extend_from_slice(line.as_bytes()),
            None => status = 2,
        }
    }
    status
}

pub(super) fn useradd(call: &mut Call<'_>) -> i32 {
    let options = call.options("dsGgpucek");
    let known = ["create-home", "shell", "groups", "gid", "password", "home-dir", "comment", "uid"];
    let known = [known.as_slice(), &["user-group", "system", "no-create-home", "badname"]].concat();
    if let Some(other) = options.other_than("mMdsGgpucrUNek", &known) {
        return call.unknown(&other);
    }
    if !call.is_root() {
        return call.fail(1, "Permission denied.");
    }
    let [name] = options.rest[..] else { return call.fail(2, "one login name is needed") };
    if !is_name(name) {
        return call.fail(3, format!("invalid user name '{name}'"));
    }
    if call.disk.accounts.contains_key(name) {
        return call.fail(9, format!("user '{name}' already exists"));
    }
    let wanted = |short: char, long: &str| options.value(short).or(options.long(long));
    let groups = wanted('G', "groups").unwrap_or_default();
    if let Some(missing) = missing_group(call.disk, groups) {
        return call.fail(6, format!("group '{missing}' does not exist"));
    }
    let gid = match wanted('g', "gid").map(|group| find_group(call.disk, group).ok_or(group)) {
        Some(Err(group)) => return call.fail(6, format!("group '{group}' does not exist")),
        Some(Ok(gid)) => Some(gid),
        None => None,
    };
    let uid = match wanted('u', "uid").map(str::parse::<u32>) {
        Some(Err(_)) => return call.fail(3, "invalid user ID"),
        Some(Ok(uid)) => Some(uid),
        None => None,
    };
    let home = wanted('d', "home-dir").map_or_else(|| format!("/home/{name}"), String::from);
    let with_home = options.has('m') || options.has_long("create-home");
    let made = call.disk.add_account(name, &home, with_home);
    let account = match made {
        Ok(account) => account,
        Err(error) => return call.fail(12, format!("cannot create directory {home}: {error}")),
    };
    account.shell = wanted('s', "shell").unwrap_or("/bin/sh").into();
    account.comment = wanted('c', "comment").unwrap_or_default().into();
    account.password = wanted('p', "password").unwrap_or(NO_PASSWORD).into();
    account.gid = gid.unwrap_or(account.gid);
    account.uid = uid.unwrap_or(account.uid);
    let (uid, gid) = (account.uid, account.gid);
    if with_home && let Err(error) = call.disk.chown(call.caller.who, &home, Some(uid), Some(gid)) {
        return call.fail(12, format!("cannot own {home}: {error}"));
    }
    for group in groups.split(',').filter(|group| !group.is_empty()) {
        call.disk.join_group(name, group);
    }
    0
}

pub(super) fn usermod(call: &mut Call<'_>) -> i32 {
    let options = call.options("dsGgpuc");
    let known = ["append", "groups", "shell", "password", "lock", "unlock", "home", "comment"];
    if let Some(other) = options.other_than("adsGpcLUg", &known) {
        return call.unknown(&other);
    }
    if !call.is_root() {
        return call.fail(1, "Permission denied.");
    }
    let [name] = options.rest[..] else { return call.fail(2, "one login name is needed") };
    let wanted = |short: char, long: &str| options.value(short).or(options.long(long));
    let groups = wanted('G', "groups");
    if let Some(missing) = missing_group(call.disk, groups.unwrap_or_default()) {
        return call.fail(6, format!("group '{missing}' does not exist"));
    }
    let gid = options.value('g').and_then(|group| find_group(call.disk, group));
    let Some(account) = call.disk.accounts.get_mut(name) else {
        return call.fail(6, format!("user '{name}' does not exist"));
    };
    account.gid = gid.unwrap_or(account.gid);
    if let Some(shell) = wanted('s', "shell") {
        account.shell = shell.into();
    }
    if let Some(password) = wanted('p', "password") {
        account.password = password.into();
    }
    if let Some(comment) = wanted('c', "comment") {
        account.comment = comment.into();
    }
    if let Some(home) = wanted('d', "home") {
        account.home = home.into();
    }
    if options.has('L') || options.has_long("lock") {
        lock(&mut account.password);
    }
    if options.has('U') || options.has_long("unlock") {
        account.password = account.password.trim_start_matches('!').into();
    }
    if let Some(groups) = groups {
        if !options.has('a') && !options.has_long("append") {
            call.disk.groups.values_mut().for_each(|group| group.members.retain(|m| m != name));
        }
        for group in groups.split(',').filter(|group| !group.is_empty()) {
            call.disk.join_group(name, group);
        }
    }
    0
}

pub(super) fn userdel(call: &mut Call<'_>) -> i32 {
    let options = call.options("");
    if let Some(other) = options.other_than("rf", &["remove", "remove-home", "force"]) {
        return call.unknown(&other);
    }
    if !call.is_root() {
        return call.fail(1, "Permission denied.");
    }
    let [name] = options.rest[..] else { return call.fail(2, "one login name is needed") };
    let Some(account) = call.disk.remove_account(name) else {
        return call.fail(6, format!("user '{name}' does not exist"));
    };
    let with_home =
        options.has('r') || options.has_long("remove") || options.has_long("remove-home");
    if with_home
        && call.disk.lstat(&account.home).is_ok()
        && let Err(error) = call.disk.remove(call.caller.who, &account.home, true)
    {
        return call.fail(12, format!("{} not removed: {error}", account.home));
    }
    0
}

pub(super) fn groupadd(call: &mut Call<'_>) -> i32 {
    let options = call.options("g");
    if let Some(other) = options.other_than("gfr", &["system", "force", "gid"]) {
        return call.unknown(&other);
    }
    if !call.is_root() {
        return call.fail(10, "Permission denied.");
    }
    let [name] = options.rest[..] else { return call.fail(2, "one group name is needed") };
    if !is_name(name) {
        return call.fail(3, format!("'{name}' is not a valid group name"));
    }
    if call.disk.groups.contains_key(name) {
        let force = options.has('f') || options.has_long("force");
        return if force { 0 } else { call.fail(9, format!("group '{name}' already exists")) };
    }
    match options.value('g').or(options.long("gid")).map(str::parse) {
        Some(Err(_)) => return call.fail(3, "invalid group ID"),
        Some(Ok(gid)) => call.disk.add_group(name, Some(gid)),
        None => call.disk.add_group(name, None),
    };
    0
}

pub(super) fn groupdel(call: &mut Call<'_>) -> i32 {
    let [name] = call.arguments[..] else { return call.fail(2, "one group name is needed") };
    if !call.is_root() {
        return call.fail(10, "Permission denied.");
    }
    match call.disk.groups.remove(name) {
        Some(_) => 0,
        None => call.fail(6, format!("group '{name}' does not exist")),
    }
}

/// Lines `user:password`; with `-e` the password is a crypt(3) string already.
pub(super) fn chpasswd(call: &mut Call<'_>) -> i32 {
    let options = call.options("");
    if let Some(other) = options.other_than("e", &["encrypted"]) {
        return call.unknown(&other);
    }
    if !call.is_root() {
        return call.fail(1, "Permission denied.");
    }
    let encrypted = options.has('e') || options.has_long("encrypted");
    let text = String::from_utf8_lossy(&call.input).into_owned();
    let mut changes = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let Some((name, secret)) = line.split_once(':') else {
            return call.fail(1, format!("line {}: missing new password", i + 1));
        };
        if !call.disk.accounts.contains_key(name) {
            return call.fail(1, format!("line {}: user '{name}' does not exist", i + 1));
        }
        let hash = if encrypted { Ok(secret.to_owned()) } else { password::hash(secret) };
        match hash {
            Ok(hash) => changes.push((name.to_owned(), hash)),
            Err(reason) => return call.fail(1, reason),
        }
    }
    for (name, hash) in changes {
        if let Some(account) = call.disk.accounts.get_mut(&name) {
            account.password = hash;
        }
    }
    0
}

/// `passwd -l|-u|-d|-S user`.
pub(super) fn passwd(call: &mut Call<'_>) -> i32 {
    let options = call.options("");
    if let Some(other) = options.other_than("ludSe", &["lock", "unlock", "delete", "status"]) {
        return call.unknown(&other);
    }
    if !call.is_root() {
        return call.fail(1, "Permission denied.");
    }
    let [name] = options.rest[..] else { return call.fail(2, "one login name is needed") };
    let Some(account) = call.disk.accounts.get_mut(name) else {
        return call.fail(1, format!("user '{name}' does not exist"));
    };
    if options.has('l') || options.has_long("lock") {
        lock(&mut account.password);
    } else if options.has('u') || options.has_long("unlock") {
        account.password = account.password.trim_start_matches('!').into();
    } else if options.has('d') || options.has_long("delete") {
        account.password.clear();
    } else if options.has('S') || options.has_long("status") {
        let letter = if account.password.starts_with('$') { 'P' } else { 'L' };
        call.say(format!("{name} {letter} 2024-10-05 0 99999 7 -1"));
    } else {
        return call.fail(1, "a drawn guest has no terminal; use chpasswd");
    }
    0
}

fn lock(password: &mut String) {
    if !password.starts_with('!') {
        password.insert(0, '!');
    }
}

fn find_group(disk: &Disk, group: &str) -> Option<u32> {
    let by_name = disk.groups.get(group).map(|group| group.gid);
    by_name.or_else(|| group.parse().ok().filter(|gid| disk.group_name(*gid).is_some()))
}

fn missing_group<'a>(disk: &Disk, groups: &'a str) -> Option<&'a str> {
    groups.split(',').find(|group| !group.is_empty() && !disk.groups.contains_key(*group))
}

/// What Debian's `useradd` takes for a name.
fn is_name(name: &str) -> bool {
    let first = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.".contains(c);
    first && name.len() <= 32 && name.chars().all(rest)
}
