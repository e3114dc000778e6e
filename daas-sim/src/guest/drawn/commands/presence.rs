//! What an activity script asks: `ss`, `loginctl`, `xprintidle`.

use super::Call;

/// `ss -Htn state established '( sport = :3389 )'` and its relatives.
///
/// Known filters: a source port (`sport = :N`) and `-x` for the display sockets that XRDP's own
/// processes hold. Anything else is refused, so that no script takes an empty answer for "nobody".
pub(super) fn ss(call: &mut Call<'_>) -> i32 {
    let options = call.options("");
    if let Some(other) = options.other_than("Htnxpal", &["no-header"]) {
        return call.unknown(&other);
    }
    let filter = options.rest.join(" ").replace(['(', ')'], " ");
    let words: Vec<&str> = filter.split_whitespace().collect();
    let words = words.strip_prefix(&["state", "established"]).unwrap_or(&words);
    let header = !options.has('H') && !options.has_long("no-header");
    let sessions = call.guest.activity_now();
    let connected: Vec<_> = sessions.iter().filter(|session| session.connected).collect();
    if options.has('x') && words.is_empty() {
        if header {
            call.say("Netid Recv-Q Send-Q Local Address:Port Peer Address:Port Process");
        }
        for session in connected {
            let number = session.display.trim_start_matches(':');
            let socket = format!("/run/xrdp/sockdir/xrdp_display_{number}");
            call.say(format!(
                "u_str 0 0 {socket} 40{number} * 41{number} users:((\"Xorg\",pid=9{number},fd=12))"
            ));
        }
        return 0;
    }
    let rdp = call.guest.ports().rdp;
    let wanted = match *words {
        [] => true,
        ["sport", "=" | "eq" | "==", port] => port.trim_start_matches(':') == rdp.to_string(),
        _ => return call.unknown(&filter),
    };
    if header {
        call.say("Recv-Q Send-Q Local Address:Port Peer Address:Port");
    }
    for session in connected.into_iter().filter(|_| wanted) {
        for peer in &session.peers {
            call.say(format!("0      0      {}:{rdp}      {peer}", call.guest.address()));
        }
    }
    0
}

/// `loginctl list-sessions [--no-legend]`.
pub(super) fn loginctl(call: &mut Call<'_>) -> i32 {
    let options = call.options("");
    if let Some(other) = options.other_than("", &["no-legend", "no-pager"]) {
        return call.unknown(&other);
    }
    if !matches!(options.rest[..], [] | ["list-sessions"]) {
        let what = options.rest.join(" ");
        return call.unknown(&what);
    }
    let legend = !options.has_long("no-legend");
    let sessions = call.guest.activity_now();
    if legend {
        call.say("SESSION  UID USER SEAT TTY");
    }
    for (i, session) in sessions.iter().enumerate() {
        let uid = call.disk.accounts.get(&session.user).map_or(0, |account| account.uid);
        call.say(format!("c{} {uid} {}      ", i + 1, session.user));
    }
    if legend {
        call.say(format!("\n{} sessions listed.", sessions.len()));
    }
    0
}

/// Milliseconds since the last input on `$DISPLAY`.
pub(super) fn xprintidle(call: &mut Call<'_>) -> i32 {
    let display = call.caller.environment.get("DISPLAY").copied().unwrap_or_default();
    let display = display.split('.').next().unwrap_or_default().to_owned();
    let sessions = call.guest.activity_now();
    match sessions.iter().find(|session| session.display == display) {
        Some(session) if session.user == call.caller.user || call.is_root() => {
            call.say(session.idle.as_millis());
            0
        }
        _ => call.fail(1, "couldn't open display"),
    }
}
