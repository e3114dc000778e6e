//! A stand-in for the one thing that a container has not and a desktop needs: the kernel's cifs.
//! It takes the place of `mount.cifs`, so that what calls it is configured as for any machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::LabError;
use crate::template::Recipe;

/// The package that does the work, and says that the stand-in is wanted.
pub(crate) const PACKAGE: &str = "smbnetfs";
/// What takes the place of the program.
pub(crate) const SCRIPT: &str = include_str!("mount-cifs.sh");
/// The program, and where the package's own stays.
const PROGRAM: &str = "usr/sbin/mount.cifs";
const DIVERTED: &str = "usr/sbin/mount.cifs.kernel";

/// The device that it, and any FUSE, needs: a virtual machine's kernel has it, a container is given.
pub(crate) const DEVICE: &str = "/dev/fuse";

/// Whether guests of this recipe have the stand-in.
pub(crate) fn is_wanted(recipe: &Recipe) -> bool {
    recipe.packages.contains(&PACKAGE)
}

/// Puts it into a template's tree. `chroot` runs a program there.
pub(crate) fn put(
    tree: &Path,
    chroot: impl Fn(&[&str]) -> Result<(), LabError>,
) -> Result<(), LabError> {
    let (program, diverted) = (format!("/{PROGRAM}"), format!("/{DIVERTED}"));
    // Later upgrades of the package leave it alone.
    chroot(&["dpkg-divert", "--local", "--rename", "--divert", &diverted, "--add", &program])?;
    let path = tree.join(PROGRAM);
    let written = fs::write(&path, SCRIPT)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)));
    written.map_err(LabError::io(format!("write {}", path.display())))
}
