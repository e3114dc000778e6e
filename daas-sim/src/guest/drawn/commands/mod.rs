//! The programs a drawn guest has, each with its real effect on the disk.
//!
//! A command works on a [`Call`] in one go while the disk is locked; what must happen outside it
//! (a unit's start, a reboot) is left in [`Call::after`].

mod access;
mod files;
mod grep;
mod packages;
mod presence;
mod system;
mod test;
mod text;
mod units;
mod users;

use std::collections::BTreeMap;
use std::fmt::Display;

use bytes::Bytes;

use super::disk::{Disk, FileError, Who};
use super::drawn_guest::DrawnGuest;

pub(super) use users::may_sudo;

/// What a program is: it answers its exit status.
pub(super) type Command = fn(&mut Call<'_>) -> i32;

/// Something to be done once the disk is free again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum After {
    UnitStarted(String),
    UnitStopped(String),
    Reboot,
    PowerOff,
}

/// Who calls.
#[derive(Debug)]
pub(super) struct Caller<'a> {
    pub(super) user: &'a str,
    pub(super) who: &'a Who,
    pub(super) directory: &'a str,
    pub(super) umask: u32,
    pub(super) environment: BTreeMap<&'a str, &'a str>,
}

/// One run of a program.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) guest: &'a DrawnGuest,
    pub(super) disk: &'a mut Disk,
    pub(super) caller: Caller<'a>,
    pub(super) name: &'a str,
    pub(super) arguments: Vec<&'a str>,
    pub(super) input: Bytes,
    pub(super) out: Vec<u8>,
    pub(super) err: Vec<u8>,
    pub(super) after: Vec<After>,
}

/// Programs that are always there, by name.
const PROGRAMS: &[(&str, Command)] = &[
    ("[", test::bracket),
    ("apt-get", packages::apt_get),
    ("basename", text::basename),
    ("cat", text::cat),
    ("chmod", access::chmod),
    ("chown", access::chown),
    ("chpasswd", users::chpasswd),
    ("cp", files::copy),
    ("cut", text::cut),
    ("date", system::date),
    ("deluser", users::userdel),
    ("df", system::df),
    ("dirname", text::dirname),
    ("dpkg", packages::dpkg),
    ("dpkg-query", packages::dpkg_query),
    ("echo", text::echo),
    ("env", system::env),
    ("false", |_| 1),
    ("getent", users::getent),
    ("grep", grep::grep),
    ("groupadd", users::groupadd),
    ("groupdel", users::groupdel),
    ("groups", users::id),
    ("head", text::head),
    ("hostname", system::hostname),
    ("hostnamectl", system::hostnamectl),
    ("id", users::id),
    ("install", access::install),
    ("ip", system::ip),
    ("ln", files::link),
    ("locale-gen", system::locale_gen),
    ("localectl", system::localectl),
    ("loginctl", presence::loginctl),
    ("ls", files::list),
    ("mkdir", files::mkdir),
    ("mktemp", files::mktemp),
    ("mv", files::rename),
    ("nproc", system::nproc),
    ("passwd", users::passwd),
    ("poweroff", system::power),
    ("printf", text::printf),
    ("pwd", system::pwd),
    ("readlink", files::readlink),
    ("reboot", system::power),
    ("rm", files::remove),
    ("rmdir", files::rmdir),
    ("sha256sum", text::sha256sum),
    ("shutdown", system::power),
    ("sort", text::sort),
    ("ss", presence::ss),
    ("stat", access::stat),
    ("sync", |_| 0),
    ("systemctl", units::systemctl),
    ("tail", text::tail),
    ("tee", text::tee),
    ("test", test::test),
    ("touch", files::touch),
    ("tr", text::tr),
    ("true", |_| 0),
    ("uname", system::uname),
    ("update-locale", system::update_locale),
    ("uptime", system::uptime),
    ("useradd", users::useradd),
    ("userdel", users::userdel),
    ("usermod", users::usermod),
    ("wc", text::wc),
    ("whoami", users::whoami),
];

