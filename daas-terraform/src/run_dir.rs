//! One directory per machine: what was asked, what was made, and the lock under which it is worked.
//!
//! ```text
//! <directory>/<session>.<machine>/   0700
//!   lock          held, as descriptor 9, by every process of a run
//!   leader        the process group of the last run, as in /proc/PID/stat
//!   running       there while the program runs; left behind by one that was killed
//!   asked.json    the reservation
//!   made.json     written once an apply has come to its good end
//!   log           what the program said, bounded and without secrets
//!   work/         the module, its variables and its state
//! <directory>/.broken/                states that could not be read, of machines that are gone
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use daas_core::ids::DeploymentId;
use daas_core::machine::{Power, Reservation};
use rustix::process::Signal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::TerraformError;
use crate::processes::{holders, names, signal_run};

/// How often a lock that is held is tried for.
const LOOK: Duration = Duration::from_millis(5);
/// How long killed processes may take to vanish.
const KILLED: Duration = Duration::from_secs(10);

/// The directory of one machine, which need not exist.
#[derive(Debug, Clone)]
pub(crate) struct RunDir {
    pub(crate) path: PathBuf,
}

/// A run directory under its lock.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) dir: RunDir,
    lock: File,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) deployment: DeploymentId,
    pub(crate) reservation: Reservation,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    /// The machine's own uuid, or without a platform that of its making.
    pub(crate) uuid: String,
    /// Where it was made.
    pub(crate) place: String,
    pub(crate) name: String,
    pub(crate) address: Option<IpAddr>,
    /// The power that was last asked of Terraform.
    pub(crate) power: Power,
}

impl RunDir {
    /// The directory for `reservation` in `base`.
    pub(crate) fn of(base: &Path, reservation: &Reservation) -> Result<Self, TerraformError> {
        let machine = reservation.machine.as_str();
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if !machine.bytes().all(plain) {
            let why = format!("made machine {machine:?}, whose id can be no directory's name");
            return Err(TerraformError::Config { field: "name", why });
        }
        Ok(Self { path: base.join(format!("{}.{machine}", reservation.session)) })
    }

    /// All run directories in `base`, whole or not.
    pub(crate) fn all(base: &Path) -> Result<Vec<Self>, TerraformError> {
        let lost = || TerraformError::file("list", base);
        let mut found = Vec::new();
        for entry in fs::read_dir(base).map_err(lost())? {
            let entry = entry.map_err(lost())?;
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            if !hidden && entry.file_type().map_err(lost())?.is_dir() {
                found.push(Self { path: entry.path() });
            }
        }
        Ok(found)
    }

    /// Whether it is there: a doubt is an error, never absence.
    pub(crate) fn exists(&self) -> Result<bool, TerraformError> {
        self.path.try_exists().map_err(TerraformError::file("look at", &self.path))
    }

    /// What was asked; `None` before that was written.
    pub(crate) fn asked(&self) -> Result<Option<Asked>, TerraformError> {
        read_json(&self.path.join("asked.json"))
    }

    /// What was made; `None` unless an apply came to its good end.
    pub(crate) fn made(&self) -> Result<Option<Made>, TerraformError> {
        read_json(&self.path.join("made.json"))
    }

    /// The module and its state.
    pub(crate) fn work(&self) -> PathBuf {
        self.path.join("work")
    }

    /// The state, where it is kept here.
    pub(crate) fn state_file(&self) -> PathBuf {
        self.work().join("terraform.tfstate")
    }

    /// What the program said.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Takes the lock, ending first what an earlier run left running. Blocks.
    pub(crate) fn take(&self, grace: Duration) -> Result<Held, TerraformError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.path);
        made.map_err(TerraformError::file("make", &self.path))?;
        let path = self.path.join("lock");
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        let lock = lock.map_err(TerraformError::file("open", &path))?;
        let leader = self.path.join("leader");
        let ways =
            [(None, Duration::ZERO), (Some(Signal::INT), grace), (Some(Signal::KILL), KILLED)];
        for (signal, patience) in ways {
            if let Some(signal) = signal {
                let directory = self.path.display();
                tracing::info!(%directory, ?signal, "an earlier run is ended");
                signal_run(&leader, &path, signal);
            }
            let end = Instant::now() + patience;
            loop {
                match lock.try_lock() {
                    Ok(()) => return Ok(Held { dir: self.clone(), lock }),
                    Err(TryLockError::Error(e)) => {
                        return Err(TerraformError::file("lock", &path)(e));
                    }
                    Err(TryLockError::WouldBlock) if Instant::now() >= end => break,
                    Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK),
                }
            }
        }
        let by = names(&holders(&path));
        Err(TerraformError::Held { directory: self.path.clone(), by })
    }
}

