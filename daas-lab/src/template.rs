//! Templates: Debian trees built once by mmdebstrap and kept in a cache, packed (to be carried from
//! one machine to another) and unpacked (the read-only lower layer of every clone).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::error::LabError;
use crate::{kernel, process, stand_in};

/// How long a build may take; a desktop took 40 seconds where this was written.
const BUILD_DEADLINE: Duration = Duration::from_secs(1200);
const STEP_DEADLINE: Duration = Duration::from_secs(120);

/// Counts changes of [`finish`], which the recipes do not show.
const FINISH_VERSION: u32 = 1;

const BASE_PACKAGES: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "libpam-systemd",
    "dbus",
    "openssh-server",
    "python3-minimal",
    "python3-apt",
    "sudo",
    "iproute2",
    "ca-certificates",
    "procps",
];

const DESK_PACKAGES: &[&str] = &[
    "dbus-user-session",
    "dbus-x11",
    "xrdp",
    "xorgxrdp",
    "xfce4-session",
    "xfwm4",
    "xfce4-panel",
    "xfdesktop4",
    "xfce4-settings",
    "xfce4-terminal",
    "thunar",
    "adwaita-icon-theme",
    "xprintidle",
    "x11-xserver-utils",
    "fonts-dejavu-core",
    // What the activity reporter speaks with.
    "curl",
];

const DC_PACKAGES: &[&str] = &[
    "samba",
    "samba-ad-provision",
    "samba-dsdb-modules",
    "samba-vfs-modules",
    "winbind",
    "libnss-winbind",
    "krb5-user",
    "smbclient",
    "ldap-utils",
    "ldb-tools",
    "openssl",
    "attr",
    "acl",
];

const MEMBER_PACKAGES: &[&str] =
    &["adcli", "krb5-user", "ldap-utils", "libnss-sss", "libpam-sss", "smbclient", "sssd-ad"];

const SHARE_PACKAGES: &[&str] =
    &["sssd-tools", "libpam-mount", "libpam-mount-bin", "cifs-utils", stand_in::PACKAGE, "fuse3"];

/// What a template is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The template's name.
    pub name: &'static str,
    /// The suite, Debian's or Ubuntu's.
    pub suite: &'static str,
    /// Packages, recommended ones left out.
    pub packages: Vec<&'static str>,
    /// Units switched on.
    pub units: &'static [&'static str],
    /// `(user, group)`: users added to groups.
    pub members: &'static [(&'static str, &'static str)],
}

impl Recipe {
    /// systemd, SSH and Python; some 275 MB.
    pub fn base() -> Recipe {
        Recipe {
            name: "base",
            suite: "bookworm",
            packages: BASE_PACKAGES.to_vec(),
            units: &["systemd-networkd.service", "ssh.service"],
            members: &[],
        }
    }

    /// The base and an XFCE desktop over xrdp; some 730 MB.
    pub fn desk() -> Recipe {
        Recipe {
            name: "desk",
            packages: [BASE_PACKAGES, DESK_PACKAGES].concat(),
            units: &[
                "systemd-networkd.service",
                "ssh.service",
                "xrdp.service",
                "xrdp-sesman.service",
            ],
            // Without it xrdp cannot read its key, and every TLS hand-shake fails.
            members: &[("xrdp", "ssl-cert")],
            ..Recipe::base()
        }
    }

    /// The base and what a domain controller is made from; some 430 MB.
    pub fn dc() -> Recipe {
        let packages = [BASE_PACKAGES, DC_PACKAGES].concat();
        Recipe { name: "dc", packages, ..Recipe::base() }
    }

    /// The base and what joins a domain; some 300 MB.
    pub fn member() -> Recipe {
        let packages = [BASE_PACKAGES, MEMBER_PACKAGES].concat();
        Recipe { name: "member", packages, ..Recipe::base() }
    }

    /// A desktop that can join a domain and mount its users' shares, with nothing of that set up;
    /// some 850 MB. In the place of `mount.cifs` it has a stand-in (the package's own is
    /// `/usr/sbin/mount.cifs.kernel`), because no container can mount by the kernel's cifs.
    pub fn workstation() -> Recipe {
        let packages = [BASE_PACKAGES, DESK_PACKAGES, MEMBER_PACKAGES, SHARE_PACKAGES].concat();
        Recipe { name: "workstation", packages, ..Recipe::desk() }
    }

