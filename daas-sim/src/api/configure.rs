//! Changing a machine's configuration.
//!
//! PUT changes it at once and answers null; POST does so in a task. What a running machine cannot
//! take waits as a pending change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sha_crypt::{PasswordHasher as _, ShaCrypt};

use super::check::Check;
use super::options::{self, VmOption};
use super::schema::{Kind, Param};
use super::{Call, NODE, Route, VM_PATH, VMID, formats, handler};
use crate::cluster::Cluster;
use crate::cluster::drives::{self, Drive, is_drive};
use crate::cluster::locks::{Mode, vm_lock, vm_lock_timeout};
use crate::cluster::seed::{is_mac, ssh_keys};
use crate::cluster::vm::Vm;
use crate::cluster::volumes::{CLOUD_INIT_SIZE, Volume, Volumes};
use crate::durations::Operation;
use crate::http::reply::{Answer, ApiError, Reply};
use crate::log::Event;

/// How long a machine's lock file is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(10);

const PARAMS: &[Param] = &[
    NODE,
    VMID,
    Param::may("delete", Kind::format(formats::config_id_list)),
    Param::may("revert", Kind::format(formats::config_id_list)),
    Param::may("digest", Kind::Text { max: 40 }),
    Param::may("force", Kind::Bool),
    Param::may("skiplock", Kind::Bool),
    Param::may("background_delay", Kind::Int { min: 1, max: 30 }),
];

const ANY_CONFIG: Check = Check::Any(
    "/vms/{vmid}",
    &[
        "VM.Config.Disk",
        "VM.Config.CDROM",
        "VM.Config.CPU",
        "VM.Config.Memory",
        "VM.Config.Network",
        "VM.Config.HWType",
        "VM.Config.Options",
        "VM.Config.Cloudinit",
    ],
);
const CLOUD_INIT: Check = Check::All("/vms/{vmid}", &["VM.Config.Cloudinit"]);
const PATH: &str = "/nodes/{node}/qemu/{vmid}/config";

pub(crate) const ROUTES: &[Route] = &[
    Route::on_node("PUT", PATH, PARAMS, ANY_CONFIG, handler!(put)).with_options(),
    Route::on_node("POST", PATH, PARAMS, ANY_CONFIG, handler!(post)).with_options(),
    Route::on_node(
        "PUT",
        "/nodes/{node}/qemu/{vmid}/cloudinit",
        VM_PATH,
        CLOUD_INIT,
        handler!(regenerate),
    ),
];

/// What is to be changed.
#[derive(Debug, Clone, Default)]
struct Change {
    node: Arc<str>,
    vmid: u32,
    set: BTreeMap<String, String>,
    delete: Vec<String>,
    revert: Vec<String>,
    digest: Option<String>,
    skip_lock: bool,
}

async fn put(call: Call) -> Answer {
    let change = change(&call).await?;
    let cluster = &call.cluster;
    check_free(cluster, &change)?;
    let limit = cluster.clock.limit(LOCK_WAIT);
    let held = cluster.locks.take(&vm_lock(change.vmid), Mode::Exclusive, limit).await;
    let _held = held.ok_or_else(|| ApiError::died(vm_lock_timeout(change.vmid)))?;
    let drawn = cluster.durations.draw(Operation::Config, change.vmid);
    tokio::time::sleep(cluster.clock.scaled(drawn)).await;
    apply(cluster, change)?;
    Reply::null()
}

