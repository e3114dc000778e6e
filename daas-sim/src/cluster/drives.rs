//! Drives in a machine's configuration: `store:volume,size=8G` and the names of volumes.

use crate::config::{StorageConfig, StorageKind};

/// A drive option's value, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Drive {
    /// `store:volume`, a path, or `none`.
    pub(crate) volume: String,
    /// What follows, each `key=value`.
    pub(crate) options: Vec<String>,
}

impl Drive {
    pub(crate) fn parse(value: &str) -> Self {
        let mut parts = value.split(',');
        let first = parts.next().unwrap_or_default();
        let volume = first.strip_prefix("file=").unwrap_or(first).to_owned();
        Self { volume, options: parts.map(str::to_owned).collect() }
    }

    pub(crate) fn option(&self, key: &str) -> Option<&str> {
        self.options.iter().find_map(|o| o.strip_prefix(key)?.strip_prefix('='))
    }

    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.options.retain(|o| o.split('=').next().is_none_or(|k| k != key));
        self.options.push(format!("{key}={value}"));
    }

    pub(crate) fn storage(&self) -> Option<&str> {
        self.volume.split_once(':').map(|(storage, _)| storage)
    }

    pub(crate) fn is_cdrom(&self) -> bool {
        self.option("media") == Some("cdrom")
    }

    /// Cloud-init's own drive, whether asked for (`store:cloudinit`) or made.
    pub(crate) fn is_cloud_init(&self) -> bool {
        self.volume
            .split_once(':')
            .is_some_and(|(_, v)| v == "cloudinit" || v.contains("-cloudinit"))
    }

    pub(crate) fn size(&self) -> Option<u64> {
        parse_size(self.option("size")?)
    }
}

impl std::fmt::Display for Drive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.volume)?;
        self.options.iter().try_for_each(|option| write!(f, ",{option}"))
    }
}

/// Whether an option is a drive.
pub(crate) fn is_drive(option: &str) -> bool {
    let indexed = ["ide", "scsi", "virtio", "sata"].iter().any(|bus| {
        option
            .strip_prefix(bus)
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    });
    indexed || option == "efidisk0" || option == "tpmstate0"
}

/// The name of a machine's n-th disk, `base` for a template's.
pub(crate) fn disk_name(storage: &StorageConfig, vmid: u32, nth: u32, base: bool) -> String {
    let stem = if base { "base" } else { "vm" };
    let id = &storage.id;
    if storage.kind.files() {
        format!("{id}:{vmid}/{stem}-{vmid}-disk-{nth}.qcow2")
    } else {
        format!("{id}:{stem}-{vmid}-disk-{nth}")
    }
}

/// The name of a linked clone's disk on top of `base` (`store:volume`). LVM-thin does not tell it.
pub(crate) fn linked_name(storage: &StorageConfig, base: &str, vmid: u32, nth: u32) -> String {
    let own = disk_name(storage, vmid, nth, false);
    let plain = own.split_once(':').map_or(own.as_str(), |(_, name)| name);
    match storage.kind {
        StorageKind::LvmThin => own,
        StorageKind::Dir | StorageKind::Nfs | StorageKind::ZfsPool | StorageKind::Rbd => {
            format!("{base}/{plain}")
        }
    }
}

/// The name of cloud-init's drive.
pub(crate) fn cloud_init_name(storage: &StorageConfig, vmid: u32) -> String {
    let id = &storage.id;
    if storage.kind.files() {
        format!("{id}:{vmid}/vm-{vmid}-cloudinit.qcow2")
    } else {
        format!("{id}:vm-{vmid}-cloudinit")
    }
}

/// The last part of a volume's name: `vm-101-disk-0` of `store:base-100-disk-0/vm-101-disk-0`.
pub(crate) fn leaf_name(volume: &str) -> &str {
    volume.rsplit(['/', ':']).next().unwrap_or(volume)
}

/// Bytes in `8G`, `512M`, `4096`.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.chars().last()? {
        'K' => (&text[..text.len() - 1], 10),
        'M' => (&text[..text.len() - 1], 20),
        'G' => (&text[..text.len() - 1], 30),
        'T' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let number: f64 = digits.parse().ok()?;
    let bytes = number * (1u64 << shift) as f64;
    (0.0..=1e18).contains(&bytes).then_some(bytes as u64)
}

/// The shortest exact form.
pub(crate) fn format_size(bytes: u64) -> String {
    for (shift, unit) in [(40, "T"), (30, "G"), (20, "M"), (10, "K")] {
        if bytes >= 1 << shift && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_go_there_and_back() {
        for text in ["8G", "12288M", "1T", "4M", "100"] {
            let bytes = parse_size(text);
            assert_eq!(bytes.map(format_size).and_then(|t| parse_size(&t)), bytes, "{text}");
        }
        assert_eq!(parse_size("1.5G"), Some(3 << 29));
        assert_eq!(parse_size("x"), None);
        assert_eq!(parse_size(""), None);
    }

    #[test]
    fn linked_volumes_are_called_as_each_plugin_does() {
        let check = |kind, expect: &str| {
            let storage = StorageConfig::new("s", kind, 1);
            let base = disk_name(&storage, 100, 0, true);
            assert_eq!(linked_name(&storage, &base, 101, 0), expect);
        };
        check(StorageKind::Dir, "s:100/base-100-disk-0.qcow2/101/vm-101-disk-0.qcow2");
        check(StorageKind::ZfsPool, "s:base-100-disk-0/vm-101-disk-0");
        check(StorageKind::LvmThin, "s:vm-101-disk-0");
    }
}
