//! Profiles: what a guest should be like, step by step.

use std::time::Duration;

use serde::Deserialize;

/// An ordered list of steps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The steps, in the order they are done.
    pub steps: Vec<Step>,
    /// Whether the activity reporter is set up too. Default: yes.
    #[serde(default = "yes")]
    pub reporter: bool,
}

/// One step. Texts may hold `{session}`, `{user}`, `{password_hash}`, `{keyboard}` and `{locale}`;
/// a step that names one which this session has not is left out. In a command's scripts each stands
/// for one quoted word.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Step {
    /// What people read.
    pub name: String,
    /// In which stage it is done. Default: prepare.
    #[serde(default)]
    pub when: When,
    /// How long it may take; absent: as `ssh.step_deadline` says.
    #[serde(default, with = "humantime_serde")]
    pub deadline: Option<Duration>,
    /// What is done.
    #[serde(flatten)]
    pub action: Action,
}

/// The stage of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// While the desktop is nobody's.
    #[default]
    Prepare,
    /// When it becomes its user's.
    Assign,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do", deny_unknown_fields)]
pub enum Action {
    /// Debian packages are installed, without recommended ones.
    Packages {
        /// Their names.
        packages: Vec<String>,
    },
    /// A file has this content.
    File {
        /// Its absolute path.
        path: String,
        /// Its content.
        content: String,
        /// Its mode, in octal. Default `644`.
        #[serde(default = "default_mode")]
        mode: String,
        /// Its owner and group, `root:root` by default.
        #[serde(default = "default_owner")]
        owner: String,
    },
    /// A local user exists, who is no account of the system (whose number is below 1000).
    User {
        /// Their name.
        user: String,
        /// Groups they are in.
        #[serde(default)]
        groups: Vec<String>,
        /// Their password as a crypt(3) string.
        #[serde(default)]
        password_hash: Option<String>,
    },
    /// A shell script has run.
    Command {
        /// The script, run by `sh -e` as root. Exit 65 says that trying again will not help.
        run: String,
        /// A script that tells by exit 0 that it is done already.
        check: String,
    },
    /// A systemd unit is enabled and runs.
    Service {
        /// Its name.
        unit: String,
        /// Earlier steps whose change restarts it, by their name or by the path of their file.
        #[serde(default)]
        restart_on: Vec<String>,
    },
}

fn yes() -> bool {
    true
}

fn default_mode() -> String {
    "644".to_owned()
}

fn default_owner() -> String {
    "root:root".to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps an error has failed")]
    use super::*;
    use crate::SshConfig;

    const GOOD: &str = r#"
        key_file = "k"
        [[profiles.lab.steps]]
        name = "tools"
        deadline = "90s"
        do = "packages"
        packages = ["jq"]
        [[profiles.lab.steps]]
        name = "greeting"
        when = "assign"
        do = "file"
        path = "/etc/motd"
        content = "Welcome {user}"
    "#;

    #[test]
    fn a_profile_is_written_in_toml() {
        let config: SshConfig = toml::from_str(GOOD).unwrap();
        let profile = &config.profiles["lab"];
        assert!(profile.reporter);
        assert_eq!(profile.steps[0].deadline, Some(Duration::from_secs(90)));
        assert_eq!(profile.steps[1].when, When::Assign);
        let Action::File { mode, owner, .. } = &profile.steps[1].action else { panic!("a file") };
        assert_eq!((mode.as_str(), owner.as_str()), ("644", "root:root"));
    }

    #[test]
    fn a_misspelt_field_is_refused() {
        for (right, wrong) in [
            ("packages = [", "package = ["),
            ("content =", "contents ="),
            ("when =", "whne ="),
            ("do = \"file\"", "do = \"fiel\""),
            ("key_file", "keyfile"),
        ] {
            let text = GOOD.replace(right, wrong);
            assert_ne!(text, GOOD);
            assert!(toml::from_str::<SshConfig>(&text).is_err(), "{wrong}");
        }
    }
}
