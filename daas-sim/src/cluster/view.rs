//! Read access for tests: what is really there, without asking the API.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Cluster;
use crate::guest::{Guest, GuestState};

/// The cluster as it is, whoever may see it.
#[derive(Debug, Clone)]
pub struct View {
    pub(crate) cluster: Arc<Cluster>,
}

/// A machine or template as it is.
#[derive(Debug, Clone)]
pub struct VmView {
    /// Its id.
    pub vmid: u32,
    /// The node it is on.
    pub node: String,
    /// Its configuration's options, as Proxmox writes them.
    pub options: BTreeMap<String, String>,
    /// What its guest runs.
    pub image: String,
    /// How far its guest is.
    pub state: GuestState,
    /// Its guest, if it has one.
    pub guest: Option<Arc<dyn Guest>>,
}

impl View {
    /// Every machine that is not a template, by id; also one whose clone task still runs.
    pub fn vms(&self) -> Vec<VmView> {
        self.all().filter(|vm| !vm.is_template()).collect()
    }

    /// Every template.
    pub fn templates(&self) -> Vec<VmView> {
        self.all().filter(VmView::is_template).collect()
    }

    /// One machine or template.
    pub fn vm(&self, vmid: u32) -> Option<VmView> {
        self.all().find(|vm| vm.vmid == vmid)
    }

    /// Bytes taken on a storage, as a node sees it.
    pub fn storage_used(&self, node: &str, storage: &str) -> u64 {
        self.cluster.state().volumes.used(node, storage)
    }

    /// The volumes on a storage, as a node sees it, with the machine each belongs to.
    pub fn volumes(&self, node: &str, storage: &str) -> Vec<(String, u32)> {
        let state = self.cluster.state();
        state.volumes.on(node, storage).map(|(id, v)| (id.to_owned(), v.vmid)).collect()
    }

    /// The members of a pool.
    pub fn pool(&self, id: &str) -> Vec<u32> {
        let state = self.cluster.state();
        state.access.pools.get(id).map(|m| m.iter().copied().collect()).unwrap_or_default()
    }

    /// Lets `/cluster/resources` hear at once of everything that is.
    pub fn publish(&self) {
        self.cluster.publish();
    }

    /// Tasks that have not ended.
    pub fn tasks_running(&self) -> usize {
        let tasks = self.cluster.tasks.newest_first();
        tasks.iter().filter(|task| task.progress().exit.is_none()).count()
    }

    fn all(&self) -> impl Iterator<Item = VmView> {
        let state = self.cluster.state();
        let views: Vec<VmView> = state
            .vms
            .values()
            .map(|vm| VmView {
                vmid: vm.vmid,
                node: vm.node.to_string(),
                options: vm.options.clone(),
                image: vm.image.clone(),
                state: vm.guest_state(),
                guest: vm.guest.as_ref().map(|g| g.guest.clone()),
            })
            .collect();
        views.into_iter()
    }
}

impl VmView {
    /// Its name, once it has one.
    pub fn name(&self) -> Option<&str> {
        self.options.get("name").map(String::as_str)
    }

    /// Whether it has power.
    pub fn running(&self) -> bool {
        self.state != GuestState::Off
    }

    /// Whether it is a template.
    pub fn is_template(&self) -> bool {
        self.options.get("template").is_some_and(|t| t == "1")
    }
}