    /// A kernel for virtual machines, with its modules; some 170 MB, and no guest. Not among
    /// [`Recipe::all`]: one trial needs it.
    pub fn kernel() -> Recipe {
        let packages = vec![kernel::PACKAGE, kernel::LOADER];
        Recipe { name: "kernel", packages, units: &[], ..Recipe::base() }
    }

    /// The same of another suite: Debian's `trixie`, or Ubuntu's `jammy` or `noble`, whose keys are in
    /// the package `ubuntu-archive-keyring`.
    #[must_use]
    pub fn of_suite(mut self, suite: &'static str) -> Recipe {
        self.suite = suite;
        if is_ubuntu(&self) {
            // Nothing there requires it, and every real machine has it.
            self.packages.push("apt");
        }
        self
    }

    /// All of them.
    pub fn all() -> Vec<Recipe> {
        vec![Recipe::base(), Recipe::desk(), Recipe::dc(), Recipe::member(), Recipe::workstation()]
    }

    /// The recipe of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn named(name: &str) -> Result<Recipe, LabError> {
        let mut all = Recipe::all().into_iter().chain([Recipe::kernel()]);
        all.find(|recipe| recipe.name == name).ok_or_else(|| LabError::NoTemplate(name.to_owned()))
    }

    /// The name in the cache: another recipe has another.
    pub fn key(&self) -> String {
        let mut text = format!("{self:?} {FINISH_VERSION} {}", std::env::consts::ARCH);
        if stand_in::is_wanted(self) {
            text.push_str(stand_in::SCRIPT);
        }
        let digest = Sha256::digest(text.as_bytes());
        let hex: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{hex}", self.name)
    }
}

/// The cache of templates.
#[derive(Debug, Clone)]
pub struct Templates {
    cache: PathBuf,
}

impl Templates {
    /// Templates kept in this directory.
    pub fn new(cache: impl Into<PathBuf>) -> Templates {
        Templates { cache: cache.into() }
    }

    /// The tree of a template, built or unpacked if it is not there yet. Blocks for as long.
    ///
    /// # Errors
    /// mmdebstrap or tar fails, or the cache cannot be written.
    pub fn ensure(&self, recipe: &Recipe) -> Result<PathBuf, LabError> {
        fs::create_dir_all(&self.cache)
            .map_err(LabError::io(format!("make {}", self.cache.display())))?;
        let tree = self.cache.join(recipe.key());
        // One builder at a time; who comes second finds it built.
        let lock = File::create(self.cache.join(format!("{}.lock", recipe.name)))
            .map_err(LabError::io("open the cache's lock"))?;
        lock.lock().map_err(LabError::io("lock the cache"))?;
        if tree.is_dir() {
            return Ok(tree);
        }
        let part = self.cache.join(format!("{}.part", recipe.key()));
        crate::sweep::unmount_below(&part)?;
        crate::sweep::remove_tree(&part)?;
        let pack = self.pack(recipe);
        if pack.is_file() {
            unpack(&pack, &part)?;
        } else {
            tracing::info!(template = recipe.name, "building a template");
            build(recipe, &part)?;
            save(&part, &pack)?;
        }
        fs::rename(&part, &tree).map_err(LabError::io("put the template in its place"))?;
        Ok(tree)
    }

    /// The packed template in the cache; there once it has been built.
    pub fn pack(&self, recipe: &Recipe) -> PathBuf {
        self.cache.join(format!("{}.tar.zst", recipe.key()))
    }
}

