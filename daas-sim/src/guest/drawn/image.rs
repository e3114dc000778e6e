//! The images a drawn guest can start from, and the packages its `apt-get` knows.

use std::sync::{Arc, LazyLock};

use super::disk::{Disk, Unit, Who};

/// Packages of a Debian that has no desktop yet.
const BASE: &[&str] = &[
    "adduser",
    "apt",
    "base-files",
    "bash",
    "ca-certificates",
    "cloud-init",
    "coreutils",
    "dbus",
    "debconf",
    "dpkg",
    "grep",
    "iproute2",
    "libc6",
    "libpam-systemd",
    "locales",
    "login",
    "mount",
    "openssh-client",
    "openssh-server",
    "passwd",
    "procps",
    "python3",
    "python3-apt",
    "python3-minimal",
    "qemu-guest-agent",
    "sed",
    "sudo",
    "systemd",
    "systemd-sysv",
    "udev",
    "util-linux",
];

/// What makes it a desktop that XRDP serves.
const DESKTOP: &[&str] = &[
    "adwaita-icon-theme",
    "dbus-user-session",
    "dbus-x11",
    "fonts-dejavu-core",
    "ssl-cert",
    "thunar",
    "x11-xserver-utils",
    "xfce4-panel",
    "xfce4-session",
    "xfce4-settings",
    "xfce4-terminal",
    "xfconf",
    "xfdesktop4",
    "xfwm4",
    "xorg",
    "xorgxrdp",
    "xprintidle",
    "xrdp",
    "xserver-xorg-core",
];

/// What can be installed besides those.
const AVAILABLE: &[&str] = &[
    "acl",
    "adcli",
    "attr",
    "chrony",
    "cifs-utils",
    "console-setup",
    "curl",
    "firefox-esr",
    "fuse3",
    "git",
    "gnupg",
    "htop",
    "jq",
    "keyboard-configuration",
    "keyutils",
    "krb5-user",
    "ldap-utils",
    "less",
    "libnss-sss",
    "libnss-winbind",
    "libpam-krb5",
    "libpam-mount",
    "libpam-mount-bin",
    "libpam-sss",
    "libpam-winbind",
    "libreoffice",
    "locales-all",
    "nano",
    "net-tools",
    "nfs-common",
    "oddjob",
    "oddjob-mkhomedir",
    "packagekit",
    "policykit-1",
    "polkitd",
    "pulseaudio",
    "realmd",
    "rsync",
    "samba-common",
    "samba-common-bin",
    "smbclient",
    "smbnetfs",
    "sssd",
    "sssd-ad",
    "sssd-krb5",
    "sssd-tools",
    "tigervnc-standalone-server",
    "tigervnc-tools",
    "tmux",
    "unattended-upgrades",
    "unzip",
    "vim",
    "wget",
    "winbind",
    "xauth",
    "xdg-utils",
    "xfce4",
    "xfce4-goodies",
    "xinit",
    "xorg-docs-core",
    "xxhash",
    "zip",
];

/// Units that a package brings, enabled and started by its installation.
const UNITS: &[(&str, &str)] = &[
    ("chrony", "chrony.service"),
    ("cloud-init", "cloud-init.service"),
    ("dbus", "dbus.service"),
    ("openssh-server", "ssh.service"),
    ("qemu-guest-agent", "qemu-guest-agent.service"),
    ("sssd", "sssd.service"),
    ("systemd", "systemd-logind.service"),
    ("systemd", "systemd-networkd.service"),
    ("winbind", "winbind.service"),
    ("xrdp", "xrdp.service"),
    ("xrdp", "xrdp-sesman.service"),
];

static DEBIAN_BASE: LazyLock<Disk> = LazyLock::new(debian_base);
static DEBIAN_XFCE: LazyLock<Disk> = LazyLock::new(debian_xfce);

/// A fresh disk made from the image of that name.
pub(super) fn disk(image: &str) -> Option<Disk> {
    match image {
        "debian-base" => Some(DEBIAN_BASE.clone()),
        "debian-xfce" => Some(DEBIAN_XFCE.clone()),
        _ => None,
    }
}

/// Whether `apt-get` can install a package of that name.
pub(super) fn is_package(name: &str) -> bool {
    [BASE, DESKTOP, AVAILABLE].iter().any(|list| list.contains(&name))
}

