//! Cloning a machine or template.
//!
//! The new configuration is there from the call on, locked and nameless, until its task is done;
//! a task that fails takes everything back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::check::Check;
use super::schema::{Kind, Param};
use super::{Call, NODE, Route, VMID, formats, handler};
use crate::cluster::Cluster;
use crate::cluster::drives::{self, Drive, is_drive};
use crate::cluster::locks::Mode;
use crate::cluster::seed::is_mac;
use crate::cluster::tasks::Run;
use crate::cluster::vm::{Powered, Vm, hex};
use crate::cluster::volumes::{CLOUD_INIT_SIZE, Volume};
use crate::durations::Operation;
use crate::guest::GuestSpec;
use crate::http::reply::{Answer, ApiError, Reply};
use crate::log::Event;

/// How long the lock files of source and target are waited for.
const LOCK_WAIT: Duration = Duration::from_secs(1);
/// How long a guest's disk may take to copy, in real time.
const COPY_MAX: Duration = Duration::from_secs(600);

const PARAMS: &[Param] = &[
    NODE,
    VMID,
    Param::must("newid", Kind::vmid()),
    Param::may("bwlimit", Kind::at_least(0)),
    Param::may("description", Kind::text()),
    Param::may("format", Kind::Enum(&["raw", "qcow2", "vmdk"])),
    Param::may("full", Kind::Bool),
    Param::may("name", Kind::format(formats::dns_name)),
    Param::may("pool", Kind::format(formats::pool)),
    Param::may("snapname", Kind::Text { max: 40 }),
    Param::may("storage", Kind::format(formats::storage)),
    Param::may("target", Kind::format(formats::node)),
];

const CHECK: Check = Check::And(
    &Check::All("/vms/{vmid}", &["VM.Clone"]),
    &Check::Or(
        &Check::All("/vms/{newid}", &["VM.Allocate"]),
        &Check::With("pool", &Check::All("/pool/{pool}", &["VM.Allocate"])),
    ),
);

pub(crate) const ROUTES: &[Route] =
    &[Route::on_node("POST", "/nodes/{node}/qemu/{vmid}/clone", PARAMS, CHECK, handler!(clone))];

/// What is to be cloned into what.
#[derive(Debug, Clone)]
struct Plan {
    source: u32,
    vmid: u32,
    node: Arc<str>,
    target: Arc<str>,
    full: bool,
    storage: Option<String>,
    pool: Option<String>,
    name: Option<String>,
    description: Option<String>,
}

async fn clone(call: Call) -> Answer {
    let plan = plan(&call)?;
    check_storages(&call, &plan)?;
    claim(&call.cluster, &plan)?;
    let node = plan.node.clone();
    call.cluster.log.add(Event::VmCreated { vmid: plan.vmid, node, source: plan.source });
    let upid = call.start("qmclone", plan.source, |run| run_clone(run, plan));
    Reply::data(&*upid)
}

/// Checks what can be checked before anything is touched.
fn plan(call: &Call) -> Result<Plan, ApiError> {
    let args = &call.args;
    let text = |name: &str| args.text(name).map(str::to_owned);
    let target = match args.text("target") {
        None => call.node.clone(),
        Some(name) => call.cluster.node(name).cloned().ok_or_else(|| {
            ApiError::parameter("target", format!("no such cluster node '{name}'"))
        })?,
    };
    let state = call.cluster.state();
    let source = state.vm(&call.node, call.vmid())?;
    call.cluster.check_lock(source).map_err(ApiError::died)?;
    if let Some(snapshot) = args.text("snapname") {
        return Err(ApiError::died(format!("snapshot '{snapshot}' does not exist")));
    }
    if let Some(pool) = args.text("pool").filter(|p| !state.access.pools.contains_key(*p)) {
        return Err(ApiError::denied(format!("pool '{pool}' does not exist")));
    }
    let full = args.flag("full").unwrap_or(!source.is_template());
    if let Some(name) = ["storage", "format"].into_iter().find(|n| !full && args.has(n)) {
        let why = format!("parameter '{name}' not allowed for linked clones");
        return Err(ApiError::parameter(name, why));
    }
    let plan = Plan {
        source: source.vmid,
        vmid: args.int("newid").and_then(|id| u32::try_from(id).ok()).unwrap_or(0),
        node: call.node.clone(),
        target,
        full,
        storage: text("storage"),
        pool: text("pool"),
        name: text("name"),
        description: text("description"),
    };
    check_target(&call.cluster, source, &plan)?;
    Ok(plan)
}

