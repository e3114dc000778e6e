//! Machines, read: list, status, configuration, pending changes.

use serde_json::{Map, Value, json};

use super::check::Check;
use super::options;
use super::schema::{Kind, Param};
use super::{Call, NODE, Route, VM_PATH, VMID, handler};
use crate::access::privileges::Privileges;
use crate::cluster::State;
use crate::cluster::drives::{Drive, is_drive};
use crate::cluster::vm::Vm;
use crate::http::reply::{Answer, ApiError, Reply};

const LIST: &[Param] = &[NODE, Param::may("full", Kind::Bool)];
const CONFIG: &[Param] = &[
    NODE,
    VMID,
    Param::may("current", Kind::Bool),
    Param::may("snapshot", Kind::Text { max: 40 }),
];
const AUDIT: Check = Check::All("/vms/{vmid}", &["VM.Audit"]);

pub(crate) const ROUTES: &[Route] = &[
    Route::on_node("GET", "/nodes/{node}/qemu", LIST, Check::User, handler!(list)),
    Route::on_node(
        "GET",
        "/nodes/{node}/qemu/{vmid}/status/current",
        VM_PATH,
        AUDIT,
        handler!(current),
    ),
    Route::on_node("GET", "/nodes/{node}/qemu/{vmid}/config", CONFIG, AUDIT, handler!(config)),
    Route::on_node("GET", "/nodes/{node}/qemu/{vmid}/pending", VM_PATH, AUDIT, handler!(pending)),
];

/// Whether the caller may see a machine in a list.
pub(crate) fn sees(call: &Call, state: &State, path: &str) -> bool {
    let audit = Privileges::named("VM.Audit").unwrap_or_default();
    call.who.is_root() || state.access.allowed(&call.who, path).has(audit)
}

async fn list(call: Call) -> Answer {
    let state = call.cluster.state();
    let shown = state
        .vms
        .values()
        .filter(|vm| vm.node == call.node && sees(&call, &state, &format!("/vms/{}", vm.vmid)))
        .map(|vm| Value::Object(status_of(&call, vm)))
        .collect::<Vec<_>>();
    Reply::data(shown)
}

async fn current(call: Call) -> Answer {
    let state = call.cluster.state();
    let vm = state.vm(&call.node, call.vmid())?;
    let mut out = status_of(&call, vm);
    out.insert("ha".to_owned(), json!({"managed": 0}));
    if vm.agent() {
        out.insert("agent".to_owned(), json!(1));
    }
    if vm.running() {
        let qemu = "10.1.2";
        out.insert("running-qemu".to_owned(), json!(qemu));
        out.insert("running-machine".to_owned(), json!("pc-i440fx-10.1+pve0"));
    }
    Reply::data(Value::Object(out))
}

fn status_of(call: &Call, vm: &Vm) -> Map<String, Value> {
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| out.insert(key.to_owned(), value);
    let running = vm.running();
    let memory = vm.memory_mib() << 20;
    put("vmid", json!(vm.vmid));
    let name = vm.name().map_or_else(|| format!("VM {}", vm.vmid), str::to_owned);
    put("name", json!(name));
    put("status", json!(vm.status()));
    put("qmpstatus", json!(vm.status()));
    put("cpus", json!(vm.cpus()));
    put("cpu", json!(if running { 0.02 } else { 0.0 }));
    put("maxmem", json!(memory));
    put("mem", json!(if running { memory / 4 } else { 0 }));
    put("disk", json!(0));
    put("maxdisk", json!(first_disk_size(vm)));
    put("uptime", json!(vm.uptime()));
    for counter in ["netin", "netout", "diskread", "diskwrite"] {
        put(counter, json!(0));
    }
    if running {
        put("pid", json!(vm.pid));
    }
    if vm.is_template() {
        put("template", json!(1));
    }
    if let Some(lock) = call.cluster.lock_of(vm) {
        put("lock", json!(lock));
    }
    if let Some(tags) = vm.options.get("tags") {
        put("tags", json!(tags));
    }
    out
}

fn first_disk_size(vm: &Vm) -> u64 {
    let drives = vm.options.iter().filter(|(key, _)| is_drive(key));
    let mut disks = drives.map(|(_, value)| Drive::parse(value)).filter(|d| !d.is_cdrom());
    disks.next().and_then(|d| d.size()).unwrap_or(0)
}

async fn config(call: Call) -> Answer {
    if let Some(snapshot) = call.args.text("snapshot") {
        return Err(ApiError::died(format!("snapshot '{snapshot}' does not exist")));
    }
    let state = call.cluster.state();
    let vm = state.vm(&call.node, call.vmid())?;
    let current = call.args.flag("current").unwrap_or(false);
    let mut out = Map::new();
    for (option, value) in &vm.options {
        out.insert(option.clone(), shown(option, value));
    }
    if !current {
        for (option, change) in &vm.pending {
            match change {
                Some(value) => out.insert(option.clone(), shown(option, value)),
                None => out.remove(option),
            };
        }
    }
    if let Some(lock) = call.cluster.lock_of(vm) {
        out.insert("lock".to_owned(), json!(lock));
    }
    out.insert("digest".to_owned(), json!(vm.digest()));
    Reply::data(Value::Object(out))
}

async fn pending(call: Call) -> Answer {
    let state = call.cluster.state();
    let vm = state.vm(&call.node, call.vmid())?;
    let mut rows = Vec::new();
    for (option, value) in &vm.options {
        let mut row = json!({"key": option, "value": shown(option, value)});
        match vm.pending.get(option) {
            Some(Some(change)) => row["pending"] = shown(option, change),
            Some(None) => row["delete"] = json!(1),
            None => {}
        }
        rows.push(row);
    }
    for (option, change) in &vm.pending {
        if let (Some(value), false) = (change, vm.options.contains_key(option)) {
            rows.push(json!({"key": option, "pending": shown(option, value)}));
        }
    }
    rows.push(json!({"key": "digest", "value": vm.digest()}));
    Reply::data(rows)
}

/// An option's value as JSON: numbers for integers and booleans, never the password.
fn shown(option: &str, value: &str) -> Value {
    if option == "cipassword" {
        return json!("**********");
    }
    match value.parse::<i64>() {
        Ok(number) if options::is_numeric(option) => json!(number),
        Ok(_) | Err(_) => json!(value),
    }
}