/// Those that dash has built in: no process is made for them.
const IN_SHELLS: &[&str] = &["[", "echo", "false", "printf", "pwd", "test", "true"];

/// Programs that come with a package.
const PACKAGED: &[(&str, &str, Command)] = &[
    ("cloud-init", "cloud-init", system::cloud_init),
    ("xprintidle", "xprintidle", presence::xprintidle),
];

/// Whether a shell runs it without making a process.
pub(super) fn is_in_shells(name: &str) -> bool {
    IN_SHELLS.contains(&name)
}

/// Directories whose programs can be called by their whole path.
const PROGRAM_DIRECTORIES: &[&str] = &["/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/"];

/// The program of that name, or of that path when it is in one of the system's directories.
pub(super) fn find(disk: &Disk, name: &str) -> Option<Command> {
    let path = PROGRAM_DIRECTORIES.iter().find_map(|directory| name.strip_prefix(directory));
    let name = path.unwrap_or(name);
    let always = PROGRAMS.iter().find(|(known, _)| *known == name).map(|(_, command)| *command);
    always.or_else(|| {
        let packaged = PACKAGED.iter().find(|(known, ..)| *known == name)?;
        disk.packages.contains(packaged.1).then_some(packaged.2)
    })
}

/// Where a program is, as `command -v` tells it.
pub(super) fn location(disk: &Disk, path: &str, name: &str) -> Option<String> {
    const BUILT_IN: &[&str] = &[":", "cd", "exit", "export", "read", "set", "shift", "unset"];
    const SHELLS: &[&str] =
        &["bash", "dash", "nohup", "runuser", "sh", "sleep", "su", "sudo", "timeout"];
    if name.contains('/') {
        let executable = disk.stat(path).is_ok_and(|node| node.mode & 0o111 != 0);
        return (executable || find(disk, name).is_some()).then(|| name.into());
    }
    if BUILT_IN.contains(&name) {
        return Some(name.into());
    }
    if SHELLS.contains(&name) || find(disk, name).is_some() || disk.packages.contains(name) {
        return Some(format!("/usr/bin/{name}"));
    }
    let local = format!("/usr/local/bin/{name}");
    disk.stat(&local).is_ok_and(|node| node.mode & 0o111 != 0).then_some(local)
}

/// Whether a program with those arguments reads its standard input.
pub(super) fn reads_input(name: &str, arguments: &[String]) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name);
    let operands = || arguments.iter().filter(|word| !word.starts_with('-') || *word == "-");
    // The value of an option that stands apart is no operand.
    let valued =
        |flags: &[&str]| arguments.iter().filter(|word| flags.contains(&word.as_str())).count();
    match name {
        "chpasswd" | "tee" | "tr" => true,
        "cat" | "sort" | "wc" | "sha256sum" => operands().all(|word| word == "-"),
        "head" | "tail" => operands().count() <= valued(&["-n", "-c"]),
        "cut" => operands().count() <= valued(&["-d", "-f", "-c"]),
        "grep" => {
            operands().count() <= 1 && valued(&["-e", "-r"]) == 0
                || valued(&["-e"]) == 1 && operands().count() <= 1
        }
        "install" | "cp" => arguments.iter().any(|word| word == "/dev/stdin"),
        _ => false,
    }
}

impl<'a> Call<'a> {
    pub(super) fn new(
        guest: &'a DrawnGuest,
        disk: &'a mut Disk,
        caller: Caller<'a>,
        words: &'a [String],
        input: Bytes,
    ) -> Self {
        let name = words[0].rsplit('/').next().unwrap_or(&words[0]);
        let arguments = words[1..].iter().map(String::as_str).collect();
        let (out, err, after) = (Vec::new(), Vec::new(), Vec::new());
        Self { guest, disk, caller, name, arguments, input, out, err, after }
    }

