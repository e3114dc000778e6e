//! The deployment's own secrets, kept in files that only it can read.

use std::io::Write;
use std::path::Path;

use daas_core::audit::AuditKey;
use daas_core::secret::DeploymentKey;

use crate::error::ComposeError;

/// The deployment's key from its file, made at the first start.
pub(crate) fn deployment_key(data_dir: &Path) -> Result<DeploymentKey, ComposeError> {
    let path = data_dir.join("deployment.key");
    let fail = |source| ComposeError::File { path: path.clone(), source };
    match std::fs::read(&path) {
        Ok(bytes) => Ok(DeploymentKey::new(bytes)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = DeploymentKey::mint();
            write_secret(&path, key.expose()).map_err(fail)?;
            Ok(key)
        }
        Err(error) => Err(fail(error)),
    }
}

/// The key that signs the audit log, from its file, made at the first start.
pub(crate) fn audit_key(data_dir: &Path) -> Result<AuditKey, ComposeError> {
    let path = data_dir.join("audit.key");
    let fail = |source| ComposeError::File { path: path.clone(), source };
    match std::fs::read(&path) {
        Ok(bytes) => Ok(AuditKey::from_pkcs8(bytes)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = AuditKey::mint()?;
            write_secret(&path, key.pkcs8()).map_err(fail)?;
            Ok(key)
        }
        Err(error) => Err(fail(error)),
    }
}

/// Makes the data directory, closed to everybody else.
pub(crate) fn data_dir(path: &Path) -> Result<(), ComposeError> {
    let fail = |source| ComposeError::File { path: path.to_owned(), source };
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(path).map_err(fail)
}

fn write_secret(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]
    use super::*;

    #[test]
    fn the_key_is_made_once_and_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let first = deployment_key(dir.path()).unwrap();
        let second = deployment_key(dir.path()).unwrap();
        assert_eq!(first.expose(), second.expose());
        let signing = audit_key(dir.path()).unwrap().public();
        assert_eq!(audit_key(dir.path()).unwrap().public(), signing);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            for file in ["deployment.key", "audit.key"] {
                let mode = std::fs::metadata(dir.path().join(file)).unwrap().permissions();
                assert_eq!(mode.mode() & 0o777, 0o600, "{file}");
            }
        }
    }
}
