//! A kernel of its own for a virtual machine: Debian's, unpacked once and kept among the templates,
//! which are of containers and have none.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::error::LabError;
use crate::process;
use crate::template::Recipe;

/// NVMe and ext4 are built into it, so that it boots without an initial file system. Being there, it
/// says that a recipe is a kernel's.
pub(crate) const PACKAGE: &str = "linux-image-cloud-amd64";
/// What loads its modules.
pub(crate) const LOADER: &str = "kmod";

const STEP_DEADLINE: Duration = Duration::from_secs(60);

/// Whether the recipe is one of a kernel: a tree that is unpacked and not configured.
pub(crate) fn is_wanted(recipe: &Recipe) -> bool {
    recipe.packages.contains(&PACKAGE)
}

/// Writes the index of its modules, which its package would when it is configured.
pub(crate) fn index(
    tree: &Path,
    chroot: impl Fn(&[&str]) -> Result<(), LabError>,
) -> Result<(), LabError> {
    let versions = crate::trace::entries(&tree.join("lib/modules"), "");
    let mut names = versions.iter().filter_map(|path| path.file_name()?.to_str());
    names.try_for_each(|version| chroot(&["/sbin/depmod", version]))
}

/// Gives the tree of a guest that does not run the kernel's modules, and what loads them.
pub(crate) fn put(kernel: &Path, root: &Path) -> Result<(), LabError> {
    let mut copy = Command::new("cp");
    copy.args(["--archive", "--target-directory"]).arg(root.join("usr/lib"));
    process::run(copy.arg(kernel.join("lib/modules")), b"", STEP_DEADLINE)?;
    let mut copy = Command::new("cp");
    copy.arg("--target-directory").arg(root.join("usr/bin"));
    process::run(copy.arg(kernel.join("bin/kmod")), b"", STEP_DEADLINE)?;
    // The name by which kernel and programs know it.
    let name = root.join("usr/sbin/modprobe");
    std::os::unix::fs::symlink("../bin/kmod", name).map_err(LabError::io("link modprobe"))
}
