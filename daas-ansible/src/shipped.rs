//! The playbook and the roles that ship with this crate, written into each run's directory: the
//! program needs no files beside it, and a playbook of the operator's finds the roles by their names.

use std::path::PathBuf;

use daas_core::reporter;

use crate::config::{AnsibleProfile, Play};
use crate::error::AnsibleError;
use crate::run_dir::RunDir;

/// The profile of a template that names none.
pub(crate) const DEFAULT: &str = "linux-desktop";

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../", $name)))),*]
    };
}

/// Every file, by its path in this crate.
const FILES: &[(&str, &str)] = files![
    "roles/desktop.yml",
    "roles/desktop_config/defaults/main.yml",
    "roles/desktop_config/handlers/main.yml",
    "roles/desktop_config/meta/argument_specs.yml",
    "roles/desktop_config/meta/main.yml",
    "roles/desktop_config/tasks/account.yml",
    "roles/desktop_config/tasks/desktop.yml",
    "roles/desktop_config/tasks/home.yml",
    "roles/desktop_config/tasks/main.yml",
    "roles/desktop_config/tasks/reporter.yml",
    "roles/desktop_config/templates/pam_mount.conf.xml.j2",
    "roles/desktop_config/vars/debian-12.yml",
    "roles/desktop_config/vars/debian-13.yml",
    "roles/desktop_config/vars/ubuntu-22.04.yml",
    "roles/desktop_config/vars/ubuntu-24.04.yml",
    "roles/ad_join/defaults/main.yml",
    "roles/ad_join/files/pam-logins",
    "roles/ad_join/files/pam-mkhomedir",
    "roles/ad_join/handlers/main.yml",
    "roles/ad_join/meta/argument_specs.yml",
    "roles/ad_join/meta/main.yml",
    "roles/ad_join/tasks/join.yml",
    "roles/ad_join/tasks/leave.yml",
    "roles/ad_join/tasks/logins.yml",
    "roles/ad_join/tasks/main.yml",
    "roles/ad_join/tasks/ready.yml",
    "roles/ad_join/templates/krb5.conf.j2",
    "roles/ad_join/templates/pam-logins.j2",
    "roles/ad_join/templates/sssd.conf.j2",
    "roles/ad_join/vars/main.yml",
];

/// Where the files of one run are.
pub(crate) struct Written {
    pub(crate) playbook: PathBuf,
    pub(crate) roles: PathBuf,
    /// The activity reporter's script and unit.
    pub(crate) reporter: (PathBuf, PathBuf),
}

/// Writes them all.
pub(crate) fn write(run: &RunDir) -> Result<Written, AnsibleError> {
    for (name, content) in FILES {
        run.write(name, content)?;
    }
    let script = run.write("reporter/activity", reporter::SCRIPT)?;
    let unit = run.write("reporter/daas-activity.service", reporter::UNIT)?;
    let roles = run.path().join("roles");
    Ok(Written { playbook: roles.join("desktop.yml"), roles, reporter: (script, unit) })
}

/// The built-in profile: the playbook tells the stages apart by `daas_stage`.
pub(crate) fn profile() -> AnsibleProfile {
    let whole = Play { playbook: None, tags: Vec::new(), skip_tags: Vec::new() };
    AnsibleProfile {
        prepare: Some(whole.clone()),
        assign: Some(whole),
        ..AnsibleProfile::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps an error has failed")]
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    fn below(path: &Path, found: &mut BTreeSet<String>, root: &Path) {
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(&path, found, root);
            } else {
                let name = path.strip_prefix(root).unwrap();
                found.insert(name.to_str().unwrap().to_owned());
            }
        }
    }

    #[test]
    fn no_file_of_a_role_is_forgotten() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut there = BTreeSet::new();
        below(&root.join("roles"), &mut there, root);
        let shipped: BTreeSet<_> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(shipped, there);
    }
}
