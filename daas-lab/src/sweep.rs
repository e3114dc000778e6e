//! Clears what a run left: first what runs, then what is mounted, then what lies about. The same
//! code ends a run in good order, a run that panicked, and one that was killed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::mount::UnmountFlags;
use rustix::process::Signal;

use crate::cgroup;
use crate::error::LabError;
use crate::process::{self, Process};
use crate::run::{self, Found, Made, PREFIX};
use crate::trace;

/// How long processes may take to be gone after SIGKILL.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// Clears every run below `state` whose owner has died; gives the ids of those cleared.
///
/// # Errors
/// Something could not be cleared; what is left stays recorded for the next sweep.
pub fn sweep(state: &Path) -> Result<Vec<String>, LabError> {
    let mut cleared = Vec::new();
    let mut failed = None;
    for (found, lock) in run::abandoned(state)? {
        // One that resists does not protect the others.
        match clear(&found) {
            Ok(()) => cleared.push(found.id),
            Err(error) => failed = failed.or(Some(error)),
        }
        drop(lock);
    }
    failed.map_or(Ok(cleared), Err)
}

/// Clears one run, its record last.
pub(crate) fn clear(found: &Found) -> Result<(), LabError> {
    let name = format!("{PREFIX}{}", found.id);
    // INVARIANT: only what bears the run's own name is touched, whatever a manifest says.
    let dirs: Vec<&PathBuf> = found
        .made
        .iter()
        .filter_map(|made| match made {
            Made::Directory(path) if path.ends_with(&name) => Some(path),
            _ => None,
        })
        .collect();
    cgroup::remove(&name)?;
    kill_all(|| processes(found, &name, &dirs))?;
    for dir in &dirs {
        unmount_below(dir)?;
    }
    if found.made.contains(&Made::Namespace(name.clone())) {
        remove_namespace(&name)?;
    }
    for dir in &dirs {
        remove_tree(dir)?;
    }
    run::forget(&found.dir)
}

/// Kills what `find` finds until it finds nothing.
pub(crate) fn kill_all(find: impl Fn() -> BTreeSet<Process>) -> Result<(), LabError> {
    let gone = process::poll(KILL_DEADLINE, Duration::from_millis(10), || {
        let found = find();
        for process in &found {
            process.signal(Signal::KILL);
        }
        found.is_empty().then_some(())
    });
    gone.ok_or_else(|| {
        LabError::Left(find().iter().map(|p| format!("process {} {}", p.pid, p.name())).collect())
    })
}

fn processes(found: &Found, name: &str, dirs: &[&PathBuf]) -> BTreeSet<Process> {
    let recorded = found.made.iter().filter_map(|made| match made {
        Made::Process(process) if process.is_alive() => Some(*process),
        _ => None,
    });
    let mut all: BTreeSet<Process> = recorded.collect();
    all.extend(trace::in_namespace(name));
    for dir in dirs {
        all.extend(trace::rooted_below(dir));
    }
    all
}

/// Unmounts everything below `dir`.
pub(crate) fn unmount_below(dir: &Path) -> Result<(), LabError> {
    for point in trace::mounts_below(dir) {
        let doing = format!("unmount {}", point.display());
        // A process that was killed a moment ago may hold it for a little longer.
        let done = process::poll(Duration::from_secs(3), Duration::from_millis(10), || {
            rustix::mount::unmount(&point, UnmountFlags::NOFOLLOW).ok()
        });
        if done.is_none() {
            rustix::mount::unmount(&point, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)
                .map_err(LabError::sys(doing))?;
        }
    }
    Ok(())
}

/// What `ip netns delete` does.
fn remove_namespace(name: &str) -> Result<(), LabError> {
    let path = Path::new(trace::NAMESPACES).join(name);
    if !path.exists() {
        return Ok(());
    }
    let doing = format!("remove the namespace {name}");
    match rustix::mount::unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        // EINVAL: made, but killed before it was mounted.
        Ok(()) | Err(rustix::io::Errno::INVAL) => {}
        Err(error) => return Err(LabError::sys(doing)(error)),
    }
    remove_file(&path)
}

/// Removes a tree in which nothing is mounted any more.
pub(crate) fn remove_tree(dir: &Path) -> Result<(), LabError> {
    let mounts = trace::mounts_below(dir);
    if let Some(point) = mounts.first() {
        return Err(LabError::Left(vec![format!("mount {}", point.display())]));
    }
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(LabError::Io { doing: format!("remove {}", dir.display()), source: error })
        }
        _ => Ok(()),
    }
}

fn remove_file(path: &Path) -> Result<(), LabError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(LabError::Io { doing: format!("remove {}", path.display()), source: error })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_cannot_name_a_directory_of_others() {
        let state = tempfile::tempdir().unwrap();
        let precious = tempfile::tempdir().unwrap();
        let dir = state.path().join("daas-lab-2345678");
        fs::create_dir(&dir).unwrap();
        let line = serde_json::to_string(&Made::Directory(precious.path().to_owned())).unwrap();
        fs::write(dir.join("manifest"), line).unwrap();
        assert_eq!(sweep(state.path()).unwrap(), ["2345678"]);
        assert!(precious.path().exists());
        assert!(!dir.exists());
    }

    #[test]
    fn a_recorded_process_is_killed_and_a_later_one_of_its_pid_is_not() {
        let state = tempfile::tempdir().unwrap();
        let dir = state.path().join("daas-lab-2345678");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let known = Process::of(i32::try_from(child.id()).unwrap()).unwrap();
        let other = Process { started: known.started + 1, ..known };
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("manifest"), serde_json::to_string(&Made::Process(other)).unwrap())
            .unwrap();
        sweep(state.path()).unwrap();
        assert!(known.is_alive());

        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("manifest"), serde_json::to_string(&Made::Process(known)).unwrap())
            .unwrap();
        sweep(state.path()).unwrap();
        assert!(!known.is_alive());
        child.wait().unwrap();
    }
}