async fn post(call: Call) -> Answer {
    let change = change(&call).await?;
    check_free(&call.cluster, &change)?;
    let wait = call.args.int("background_delay").and_then(|s| u64::try_from(s).ok());
    let upid = call.start("qmconfig", change.vmid, |run| async move {
        let _held = run.lock_vm(change.vmid, Mode::Exclusive, LOCK_WAIT).await?;
        run.spend(Operation::Config, change.vmid).await?;
        run.about_to_act()?;
        apply(&run.cluster, change).map_err(|error| error.message)
    });
    let Some(seconds) = wait else { return Reply::data(&*upid) };
    // With a delay, a task that ends within it is waited for and its end is the answer.
    let Some(task) = call.cluster.tasks.get(&upid) else { return Reply::data(&*upid) };
    if tokio::time::timeout(Duration::from_secs(seconds), task.ended.cancelled()).await.is_err() {
        return Reply::data(&*upid);
    }
    let exit = task.progress().exit.clone().unwrap_or_default();
    if exit == "OK" { Reply::null() } else { Err(ApiError::died(exit)) }
}

async fn regenerate(call: Call) -> Answer {
    let state = call.cluster.state();
    let vm = state.vm(&call.node, call.vmid())?;
    call.cluster.check_lock(vm).map_err(ApiError::died)?;
    let drives = vm.options.iter().filter(|(option, _)| is_drive(option));
    let mut parsed = drives.map(|(_, value)| Drive::parse(value));
    if !parsed.any(|drive| drive.is_cloud_init()) {
        return Err(ApiError::died("no cloud-init drive found"));
    }
    Reply::null()
}

/// Reads the parameters, and refuses what may not be changed by this caller.
async fn change(call: &Call) -> Result<Change, ApiError> {
    call.root_only(&["skiplock"])?;
    let list = |name: &str| -> Vec<String> {
        formats::split_list(call.args.text(name).unwrap_or_default()).map(str::to_owned).collect()
    };
    let mut change = Change {
        node: call.node.clone(),
        vmid: call.vmid(),
        delete: list("delete"),
        revert: list("revert"),
        digest: call.args.text("digest").map(str::to_owned),
        skip_lock: call.args.flag("skiplock").unwrap_or(false),
        ..Change::default()
    };
    for (name, value) in call.args.iter() {
        let own = PARAMS.iter().any(|param| param.names(name));
        if let (false, Some(option)) = (own, options::find(name)) {
            allowed(call, name, option, value)?;
            change.set.insert(name.to_owned(), value.to_owned());
        }
    }
    for name in change.delete.iter().chain(&change.revert) {
        let option = options::find(name)
            .ok_or_else(|| ApiError::parameter("delete", format!("unknown option '{name}'")))?;
        allowed(call, name, option, "")?;
        if change.set.contains_key(name) {
            let why = format!("you can't use '-{name}' and -delete '{name}' at the same time");
            return Err(ApiError::parameter("delete", why));
        }
    }
    if change.set.is_empty() && change.delete.is_empty() && change.revert.is_empty() {
        return Err(ApiError::died("no options specified"));
    }
    normalise(&mut change).await?;
    Ok(change)
}

fn allowed(call: &Call, name: &str, option: &VmOption, value: &str) -> Result<(), ApiError> {
    if call.who.is_root() {
        return Ok(());
    }
    if option.privilege.is_empty() {
        return Err(ApiError::died(format!("only root can set '{name}' config")));
    }
    let drive = is_drive(name).then(|| Drive::parse(value));
    let privilege = match drive {
        Some(drive) if drive.is_cdrom() || drive.is_cloud_init() => "VM.Config.CDROM",
        Some(_) | None => option.privilege,
    };
    call.require(&format!("/vms/{}", call.vmid()), privilege)
}

/// Brings values into the form Proxmox writes.
async fn normalise(change: &mut Change) -> Result<(), ApiError> {
    if let Some(tags) = change.set.get_mut("tags") {
        let mut parts: Vec<String> = formats::split_list(tags).map(str::to_lowercase).collect();
        parts.sort();
        parts.dedup();
        *tags = parts.join(";");
    }
    let keys = change.set.get("sshkeys").map(|keys| ssh_keys(keys)).unwrap_or_default();
    if let Some(bad) = keys.iter().find(|key| !is_ssh_key(key)) {
        return Err(ApiError::died(format!("SSH public key validation error: {bad}")));
    }
    if let Some(password) = change.set.get("cipassword").filter(|p| !is_crypted(p)).cloned() {
        let hashed = tokio::task::spawn_blocking(move || crypted(&password)).await;
        let hashed = hashed.ok().flatten();
        let hashed = hashed.ok_or_else(|| ApiError::died("unable to encrypt the password"))?;
        change.set.insert("cipassword".to_owned(), hashed);
    }
    Ok(())
}

