//! Volumes on storages: what each takes, what is based on what, and when there is no room.

use std::collections::BTreeMap;

use crate::config::{SimConfig, StorageConfig, StorageKind};
use crate::faults::Faults;

/// Bytes of cloud-init's drive.
pub(crate) const CLOUD_INIT_SIZE: u64 = 4 << 20;

/// All volumes, by where they are and what they are called.
#[derive(Debug)]
pub(crate) struct Volumes {
    storages: Vec<StorageConfig>,
    /// The node is empty for a shared storage.
    volumes: BTreeMap<(String, String), Volume>,
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) vmid: u32,
    /// Bytes as the guest sees it.
    pub(crate) size: u64,
    /// The volume it is a linked clone of, where the storage tells.
    pub(crate) base: Option<String>,
    /// Whether it takes its whole size; a linked clone is counted as nothing until it is written.
    pub(crate) whole: bool,
    pub(crate) created: i64,
}

impl Volumes {
    pub(crate) fn new(config: &SimConfig) -> Self {
        Self { storages: config.storages.clone(), volumes: BTreeMap::new() }
    }

    fn storage_of(&self, volid: &str) -> Result<&StorageConfig, String> {
        let id = volid.split_once(':').map_or(volid, |(id, _)| id);
        self.storages
            .iter()
            .find(|s| s.id == id)
            .ok_or_else(|| format!("storage '{id}' does not exist"))
    }

    fn key(&self, node: &str, volid: &str) -> Result<(String, String), String> {
        let storage = self.storage_of(volid)?;
        if !storage.nodes.is_empty() && !storage.nodes.iter().any(|n| n == node) {
            return Err(format!("storage '{}' is not available on node '{node}'", storage.id));
        }
        let scope = if storage.kind.shared() { "" } else { node };
        Ok((scope.to_owned(), volid.to_owned()))
    }

    /// Adds a volume, or tells the storage plugin's error when there is no room.
    pub(crate) fn add(
        &mut self,
        faults: &Faults,
        node: &str,
        volid: &str,
        volume: Volume,
    ) -> Result<(), String> {
        let key = self.key(node, volid)?;
        let storage = self.storage_of(volid)?;
        let wanted = if volume.whole { volume.size } else { 0 };
        let room = storage.capacity.saturating_sub(self.used(node, &storage.id));
        if wanted > room || faults.is_full(&storage.id) {
            return Err(no_room(storage, volid));
        }
        if self.volumes.contains_key(&key) {
            return Err(format!("volume '{volid}' already exists"));
        }
        self.volumes.insert(key, volume);
        Ok(())
    }

    pub(crate) fn get(&self, node: &str, volid: &str) -> Option<&Volume> {
        self.volumes.get(&self.key(node, volid).ok()?)
    }

    /// Grows a volume to `size`.
    pub(crate) fn resize(
        &mut self,
        faults: &Faults,
        node: &str,
        volid: &str,
        size: u64,
    ) -> Result<(), String> {
        let key = self.key(node, volid)?;
        let storage = self.storage_of(volid)?;
        let room = storage.capacity.saturating_sub(self.used(node, &storage.id));
        let full = faults.is_full(&storage.id).then(|| no_room(storage, volid));
        let refusal = no_room(storage, volid);
        let Some(volume) = self.volumes.get_mut(&key) else {
            return Err(format!("volume '{volid}' does not exist"));
        };
        let more = if volume.whole { size.saturating_sub(volume.size) } else { 0 };
        if let Some(full) = full {
            return Err(full);
        }
        if more > room {
            return Err(refusal);
        }
        volume.size = size;
        Ok(())
    }

    /// Renames a volume in place.
    pub(crate) fn rename(&mut self, node: &str, from: &str, to: &str) -> Result<(), String> {
        let (from, to) = (self.key(node, from)?, self.key(node, to)?);
        if let Some(volume) = self.volumes.remove(&from) {
            self.volumes.insert(to, volume);
        }
        Ok(())
    }

    /// Refuses when another volume is a linked clone of `volid`.
    pub(crate) fn check_unused(&self, node: &str, volid: &str) -> Result<(), String> {
        let (scope, _) = self.key(node, volid)?;
        let in_use = self
            .volumes
            .iter()
            .any(|((at, _), volume)| *at == scope && volume.base.as_deref() == Some(volid));
        if in_use {
            let shown = volid.split_once(':').map_or(volid, |(_, name)| name);
            return Err(format!("base volume '{shown}' is still in use by linked cloned"));
        }
        Ok(())
    }

    pub(crate) fn remove(&mut self, node: &str, volid: &str) {
        if let Ok(key) = self.key(node, volid) {
            self.volumes.remove(&key);
        }
    }

    /// Removes all of a machine's volumes that `node` sees.
    pub(crate) fn remove_all(&mut self, node: &str, vmid: u32) {
        self.volumes.retain(|(scope, _), v| v.vmid != vmid || !(scope.is_empty() || scope == node));
    }

    /// The name of a machine's next plain disk on a storage.
    pub(crate) fn free_disk(&self, node: &str, storage: &StorageConfig, vmid: u32) -> String {
        let nth = self.free_number(node, storage, vmid);
        crate::cluster::drives::disk_name(storage, vmid, nth, false)
    }

    /// The first disk number no volume of the machine has on this storage, linked or not.
    pub(crate) fn free_number(&self, node: &str, storage: &StorageConfig, vmid: u32) -> u32 {
        let leaf = |volid: &str| crate::cluster::drives::leaf_name(volid).to_owned();
        let taken: Vec<String> = self
            .on(node, &storage.id)
            .filter(|(_, volume)| volume.vmid == vmid)
            .map(|(volid, _)| leaf(volid))
            .collect();
        let is_free = |nth: &u32| {
            let name = crate::cluster::drives::disk_name(storage, vmid, *nth, false);
            !taken.contains(&leaf(&name))
        };
        (0..).find(is_free).unwrap_or(u32::MAX)
    }

    /// Bytes taken on a storage as `node` sees it.
    pub(crate) fn used(&self, node: &str, storage: &str) -> u64 {
        self.on(node, storage).filter(|(_, v)| v.whole).map(|(_, v)| v.size).sum()
    }

    /// The volumes of a storage as `node` sees it.
    pub(crate) fn on<'a>(
        &'a self,
        node: &'a str,
        storage: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Volume)> {
        let here = move |(scope, volid): &(String, String)| {
            (scope.is_empty() || scope == node)
                && volid.split_once(':').is_some_and(|(id, _)| id == storage)
        };
        self.volumes.iter().filter(move |(key, _)| here(key)).map(|((_, id), v)| (id.as_str(), v))
    }
}

/// What each plugin says without room. The zfs text is Proxmox's; the others end in the tool's own
/// words, which its task log shows.
fn no_room(storage: &StorageConfig, volid: &str) -> String {
    let name = crate::cluster::drives::leaf_name(volid);
    match storage.kind {
        StorageKind::ZfsPool => {
            format!("zfs error: cannot create '{}/{name}': out of space", storage.id)
        }
        StorageKind::LvmThin => {
            let why = "Cannot create new thin volume, free space in thin pool is exhausted";
            format!("lvcreate '{}/{name}' error: {why}", storage.id)
        }
        StorageKind::Dir | StorageKind::Nfs => {
            format!("unable to create image: qemu-img: {name}: No space left on device")
        }
        StorageKind::Rbd => format!("rbd create '{name}' error: No space left on device"),
    }
}
