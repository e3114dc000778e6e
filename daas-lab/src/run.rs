//! One run's record on disk: a locked file says that its owner lives, and a manifest says what was
//! made, each thing written down before it is made. `sweep` reads both.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::LabError;
use crate::process::Process;

/// What every name this crate gives away starts with.
pub(crate) const PREFIX: &str = "daas-lab-";

/// Characters of an id: lower case, no look-alikes.
const ID_CHARS: &[u8] = b"23456789abcdefghjkmnpqrstvwxyz";
const ID_LENGTH: usize = 7;

/// One thing a run made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Made {
    /// A network namespace, by name.
    Namespace(String),
    /// A directory and all in it.
    Directory(PathBuf),
    /// A process.
    Process(Process),
}

/// A run whose owner is this process.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) id: String,
    pub(crate) dir: PathBuf,
    /// Holds the lock for as long as it is open.
    _lock: File,
}

impl Run {
    /// Begins a run under the state directory.
    pub(crate) fn begin(state: &Path) -> Result<Run, LabError> {
        fs::create_dir_all(state).map_err(LabError::io(format!("make {}", state.display())))?;
        let _door = door(state)?;
        let id = random_id();
        let dir = state.join(format!("{PREFIX}{id}"));
        fs::create_dir(&dir).map_err(LabError::io(format!("make {}", dir.display())))?;
        let lock = File::create(dir.join("lock")).map_err(LabError::io("make the run's lock"))?;
        lock.lock().map_err(LabError::io("lock the run"))?;
        Ok(Run { id, dir, _lock: lock })
    }

    /// The name shared by the namespace, the directory and the machines.
    pub(crate) fn name(&self) -> String {
        format!("{PREFIX}{}", self.id)
    }

    /// Writes down what is about to be made.
    pub(crate) fn record(&self, made: &Made) -> Result<(), LabError> {
        let mut line = serde_json::to_vec(made).map_err(|error| LabError::Io {
            doing: "write the manifest".to_owned(),
            source: error.into(),
        })?;
        line.push(b'\n');
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join("manifest"))
            .and_then(|mut file| file.write_all(&line))
            .map_err(LabError::io("write the manifest"))
    }
}

/// A run found on disk.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) id: String,
    pub(crate) dir: PathBuf,
    pub(crate) made: Vec<Made>,
}

impl Found {
    /// Reads the run in `dir`; `None` when the name is not a run's.
    pub(crate) fn read(dir: &Path) -> Option<Found> {
        let id = dir.file_name()?.to_str()?.strip_prefix(PREFIX)?;
        if !is_id(id) {
            return None;
        }
        let text = fs::read_to_string(dir.join("manifest")).unwrap_or_default();
        // A line cut short by a kill names a thing that was not made yet.
        let made = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Some(Found { id: id.to_owned(), dir: dir.to_owned(), made })
    }
}

/// The runs whose owner has died, each with the lock that keeps others from clearing it too.
pub(crate) fn abandoned(state: &Path) -> Result<Vec<(Found, File)>, LabError> {
    if !state.exists() {
        return Ok(Vec::new());
    }
    let _door = door(state)?;
    let entries = fs::read_dir(state).map_err(LabError::io(format!("read {}", state.display())))?;
    let mut runs = Vec::new();
    for dir in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        let Some(found) = Found::read(&dir) else { continue };
        let lock = File::create(dir.join("lock")).map_err(LabError::io("open a run's lock"))?;
        match lock.try_lock() {
            Ok(()) => runs.push((found, lock)),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => {
                return Err(LabError::Io { doing: "lock a run".to_owned(), source });
            }
        }
    }
    Ok(runs)
}

/// Removes the record of a run that has been cleared.
pub(crate) fn forget(dir: &Path) -> Result<(), LabError> {
    let _door = dir.parent().map(door).transpose()?;
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(LabError::Io { doing: format!("remove {}", dir.display()), source: error })
        }
        _ => Ok(()),
    }
}

/// Held while a run begins, is forgotten, or abandoned ones are looked for: a directory without a
/// held lock is then really abandoned.
fn door(state: &Path) -> Result<File, LabError> {
    let file = File::create(state.join(".door")).map_err(LabError::io("open the state lock"))?;
    file.lock().map_err(LabError::io("take the state lock"))?;
    Ok(file)
}

fn random_id() -> String {
    (0..ID_LENGTH).map(|_| char::from(ID_CHARS[rand::random_range(0..ID_CHARS.len())])).collect()
}

fn is_id(id: &str) -> bool {
    id.len() == ID_LENGTH && id.bytes().all(|byte| ID_CHARS.contains(&byte))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_living_run_is_not_abandoned_and_a_dropped_one_is() {
        let state = tempfile::tempdir().unwrap();
        let run = Run::begin(state.path()).unwrap();
        run.record(&Made::Namespace("n".to_owned())).unwrap();
        assert!(abandoned(state.path()).unwrap().is_empty());
        let id = run.id.clone();
        drop(run);
        let found = abandoned(state.path()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0.id, id);
        assert_eq!(found[0].0.made, [Made::Namespace("n".to_owned())]);
    }

    #[test]
    fn a_directory_of_another_name_is_not_ours() {
        for name in ["daas-lab-", "daas-lab-UPPER00", "other-2345678", "daas-lab-23456789"] {
            assert!(Found::read(Path::new(name)).is_none(), "{name}");
        }
    }
}
