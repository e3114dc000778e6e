//! A machine's configuration options: schema, the privilege to change each, and whether a change
//! reaches a running machine.

use super::formats;
use super::schema::{Kind, Param};

/// One option.
#[derive(Debug)]
pub(crate) struct VmOption {
    pub(crate) param: Param,
    /// `VM.Config.*`, or empty for root only.
    pub(crate) privilege: &'static str,
    /// Whether a change takes effect, or is written, while the machine runs.
    pub(crate) live: bool,
}

const CDROM: &str = "VM.Config.CDROM";
const CLOUD_INIT: &str = "VM.Config.Cloudinit";
const CPU: &str = "VM.Config.CPU";
const DISK: &str = "VM.Config.Disk";
const HARDWARE: &str = "VM.Config.HWType";
const MEMORY: &str = "VM.Config.Memory";
const NETWORK: &str = "VM.Config.Network";
const OPTIONS: &str = "VM.Config.Options";
const ROOT_ONLY: &str = "";

const fn cold(name: &'static str, kind: Kind, privilege: &'static str) -> VmOption {
    VmOption { param: Param::may(name, kind), privilege, live: false }
}

const fn live(name: &'static str, kind: Kind, privilege: &'static str) -> VmOption {
    VmOption { param: Param::may(name, kind), privilege, live: true }
}

const LOCKS: &[&str] = &[
    "backup",
    "clone",
    "create",
    "migrate",
    "rollback",
    "snapshot",
    "snapshot-delete",
    "suspending",
    "suspended",
];

const OS_TYPES: &[&str] = &[
    "other", "wxp", "w2k", "w2k3", "w2k8", "wvista", "win7", "win8", "win10", "win11", "l24",
    "l26", "solaris",
];

const KEYBOARDS: &[&str] = &[
    "de", "de-ch", "da", "en-gb", "en-us", "es", "fi", "fr", "fr-be", "fr-ca", "fr-ch", "hu", "is",
    "it", "ja", "lt", "mk", "nl", "no", "pl", "pt", "pt-br", "sv", "sl", "tr",
];

const SCSI_CONTROLLERS: &[&str] =
    &["lsi", "lsi53c810", "virtio-scsi-pci", "virtio-scsi-single", "megasas", "pvscsi"];

/// Every option the simulator takes. What it does not act on is still kept and told.
pub(crate) const ALL: &[VmOption] = &[
    cold("acpi", Kind::Bool, OPTIONS),
    cold("affinity", Kind::text(), CPU),
    cold("agent", Kind::text(), OPTIONS),
    cold("arch", Kind::Enum(&["x86_64", "aarch64"]), ROOT_ONLY),
    cold("args", Kind::text(), ROOT_ONLY),
    cold("audio0", Kind::text(), HARDWARE),
    live("autostart", Kind::Bool, OPTIONS),
    cold("balloon", Kind::at_least(0), MEMORY),
    cold("bios", Kind::Enum(&["seabios", "ovmf"]), OPTIONS),
    live("boot", Kind::text(), OPTIONS),
    live("bootdisk", Kind::text(), OPTIONS),
    cold("cdrom", Kind::text(), CDROM),
    live("cicustom", Kind::text(), CLOUD_INIT),
    live("cipassword", Kind::text(), CLOUD_INIT),
    live("citype", Kind::Enum(&["configdrive2", "nocloud", "opennebula"]), CLOUD_INIT),
    live("ciupgrade", Kind::Bool, CLOUD_INIT),
    live("ciuser", Kind::text(), CLOUD_INIT),
    cold("cores", Kind::at_least(1), CPU),
    cold("cpu", Kind::text(), CPU),
    cold("cpulimit", Kind::Number { min: 0.0, max: 128.0 }, CPU),
    cold("cpuunits", Kind::Int { min: 1, max: 262_144 }, CPU),
    live("description", Kind::Text { max: 8192 }, OPTIONS),
    cold("efidisk0", Kind::text(), DISK),
    cold("freeze", Kind::Bool, OPTIONS),
    live("hookscript", Kind::text(), ROOT_ONLY),
    cold("hostpci[n]", Kind::text(), HARDWARE),
    live("hotplug", Kind::text(), OPTIONS),
    cold("hugepages", Kind::Enum(&["any", "2", "1024"]), MEMORY),
    live("ide[n]", Kind::text(), DISK),
    live("ipconfig[n]", Kind::format(formats::ipconfig), CLOUD_INIT),
    cold("keyboard", Kind::Enum(KEYBOARDS), OPTIONS),
    cold("kvm", Kind::Bool, OPTIONS),
    cold("localtime", Kind::Bool, OPTIONS),
    live("lock", Kind::Enum(LOCKS), OPTIONS),
    cold("machine", Kind::text(), HARDWARE),
    cold("memory", Kind::at_least(16), MEMORY),
    live("name", Kind::format(formats::dns_name), OPTIONS),
    live("nameserver", Kind::text(), CLOUD_INIT),
    live("net[n]", Kind::format(formats::network), NETWORK),
    cold("numa", Kind::Bool, CPU),
    cold("numa[n]", Kind::text(), CPU),
    live("onboot", Kind::Bool, OPTIONS),
    cold("ostype", Kind::Enum(OS_TYPES), OPTIONS),
    live("protection", Kind::Bool, OPTIONS),
    cold("reboot", Kind::Bool, OPTIONS),
    cold("rng0", Kind::text(), HARDWARE),
    live("sata[n]", Kind::text(), DISK),
    live("scsi[n]", Kind::text(), DISK),
    cold("scsihw", Kind::Enum(SCSI_CONTROLLERS), HARDWARE),
    live("searchdomain", Kind::text(), CLOUD_INIT),
    cold("serial[n]", Kind::text(), HARDWARE),
    live("shares", Kind::Int { min: 0, max: 50_000 }, MEMORY),
    cold("smbios1", Kind::Text { max: 512 }, HARDWARE),
    cold("sockets", Kind::at_least(1), CPU),
    live("sshkeys", Kind::format(formats::urlencoded), CLOUD_INIT),
    live("startup", Kind::text(), OPTIONS),
    cold("tablet", Kind::Bool, OPTIONS),
    live("tags", Kind::format(formats::tag_list), OPTIONS),
    live("template", Kind::Bool, OPTIONS),
    cold("tpmstate0", Kind::text(), DISK),
    live("unused[n]", Kind::text(), DISK),
    cold("usb[n]", Kind::text(), HARDWARE),
    cold("vcpus", Kind::at_least(1), CPU),
    cold("vga", Kind::text(), HARDWARE),
    live("virtio[n]", Kind::text(), DISK),
    cold("vmgenid", Kind::text(), HARDWARE),
    cold("watchdog", Kind::text(), HARDWARE),
];

/// The option of this name.
pub(crate) fn find(name: &str) -> Option<&'static VmOption> {
    ALL.iter().find(|option| option.param.names(name))
}

/// Whether Proxmox tells an option as a JSON number. `memory` is text since 8.
pub(crate) fn is_numeric(name: &str) -> bool {
    name != "memory" && find(name).is_some_and(|option| option.param.kind.is_numeric())
}
