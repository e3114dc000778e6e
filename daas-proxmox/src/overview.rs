//! The cluster's overview: one reading of everything, shared by all who ask at the same time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::api::Resource;
use crate::client::{Client, Purpose};
use crate::error::ProxmoxError;

/// The cluster at one moment.
#[derive(Debug)]
pub(crate) struct Overview {
    pub(crate) machines: HashMap<u32, Resource>,
    pub(crate) nodes: Vec<Resource>,
    pub(crate) storages: Vec<Resource>,
    at: Instant,
}

impl Overview {
    fn of(resources: Vec<Resource>) -> Self {
        let mut overview = Self {
            machines: HashMap::new(),
            nodes: Vec::new(),
            storages: Vec::new(),
            at: Instant::now(),
        };
        for resource in resources {
            match (resource.kind.as_str(), resource.vmid) {
                // Containers have ids too: an id they use is not free.
                ("qemu" | "lxc", Some(vmid)) => {
                    overview.machines.insert(vmid, resource);
                }
                ("node", _) => overview.nodes.push(resource),
                ("storage", _) => overview.storages.push(resource),
                _ => {}
            }
        }
        overview
    }

    /// The templates that this source names: by id, or by name, on whichever nodes.
    pub(crate) fn templates(&self, source: &str) -> Vec<(u32, &Resource)> {
        let wished = source.parse::<u32>().ok();
        let mut found: Vec<_> = self
            .all_templates()
            .filter(|(vmid, r)| wished == Some(*vmid) || r.name.as_deref() == Some(source))
            .collect();
        found.sort_by_key(|(vmid, _)| *vmid);
        found
    }

    /// Every template that can be seen.
    pub(crate) fn all_templates(&self) -> impl Iterator<Item = (u32, &Resource)> {
        self.machines
            .iter()
            .filter(|(_, r)| r.kind == "qemu" && r.is_template())
            .map(|(vmid, r)| (*vmid, r))
    }

    /// The names of storages that all nodes share.
    pub(crate) fn shared_storages(&self) -> HashSet<&str> {
        let shared = self.storages.iter().filter(|s| s.is_shared());
        shared.filter_map(|s| s.storage.as_deref()).collect()
    }
}

/// Keeps the last overview.
#[derive(Debug)]
pub(crate) struct Overviews {
    client: Client,
    last: Mutex<Option<Arc<Overview>>>,
}

impl Overviews {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, last: Mutex::new(None) }
    }

    /// An overview that is no older than `age`. Those who ask while one is being read get that one.
    pub(crate) async fn no_older_than(
        &self,
        age: Duration,
        purpose: Purpose,
    ) -> Result<Arc<Overview>, ProxmoxError> {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        let fresh = last.as_ref().filter(|o| o.at + age >= asked);
        if let Some(overview) = fresh {
            return Ok(Arc::clone(overview));
        }
        let overview = Arc::new(Overview::of(self.client.resources(purpose).await?));
        *last = Some(Arc::clone(&overview));
        Ok(overview)
    }
}