/// Another node can only be reached by shared storage.
fn check_target(cluster: &Cluster, source: &Vm, plan: &Plan) -> Result<(), ApiError> {
    let wanted = match &plan.storage {
        None => None,
        Some(id) => Some(
            cluster
                .storage(id)
                .ok_or_else(|| ApiError::died(format!("storage '{id}' does not exist")))?,
        ),
    };
    if plan.target == plan.node {
        return Ok(());
    }
    if let Some(storage) = wanted.filter(|s| !s.kind.shared()) {
        return Err(ApiError::died(format!("can't clone to non-shared storage '{}'", storage.id)));
    }
    let local = source
        .options
        .iter()
        .filter(|(option, _)| is_drive(option))
        .filter_map(|(_, value)| cluster.storage(Drive::parse(value).storage()?))
        .any(|storage| !storage.kind.shared());
    if local {
        let why = format!("can't clone VM to node '{}' (VM uses local storage)", plan.target);
        return Err(ApiError::died(why));
    }
    Ok(())
}

/// Room must be allowed on each storage the clone will use.
fn check_storages(call: &Call, plan: &Plan) -> Result<(), ApiError> {
    let used: Vec<String> = {
        let state = call.cluster.state();
        let source = state.vm(&plan.node, plan.source)?;
        let drives = source.options.iter().filter(|(option, _)| is_drive(option));
        let parsed = drives.map(|(_, value)| Drive::parse(value));
        let own = parsed.filter(|d| !d.is_cdrom() || d.is_cloud_init());
        own.filter_map(|d| plan.storage.clone().or_else(|| d.storage().map(str::to_owned)))
            .collect()
    };
    for storage in used {
        call.require(&format!("/storage/{storage}"), "Datastore.AllocateSpace")?;
    }
    Ok(())
}

/// Writes the new machine's first configuration, unless its id is taken on this node.
fn claim(cluster: &Cluster, plan: &Plan) -> Result<(), ApiError> {
    let mut state = cluster.state();
    let vmid = plan.vmid;
    match state.vms.get(&vmid) {
        Some(other) if other.node == plan.node => {
            let why = format!("unable to create VM {vmid}: config file already exists");
            return Err(ApiError::died(why));
        }
        // An id that another node has is only noticed by the task.
        Some(_) => return Ok(()),
        None => {}
    }
    let image = state.vm(&plan.node, plan.source)?.image.clone();
    let options = BTreeMap::from([
        ("lock".to_owned(), "clone".to_owned()),
        ("description".to_owned(), " qmclone temporary file\n".to_owned()),
    ]);
    let vm = Vm {
        vmid,
        node: plan.node.clone(),
        options,
        pending: BTreeMap::new(),
        image,
        guest: None,
        started: None,
        pid: 0,
    };
    state.vms.insert(vmid, vm);
    Ok(())
}

async fn run_clone(run: Run, plan: Plan) -> Result<(), String> {
    let ours = run.cluster.state().vm(&plan.node, plan.vmid).is_ok_and(Vm::is_unfinished_clone);
    if !ours {
        let file = format!("/etc/pve/nodes/{}/qemu-server/{}.conf", plan.node, plan.vmid);
        let why = format!("close (rename) atomic file '{file}' failed: File exists");
        return Err(format!("clone failed: {why}"));
    }
    let mut made = None;
    let end = copy(&run, &plan, &mut made).await;
    let Err(why) = end else { return Ok(()) };
    if let Some(guest) = made
        && let Err(error) = guest.guest.erase().await
    {
        run.say(format!("erasing the guest failed: {error}"));
    }
    let mut state = run.cluster.state();
    state.volumes.remove_all(&plan.node, plan.vmid);
    state.forget_vm(plan.vmid);
    drop(state);
    run.cluster.log.add(Event::VmDeleted { vmid: plan.vmid });
    // A lock that was not got is told as it is; all else is a clone that failed.
    Err(if why.starts_with("can't lock file '/var/lock/qemu") {
        why
    } else {
        format!("clone failed: {why}")
    })
}

