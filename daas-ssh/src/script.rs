//! From steps to one shell script that tells its progress by marks.
//!
//! For each step the script asks whether it is done already and only else does it. Marks on standard
//! output say which step has begun and how it ended; a mark on standard error parts its complaints.

use std::collections::HashSet;
use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::profile::{Action, Step};

/// What a mark begins with.
pub(crate) const MARK: &str = "@daas";

/// `text` as one word of a POSIX shell, whatever it holds (but NUL, which no shell can hold).
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The script for `steps`, whose placeholders are filled already.
pub(crate) fn script(steps: &[Step]) -> String {
    let mut text = String::from("export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin\n");
    // Files that a service is restarted for: their steps note that they changed.
    let watched: HashSet<&str> = steps
        .iter()
        .filter_map(|step| match &step.action {
            Action::Service { restart_on, .. } => Some(restart_on.iter().map(String::as_str)),
            _ => None,
        })
        .flatten()
        .collect();
    let writes = |path: &str| {
        steps
            .iter()
            .position(|step| matches!(&step.action, Action::File { path: p, .. } if p == path))
    };
    for (number, step) in steps.iter().enumerate() {
        let (check, run) = match &step.action {
            Action::Service { unit, restart_on } => {
                let changed: Vec<usize> = restart_on.iter().filter_map(|p| writes(p)).collect();
                service(unit, &changed)
            }
            other => check_and_run(other),
        };
        let notes = match &step.action {
            Action::File { path, .. } if watched.contains(path.as_str()) => {
                format!("; changed_{number}=1")
            }
            _ => String::new(),
        };
        let _ = write!(
            text,
            "echo '{MARK} begin {number}'; echo '{MARK} begin {number}' >&2\n\
             if ( {check} ) </dev/null >/dev/null 2>&1; then echo '{MARK} same {number}'\n\
             elif ( {run} ) </dev/null >/dev/null; then echo '{MARK} done {number}'{notes}\n\
             else echo '{MARK} fail {number}' $?; exit 1; fi\n"
        );
    }
    let _ = writeln!(text, "echo '{MARK} end'");
    text
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
        Action::Service { unit, .. } => service(unit, &[]),
    }
}

fn install(packages: &[String]) -> (String, String) {
    let installed = |package: &String| {
        let query = format!("dpkg-query -W -f '${{Status}}' {}", quote(package));
        format!("[ \"$({query} 2>/dev/null)\" = 'install ok installed' ]")
    };
    let check = packages.iter().map(installed).collect::<Vec<_>>().join(" && ");
    let names = packages.iter().map(|p| quote(p)).collect::<Vec<_>>().join(" ");
    let apt = "apt-get -y -o DPkg::Lock::Timeout=120";
    let install = format!("{apt} --no-install-recommends install {names}");
    // The lists of an image may be old or missing: read them only when that is why it failed.
    let run = format!(
        "export DEBIAN_FRONTEND=noninteractive; {install} 2>/dev/null || \
         {{ {apt} update && {install}; }}"
    );
    (check, run)
}

fn file(path: &str, content: &str, mode: &str, owner: &str) -> (String, String) {
    let mut sum = String::with_capacity(64);
    for byte in Sha256::digest(content.as_bytes()) {
        let _ = write!(sum, "{byte:02x}");
    }
    let directory = path.rsplit_once('/').map_or("/", |(directory, _)| directory);
    let fresh = format!("{path}.daas-new");
    let (path, fresh) = (quote(path), quote(&fresh));
    let mode = mode.trim_start_matches('0');
    let check = format!(
        "[ \"$(sha256sum {path} | cut -d ' ' -f 1)\" = {sum} ] && \
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
    let mut checks = vec![format!("id -u {name}")];
    let mut runs = vec![format!(
        "{{ id -u {name} >/dev/null 2>&1 || useradd -m -s /bin/bash {name}; }}"
    )];
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

fn service(unit: &str, changed: &[usize]) -> (String, String) {
    let unit = quote(unit);
    let mut checks: Vec<String> =
        changed.iter().map(|step| format!("[ -z \"${{changed_{step}:-}}\" ]")).collect();
    checks.push(format!("systemctl is-enabled {unit} && systemctl is-active {unit}"));
    let run =
        format!("systemctl daemon-reload && systemctl enable {unit} && systemctl restart {unit}");
    (checks.join(" && "), run)
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
