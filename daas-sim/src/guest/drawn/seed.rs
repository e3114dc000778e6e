//! First-boot configuration: what cloud-init would do with the seed.

use sha2::{Digest, Sha256};

use super::disk::{Disk, FileError, LogKind, Who};
use super::host_key::HostKey;
use crate::guest::Seed;

/// What the boot made of the seed and the disk.
#[derive(Debug, Clone)]
pub(super) struct Applied {
    pub(super) host_key: HostKey,
}

/// Applies a seed to the disk unless it is the one the disk was last started with.
pub(super) fn apply(disk: &mut Disk, seed: &Seed) -> Result<Applied, FileError> {
    let digest = digest(seed);
    if disk.seeded != Some(digest) {
        disk.hostname = seed.hostname.clone();
        let hosts = format!("127.0.0.1\tlocalhost\n127.0.1.1\t{}\n", seed.hostname);
        disk.put("/etc/hosts", hosts, 0o644);
        let name = seed.user.as_deref().unwrap_or("root");
        if !disk.accounts.contains_key(name) {
            disk.add_account(name, &format!("/home/{name}"), true)?;
            disk.join_group(name, "sudo");
            let rule = format!("{name} ALL=(ALL) NOPASSWD:ALL\n");
            disk.put("/etc/sudoers.d/90-cloud-init-users", rule, 0o440);
        }
        if let (Some(hash), Some(account)) = (&seed.password_hash, disk.accounts.get_mut(name)) {
            account.password = hash.clone();
        }
        let keys = keys(disk, name, seed);
        disk.put(&keys.0, keys.1, 0o600);
        if let Some(who) = disk.who(name) {
            let directory = keys.0.trim_end_matches("/authorized_keys").to_owned();
            disk.chmod(&Who::root(), &directory, 0o700)?;
            for path in [&directory, &keys.0] {
                disk.chown(&Who::root(), path, Some(who.uid), who.gids.first().copied())?;
            }
        }
        disk.put("/var/lib/cloud/instance/boot-finished", "", 0o644);
        disk.seeded = Some(digest);
    }
    let host_key = HostKey::of(disk);
    let name = disk.hostname.clone();
    disk.note(LogKind::System, "root", format!("boot of {name}"));
    Ok(Applied { host_key })
}

/// The user's `authorized_keys` with the seed's keys added.
fn keys(disk: &Disk, user: &str, seed: &Seed) -> (String, String) {
    let home = disk.accounts.get(user).map_or("/root", |account| &account.home);
    let path = format!("{home}/.ssh/authorized_keys");
    let old = disk.read(&Who::root(), &path).unwrap_or_default();
    let mut text = String::from_utf8_lossy(&old).into_owned();
    for key in &seed.ssh_keys {
        if !text.lines().any(|line| line == key) {
            text.push_str(key);
            text.push('\n');
        }
    }
    (path, text)
}

fn digest(seed: &Seed) -> [u8; 32] {
    let Seed { hostname, user, password_hash, ssh_keys, .. } = seed;
    Sha256::digest(format!("{hostname:?} {user:?} {password_hash:?} {ssh_keys:?}")).into()
}
