//! The privileges and the built-in roles, which Proxmox computes from groups of privileges.

use std::collections::HashMap;
use std::ops::{BitAnd, BitOr};

use crate::config::Version;

/// The role that takes everything away.
pub(crate) const NO_ACCESS: &str = "NoAccess";

/// Every privilege of any supported release; a [`Privileges`] bit is an index into this.
const NAMES: &[&str] = &[
    "VM.Allocate",
    "VM.Audit",
    "VM.Backup",
    "VM.Clone",
    "VM.Config.CDROM",
    "VM.Config.CPU",
    "VM.Config.Cloudinit",
    "VM.Config.Disk",
    "VM.Config.HWType",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.Console",
    "VM.GuestAgent.Audit",
    "VM.GuestAgent.FileRead",
    "VM.GuestAgent.FileSystemMgmt",
    "VM.GuestAgent.FileWrite",
    "VM.GuestAgent.Unrestricted",
    "VM.Migrate",
    "VM.Monitor",
    "VM.PowerMgmt",
    "VM.Replicate",
    "VM.Snapshot",
    "VM.Snapshot.Rollback",
    "Datastore.Allocate",
    "Datastore.AllocateSpace",
    "Datastore.AllocateTemplate",
    "Datastore.Audit",
    "Group.Allocate",
    "Mapping.Audit",
    "Mapping.Modify",
    "Mapping.Use",
    "Permissions.Modify",
    "Pool.Allocate",
    "Pool.Audit",
    "Realm.Allocate",
    "Realm.AllocateUser",
    "SDN.Allocate",
    "SDN.Audit",
    "SDN.Use",
    "Sys.AccessNetwork",
    "Sys.Audit",
    "Sys.Console",
    "Sys.Incoming",
    "Sys.Modify",
    "Sys.PowerMgmt",
    "Sys.Syslog",
    "User.Modify",
];

const VM_USER: &[&str] = &[
    "VM.Audit",
    "VM.Backup",
    "VM.Config.CDROM",
    "VM.Config.Cloudinit",
    "VM.Console",
    "VM.GuestAgent.Audit",
    "VM.GuestAgent.FileRead",
    "VM.GuestAgent.FileSystemMgmt",
    "VM.GuestAgent.FileWrite",
    "VM.PowerMgmt",
];

/// A set of privileges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Privileges(u64);

impl Privileges {
    pub(crate) fn all() -> Self {
        Self((1 << NAMES.len()) - 1)
    }

    /// The one of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        NAMES.iter().position(|n| *n == name).map(|bit| Self(1 << bit))
    }

    /// What a release knows: `VM.Monitor` ended with 8, `VM.GuestAgent.*` and `VM.Replicate` began
    /// with 9.
    pub(crate) fn known_to(version: Version) -> Self {
        let known = |name: &&str| match version {
            Version::V8_4 => !name.starts_with("VM.GuestAgent.") && *name != "VM.Replicate",
            Version::V9_0 | Version::V9_1 | Version::V9_2 => *name != "VM.Monitor",
        };
        Self::of(NAMES.iter().copied().filter(known))
    }

    pub(crate) fn has(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().enumerate().filter(move |(bit, _)| self.0 >> bit & 1 == 1).map(|(_, n)| *n)
    }

    fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        names.filter_map(Self::named).fold(Self::default(), BitOr::bitor)
    }
}

impl BitOr for Privileges {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Privileges {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// The roles every installation has.
pub(crate) fn built_in_roles(version: Version) -> HashMap<String, Privileges> {
    let with_prefix = |prefix: &'static str| {
        Privileges::of(NAMES.iter().copied().filter(move |n| n.starts_with(prefix)))
    };
    let of = |names: &[&str]| Privileges::of(names.iter().copied());
    let vm = with_prefix("VM.");
    let audits = Privileges::of(NAMES.iter().copied().filter(|n| n.ends_with(".Audit")));
    let without = |all: Privileges, names: &[&str]| Privileges(all.0 & !of(names).0);
    let pve_admin = without(
        Privileges::all(),
        &["Permissions.Modify", "Realm.Allocate", "Sys.Modify", "Sys.PowerMgmt", "Sys.Incoming"],
    );
    let roles = [
        ("Administrator", Privileges::all()),
        (NO_ACCESS, Privileges::default()),
        ("PVEAdmin", pve_admin),
        ("PVEAuditor", audits),
        ("PVEVMAdmin", vm),
        ("PVEVMUser", of(VM_USER)),
        ("PVETemplateUser", of(&["VM.Audit", "VM.Clone"])),
        ("PVEDatastoreAdmin", with_prefix("Datastore.")),
        ("PVEDatastoreUser", of(&["Datastore.AllocateSpace", "Datastore.Audit"])),
        ("PVEPoolAdmin", with_prefix("Pool.")),
        ("PVEPoolUser", of(&["Pool.Audit"])),
        ("PVESDNAdmin", with_prefix("SDN.")),
        ("PVESDNUser", of(&["SDN.Audit", "SDN.Use"])),
        ("PVESysAdmin", of(&["Permissions.Modify", "Sys.Audit", "Sys.Console", "Sys.Syslog"])),
        ("PVEUserAdmin", of(&["Group.Allocate", "Realm.AllocateUser", "User.Modify"])),
        ("PVEMappingAdmin", with_prefix("Mapping.")),
        ("PVEMappingUser", of(&["Mapping.Audit", "Mapping.Use"])),
    ];
    let known = Privileges::known_to(version);
    roles.into_iter().map(|(name, set)| (name.to_owned(), set & known)).collect()
}
