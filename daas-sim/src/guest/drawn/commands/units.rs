//! `systemctl`.

use super::super::disk::Unit;
use super::super::units;
use super::{After, Call};

pub(super) fn systemctl(call: &mut Call<'_>) -> i32 {
    let options = call.options("pn");
    let known =
        ["now", "wait", "quiet", "no-block", "no-pager", "system", "property", "value", "force"];
    if let Some(other) = options.other_than("qpfn", &known) {
        return call.unknown(&other);
    }
    let Some((command, names)) = options.rest.split_first() else {
        return call.fail(1, "a drawn guest does not list units");
    };
    let quiet = options.has('q') || options.has_long("quiet");
    let names: Vec<String> = names.iter().map(|name| units::full_name(name)).collect();
    match *command {
        "is-active" | "is-enabled" | "is-failed" => return ask(call, command, &names, quiet),
        "is-system-running" => {
            call.say("running");
            return 0;
        }
        "show" => {
            return show(call, &options.value('p').or(options.long("property")), &names, &options);
        }
        "status" => return status(call, &names),
        "cat" => return cat(call, &names),
        _ => {}
    }
    if !call.is_root() {
        return call.fail(1, "Interactive authentication required.");
    }
    match *command {
        "daemon-reload" | "daemon-reexec" | "reset-failed" => 0,
        "reboot" => power(call, After::Reboot),
        "poweroff" | "halt" => power(call, After::PowerOff),
        "set-default" => 0,
        "start" | "restart" | "reload" | "try-restart" | "reload-or-restart" | "stop"
        | "enable" | "disable" | "reenable" | "mask" | "unmask" => {
            if names.is_empty() {
                return call.fail(1, "Too few arguments.");
            }
            names.iter().fold(0, |status, unit| {
                change(call, command, unit, options.has_long("now")).max(status)
            })
        }
        other => call.fail(1, format!("Unknown command verb {other}.")),
    }
}

fn power(call: &mut Call<'_>, after: After) -> i32 {
    call.after.push(after);
    0
}

fn ask(call: &mut Call<'_>, command: &str, names: &[String], quiet: bool) -> i32 {
    let mut status = if command == "is-enabled" { 1 } else { 3 };
    for name in names {
        let exists = units::text(call.disk, name).is_some();
        let unit = call.disk.units.get(name).cloned().unwrap_or_default();
        let (answer, good) = match command {
            "is-enabled" if unit.masked => ("masked", false),
            "is-enabled" if !exists => ("not-found", false),
            "is-enabled" if unit.enabled => ("enabled", true),
            "is-enabled" => ("disabled", false),
            "is-failed" => (activity(&unit), unit.failed),
            _ => (activity(&unit), unit.active),
        };
        if good {
            status = 0;
        }
        if !quiet {
            call.say(answer);
        }
    }
    status
}

fn activity(unit: &Unit) -> &'static str {
    match (unit.active, unit.failed) {
        (true, _) => "active",
        (false, true) => "failed",
        (false, false) => "inactive",
    }
}

fn show(
    call: &mut Call<'_>,
    property: &Option<&str>,
    names: &[String],
    options: &super::Options<'_>,
) -> i32 {
    let Some(properties) = property else { return call.fail(1, "a drawn guest needs -p") };
    for name in names {
        let unit = call.disk.units.get(name).cloned().unwrap_or_default();
        let loaded = units::text(call.disk, name).is_some();
        for property in properties.split(',') {
            let value = match property {
                "ActiveState" => activity(&unit),
                "SubState" if unit.active => "running",
                "SubState" => "dead",
                "LoadState" if unit.masked => "masked",
                "LoadState" if loaded => "loaded",
                "LoadState" => "not-found",
                "UnitFileState" if unit.enabled => "enabled",
                "UnitFileState" => "disabled",
                other => {
                    let other = other.to_owned();
                    return call.unknown(&other);
                }
            };
            let bare = options.has_long("value");
            call.say(if bare { value.to_owned() } else { format!("{property}={value}") });
        }
    }
    0
}

fn status(call: &mut Call<'_>, names: &[String]) -> i32 {
    let mut status = 0;
    for name in names {
        if units::text(call.disk, name).is_none() {
            status = call.fail(4, format!("Unit {name} could not be found."));
            continue;
        }
        let unit = call.disk.units.get(name).cloned().unwrap_or_default();
        call.say(format!("{name}\n     Active: {}", activity(&unit)));
        status = status.max(if unit.active { 0 } else { 3 });
    }
    status
}

fn cat(call: &mut Call<'_>, names: &[String]) -> i32 {
    for name in names {
        match units::text(call.disk, name) {
            Some(text) => call.out.extend_from_slice(text.as_bytes()),
            None => return call.fail(1, format!("No files found for {name}.")),
        }
    }
    0
}

fn change(call: &mut Call<'_>, command: &str, name: &str, now: bool) -> i32 {
    let masking = matches!(command, "mask" | "unmask");
    let Some(text) = units::text(call.disk, name).or(masking.then(String::new)) else {
        let status = if matches!(command, "enable" | "disable") { 1 } else { 5 };
        return call.fail(status, format!("Unit {name} not found."));
    };
    let old = call.disk.units.get(name).cloned().unwrap_or_default();
    let starting = matches!(command, "start" | "restart" | "reload-or-restart")
        || command == "reload" && old.active
        || command == "try-restart" && old.active
        || now && matches!(command, "enable" | "reenable");
    let stopping = command == "stop" || now && matches!(command, "disable" | "mask");
    if starting && old.masked {
        return call.fail(1, format!("Failed to start {name}: Unit {name} is masked."));
    }
    if command == "enable" && !text.contains("[Install]") {
        // As systemd does it: such a unit has nothing that would want it.
        return call.fail(0, format!("The unit files have no installation config: {name}"));
    }
    let unit = call.disk.units.entry(name.into()).or_default();
    match command {
        "enable" | "reenable" => unit.enabled = true,
        "disable" => unit.enabled = false,
        "mask" => unit.masked = true,
        "unmask" => unit.masked = false,
        _ => {}
    }
    let restart = matches!(command, "restart" | "reload-or-restart" | "try-restart");
    if stopping || restart && old.active {
        unit.active = false;
        call.after.push(After::UnitStopped(name.into()));
    }
    if starting && (!old.active || restart) {
        unit.failed = !units::can_start(&text);
        unit.active = !unit.failed;
        if unit.failed {
            return call.fail(1, format!("Job for {name} failed: the unit has no ExecStart="));
        }
        call.after.push(After::UnitStarted(name.into()));
    }
    0
}
