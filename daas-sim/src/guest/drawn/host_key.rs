//! The SSH host key, made at the first boot and kept on the disk.

use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::ssh_key::{LineEnding, PrivateKey};

use super::disk::{Disk, Who};

const HOST_KEY: &str = "/etc/ssh/ssh_host_ed25519_key";

/// The guest's ed25519 host key.
#[derive(Debug, Clone)]
pub(super) struct HostKey(PrivateKey);

impl HostKey {
    pub(super) fn key(&self) -> &PrivateKey {
        &self.0
    }

    /// The key on the disk; a disk without one gets a new one.
    pub(super) fn of(disk: &mut Disk) -> Self {
        let kept = disk.read(&Who::root(), HOST_KEY).ok();
        if let Some(Ok(key)) = kept.map(PrivateKey::from_openssh) {
            return Self(key);
        }
        let pair = Ed25519Keypair::from_seed(&rand::random());
        let key = PrivateKey::from(pair);
        match (key.to_openssh(LineEnding::LF), key.public_key().to_openssh()) {
            (Ok(private), Ok(public)) => {
                disk.put(HOST_KEY, private.to_string(), 0o600);
                disk.put(&format!("{HOST_KEY}.pub"), format!("{public}\n"), 0o644);
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(%error, "a drawn guest's host key was not written");
            }
        }
        Self(key)
    }
}
