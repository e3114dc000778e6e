//! Our key pair: read from its file, made at the first start.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{PrivateKey, decode_secret_key};

use crate::error::SshError;

/// The public key that belongs to the private one in `path`, in OpenSSH's one-line form. The pair is
/// made if the file is absent.
///
/// # Errors
///
/// `Invalid` for a file that is no key, or one with a passphrase, and where it cannot be written.
pub fn public_key_of(path: &Path) -> daas_core::Result<String> {
    let line = load_or_make(path).and_then(|key| public(&key));
    line.map_err(|e| e.while_doing(daas_core::Operation::Start, path.display()))
}

/// The private key of `path`.
pub(crate) fn load_or_make(path: &Path) -> Result<Arc<PrivateKey>, SshError> {
    let fail = |why: String| SshError::Key { path: path.to_owned(), why };
    match std::fs::read_to_string(path) {
        Ok(text) => decode_secret_key(&text, None)
            .map(Arc::new)
            .map_err(|e| fail(format!("is no OpenSSH private key without passphrase: {e}"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let seed: [u8; 32] = rand::random();
            let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
            let text = key.to_openssh(LineEnding::LF).map_err(|e| fail(e.to_string()))?;
            write(path, text.as_bytes()).map_err(|e| fail(e.to_string()))?;
            Ok(Arc::new(key))
        }
        Err(error) => Err(fail(error.to_string())),
    }
}

/// The public key in OpenSSH's one-line form.
pub(crate) fn public(key: &PrivateKey) -> Result<String, SshError> {
    key.public_key()
        .to_openssh()
        .map(|line| format!("{line} daas"))
        .map_err(|e| SshError::Key { path: "its public half".into(), why: e.to_string() })
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
