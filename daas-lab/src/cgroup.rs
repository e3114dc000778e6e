//! A control group for each guest. Without, every nspawn on a host would put its guest into the same
//! `payload` group, where one guest's systemd ends and counts the processes of the others.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::LabError;
use crate::process;
use crate::trace;

/// How long a killed group may take to be empty.
const EMPTY_DEADLINE: Duration = Duration::from_secs(5);

/// Where the group of this name is, seen from the host; `None` when the host shows no cgroup v2 tree.
pub(crate) fn path(name: &str) -> Option<PathBuf> {
    trace::mount_of_type("cgroup2").map(|tree| tree.join(name))
}

/// Kills all in the group and in groups below it, and removes them. An absent group is done.
pub(crate) fn remove(name: &str) -> Result<(), LabError> {
    let Some(group) = path(name).filter(|group| group.is_dir()) else { return Ok(()) };
    // One write ends them all, forks under way included (kernel 5.14).
    fs::write(group.join("cgroup.kill"), "1")
        .map_err(LabError::io(format!("kill group {name}")))?;
    let mut last = None;
    let gone = process::poll(EMPTY_DEADLINE, Duration::from_millis(5), || {
        last = remove_tree(&group).err();
        last.is_none().then_some(())
    });
    match (gone, last) {
        (None, Some(source)) => {
            Err(LabError::Io { doing: format!("remove group {}", group.display()), source })
        }
        _ => Ok(()),
    }
}

/// Groups cannot be removed with their files, only one by one, the innermost first.
fn remove_tree(group: &Path) -> std::io::Result<()> {
    let entries = match fs::read_dir(group) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
