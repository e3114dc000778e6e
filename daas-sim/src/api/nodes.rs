//! Nodes and what is on their storages.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::check::Check;
use super::schema::{Kind, Param};
use super::{Call, NODE, Route, formats, handler};
use crate::cluster::Cluster;
use crate::config::{StorageConfig, StorageKind};
use crate::http::reply::{Answer, ApiError, Reply};

const STATUS: &[Param] = &[NODE];
const STORAGES: &[Param] = &[
    NODE,
    Param::may("content", Kind::text()),
    Param::may("enabled", Kind::Bool),
    Param::may("format", Kind::Bool),
    Param::may("storage", Kind::format(formats::storage)),
    Param::may("target", Kind::format(formats::node)),
];
const CONTENT: &[Param] = &[
    NODE,
    Param::must("storage", Kind::format(formats::storage)),
    Param::may("content", Kind::text()),
    Param::may("vmid", Kind::vmid()),
];
const SEES_STORAGE: Check =
    Check::Any("/storage/{storage}", &["Datastore.Audit", "Datastore.AllocateSpace"]);
const AUDIT: Check = Check::All("/nodes/{node}", &["Sys.Audit"]);

pub(crate) const ROUTES: &[Route] = &[
    Route::new("GET", "/nodes", &[], Check::User, handler!(list)),
    Route::on_node("GET", "/nodes/{node}/status", STATUS, AUDIT, handler!(status)),
    Route::on_node("GET", "/nodes/{node}/storage", STORAGES, Check::User, handler!(storages)),
    Route::on_node(
        "GET",
        "/nodes/{node}/storage/{storage}/content",
        CONTENT,
        SEES_STORAGE,
        handler!(content),
    ),
];

/// What runs on a node.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    machines: u64,
    memory: u64,
    cpus: u64,
}

async fn list(call: Call) -> Answer {
    Reply::data(all(&call))
}

/// Every node; figures only for who may audit it.
pub(crate) fn all(call: &Call) -> Vec<Value> {
    let loads = loads(&call.cluster);
    let nodes = call.cluster.config.nodes.iter();
    let shown = nodes.map(|node| {
        let online = !call.cluster.faults.is_away(&node.name);
        let mut out = json!({
            "node": node.name,
            "type": "node",
            "status": if online { "online" } else { "offline" },
        });
        if online && call.may(&format!("/nodes/{}", node.name), "Sys.Audit") {
            let load = loads.get(node.name.as_str()).copied().unwrap_or_default();
            out["cpu"] = json!(processor(load, node.cpus));
            out["maxcpu"] = json!(node.cpus);
            out["mem"] = json!(used_memory(load, node.memory_mib << 20));
            out["maxmem"] = json!(node.memory_mib << 20);
            out["disk"] = json!(8u64 << 30);
            out["maxdisk"] = json!(100u64 << 30);
            out["uptime"] = json!(call.cluster.clock.elapsed().as_secs() + 86_400);
            out["level"] = json!("");
        }
        out
    });
    shown.collect()
}

async fn status(call: Call) -> Answer {
    let cluster = &call.cluster;
    let node = cluster.node_config(&call.node).ok_or_else(|| ApiError::died("no such node"))?;
    let load = loads(cluster).get(&*call.node).copied().unwrap_or_default();
    let total = node.memory_mib << 20;
    let used = used_memory(load, total);
    let average = (processor(load, node.cpus) * f64::from(node.cpus) * 100.0).round() / 100.0;
    let (root, taken) = (100u64 << 30, 8u64 << 30);
    let free = root - taken;
    Reply::data(json!({
        "cpu": processor(load, node.cpus),
        "cpuinfo": {
            "cores": node.cpus,
            "cpus": node.cpus,
            "sockets": 1,
            "model": "Simulated CPU",
            "mhz": "2400.000",
            "hvm": "1",
            "user_hz": 100,
        },
        "memory": {"total": total, "used": used, "free": total - used, "available": total - used},
        "swap": {"total": 0, "used": 0, "free": 0},
        "rootfs": {"total": root, "used": taken, "free": free, "avail": free},
        "loadavg": [format!("{average:.2}"), format!("{average:.2}"), format!("{average:.2}")],
        "ksm": {"shared": 0},
        "wait": 0.0,
        "idle": 0,
        "uptime": cluster.clock.elapsed().as_secs() + 86_400,
        "kversion": "Linux simulated",
        "pveversion": format!("pve-manager/{}/5a1d0000simulat0", cluster.config.version.full()),
    }))
}

