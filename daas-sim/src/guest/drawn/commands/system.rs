//! The machine as a whole: names, time, locale, keyboard, power.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{After, Call};

pub(super) fn pwd(call: &mut Call<'_>) -> i32 {
    call.say(call.caller.directory);
    0
}

pub(super) fn env(call: &mut Call<'_>) -> i32 {
    let all: Vec<String> =
        call.caller.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    all.iter().for_each(|line| call.say(line));
    0
}

pub(super) fn hostname(call: &mut Call<'_>) -> i32 {
    let options = call.options("");
    if let Some(other) = options.other_than("sfI", &[]) {
        return call.unknown(&other);
    }
    match options.rest.first() {
        Some(name) => set_hostname(call, name),
        None if options.has('I') => {
            call.say(format!("{} ", call.guest.address()));
            0
        }
        None => {
            let name = call.disk.hostname.clone();
            let short = name.split('.').next().unwrap_or(&name);
            call.say(if options.has('s') { short } else { &name });
            0
        }
    }
}

pub(super) fn hostnamectl(call: &mut Call<'_>) -> i32 {
    let options = call.options("");
    if let Some(other) = options.other_than("", &["static", "pretty", "transient"]) {
        return call.unknown(&other);
    }
    match options.rest[..] {
        ["set-hostname" | "hostname" | "set", name] => set_hostname(call, name),
        ["hostname"] | [] => {
            let name = call.disk.hostname.clone();
            call.say(name);
            0
        }
        _ => {
            let what = options.rest.join(" ");
            call.unknown(&what)
        }
    }
}

fn set_hostname(call: &mut Call<'_>, name: &str) -> i32 {
    let label = |part: &str| {
        let good = part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        !part.is_empty() && part.len() <= 63 && good
    };
    if !call.is_root() {
        return call.fail(1, "you must be root to change the host name");
    }
    if name.len() > 64 || !name.split('.').all(label) {
        return call.fail(1, format!("Invalid hostname '{name}'"));
    }
    call.disk.hostname = name.into();
    call.guest.desktop().name_changed(name);
    0
}

pub(super) fn uname(call: &mut Call<'_>) -> i32 {
    let options = call.options("");
    if let Some(other) = options.other_than("asnrmov", &[]) {
        return call.unknown(&other);
    }
    let name = call.disk.hostname.clone();
    let parts =
        [('s', "Linux"), ('n', &name), ('r', "6.1.0-drawn"), ('m', "x86_64"), ('o', "GNU/Linux")];
    let bare = options.flags.is_empty();
    let wanted = parts
        .iter()
        .filter(|(flag, _)| options.has('a') || options.has(*flag) || bare && *flag == 's');
    let text: Vec<&str> = wanted.map(|(_, text)| *text).collect();
    call.say(text.join(" "));
    0
}

/// `date [-u] [+FORMAT]`; the guest's clock is the host's, in UTC.
pub(super) fn date(call: &mut Call<'_>) -> i32 {
    let options = call.options("");
    if let Some(other) = options.other_than("u", &["utc"]) {
        return call.unknown(&other);
    }
    let format = options.rest.first().copied().unwrap_or("+%a %b %e %H:%M:%S UTC %Y");
    let Some(format) = format.strip_prefix('+') else { return call.fail(1, "invalid date") };
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    match jiff::fmt::strtime::format(format, &now) {
        Ok(text) => {
            call.say(text);
            0
        }
        Err(error) => call.fail(1, error),
    }
}

pub(super) fn uptime(call: &mut Call<'_>) -> i32 {
    let seconds = call.guest.uptime().as_secs();
    call.say(format!("up {} minutes", seconds / 60));
    0
}

pub(super) fn nproc(call: &mut Call<'_>) -> i32 {
    call.say(call.guest.cores());
    0
}

pub(super) fn df(call: &mut Call<'_>) -> i32 {
    call.say("Filesystem 1K-blocks Used Available Use% Mounted on");
    call.say("/dev/vda1 20971520 4194304 16777216 20% /");
    0
}

/// `ip addr`, `ip -4 addr show`, `ip -o link`: enough to find the address.
pub(super) fn ip(call: &mut Call<'_>) -> i32 {
    let address = call.guest.address();
    let what = call.arguments.iter().find(|word| !word.starts_with('-')).copied();
    match what {
        Some("a" | "addr" | "address") => {
            call.say("1: lo    inet 127.0.0.1/8 scope host lo");
            call.say(format!("2: eth0    inet {address}/16 scope global eth0"));
            0
        }
        Some("l" | "link") => {
            let mac = call.guest.mac().to_lowercase();
            call.say(format!("2: eth0: <UP,LOWER_UP> mtu 1500 link/ether {mac}"));
            0
        }
        other => {
            let other = other.unwrap_or_default().to_owned();
            call.unknown(&other)
        }
    }
}

