//! The audit log of a deployment: its key, and who writes to it.

use std::sync::Arc;

use daas_core::audit::{AuditKey, AuditLog, KnownBy};
use daas_core::clock::{Clock, SystemClock};
use daas_core::store::SessionStore;

use crate::error::ComposeError;
use crate::keys;
use crate::settings::Settings;

/// The key that signs the audit log; made at the first need. A store that forgets has one that does.
pub fn audit_key(settings: &Settings) -> Result<AuditKey, ComposeError> {
    match settings.store_path() {
        Some(_) => {
            keys::data_dir(&settings.data_dir)?;
            keys::audit_key(&settings.data_dir)
        }
        None => Ok(AuditKey::mint()?),
    }
}

/// Begins a chain of the deployment's audit log. Close it at the end: what is not written by then is
/// lost.
pub async fn open_audit(
    settings: &Settings,
    store: &dyn SessionStore,
) -> Result<AuditLog, ComposeError> {
    let (deployment, key) = (store.deployment().await?, audit_key(settings)?);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let log = AuditLog::open(store.audit(), deployment, key, clock, settings.audit.clone()).await;
    Ok(log?)
}

/// Who runs this program, as far as the system tells.
pub fn shell_user() -> KnownBy {
    KnownBy::Shell(user())
}

#[cfg(unix)]
fn user() -> String {
    use std::os::unix::fs::MetadataExt;
    // The process's own directory is its user's.
    let uid = std::fs::metadata("/proc/self").map(|own| own.uid());
    let name = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_default();
    match uid {
        Ok(uid) if name.is_empty() => format!("uid {uid}"),
        // The name is what the environment says; the number cannot be told otherwise.
        Ok(uid) => format!("uid {uid} ({name})"),
        Err(_) => name,
    }
}

#[cfg(not(unix))]
fn user() -> String {
    std::env::var("USERNAME").unwrap_or_default()
}