async fn copy(run: &Run, plan: &Plan, made: &mut Option<Powered>) -> Result<(), String> {
    let cluster = &run.cluster;
    let running = cluster.state().vms.get(&plan.source).is_some_and(Vm::running);
    let mode = if running { Mode::Exclusive } else { Mode::Shared };
    let _source = run.lock_vm(plan.source, mode, LOCK_WAIT).await?;
    let _target = run.lock_vm(plan.vmid, Mode::Exclusive, LOCK_WAIT).await?;
    let (mut options, image) = {
        let state = cluster.state();
        let source = state.vm(&plan.node, plan.source).map_err(|e| e.message)?;
        (source.options.clone(), source.image.clone())
    };
    let drives: Vec<String> = options.keys().filter(|o| is_drive(o)).cloned().collect();
    for option in drives {
        let drive = Drive::parse(options.get(&option).map(String::as_str).unwrap_or_default());
        if let Some(copied) = copy_drive(run, plan, &option, drive).await? {
            options.insert(option, copied.to_string());
        }
    }
    let operation = if plan.full { Operation::CloneFull } else { Operation::CloneLinked };
    run.spend(operation, plan.vmid).await?;
    let spec = GuestSpec { vmid: plan.vmid, image: image.clone() };
    let making = tokio::time::timeout(COPY_MAX, cluster.guests.make(spec));
    let guest = making.await.map_err(|_| "copy of the guest's disk got timeout".to_owned())?;
    let guest = guest.map_err(|error| error.to_string())?;
    let powered = Powered { state: guest.state(), guest };
    *made = Some(powered.clone());
    run.about_to_act()?;
    finish(run, plan, options, image, powered.clone());
    cluster.watch_guest(plan.vmid, powered.state);
    Ok(())
}

/// Copies or links one drive; `None` leaves the option as the source has it.
async fn copy_drive(
    run: &Run,
    plan: &Plan,
    option: &str,
    drive: Drive,
) -> Result<Option<Drive>, String> {
    if drive.is_cdrom() && !drive.is_cloud_init() {
        return Ok(None);
    }
    let cluster = &run.cluster;
    let from = drive.storage().unwrap_or_default().to_owned();
    let to = plan.storage.clone().unwrap_or(from);
    let storage = cluster.storage(&to).ok_or_else(|| format!("storage '{to}' does not exist"))?;
    let _held = run.with_storage(&to, plan.vmid).await?;
    let now = cluster.clock.unix();
    let mut state = cluster.state();
    let size = state.volumes.get(&plan.node, &drive.volume).map_or(0, |v| v.size);
    let (name, base) = if drive.is_cloud_init() {
        (drives::cloud_init_name(storage, plan.vmid), None)
    } else {
        let nth = state.volumes.free_number(&plan.node, storage, plan.vmid);
        if plan.full {
            (drives::disk_name(storage, plan.vmid, nth, false), None)
        } else {
            if !drives::leaf_name(&drive.volume).starts_with("base-") {
                return Err(format!(
                    "Linked clone feature is not supported for '{}' ({option})",
                    drive.volume
                ));
            }
            let base = Some(drive.volume.clone());
            (drives::linked_name(storage, &drive.volume, plan.vmid, nth), base)
        }
    };
    let whole = base.is_none();
    // LVM-thin does not tell the base in the name, so nothing can refuse the base's deletion.
    let base = base.filter(|base| name.starts_with(base.as_str()));
    let size = if drive.is_cloud_init() { CLOUD_INIT_SIZE } else { size };
    let volume = Volume { vmid: plan.vmid, size, base, whole, created: now };
    state.volumes.add(&cluster.faults, &plan.node, &name, volume)?;
    drop(state);
    run.say(format!("create {} clone of drive {option} ({})", kind(plan), drive.volume));
    Ok(Some(Drive { volume: name, ..drive }))
}