fn build(recipe: &Recipe, tree: &Path) -> Result<(), LabError> {
    let mut command = Command::new("mmdebstrap");
    let variant = if kernel::is_wanted(recipe) { "extract" } else { "minbase" };
    command
        .args(["--quiet", "--mode=root"])
        .arg(format!("--variant={variant}"))
        // Where Ubuntu has what desktops are made from; Debian has no such part.
        .arg(format!("--components={}", if is_ubuntu(recipe) { "main,universe" } else { "main" }))
        .arg(r#"--aptopt=Acquire::Languages "none""#)
        .arg(r#"--aptopt=APT::Install-Recommends "false""#)
        .arg(format!("--include={}", recipe.packages.join(",")))
        .arg(recipe.suite)
        .arg(tree);
    outside(move || process::run(&mut command, b"", BUILD_DEADLINE))?;
    if kernel::is_wanted(recipe) {
        return kernel::index(tree, |command| chroot(tree, command));
    }
    finish(recipe, tree)
}

fn is_ubuntu(recipe: &Recipe) -> bool {
    ["jammy", "noble"].contains(&recipe.suite)
}

/// Does `work` in the network this process was started in: a thread that has entered a lab reaches
/// no package there.
fn outside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LabError> + Send + 'static,
) -> Result<T, LabError> {
    // The process's own entry shows its first thread, which stays where it was.
    let network = format!("/proc/{}/ns/net", std::process::id());
    let done = std::thread::spawn(move || {
        crate::lab::enter(Path::new(&network)).map_err(LabError::io("leave the lab's network"))?;
        work()
    });
    let ended = || LabError::io("build a template")(std::io::Error::other("its thread panicked"));
    done.join().map_err(|_| ended())?
}

/// What makes a tree a template: no identity of its own, the network by systemd, SSH switched on.
fn finish(recipe: &Recipe, tree: &Path) -> Result<(), LabError> {
    let write = |name: &str, text: &str| {
        fs::write(tree.join(name), text).map_err(LabError::io(format!("write {name}")))
    };
    for key in crate::trace::entries(&tree.join("etc/ssh"), "ssh_host_") {
        fs::remove_file(&key).map_err(LabError::io("remove a host key"))?;
    }
    write("etc/machine-id", "")?;
    write("etc/hostname", "template\n")?;
    // Ubuntu's is a link into what a running system makes.
    if tree.join("etc/resolv.conf").is_symlink() {
        fs::remove_file(tree.join("etc/resolv.conf"))
            .map_err(LabError::io("remove the link etc/resolv.conf"))?;
    }
    write("etc/resolv.conf", &format!("nameserver {}\n", crate::lab::GATEWAY))?;
    chroot(tree, &[&["systemctl", "enable"], recipe.units].concat())?;
    // Timers that would fetch package lists from a network that is not there.
    chroot(tree, &["systemctl", "mask", "apt-daily.timer", "apt-daily-upgrade.timer"])?;
    for (user, group) in recipe.members {
        chroot(tree, &["usermod", "-aG", group, user])?;
    }
    if stand_in::is_wanted(recipe) {
        stand_in::put(tree, |command| chroot(tree, command))?;
    }
    Ok(())
}

fn chroot(tree: &Path, command: &[&str]) -> Result<(), LabError> {
    let mut chroot = Command::new("chroot");
    chroot.arg(tree).args(command).env_clear().env("PATH", crate::guest::GUEST_PATH);
    process::run(&mut chroot, b"", STEP_DEADLINE).map(drop)
}

fn save(tree: &Path, pack: &Path) -> Result<(), LabError> {
    let part = pack.with_extension("part");
    let mut tar = Command::new("tar");
    tar.args(["--zstd", "--numeric-owner", "--xattrs", "-C"]).arg(tree).arg("-cf").arg(&part);
    process::run(tar.arg("."), b"", BUILD_DEADLINE)?;
    fs::rename(&part, pack).map_err(LabError::io("put the packed template in its place"))
}

fn unpack(pack: &Path, tree: &Path) -> Result<(), LabError> {
    fs::create_dir(tree).map_err(LabError::io("make a template's directory"))?;
    let mut tar = Command::new("tar");
    // Unasked, tar unpacks `user.*` only, and programs lose their capabilities.
    tar.args(["--zstd", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-C"]);
    tar.arg(tree).arg("-xpf").arg(pack);
    process::run(&mut tar, b"", BUILD_DEADLINE).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_recipe_has_another_key() {
        let base = Recipe::base();
        let mut more = base.clone();
        more.packages.push("curl");
        assert_ne!(base.key(), more.key());
        assert_ne!(base.key(), Recipe::desk().key());
        assert_eq!(base.key(), Recipe::base().key());
    }

    #[test]
    fn an_unknown_name_is_refused() {
        assert!(matches!(Recipe::named("windows"), Err(LabError::NoTemplate(_))));
    }
}
