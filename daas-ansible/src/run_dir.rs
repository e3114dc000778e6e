//! A session's private directory while a playbook works on its guest: mode 0700, one at a time, and
//! gone afterwards with every process of the run, also when the run is dropped.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use daas_core::ids::SessionId;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;

use crate::error::AnsibleError;
use crate::processes;

/// How long an earlier run, dropped by us, may take to be gone.
const LOCK_WAIT: Duration = Duration::from_secs(15);
/// How long an interrupted playbook may take to end by itself.
const GRACE: Duration = Duration::from_secs(3);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// The directory of one run. Dropping it ends what runs there, in the background; [`RunDir::end`]
/// does the same and waits.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    /// Taken when it ends.
    remains: Option<Remains>,
}

/// What has to go when a run is over.
#[derive(Debug)]
struct Remains {
    path: PathBuf,
    lock_path: PathBuf,
    /// The playbook that may still run.
    child: Option<Child>,
    /// Held until all the rest is gone.
    _lock: File,
}

impl RunDir {
    /// The directory of `session` below `base`, empty. What a killed run left is ended first.
    pub(crate) async fn open(base: &Path, session: &SessionId) -> Result<Self, AnsibleError> {
        let path = base.join(session.as_str());
        let lock_path = base.join(format!("{session}.lock"));
        let failed = |source| AnsibleError::RunDirectory { path: path.clone(), source };
        private_directory(base).map_err(failed)?;
        let begun = Instant::now();
        let lock = loop {
            match lock(&lock_path).map_err(failed)? {
                Some(lock) => break lock,
                None if begun.elapsed() < LOCK_WAIT => tokio::time::sleep(PAUSE).await,
                None => return Err(AnsibleError::Busy { path: lock_path }),
            }
        };
        let made = path.clone();
        let clear = move || {
            if !processes::end(&made) {
                return Err(io::Error::other("processes of an earlier run do not end"));
            }
            remove(&made)?;
            private_directory(&made)
        };
        let cleared = tokio::task::spawn_blocking(clear).await;
        cleared.map_err(io::Error::other).flatten().map_err(failed)?;
        let remains = Remains { path: path.clone(), lock_path, child: None, _lock: lock };
        Ok(Self { path, remains: Some(remains) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a new file of mode 0600, with the directories it needs.
    pub(crate) fn write(&self, name: &str, content: &str) -> Result<PathBuf, AnsibleError> {
        let path = self.path.join(name);
        let write = || {
            if let Some(parent) = path.parent() {
                private_directory(parent)?;
            }
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(content.as_bytes())
        };
        let written: io::Result<()> = write();
        written.map_err(|source| AnsibleError::RunDirectory { path: path.clone(), source })?;
        Ok(path)
    }

    /// Removes a file again.
    pub(crate) fn remove(&self, name: &str) -> Result<(), AnsibleError> {
        let path = self.path.join(name);
        fs::remove_file(&path).map_err(|source| AnsibleError::RunDirectory { path, source })
    }

    /// The playbook that runs here, to be put and taken.
    pub(crate) fn child(&mut self) -> Option<&mut Option<Child>> {
        self.remains.as_mut().map(|remains| &mut remains.child)
    }

    /// Ends what runs here and removes the directory.
    pub(crate) async fn end(mut self) -> Result<(), AnsibleError> {
        let Some(remains) = self.remains.take() else { return Ok(()) };
        let cleared = tokio::task::spawn_blocking(move || remains.clear()).await;
        let path = self.path.clone();
        cleared
            .map_err(io::Error::other)
            .flatten()
            .map_err(|source| AnsibleError::RunDirectory { path, source })
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        let Some(remains) = self.remains.take() else { return };
        let path = self.path.display().to_string();
        let clear = move || {
            if let Err(error) = remains.clear() {
                tracing::error!(path, %error, "a dropped run is not cleared; the next one tries");
            }
        };
        // A thread of its own: dropping must not block, nor need a runtime that goes on.
        if let Err(error) = std::thread::Builder::new().spawn(clear) {
            tracing::error!(%error, "a dropped run is not cleared; the next one tries");
        }
    }
}

impl Remains {
    fn clear(mut self) -> io::Result<()> {
        if let Some(mut child) = self.child.take() {
            interrupt(&mut child);
        }
        if !processes::end(&self.path) {
            return Err(io::Error::other("processes of the run do not end"));
        }
        remove(&self.path)?;
        // Still locked: who waits for it sees that the file is not the one in its place any more.
        fs::remove_file(&self.lock_path)
    }
}

/// Interrupts the playbook, as a person would by Ctrl-C, then kills its process group.
fn interrupt(child: &mut Child) {
    // No number: it has been waited for, and its group may be another's by now.
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let Some(group) = group else { return };
    for (signal, patience) in [(Signal::INT, GRACE), (Signal::KILL, GRACE)] {
        // It may be gone by itself, which is as good.
        let _ = kill_process_group(group, signal);
        let begun = Instant::now();
        while begun.elapsed() < patience {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Takes the lock; `None` while another has it.
fn lock(path: &Path) -> io::Result<Option<File>> {
    loop {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        // Who had it before may have removed it between our opening and our locking.
        let same = fs::metadata(path).is_ok_and(|there| {
            file.metadata().is_ok_and(|held| (held.dev(), held.ino()) == (there.dev(), there.ino()))
        });
        if same {
            return Ok(Some(file));
        }
    }
}

fn private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps an error has failed")]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn session() -> SessionId {
        "desktop-7f3k2mq".parse().unwrap()
    }

    #[tokio::test]
    async fn it_is_private_and_leaves_nothing() {
        let base = tempfile::tempdir().unwrap();
        let run = RunDir::open(base.path(), &session()).await.unwrap();
        let file = run.write("a/secret", "x").unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(run.path()), mode(&file)), (0o700, 0o600));
        assert!(run.write("a/secret", "y").is_err(), "never over another");
        run.end().await.unwrap();
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn the_next_waits_for_one_that_was_dropped_and_finds_it_empty() {
        let base = tempfile::tempdir().unwrap();
        for _ in 0..20 {
            let run = RunDir::open(base.path(), &session()).await.unwrap();
            run.write("left", "x").unwrap();
        }
        let run = RunDir::open(base.path(), &session()).await.unwrap();
        assert_eq!(fs::read_dir(run.path()).unwrap().count(), 0);
        run.end().await.unwrap();
    }

    #[test]
    fn only_one_has_the_lock_and_a_removed_one_is_no_lock() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("l");
        let first = lock(&path).unwrap().unwrap();
        assert!(lock(&path).unwrap().is_none());
        fs::remove_file(&path).unwrap();
        drop(first);
        assert!(lock(&path).unwrap().is_some());
    }
}
