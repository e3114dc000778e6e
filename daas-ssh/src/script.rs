//! From steps to one shell script that tells its progress by marks.
//!
//! For each step the script asks whether it is done already and only else does it. Marks on standard
//! output say which step has begun and how it ended; a mark on standard error parts its complaints.

use std::fmt::Write;

use daas_core::secret::sha256_hex;

use crate::profile::{Action, Step};

/// What a mark begins with.
pub(crate) const MARK: &str = "@daas";

/// With this status (`EX_DATAERR` of sysexits) a step says that trying again will not help.
pub(crate) const HOPELESS: u32 = 65;

/// What XRDP shows to its clients, as Debian names it.
const CERTIFICATE: &str = "/etc/xrdp/cert.pem";

/// `text` as one word of a POSIX shell, whatever it holds (but NUL, which no shell can hold).
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Where it is noted that a unit has to be restarted. A note outlives an interrupted script: the
/// next one restarts the unit, though it finds every file as it should be.
const RESTARTS: &str = "/var/lib/daas/restart";

/// The script for `steps`, whose placeholders are filled already.
pub(crate) fn script(steps: &[Step]) -> String {
    let mut text = String::from("export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin\numask 022\n");
    for (number, step) in steps.iter().enumerate() {
        let (check, run) = check_and_run(&step.action);
        let notes: String =
            watchers(steps, step).map(|unit| format!(": > {} && ", note_of(unit))).collect();
        let run = match notes.as_str() {
            "" => run,
            notes => format!("mkdir -p {RESTARTS} && {notes}{{ {run}; }}"),
        };
        let _ = write!(
            text,
            "echo '{MARK} begin {number}'; echo '{MARK} begin {number}' >&2\n\
             if ( {check} ) </dev/null >/dev/null 2>&1; then echo '{MARK} same {number}'\n\
             elif ( {run} ) </dev/null >/dev/null; then echo '{MARK} done {number}'\n\
             else echo '{MARK} fail {number}' $?; exit 1; fi\n"
        );
    }
    let _ = write!(
        text,
        "if [ -r {CERTIFICATE} ]; then\n\
         echo '{MARK} certificate' \"$(head -c 16384 {CERTIFICATE} | tr '\\n' ' ')\"\nfi\n\
         echo '{MARK} end'\n"
    );
    text
}

/// The units that are restarted when `step` changes something.
fn watchers<'a>(steps: &'a [Step], step: &'a Step) -> impl Iterator<Item = &'a str> {
    let names = move |watched: &String| match &step.action {
        Action::File { path, .. } => watched == path || *watched == step.name,
        _ => *watched == step.name,
    };
    steps.iter().filter_map(move |other| match &other.action {
        Action::Service { unit, restart_on } if restart_on.iter().any(names) => Some(unit.as_str()),
        _ => None,
    })
}

fn note_of(unit: &str) -> String {
    quote(&format!("{RESTARTS}/{unit}"))
}

fn check_and_run(action: &Action) -> (String, String) {
    match action {
        Action::Packages { packages } => install(packages),
        Action::File { path, content, mode, owner } => file(path, content, mode, owner),
        Action::User { user, groups, password_hash } => {
            account(user, groups, password_hash.as_deref())
        }
        Action::Command { run, check } => {
            let piped = |script: &str| format!("printf '%s' {} | sh -e", quote(script));
            (piped(check), piped(run))
        }
        Action::Service { unit, .. } => service(unit),
    }
}

fn install(packages: &[String]) -> (String, String) {
    let names = packages.iter().map(|p| quote(p)).collect::<Vec<_>>().join(" ");
    let wanted = "installed ".repeat(packages.len());
    let query = format!("dpkg-query -W -f '${{db:Status-Status}} ' {names}");
    let check = format!("[ \"$({query})\" = '{wanted}' ]");
    let apt = "apt-get -y -o DPkg::Lock::Timeout=120";
    let install = format!("{apt} --no-install-recommends install {names}");
    // The lists of an image may be old or missing: read them only when that is why it failed. What
    // cannot be fetched has to be an error then, or no package would seem to exist.
    let run = format!(
        "export DEBIAN_FRONTEND=noninteractive; {install} 2>/dev/null || \
         {{ {apt} -o APT::Update::Error-Mode=any update && {install}; }}"
    );
    (check, run)
}

fn file(path: &str, content: &str, mode: &str, owner: &str) -> (String, String) {
    let sum = sha256_hex(content);
    let directory = path.rsplit_once('/').map_or("/", |(directory, _)| directory);
    let fresh = format!("{path}.daas-new");
    let (path, fresh) = (quote(path), quote(&fresh));
    let mode = mode.trim_start_matches('0');
    let check = format!(
        "[ \"$(sha256sum < {path} | cut -d ' ' -f 1)\" = {sum} ] && \
         [ \"$(stat -c '%a %U:%G' {path})\" = {} ]",
        quote(&format!("{mode} {owner}"))
    );
    let run = format!(
        "mkdir -p {directory} && umask 077 && printf '%s' {content} > {fresh} && \
         chmod {mode} {fresh} && chown {owner} {fresh} && mv -f {fresh} {path}",
        directory = quote(directory),
        content = quote(content),
        mode = quote(mode),
        owner = quote(owner),
    );
    (check, run)
}

fn account(user: &str, groups: &[String], password_hash: Option<&str>) -> (String, String) {
    let name = quote(user);
    // An account of the system must not become somebody's: root's least of all.
    let ordinary = format!("[ \"$(id -u {name})\" -ge 1000 ]");
    let mut checks = vec![ordinary.clone()];
    let mut runs = vec![
        format!("{{ id -u {name} >/dev/null 2>&1 || useradd -m -s /bin/bash {name}; }}"),
        format!(
            "{{ {ordinary} || {{ echo {name} is an account of the system >&2; \
             exit {HOPELESS}; }}; }}"
        ),
    ];
    for group in groups {
        let group = quote(group);
        checks.push(format!("id -nG {name} | tr ' ' '\\n' | grep -qxF -e {group}"));
        runs.push(format!("usermod -aG {group} {name}"));
    }
    if let Some(hash) = password_hash {
        checks.push(format!("[ \"$(getent shadow {name} | cut -d : -f 2)\" = {} ]", quote(hash)));
        runs.push(format!("printf '%s\\n' {} | chpasswd -e", quote(&format!("{user}:{hash}"))));
    }
    (checks.join(" && "), runs.join(" && "))
}

fn service(unit: &str) -> (String, String) {
    let note = note_of(unit);
    let unit = quote(unit);
    let check =
        format!("[ ! -e {note} ] && systemctl is-enabled {unit} && systemctl is-active {unit}");
    let run = format!(
        "systemctl daemon-reload && systemctl enable {unit} && systemctl restart {unit} && \
         rm -f {note}"
    );
    (check, run)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Whatever a text holds, a real shell gives it back unchanged.
        #[test]
        fn a_quoted_text_is_that_text(text in "[^\0]{0,60}") {
            let script = format!("printf '%s' {}", quote(&text));
            let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
    }

    #[test]
    fn the_script_is_one_that_a_shell_can_read() {
        let steps = crate::builtin::linux_desktop().steps;
        let output =
            std::process::Command::new("sh").args(["-n", "-c", &script(&steps)]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
