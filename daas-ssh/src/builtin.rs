//! The profiles that are always there.

use crate::profile::{Action, Profile, Step, When};

/// The profile of a template that names none.
pub(crate) const DEFAULT: &str = "linux-desktop";

/// The step after which XRDP can read its TLS key.
const TLS_KEY: &str = "access to the TLS key";

/// The names of the built-in profiles.
pub(crate) const NAMES: [&str; 2] = [DEFAULT, "linux-base"];

/// The built-in profile of that name.
pub(crate) fn profile(name: &str) -> Option<Profile> {
    match name {
        "linux-desktop" => Some(linux_desktop()),
        "linux-base" => Some(linux_base()),
        _ => None,
    }
}

/// XFCE over XRDP, and the local account.
pub(crate) fn linux_desktop() -> Profile {
    let packages = [
        "xrdp",
        "xorgxrdp",
        "xfce4-session",
        "xfwm4",
        "xfce4-panel",
        "xfdesktop4",
        "xfce4-settings",
        "xfce4-terminal",
        "thunar",
        "dbus-x11",
        "xprintidle",
        "x11-xserver-utils",
    ];
    let mut steps = vec![
        prepare(
            "desktop packages",
            Action::Packages { packages: packages.map(str::to_owned).to_vec() },
        ),
        prepare(
            TLS_KEY,
            Action::Command {
                run: "usermod -aG ssl-cert xrdp".to_owned(),
                check: "id -nG xrdp | tr ' ' '\\n' | grep -qx ssl-cert".to_owned(),
            },
        ),
        prepare(
            "session",
            Action::File {
                path: "/etc/skel/.xsession".to_owned(),
                content: "exec xfce4-session\n".to_owned(),
                mode: "644".to_owned(),
                owner: "root:root".to_owned(),
            },
        ),
    ];
    steps.extend(localisation());
    steps.push(prepare(
        "remote desktop service",
        Action::Service {
            unit: "xrdp.service".to_owned(),
            // It joins its groups when it starts.
            restart_on: vec![TLS_KEY.to_owned()],
        },
    ));
    steps.extend(accounts());
    Profile { steps, reporter: true }
}

/// Nothing but the account and the reporter: for images that are complete.
fn linux_base() -> Profile {
    Profile { steps: accounts(), reporter: true }
}

fn localisation() -> Vec<Step> {
    vec![
        prepare(
            "keyboard",
            Action::File {
                path: "/etc/default/keyboard".to_owned(),
                content: "XKBMODEL=\"pc105\"\nXKBLAYOUT=\"{keyboard}\"\nBACKSPACE=\"guess\"\n"
                    .to_owned(),
                mode: "644".to_owned(),
                owner: "root:root".to_owned(),
            },
        ),
        prepare(
            "locale",
            Action::File {
                path: "/etc/default/locale".to_owned(),
                content: "LANG={locale}\n".to_owned(),
                mode: "644".to_owned(),
                owner: "root:root".to_owned(),
            },
        ),
    ]
}

/// The local account: with a password when one was asked for, else without.
fn accounts() -> Vec<Step> {
    let user = |password_hash: Option<&str>| Action::User {
        user: "{user}".to_owned(),
        groups: Vec::new(),
        password_hash: password_hash.map(str::to_owned),
    };
    let assign = |name: &str, action| Step {
        name: name.to_owned(),
        when: When::Assign,
        deadline: None,
        action,
    };
    vec![
        assign("local account", user(None)),
        assign("password of the local account", user(Some("{password_hash}"))),
    ]
}

fn prepare(name: &str, action: Action) -> Step {
    Step { name: name.to_owned(), when: When::Prepare, deadline: None, action }
}
