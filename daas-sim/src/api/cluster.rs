//! The cluster as a whole: version, free ids, resources, status.

use serde_json::{Map, Value, json};

use super::check::Check;
use super::schema::{Kind, Param};
use super::{Call, Route, handler};
use crate::cluster::State;
use crate::cluster::vm::Vm;
use crate::http::reply::{Answer, ApiError, Reply};

const NEXT_ID: &[Param] = &[Param::may("vmid", Kind::vmid())];
const RESOURCES: &[Param] = &[Param::may("type", Kind::Enum(&["vm", "storage", "node", "sdn"]))];
const AUDIT: Check = Check::All("/", &["Sys.Audit"]);

pub(crate) const ROUTES: &[Route] = &[
    Route::new("GET", "/version", &[], Check::User, handler!(version)),
    Route::new("GET", "/cluster/nextid", NEXT_ID, Check::User, handler!(next_id)),
    Route::new("GET", "/cluster/resources", RESOURCES, Check::User, handler!(resources)),
    Route::new("GET", "/cluster/status", &[], AUDIT, handler!(status)),
];

async fn version(call: Call) -> Answer {
    let version = call.cluster.config.version;
    Reply::data(json!({
        "version": version.full(),
        "release": version.release(),
        "repoid": "5a1d0000simulat0",
    }))
}

async fn next_id(call: Call) -> Answer {
    let state = call.cluster.state();
    if let Some(vmid) = call.args.int("vmid") {
        let taken = u32::try_from(vmid).is_ok_and(|id| state.vms.contains_key(&id));
        if taken {
            return Err(ApiError::parameter("vmid", format!("VM {vmid} already exists")));
        }
        return Reply::data(vmid.to_string());
    }
    let (low, high) = call.cluster.config.next_id;
    match (low..=high).find(|id| !state.vms.contains_key(id)) {
        Some(free) => Reply::data(free.to_string()),
        None => {
            Err(ApiError::died(format!("unable to get any free VMID in range [{low}, {high}]")))
        }
    }
}

async fn resources(call: Call) -> Answer {
    let wanted = call.args.text("type");
    let wants = |kind: &str| wanted.is_none_or(|w| w == kind);
    let mut found = Vec::new();
    if wants("vm") {
        let state = call.cluster.state();
        for vm in state.vms.values() {
            let path = format!("/vms/{}", vm.vmid);
            if super::qemu::sees(&call, &state, &path) {
                found.push(vm_resource(&call, &state, vm));
            }
        }
    }
    if wants("node") {
        found.extend(super::nodes::all(&call).into_iter().map(|mut node| {
            node["id"] = json!(format!("node/{}", node["node"].as_str().unwrap_or_default()));
            node
        }));
    }
    if wants("storage") {
        found.extend(storages(&call));
    }
    Reply::data(found)
}

/// A machine as last broadcast; a new one is known by id and node only.
fn vm_resource(call: &Call, state: &State, vm: &Vm) -> Value {
    let mut out = Map::new();
    out.insert("id".to_owned(), json!(format!("qemu/{}", vm.vmid)));
    out.insert("type".to_owned(), json!("qemu"));
    out.insert("vmid".to_owned(), json!(vm.vmid));
    out.insert("node".to_owned(), json!(&*vm.node));
    if let Some(pool) = state.access.pool_of(vm.vmid) {
        out.insert("pool".to_owned(), json!(pool));
    }
    let heard = call.cluster.heard(state, vm.vmid);
    let Some(heard) = heard.filter(|_| !call.cluster.faults.is_away(&vm.node)) else {
        out.insert("status".to_owned(), json!("unknown"));
        return Value::Object(out);
    };
    let running = heard.status == "running";
    let more = json!({
        "status": heard.status,
        "template": u8::from(heard.template),
        "maxcpu": heard.cpus,
        "maxmem": heard.memory,
        "maxdisk": heard.disk,
        "cpu": if running { 0.02 } else { 0.0 },
        "mem": if running { heard.memory / 4 } else { 0 },
        "disk": 0,
        "uptime": heard.uptime,
        "netin": 0,
        "netout": 0,
        "diskread": 0,
        "diskwrite": 0,
    });
    if let Value::Object(more) = more {
        out.extend(more);
    }
    for (key, value) in [("name", heard.name), ("tags", heard.tags), ("lock", heard.lock)] {
        if let Some(value) = value {
            out.insert(key.to_owned(), json!(value));
        }
    }
    Value::Object(out)
}

fn storages(call: &Call) -> Vec<Value> {
    let cluster = &call.cluster;
    let mut found = Vec::new();
    for node in &cluster.nodes {
        for storage in &cluster.config.storages {
            let here = storage.nodes.is_empty() || storage.nodes.iter().any(|n| **n == **node);
            let path = format!("/storage/{}", storage.id);
            let seen =
                call.may(&path, "Datastore.Audit") || call.may(&path, "Datastore.AllocateSpace");
            if !here || !seen {
                continue;
            }
            found.push(json!({
                "id": format!("storage/{node}/{}", storage.id),
                "type": "storage",
                "storage": storage.id,
                "node": &**node,
                "plugintype": storage.kind.name(),
                "shared": u8::from(storage.kind.shared()),
                "content": super::nodes::contents(storage),
                "status": if cluster.faults.is_away(node) { "unknown" } else { "available" },
                "disk": super::nodes::taken(cluster, node, storage),
                "maxdisk": storage.capacity,
            }));
        }
    }
    found
}

async fn status(call: Call) -> Answer {
    let cluster = &call.cluster;
    let online = |node: &str| !cluster.faults.is_away(node);
    let up = cluster.nodes.iter().filter(|n| online(n)).count();
    let mut found = Vec::new();
    if cluster.nodes.len() > 1 {
        found.push(json!({
            "id": "cluster",
            "type": "cluster",
            "name": cluster.config.name,
            "nodes": cluster.nodes.len(),
            "quorate": u8::from(up * 2 > cluster.nodes.len()),
            "version": 1,
        }));
    }
    for (index, node) in cluster.nodes.iter().enumerate() {
        found.push(json!({
            "id": format!("node/{node}"),
            "type": "node",
            "name": &**node,
            "nodeid": if cluster.nodes.len() > 1 { index + 1 } else { 0 },
            "ip": "127.0.0.1",
            "local": u8::from(*node == call.contacted),
            "online": u8::from(online(node)),
            "level": "",
        }));
    }
    Reply::data(found)
}
