//! Finds what belongs to a lab by what the kernel says, not by what anybody wrote down: processes
//! by their network namespace or by the overlay they have as root, mounts by their place.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::process::{self, Process};

/// Where `ip netns` keeps its names.
pub(crate) const NAMESPACES: &str = "/run/netns";

/// Processes (but for ourselves) in the network namespace of this name.
pub(crate) fn in_namespace(name: &str) -> Vec<Process> {
    let Ok(wanted) = fs::metadata(Path::new(NAMESPACES).join(name)) else { return Vec::new() };
    let own = std::process::id();
    process::all()
        .into_iter()
        .filter(|process| u32::try_from(process.pid) != Ok(own))
        .filter(|process| {
            fs::metadata(format!("/proc/{}/ns/net", process.pid))
                .is_ok_and(|meta| (meta.dev(), meta.ino()) == (wanted.dev(), wanted.ino()))
        })
        .collect()
}

/// Processes whose root is an overlay that keeps its changes below `dir`.
pub(crate) fn rooted_below(dir: &Path) -> Vec<Process> {
    let ours = |process: &Process| root_of(*process).is_some_and(|upper| upper.starts_with(dir));
    process::all().into_iter().filter(ours).collect()
}

/// Where the overlay that a process has as root keeps its changes; `None` for any other root, and
/// for processes that share our own mounts.
pub(crate) fn root_of(process: Process) -> Option<PathBuf> {
    let own = fs::metadata("/proc/self/ns/mnt").ok()?.ino();
    let other = fs::metadata(format!("/proc/{}/ns/mnt", process.pid)).ok()?.ino();
    if own == other {
        return None;
    }
    root_upper(&fs::read_to_string(format!("/proc/{}/mountinfo", process.pid)).ok()?)
}

/// Mount points below `dir` as this process sees them, the innermost first.
pub(crate) fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut points: Vec<PathBuf> =
        table.lines().filter_map(mount_point).filter(|point| point.starts_with(dir)).collect();
    points.reverse();
    points
}

/// Where a file system of this type is mounted; the first such place.
pub(crate) fn mount_of_type(kind: &str) -> Option<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let is_kind = |line: &&str| {
        line.split_once(" - ").is_some_and(|(_, rest)| rest.split(' ').next() == Some(kind))
    };
    table.lines().find(is_kind).and_then(mount_point)
}

/// Entries of a directory whose name starts with `prefix`.
pub(crate) fn entries(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect()
}

/// Field 5 of a line of `proc_pid_mountinfo(5)`, its octal escapes resolved.
fn mount_point(line: &str) -> Option<PathBuf> {
    line.split(' ').nth(4).map(|field| PathBuf::from(unescape(field)))
}

/// The `upperdir` of the overlay mounted on `/`, if that is what is there.
fn root_upper(table: &str) -> Option<PathBuf> {
    let line = table.lines().rfind(|line| line.split(' ').nth(4) == Some("/"))?;
    let (_, filesystem) = line.split_once(" - ")?;
    let options = filesystem.strip_prefix("overlay ")?.split(' ').nth(1)?;
    let upper = options.split(',').find_map(|option| option.strip_prefix("upperdir="))?;
    Some(PathBuf::from(unescape(upper)))
}

/// `\040` and its like, as the kernel writes blanks in names.
fn unescape(field: &str) -> String {
    let mut out = String::with_capacity(field.len());
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|code| u8::from_str_radix(code, 8).ok());
        match code {
            Some(code) => {
                out.push(char::from(code));
                rest = &rest[at + 4..];
            }
            None => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    const OVERLAY: &str = "700 600 0:50 / / rw,relatime - overlay ov rw,lowerdir=/c/base,\
                           upperdir=/tmp/daas-lab-2222222/g1/up,workdir=/tmp/w\n\
                           701 700 0:51 / /tmp rw - tmpfs tmpfs rw";

    #[test]
    fn tells_whose_overlay_is_the_root() {
        let upper = root_upper(OVERLAY).unwrap();
        assert_eq!(upper, Path::new("/tmp/daas-lab-2222222/g1/up"));
        assert!(!upper.starts_with("/tmp/daas-lab-222222"));
        assert_eq!(root_upper("1 1 8:1 / / rw - ext4 /dev/vda rw"), None);
    }

    #[test]
    fn resolves_blanks_in_mount_points() {
        let line = "30 1 0:5 / /a\\040b\\134c rw - tmpfs tmpfs rw";
        assert_eq!(mount_point(line).unwrap(), Path::new("/a b\\c"));
    }
}