    /// The absolute form of a path.
    fn path(&self, path: &str) -> String {
        if path.starts_with('/') {
            path.into()
        } else {
            format!("{}/{path}", self.caller.directory)
        }
    }

    /// The mode of a new file, or of a new directory with `0o777`.
    fn new_mode(&self, all: u32) -> u32 {
        all & !self.caller.umask
    }

    fn is_root(&self) -> bool {
        self.caller.who.uid == 0
    }

    fn say(&mut self, text: impl Display) {
        self.out.extend_from_slice(format!("{text}\n").as_bytes());
    }

    /// Complains under the program's name and answers the status.
    fn fail(&mut self, status: i32, reason: impl Display) -> i32 {
        self.err.extend_from_slice(format!("{}: {reason}\n", self.name).as_bytes());
        status
    }

    /// An option this stand-in does not have. Real programs would know it: it is never ignored.
    fn unknown(&mut self, what: &str) -> i32 {
        self.fail(2, format!("{what:?} is not known to a drawn guest"))
    }

    /// The contents of a file, or of the standard input for `-` and `/dev/stdin`.
    fn contents(&self, path: &str) -> Result<Bytes, FileError> {
        match path {
            "-" | "/dev/stdin" => Ok(self.input.clone()),
            "/dev/null" => Ok(Bytes::new()),
            "/etc/hostname" => Ok(format!("{}\n", self.disk.hostname).into()),
            _ => self.disk.read(self.caller.who, &self.path(path)),
        }
    }

    /// Splits the arguments into single-letter flags (with the values of those in `valued`), long
    /// options (`--name` or `--name=value`) and the rest.
    fn options(&self, valued: &str) -> Options<'a> {
        let mut options = Options::default();
        let mut arguments = self.arguments.iter().copied();
        while let Some(argument) = arguments.next() {
            if argument == "--" {
                options.rest.extend(arguments.by_ref());
            } else if let Some(long) = argument.strip_prefix("--") {
                let (name, value) = long.split_once('=').unwrap_or((long, ""));
                options.long.push((name, value));
            } else if argument.len() > 1 && argument.starts_with('-') {
                let flags = argument[1..].char_indices();
                for (at, flag) in flags {
                    let mut value = "";
                    if valued.contains(flag) {
                        let inside = &argument[1 + at + flag.len_utf8()..];
                        value = if inside.is_empty() {
                            arguments.next().unwrap_or_default()
                        } else {
                            inside
                        };
                        options.flags.push((flag, value));
                        break;
                    }
                    options.flags.push((flag, value));
                }
            } else {
                options.rest.push(argument);
            }
        }
        options
    }
}

/// A program's arguments, sorted.
#[derive(Debug, Default)]
struct Options<'a> {
    flags: Vec<(char, &'a str)>,
    long: Vec<(&'a str, &'a str)>,
    rest: Vec<&'a str>,
}

impl<'a> Options<'a> {
    fn has(&self, flag: char) -> bool {
        self.flags.iter().any(|(known, _)| *known == flag)
    }

    fn value(&self, flag: char) -> Option<&'a str> {
        self.flags.iter().rfind(|(known, _)| *known == flag).map(|(_, value)| *value)
    }

    fn has_long(&self, name: &str) -> bool {
        self.long.iter().any(|(known, _)| *known == name)
    }

    fn long(&self, name: &str) -> Option<&'a str> {
        self.long.iter().rfind(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// The first flag or long option that is not among those.
    fn other_than(&self, flags: &str, long: &[&str]) -> Option<String> {
        let flag = self.flags.iter().find(|(flag, _)| !flags.contains(*flag));
        let option = self.long.iter().find(|(name, _)| !long.contains(name));
        flag.map(|(flag, _)| format!("-{flag}")).or(option.map(|(name, _)| format!("--{name}")))
    }
}