fn kind(plan: &Plan) -> &'static str {
    if plan.full { "full" } else { "linked" }
}

/// Writes the final configuration: a new identity, a name, no lock.
fn finish(
    run: &Run,
    plan: &Plan,
    mut options: BTreeMap<String, String>,
    image: String,
    guest: Powered,
) {
    let seed = run.cluster.config.seed;
    let mut state = run.cluster.state();
    options.retain(|option, _| option != "lock" && option != "template");
    options.retain(|option, _| !option.starts_with("unused"));
    for (option, value) in &mut options {
        if option.starts_with("net") {
            let random = state.random(seed, plan.vmid);
            let mac = format!("BC:24:11:{:02X}:{:02X}:{:02X}", random[0], random[1], random[2]);
            *value = with_mac(value, &mac);
        }
    }
    let uuid = uuid_text(state.random(seed, plan.vmid));
    let smbios = options.get("smbios1").map(String::as_str).unwrap_or_default();
    let kept = smbios.split(',').filter(|p| !p.is_empty() && !p.starts_with("uuid="));
    let smbios = std::iter::once(format!("uuid={uuid}")).chain(kept.map(str::to_owned));
    let smbios = smbios.collect::<Vec<_>>().join(",");
    options.insert("smbios1".to_owned(), smbios);
    let generation = uuid_text(state.random(seed, plan.vmid));
    options.insert("vmgenid".to_owned(), generation);
    let old = options.get("name").cloned().unwrap_or_else(|| plan.source.to_string());
    let name = plan.name.clone().unwrap_or_else(|| format!("Copy-of-VM-{old}"));
    options.insert("name".to_owned(), name.clone());
    if let Some(description) = &plan.description {
        options.insert("description".to_owned(), description.clone());
    }
    if let Some(vm) = state.vms.get_mut(&plan.vmid) {
        vm.options = options;
        vm.image = image;
        vm.guest = Some(guest);
        vm.node = plan.target.clone();
    }
    if let Some(members) = plan.pool.as_ref().and_then(|p| state.access.pools.get_mut(p)) {
        members.insert(plan.vmid);
    }
    drop(state);
    run.cluster.log.add(Event::VmNamed { vmid: plan.vmid, name: name.into() });
}

fn with_mac(net: &str, mac: &str) -> String {
    let has = net.split(',').any(|part| part.split_once('=').is_some_and(|(_, v)| is_mac(v)));
    let parts = net.split(',').enumerate().map(|(at, part)| match part.split_once('=') {
        Some((key, value)) if is_mac(value) => format!("{key}={mac}"),
        None if at == 0 && !has => format!("{part}={mac}"),
        Some(_) | None => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join(",")
}

fn uuid_text(mut random: [u8; 16]) -> String {
    random[6] = random[6] & 0x0f | 0x40;
    random[8] = random[8] & 0x3f | 0x80;
    let hex = hex(&random);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_are_replaced_wherever_they_are() {
        let mac = "BC:24:11:01:02:03";
        let check = |net: &str, expect: &str| assert_eq!(with_mac(net, mac), expect);
        check("virtio=AA:AA:AA:AA:AA:AA,bridge=vmbr0", "virtio=BC:24:11:01:02:03,bridge=vmbr0");
        check("virtio,bridge=vmbr0", "virtio=BC:24:11:01:02:03,bridge=vmbr0");
        check("model=e1000,macaddr=AA:AA:AA:AA:AA:AA", "model=e1000,macaddr=BC:24:11:01:02:03");
    }
}
