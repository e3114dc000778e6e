//! `apt-get`, `dpkg`, `dpkg-query`.

use super::super::image;
use super::{After, Call};

/// The version every package has.
const VERSION: &str = "1.0-1";

pub(super) fn apt_get(call: &mut Call<'_>) -> i32 {
    let options = call.options("ot");
    let known =
        ["no-install-recommends", "yes", "quiet", "assume-yes", "allow-downgrades", "purge"];
    if let Some(other) = options.other_than("yqot", &known) {
        return call.unknown(&other);
    }
    let Some((command, packages)) = options.rest.split_first() else {
        return call.fail(100, "a command is needed");
    };
    if !call.is_root() {
        call.err.extend_from_slice(b"E: Could not open lock file /var/lib/dpkg/lock-frontend\n");
        return 100;
    }
    match *command {
        "update" => {
            call.say("Reading package lists...");
            0
        }
        "install" => {
            let yes = options.has('y') || options.has_long("yes") || options.has_long("assume-yes");
            install(call, packages, yes)
        }
        "remove" | "purge" => {
            for package in packages {
                call.disk.packages.remove(*package);
            }
            0
        }
        "upgrade" | "dist-upgrade" | "autoremove" | "clean" | "autoclean" => 0,
        other => {
            let text = format!("E: Invalid operation {other}\n");
            call.err.extend_from_slice(text.as_bytes());
            100
        }
    }
}

fn install(call: &mut Call<'_>, packages: &[&str], yes: bool) -> i32 {
    let bare = |package: &str| package.split(['=', '/']).next().unwrap_or_default().to_owned();
    let packages: Vec<String> = packages.iter().map(|package| bare(package)).collect();
    let missing: Vec<&String> = packages.iter().filter(|name| !image::is_package(name)).collect();
    if !missing.is_empty() {
        for name in missing {
            let text = format!("E: Unable to locate package {name}\n");
            call.err.extend_from_slice(text.as_bytes());
        }
        return 100;
    }
    let new: Vec<&String> =
        packages.iter().filter(|name| !call.disk.packages.contains(name.as_str())).collect();
    if !new.is_empty() && !yes {
        call.say("Do you want to continue? [Y/n] Abort.");
        return 1;
    }
    for name in &new {
        let before: Vec<String> = call.disk.units.keys().cloned().collect();
        image::install(call.disk, name);
        let units = call.disk.units.keys().filter(|unit| !before.contains(unit));
        call.after.extend(units.cloned().map(After::UnitStarted));
    }
    for name in &new {
        call.say(format!("Setting up {name} ({VERSION}) ..."));
    }
    call.say(format!("0 upgraded, {} newly installed, 0 to remove and 0 not upgraded.", new.len()));
    0
}

/// `dpkg -s package...`, `dpkg -l [package...]`, `dpkg --configure -a` and
/// `dpkg --print-architecture`.
pub(super) fn dpkg(call: &mut Call<'_>) -> i32 {
    let options = call.options("");
    if options.has_long("configure") {
        return 0;
    }
    if options.has_long("print-architecture") {
        call.say("amd64");
        return 0;
    }
    if let Some(other) = options.other_than("sl", &["status", "list"]) {
        return call.unknown(&other);
    }
    if options.has('l') || options.has_long("list") {
        return list(call, &options.rest);
    }
    let mut status = 0;
    for package in &options.rest {
        if call.disk.packages.contains(*package) {
            let text = "Status: install ok installed";
            call.say(format!("Package: {package}\n{text}\nVersion: {VERSION}\n"));
        } else {
            let reason =
                format!("package '{package}' is not installed and no information is available");
            status = call.fail(1, reason);
        }
    }
    status
}

fn list(call: &mut Call<'_>, packages: &[&str]) -> i32 {
    let installed: Vec<String> = call.disk.packages.iter().map(|name| name.to_string()).collect();
    let wanted = |name: &String| packages.is_empty() || packages.contains(&name.as_str());
    let found: Vec<&String> = installed.iter().filter(|name| wanted(name)).collect();
    found.iter().for_each(|name| call.say(format!("ii  {name}  {VERSION}  amd64")));
    i32::from(found.len() < packages.len())
}

/// `dpkg-query -W [-f FORMAT] package...`; `${Package}`, `${Version}`, `${Status}`,
/// `${db:Status-Status}`.
pub(super) fn dpkg_query(call: &mut Call<'_>) -> i32 {
    let options = call.options("f");
    if let Some(other) = options.other_than("Wfsl", &["show", "showformat", "status"]) {
        return call.unknown(&other);
    }
    let format = options.value('f').or(options.long("showformat"));
    let format = format.map(|format| format.strip_prefix('=').unwrap_or(format));
    let format = format.unwrap_or("${Package}\\t${Version}\\n").to_owned();
    let mut status = 0;
    for package in &options.rest {
        if !call.disk.packages.contains(*package) {
            status = call.fail(1, format!("no packages found matching {package}"));
            continue;
        }
        let text = format
            .replace("${Package}", package)
            .replace("${binary:Package}", package)
            .replace("${Version}", VERSION)
            .replace("${Status}", "install ok installed")
            .replace("${db:Status-Abbrev}", "ii ")
            .replace("${db:Status-Status}", "installed")
            .replace("\\t", "\t")
            .replace("\\n", "\n");
        call.out.extend_from_slice(text.as_bytes());
    }
    status
}