/// A line of `authorized_keys`: a known type and a base64 body, maybe after options.
fn is_ssh_key(line: &str) -> bool {
    if line.starts_with('#') {
        return true;
    }
    let types = ["ssh-ed25519", "ssh-rsa", "ssh-dss", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    words
        .windows(2)
        .any(|pair| types.iter().any(|t| pair[0].starts_with(t)) && pair[1].starts_with("AAAA"))
}

fn is_crypted(password: &str) -> bool {
    let parts: Vec<&str> = password.split('$').collect();
    parts.len() >= 4 && parts[0].is_empty() && matches!(parts[1], "1" | "5" | "6" | "2a" | "2y")
}

fn crypted(password: &str) -> Option<String> {
    let salt: [u8; 12] = rand::random();
    let hash = ShaCrypt::SHA256.hash_password_with_salt(password.as_bytes(), &salt).ok()?;
    Some(hash.to_string())
}

/// What is refused before any waiting.
fn check_free(cluster: &Cluster, change: &Change) -> Result<(), ApiError> {
    let state = cluster.state();
    let vm = state.vm(&change.node, change.vmid)?;
    check_vm(cluster, change, vm)
}

fn check_vm(cluster: &Cluster, change: &Change, vm: &Vm) -> Result<(), ApiError> {
    if change.digest.as_ref().is_some_and(|digest| *digest != vm.digest()) {
        return Err(ApiError::died("checksum mismatch (file change by other user?)"));
    }
    // Taking a lock away is what `delete=lock` with skiplock is for.
    if !change.skip_lock {
        cluster.check_lock(vm).map_err(ApiError::died)?;
    }
    Ok(())
}

/// Makes the change, all of it or none.
fn apply(cluster: &Cluster, mut change: Change) -> Result<(), ApiError> {
    let seed = cluster.config.seed;
    let mut guard = cluster.state();
    let state = &mut *guard;
    check_vm(cluster, &change, state.vm(&change.node, change.vmid)?)?;
    for (option, value) in &mut change.set {
        if is_drive(option) {
            let old = state.vm(&change.node, change.vmid)?.options.get(option);
            let old = old.map(|v| Drive::parse(v));
            let made =
                new_drive(cluster, &state.volumes, &change.node, change.vmid, value, old.as_ref())?;
            if let Some((drive, volume)) = made {
                let node = &change.node;
                let adding = state.volumes.add(&cluster.faults, node, &drive.volume, volume);
                adding.map_err(|why| ApiError::died(format!("unable to add drive - {why}")))?;
                *value = drive.to_string();
            }
        } else if option.starts_with("net") && !has_mac(value) {
            let random = state.random(seed, change.vmid);
            let mac = format!("BC:24:11:{:02X}:{:02X}:{:02X}", random[0], random[1], random[2]);
            let (model, rest) = value.split_once(',').unwrap_or((value, ""));
            *value = format!("{model}={mac},{rest}").trim_end_matches(',').to_owned();
        }
    }
    for volume in doomed(state.vm(&change.node, change.vmid)?, &change) {
        state.volumes.check_unused(&change.node, &volume).map_err(ApiError::died)?;
        state.volumes.remove(&change.node, &volume);
    }
    let vm = state.vm_mut(&change.node, change.vmid)?;
    let renamed = change.set.get("name").filter(|n| vm.name() != Some(n.as_str())).cloned();
    write(vm, change);
    let vmid = vm.vmid;
    drop(guard);
    if let Some(name) = renamed {
        cluster.log.add(Event::VmNamed { vmid, name: name.into() });
    }
    Ok(())
}

fn write(vm: &mut Vm, change: Change) {
    let running = vm.running();
    for option in change.revert {
        vm.pending.remove(&option);
    }
    for option in change.delete {
        keep_as_unused(vm, &option, None);
        put_option(vm, running, option, None);
    }
    for (option, value) in change.set {
        keep_as_unused(vm, &option, Some(&value));
        put_option(vm, running, option, Some(value));
    }
}

/// A disk that is taken off a machine stays as `unusedN`.
fn keep_as_unused(vm: &mut Vm, option: &str, new: Option<&str>) {
    let Some(old) = vm.options.get(option).filter(|_| is_drive(option)) else { return };
    let drive = Drive::parse(old);
    let same = new.is_some_and(|new| Drive::parse(new).volume == drive.volume);
    if same || drive.is_cdrom() || drive.is_cloud_init() {
        return;
    }
    let free = (0..256).map(|n| format!("unused{n}")).find(|name| !vm.options.contains_key(name));
    if let Some(name) = free {
        vm.options.insert(name, drive.volume);
    }
}

/// The volumes that go with deleted options: unused disks and cloud-init's drive.
fn doomed(vm: &Vm, change: &Change) -> Vec<String> {
    let deleted = change.delete.iter().filter_map(|option| {
        let drive = Drive::parse(vm.options.get(option)?);
        let goes = option.starts_with("unused") || drive.is_cloud_init();
        goes.then_some(drive.volume)
    });
    deleted.collect()
}

fn put_option(vm: &mut Vm, running: bool, option: String, value: Option<String>) {
    let live = options::find(&option).is_some_and(|o| o.live);
    if running && !live {
        match &value {
            // What is so already is no change.
            Some(value) if vm.options.get(&option) == Some(value) => {
                vm.pending.remove(&option);
            }
            None if !vm.options.contains_key(&option) => {
                vm.pending.remove(&option);
            }
            Some(_) | None => {
                vm.pending.insert(option, value);
            }
        }
        return;
    }
    vm.pending.remove(&option);
    match value {
        Some(value) => vm.options.insert(option, value),
        None => vm.options.remove(&option),
    };
}

fn has_mac(net: &str) -> bool {
    net.split(',').any(|part| part.split_once('=').is_some_and(|(_, v)| is_mac(v)))
}

/// A volume to make for `store:8` (GiB) or `store:cloudinit`; none for one that is there.
fn new_drive(
    cluster: &Cluster,
    volumes: &Volumes,
    node: &str,
    vmid: u32,
    value: &str,
    old: Option<&Drive>,
) -> Result<Option<(Drive, Volume)>, ApiError> {
    let mut drive = Drive::parse(value);
    let Some((id, what)) = drive.volume.split_once(':') else { return Ok(None) };
    let storage = cluster
        .storage(id)
        .ok_or_else(|| ApiError::died(format!("storage '{id}' does not exist")))?;
    let created = cluster.clock.unix();
    if what == "cloudinit" {
        let name = drives::cloud_init_name(storage, vmid);
        if old.is_some_and(|old| old.volume == name) {
            return Ok(None);
        }
        drive.volume = name;
        drive.set("media", "cdrom");
        let volume = Volume { vmid, size: CLOUD_INIT_SIZE, base: None, whole: true, created };
        return Ok(Some((drive, volume)));
    }
    let Ok(gib) = what.parse::<u32>() else { return Ok(None) };
    let size = u64::from(gib) << 30;
    drive.volume = volumes.free_disk(node, storage, vmid);
    drive.set("size", &drives::format_size(size));
    let volume = Volume { vmid, size, base: None, whole: true, created };
    Ok(Some((drive, volume)))
}