/// Puts a package, what belongs to it and the units it brings on the disk.
pub(super) fn install(disk: &mut Disk, package: &str) {
    if !disk.packages.insert(Arc::from(package)) {
        return;
    }
    for (_, unit) in UNITS.iter().filter(|(owner, _)| *owner == package) {
        disk.units.insert((*unit).into(), Unit { enabled: true, active: true, ..Unit::default() });
        let text = format!(
            "[Unit]\nDescription={unit}\n\n[Service]\nExecStart=/usr/sbin/{package}\n\n\
             [Install]\nWantedBy=multi-user.target\n"
        );
        disk.put(&format!("/lib/systemd/system/{unit}"), text, 0o644);
    }
    match package {
        "xrdp" => {
            disk.add_group("ssl-cert", Some(115));
            disk.put("/etc/xrdp/xrdp.ini", "[Globals]\nport=3389\nsecurity_layer=tls\n", 0o644);
            disk.put("/etc/xrdp/sesman.ini", "[Globals]\nListenPort=3350\n", 0o644);
            disk.put("/etc/xrdp/startwm.sh", "#!/bin/sh\nexec startxfce4\n", 0o755);
            if !disk.accounts.contains_key("xrdp") {
                let gid = disk.add_group("xrdp", Some(116));
                system_account(disk, "xrdp", 116, gid, "/run/xrdp");
            }
        }
        "xfce4" => DESKTOP.iter().filter(|name| name.starts_with("xf")).for_each(|name| {
            disk.packages.insert(Arc::from(*name));
        }),
        "sssd" => ["sssd-ad", "sssd-krb5", "libnss-sss", "libpam-sss"].iter().for_each(|name| {
            disk.packages.insert(Arc::from(*name));
        }),
        _ => {}
    }
}

fn debian_base() -> Disk {
    let mut disk = Disk::default();
    disk.hostname = "debian".into();
    let groups = [("root", 0), ("adm", 4), ("tty", 5), ("audio", 29), ("cdrom", 24), ("sudo", 27)];
    for (name, gid) in groups.into_iter().chain([("video", 44), ("users", 100), ("nogroup", 65534)])
    {
        disk.add_group(name, Some(gid));
    }
    system_account(&mut disk, "root", 0, 0, "/root");
    system_account(&mut disk, "nobody", 65534, 65534, "/nonexistent");
    if let Some(root) = disk.accounts.get_mut("root") {
        root.shell = "/bin/bash".into();
    }
    for directory in DIRECTORIES {
        if let Err(error) = disk.make_directories(&Who::root(), directory, 0o755) {
            tracing::warn!(directory, %error, "an image's directory was not made");
        }
    }
    for (path, mode) in [("/tmp", 0o1777), ("/var/tmp", 0o1777), ("/root", 0o700)] {
        if let Err(error) = disk.chmod(&Who::root(), path, mode) {
            tracing::warn!(path, %error, "an image's mode was not set");
        }
    }
    for path in ["/etc/passwd", "/etc/group"] {
        disk.put(path, "", 0o644);
    }
    disk.put("/etc/shadow", "", 0o640);
    disk.put("/etc/os-release", OS_RELEASE, 0o644);
    disk.put("/etc/debian_version", "12.8\n", 0o644);
    disk.put("/etc/hosts", "127.0.0.1\tlocalhost\n", 0o644);
    disk.put("/etc/default/locale", "LANG=C.UTF-8\n", 0o644);
    disk.put("/etc/default/keyboard", "XKBLAYOUT=\"us\"\nXKBVARIANT=\"\"\n", 0o644);
    disk.put("/etc/ssh/sshd_config", "PermitRootLogin prohibit-password\n", 0o644);
    BASE.iter().for_each(|package| install(&mut disk, package));
    power_off(&mut disk);
    disk
}

fn debian_xfce() -> Disk {
    let mut disk = debian_base();
    DESKTOP.iter().for_each(|package| install(&mut disk, package));
    power_off(&mut disk);
    disk
}

/// An image was shut down before it became one.
fn power_off(disk: &mut Disk) {
    disk.units.values_mut().for_each(|unit| unit.active = false);
}

fn system_account(disk: &mut Disk, name: &str, uid: u32, gid: u32, home: &str) {
    if let Ok(account) = disk.add_account(name, home, false) {
        (account.uid, account.gid) = (uid, gid);
        account.shell = "/usr/sbin/nologin".into();
    }
}

const DIRECTORIES: &[&str] = &[
    "/bin",
    "/etc/systemd/system",
    "/etc/xdg",
    "/etc/sudoers.d",
    "/home",
    "/lib/systemd/system",
    "/opt",
    "/root/.ssh",
    "/run",
    "/srv",
    "/tmp",
    "/usr/bin",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/usr/sbin",
    "/usr/share",
    "/var/lib",
    "/var/log",
    "/var/tmp",
];

const OS_RELEASE: &str = concat!(
    "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\n",
    "VERSION_ID=\"12\"\nVERSION=\"12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\n",
);