impl Held {
    /// A handle of the lock that a child may have: the lock lives as long as any of them.
    pub(crate) fn lock_for_child(&self) -> std::io::Result<File> {
        self.lock.try_clone()
    }

    pub(crate) fn leader_file(&self) -> PathBuf {
        self.dir.path.join("leader")
    }

    /// Writes what is asked, before anything is done.
    pub(crate) fn note_asked(&self, asked: &Asked) -> Result<(), TerraformError> {
        write_json(&self.dir.path.join("asked.json"), asked)
    }

    /// Writes what was made.
    pub(crate) fn note_made(&self, made: &Made) -> Result<(), TerraformError> {
        write_json(&self.dir.path.join("made.json"), made)
    }

    /// Writes down that the program is about to run, until [`Self::note_ended`].
    pub(crate) fn note_begun(&self) -> Result<(), TerraformError> {
        let path = self.dir.path.join("running");
        fs::write(&path, "").map_err(TerraformError::file("write", &path))
    }

    /// The program has come to its own end: it has let go of whatever it held.
    pub(crate) fn note_ended(&self) -> Result<(), TerraformError> {
        let path = self.dir.path.join("running");
        fs::remove_file(&path).map_err(TerraformError::file("remove", &path))
    }

    /// Whether the last run here came to its own end.
    pub(crate) fn ended_well(&self) -> Result<bool, TerraformError> {
        let path = self.dir.path.join("running");
        path.try_exists().map(|left| !left).map_err(TerraformError::file("look at", &path))
    }

    /// The name of the run: `<session>.<machine>`.
    pub(crate) fn name(&self) -> String {
        self.dir.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Keeps a state that cannot be read for the administrator, beside the run directories; `None`
    /// if there is none.
    pub(crate) fn set_state_aside(&self) -> Result<Option<PathBuf>, TerraformError> {
        let aside = self.dir.path.with_file_name(".broken");
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&aside);
        made.map_err(TerraformError::file("make", &aside))?;
        let kept = aside.join(format!("{}.tfstate", self.name()));
        match fs::rename(self.dir.state_file(), &kept) {
            Ok(()) => Ok(Some(kept)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(TerraformError::file("set aside the state", &kept)(e)),
        }
    }

    /// Removes the module and its state, which must be empty.
    pub(crate) fn clear(&self) -> Result<(), TerraformError> {
        let made = self.dir.path.join("made.json");
        match fs::remove_file(&made) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(TerraformError::file("remove", &made)(e));
            }
            _ => {}
        }
        let work = self.dir.work();
        match fs::remove_dir_all(&work) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(TerraformError::file("remove", &work)(e))
            }
            _ => Ok(()),
        }
    }

    /// Removes it all; the state must be empty.
    pub(crate) fn remove(self) -> Result<(), TerraformError> {
        let path = &self.dir.path;
        // What proves that something was asked goes last but for the directory itself.
        self.clear()?;
        fs::remove_dir_all(path).map_err(TerraformError::file("remove", path))
    }
}

/// Writes so that a crash leaves the old file or the new, never half of one; mode 0600.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), TerraformError> {
    let lost = || TerraformError::file("write", path);
    let text = serde_json::to_vec_pretty(value).map_err(|e| lost()(e.into()))?;
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .map_err(lost())?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(lost())?;
    fs::rename(&new, path).map_err(lost())?;
    let parent = path.parent().unwrap_or(path);
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(lost())
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, TerraformError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(TerraformError::file("read", path)(e)),
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|e| TerraformError::file("read", path)(e.into()))
}
