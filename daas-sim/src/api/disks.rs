//! Growing a disk, and making a template of a machine.

use std::time::Duration;

use super::check::Check;
use super::options;
use super::schema::{Kind, Param};
use super::{Call, NODE, Route, VMID, handler};
use crate::cluster::drives::{self, Drive, is_drive};
use crate::cluster::locks::Mode;
use crate::cluster::{Cluster, State};
use crate::durations::Operation;
use crate::http::reply::{Answer, ApiError};

const LOCK_WAIT: Duration = Duration::from_secs(10);

const RESIZE: &[Param] = &[
    NODE,
    VMID,
    Param::must("disk", Kind::Pattern(is_drive)),
    Param::must("size", Kind::Pattern(is_size)),
    Param::may("digest", Kind::Text { max: 40 }),
    Param::may("skiplock", Kind::Bool),
];
const TEMPLATE: &[Param] = &[NODE, VMID, Param::may("disk", Kind::Pattern(is_drive))];

pub(crate) const ROUTES: &[Route] = &[
    Route::on_node(
        "PUT",
        "/nodes/{node}/qemu/{vmid}/resize",
        RESIZE,
        Check::All("/vms/{vmid}", &["VM.Config.Disk"]),
        handler!(resize),
    ),
    Route::on_node(
        "POST",
        "/nodes/{node}/qemu/{vmid}/template",
        TEMPLATE,
        Check::All("/vms/{vmid}", &["VM.Allocate"]),
        handler!(template),
    ),
];

async fn resize(call: Call) -> Answer {
    call.root_only(&["skiplock"])?;
    let disk = call.args.text("disk").unwrap_or_default().to_owned();
    let wanted = call.args.text("size").unwrap_or_default().to_owned();
    let (node, vmid) = (call.node.clone(), call.vmid());
    {
        let state = call.cluster.state();
        let vm = state.vm(&node, vmid)?;
        let digest = call.args.text("digest");
        if digest.is_some_and(|digest| digest != vm.digest()) {
            return Err(ApiError::died("checksum mismatch (file change by other user?)"));
        }
        call.cluster.check_lock(vm).map_err(ApiError::died)?;
        grown(&state, &node, vmid, &disk, &wanted).map_err(ApiError::died)?;
    }
    call.task("resize", |run| async move {
        let _held = run.lock_vm(vmid, Mode::Exclusive, LOCK_WAIT).await?;
        run.spend(Operation::Resize, vmid).await?;
        run.about_to_act()?;
        grow(&run.cluster, &node, vmid, &disk, &wanted)
    })
}

/// The drive and its new size in bytes.
fn grown(
    state: &State,
    node: &str,
    vmid: u32,
    disk: &str,
    wanted: &str,
) -> Result<(Drive, u64), String> {
    let vm = state.vm(node, vmid).map_err(|error| error.message)?;
    let Some(value) = vm.options.get(disk) else {
        return Err(format!("disk '{disk}' does not exist"));
    };
    let drive = Drive::parse(value);
    if drive.is_cdrom() {
        return Err("you can't resize a cdrom".to_owned());
    }
    let volume = state.volumes.get(node, &drive.volume);
    let old = volume.map(|v| v.size).or_else(|| drive.size()).unwrap_or(0);
    let number = drives::parse_size(wanted.trim_start_matches('+'));
    let number = number.ok_or_else(|| format!("invalid size '{wanted}'"))?;
    let new = if wanted.starts_with('+') { old.saturating_add(number) } else { number };
    if new < old {
        return Err("shrinking disks is not supported".to_owned());
    }
    Ok((drive, new))
}

fn grow(cluster: &Cluster, node: &str, vmid: u32, disk: &str, wanted: &str) -> Result<(), String> {
    let mut state = cluster.state();
    let (mut drive, size) = grown(&state, node, vmid, disk, wanted)?;
    state.volumes.resize(&cluster.faults, node, &drive.volume, size)?;
    drive.set("size", &drives::format_size(size));
    let vm = state.vm_mut(node, vmid).map_err(|error| error.message)?;
    vm.options.insert(disk.to_owned(), drive.to_string());
    Ok(())
}

async fn template(call: Call) -> Answer {
    let (node, vmid) = (call.node.clone(), call.vmid());
    {
        let state = call.cluster.state();
        let vm = state.vm(&node, vmid)?;
        call.cluster.check_lock(vm).map_err(ApiError::died)?;
        if vm.is_template() {
            return Err(ApiError::died("you can't convert a template to a template"));
        }
        if vm.running() {
            return Err(ApiError::died("you can't convert a VM to template if VM is running"));
        }
    }
    call.task("qmtemplate", |run| async move {
        let _held = run.lock_vm(vmid, Mode::Exclusive, LOCK_WAIT).await?;
        run.spend(Operation::Template, vmid).await?;
        run.about_to_act()?;
        make_template(&run.cluster, &node, vmid)
    })
}

/// Renames the disks to `base-` and marks the machine.
fn make_template(cluster: &Cluster, node: &str, vmid: u32) -> Result<(), String> {
    let mut guard = cluster.state();
    let state = &mut *guard;
    let vm = state.vms.get_mut(&vmid).filter(|vm| &*vm.node == node);
    let vm = vm.ok_or_else(|| crate::cluster::no_config(node, vmid))?;
    if vm.running() {
        return Err("you can't convert a VM to template if VM is running".to_owned());
    }
    for (option, value) in vm.options.iter_mut().filter(|(option, _)| is_drive(option)) {
        let mut drive = Drive::parse(value);
        if drive.is_cdrom() || options::find(option).is_none() {
            continue;
        }
        let leaf = drives::leaf_name(&drive.volume).to_owned();
        let base = leaf.replacen("vm-", "base-", 1);
        let at = drive.volume.len() - leaf.len();
        let to = format!("{}{base}", &drive.volume[..at]);
        state.volumes.rename(node, &drive.volume, &to)?;
        drive.volume = to;
        *value = drive.to_string();
    }
    vm.options.insert("template".to_owned(), "1".to_owned());
    Ok(())
}

/// `+5G`, `32G`, `4096`.
fn is_size(text: &str) -> bool {
    let text = text.strip_prefix('+').unwrap_or(text);
    let digits = text.strip_suffix(['K', 'M', 'G', 'T']).unwrap_or(text);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let number = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    number(whole) && number(part)
}
