//! Where states are kept, if not beside the module: a file of the operator's, put into each run
//! directory with a key of its own.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::TerraformError;
use crate::module::has_backend;

/// What stands in the file for the name of the run, `<session>.<machine>`.
const RUN: &str = "@RUN@";

/// The block that names a backend, to be filled in.
#[derive(Debug)]
pub(crate) struct Backend {
    /// The name of the file that it becomes.
    name: &'static str,
    text: String,
}

impl Backend {
    /// Reads and checks the operator's file, in HCL or, if its name says so, in JSON.
    pub(crate) fn read(path: &Path) -> Result<Self, TerraformError> {
        let refuse = |why: &str| {
            let why = format!("{} {why}", path.display());
            Err(TerraformError::Config { field: "backend_file", why })
        };
        let text = std::fs::read_to_string(path)
            .map_err(TerraformError::file("read the backend", path))?;
        if !has_backend(&text) {
            return refuse("names no backend; it holds `terraform { backend \"...\" { ... } }`");
        }
        if !text.contains(RUN) {
            return refuse(
                "does not say @RUN@, so that all machines would share one state; put it into the \
                 key, path, schema or address",
            );
        }
        let json = path.extension().is_some_and(|extension| extension == "json");
        let name = if json { "daas_backend.tf.json" } else { "daas_backend.tf" };
        Ok(Self { name, text })
    }

    /// Writes it into a work directory; it may hold secrets.
    pub(crate) fn write(&self, work: &Path, run: &str) -> Result<(), TerraformError> {
        let path = work.join(self.name);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(TerraformError::file("write", &path))?;
        // A run's name is of letters, digits, dashes and dots: it can end no string.
        file.write_all(self.text.replace(RUN, run).as_bytes())
            .map_err(TerraformError::file("write", &path))
    }
}

/// A lock on a state, as the program tells of one that it cannot have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StateLock {
    pub(crate) id: String,
    /// user@host; unknown where the backend does not tell.
    who: Option<String>,
}

impl StateLock {
    /// Finds it in the errors of a run (`Lock Info:` with a line for each field).
    pub(crate) fn told(errors: &str) -> Option<Self> {
        let (_, info) = errors.split_once("Lock Info:")?;
        let after = |text: &str, name: &str| {
            let (_, rest) = text.split_once(name)?;
            rest.split_whitespace().next().map(str::to_owned)
        };
        // The `http` backend shows our own request as the lock's info, but for its id.
        let lock = match after(errors, "already locked: ID=") {
            Some(id) => Self { id, who: None },
            None => Self { id: after(info, "ID:")?, who: after(info, "Who:") },
        };
        // It becomes an argument.
        let plain = lock.id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (plain && !lock.id.starts_with('-')).then_some(lock)
    }

    /// Whether it was made elsewhere for certain.
    pub(crate) fn is_of_another_host(&self) -> bool {
        let here = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let of = self.who.as_ref().and_then(|who| who.rsplit_once('@'));
        of.is_some_and(|(_, host)| host != here.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_key_for_each_machine_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let check = |name: &str, text: &str, says: Option<&str>| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("written");
            match (Backend::read(&path), says) {
                (Ok(backend), None) => {
                    backend.write(directory.path(), "desktop-a.7").expect("written");
                    let written = directory.path().join(backend.name);
                    let written = std::fs::read_to_string(written).expect("read");
                    assert!(written.contains("/desktop-a.7\""), "{written}");
                }
                (Err(error), Some(says)) => {
                    assert!(error.to_string().contains(says), "{error}");
                }
                (other, _) => panic!("{text}: {other:?}"),
            }
        };
        let hcl = |key: &str| format!("terraform {{\n  backend \"s3\" {{\n    key = \"{key}\"\n");
        check("a.tf", &hcl("x/@RUN@"), None);
        check("a.tf", &hcl("x/y"), Some("@RUN@"));
        check("a.tf", "bucket = \"@RUN@\"", Some("names no backend"));
        let json = r#"{"terraform":{"backend":{"s3":{"key":"x/@RUN@"}}}}"#;
        check("a.json", json, None);
    }

    #[test]
    fn a_lock_is_read_from_what_is_said_of_it() {
        let info = "Lock Info: ID: 9d-1 Path: x Operation: OperationTypeApply Who: root@vm.test \
                    Version: 1.11.4 Created: 2026-01-01 00:00:00 UTC Info: Terraform";
        let check = |said: &str, id: &str, who: Option<&str>| {
            let expected = StateLock { id: id.to_owned(), who: who.map(str::to_owned) };
            assert_eq!(StateLock::told(said), Some(expected), "{said}");
        };
        check(&format!("pq: locked. {info}"), "9d-1", Some("root@vm.test"));
        let http = format!("HTTP remote state already locked: ID=9d-2 {info}");
        check(&http, "9d-2", None);
        assert_eq!(StateLock::told("Error acquiring the state lock"), None);
        assert_eq!(StateLock::told("Lock Info: ID: -force Who: a@b"), None);
        let of = |who: Option<&str>| StateLock { id: "1".into(), who: who.map(str::to_owned) };
        assert!(of(Some("root@elsewhere.test")).is_of_another_host());
        assert!(!of(None).is_of_another_host());
    }
}