/// `localectl [status|set-locale LANG=x|set-keymap x|set-x11-keymap layout [model [variant]]]`.
pub(super) fn localectl(call: &mut Call<'_>) -> i32 {
    let options = call.options("");
    if let Some(other) = options.other_than("", &["no-convert"]) {
        return call.unknown(&other);
    }
    match options.rest[..] {
        [] | ["status"] => {
            for (title, path) in
                [("Locale", "/etc/default/locale"), ("Keyboard", "/etc/default/keyboard")]
            {
                let text = call.contents(path).unwrap_or_default();
                let text = String::from_utf8_lossy(&text).lines().collect::<Vec<_>>().join(" ");
                call.say(format!("{title}: {text}"));
            }
            0
        }
        ["set-locale", locale] => {
            write_setting(call, "/etc/default/locale", &format!("{locale}\n"))
        }
        ["set-keymap", layout] => keyboard(call, layout, ""),
        ["set-x11-keymap", layout] | ["set-x11-keymap", layout, _] => keyboard(call, layout, ""),
        ["set-x11-keymap", layout, _, variant] => keyboard(call, layout, variant),
        _ => {
            let what = options.rest.join(" ");
            call.unknown(&what)
        }
    }
}

fn keyboard(call: &mut Call<'_>, layout: &str, variant: &str) -> i32 {
    let text = format!("XKBLAYOUT=\"{layout}\"\nXKBVARIANT=\"{variant}\"\n");
    write_setting(call, "/etc/default/keyboard", &text)
}

pub(super) fn update_locale(call: &mut Call<'_>) -> i32 {
    let old = call.contents("/etc/default/locale").unwrap_or_default();
    let mut lines: Vec<String> = String::from_utf8_lossy(&old).lines().map(String::from).collect();
    for setting in &call.arguments {
        let Some((name, value)) = setting.split_once('=') else {
            let what = (*setting).to_owned();
            return call.unknown(&what);
        };
        lines.retain(|line| !line.starts_with(&format!("{name}=")));
        lines.push(format!("{name}={value}"));
    }
    write_setting(call, "/etc/default/locale", &format!("{}\n", lines.join("\n")))
}

/// Generates what `/etc/locale.gen` asks for; the archive here is the list of it.
pub(super) fn locale_gen(call: &mut Call<'_>) -> i32 {
    if !call.is_root() {
        return call.fail(1, "Permission denied");
    }
    let wanted = call.contents("/etc/locale.gen").unwrap_or_default();
    let wanted = String::from_utf8_lossy(&wanted).into_owned();
    let mut archive = call.arguments.join("\n");
    for line in wanted.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        archive.push_str(line);
        archive.push('\n');
    }
    call.disk.put("/usr/lib/locale/locale-archive", archive, 0o644);
    0
}

/// `cloud-init status [--wait]`: services listen only after it has done its work.
pub(super) fn cloud_init(call: &mut Call<'_>) -> i32 {
    let options = call.options("");
    if let Some(other) = options.other_than("w", &["wait"]) {
        return call.unknown(&other);
    }
    if options.rest != ["status"] {
        let what = options.rest.join(" ");
        return call.unknown(&what);
    }
    call.say("status: done");
    0
}

fn write_setting(call: &mut Call<'_>, path: &str, text: &str) -> i32 {
    match call.disk.write(call.caller.who, path, text.to_owned().into(), 0o644) {
        Ok(()) => 0,
        Err(error) => call.fail(1, format!("{path}: {error}")),
    }
}

/// `reboot`, `poweroff`, `shutdown [-r|-h|-P] now`.
pub(super) fn power(call: &mut Call<'_>) -> i32 {
    let options = call.options("");
    if let Some(other) = options.other_than("rhPf", &[]) {
        return call.unknown(&other);
    }
    if !call.is_root() {
        return call.fail(1, "must be superuser");
    }
    if call.name == "shutdown" && !matches!(options.rest[..], ["now" | "+0", ..]) {
        return call.fail(1, "a drawn guest ends now or not at all");
    }
    let again = call.name == "reboot" || options.has('r');
    call.after.push(if again { After::Reboot } else { After::PowerOff });
    0
}