async fn storages(call: Call) -> Answer {
    let cluster = &call.cluster;
    let wanted = call.args.text("storage");
    let content = call.args.text("content");
    let target = call.args.text("target").filter(|t| *t != &*call.node);
    let mut found = Vec::new();
    for storage in &cluster.config.storages {
        let path = format!("/storage/{}", storage.id);
        let sees = call.may(&path, "Datastore.Audit") || call.may(&path, "Datastore.AllocateSpace");
        let on = |node: &str| storage.nodes.is_empty() || storage.nodes.iter().any(|n| n == node);
        let asked = wanted.is_none_or(|w| w == storage.id)
            && content.is_none_or(|c| {
                formats::split_list(c).any(|c| contents(storage).split(',').any(|has| has == c))
            })
            && target.is_none_or(|t| on(t) && storage.kind.shared());
        if !sees || !asked || !on(&call.node) {
            continue;
        }
        let used = taken(cluster, &call.node, storage);
        found.push(json!({
            "storage": storage.id,
            "type": storage.kind.name(),
            "content": contents(storage),
            "shared": u8::from(storage.kind.shared()),
            "active": 1,
            "enabled": 1,
            "total": storage.capacity,
            "used": used,
            "avail": storage.capacity.saturating_sub(used),
            "used_fraction": used as f64 / storage.capacity.max(1) as f64,
        }));
    }
    Reply::data(found)
}

async fn content(call: Call) -> Answer {
    let id = call.args.text("storage").unwrap_or_default();
    let storage = call
        .cluster
        .storage(id)
        .ok_or_else(|| ApiError::died(format!("storage '{id}' does not exist")))?;
    if !storage.nodes.is_empty() && !storage.nodes.iter().any(|n| **n == *call.node) {
        let why = format!("storage '{id}' is not available on node '{}'", call.node);
        return Err(ApiError::died(why));
    }
    let vmid = call.args.int("vmid");
    if call.args.text("content").is_some_and(|c| c != "images") {
        return Reply::data(Vec::<Value>::new());
    }
    let state = call.cluster.state();
    let shown = state
        .volumes
        .on(&call.node, id)
        .filter(|(_, volume)| vmid.is_none_or(|v| v == i64::from(volume.vmid)))
        .map(|(volid, volume)| {
            let mut out = json!({
                "volid": volid,
                "content": "images",
                "format": if storage.kind.files() { "qcow2" } else { "raw" },
                "size": volume.size,
                "vmid": volume.vmid,
                "ctime": volume.created,
            });
            if let Some(base) = &volume.base {
                let parent = base.split_once(':').map_or(base.as_str(), |(_, name)| name);
                out["parent"] = json!(parent);
            }
            out
        })
        .collect::<Vec<_>>();
    Reply::data(shown)
}

/// What a storage may hold.
pub(crate) fn contents(storage: &StorageConfig) -> &'static str {
    match storage.kind {
        StorageKind::Dir | StorageKind::Nfs => "images,iso,snippets,vztmpl",
        StorageKind::LvmThin | StorageKind::ZfsPool | StorageKind::Rbd => "images,rootdir",
    }
}

/// Bytes taken; all of them while a fault has filled the storage.
pub(crate) fn taken(cluster: &Cluster, node: &str, storage: &StorageConfig) -> u64 {
    if cluster.faults.is_full(&storage.id) {
        return storage.capacity;
    }
    cluster.state().volumes.used(node, &storage.id)
}

fn loads(cluster: &Cluster) -> BTreeMap<String, Load> {
    let mut loads: BTreeMap<String, Load> = BTreeMap::new();
    for vm in cluster.state().vms.values().filter(|vm| vm.running()) {
        let load = loads.entry(vm.node.to_string()).or_default();
        load.machines += 1;
        load.memory += vm.memory_mib() << 20;
        load.cpus += vm.cpus();
    }
    loads
}

/// The share of the processors that is busy: idle desktops take a fiftieth of theirs.
fn processor(load: Load, cpus: u32) -> f64 {
    (0.01 + load.cpus as f64 * 0.02 / f64::from(cpus.max(1))).min(1.0)
}

/// Memory in use: the host's own 2 GiB and what the machines were given, as far as it goes.
fn used_memory(load: Load, total: u64) -> u64 {
    (load.memory + load.machines * (64 << 20) + (2 << 30)).min(total)
}
