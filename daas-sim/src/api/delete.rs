//! Deleting a machine or template.

use std::time::Duration;

use super::check::Check;
use super::schema::{Kind, Param};
use super::{Call, NODE, Route, VMID, handler};
use crate::cluster::Cluster;
use crate::cluster::drives::{Drive, is_drive};
use crate::cluster::guests::bounded;
use crate::cluster::locks::Mode;
use crate::cluster::tasks::Run;
use crate::cluster::vm::Vm;
use crate::durations::Operation;
use crate::http::reply::{Answer, ApiError};
use crate::log::Event;

const LOCK_WAIT: Duration = Duration::from_secs(10);

const PARAMS: &[Param] = &[
    NODE,
    VMID,
    Param::may("destroy-unreferenced-disks", Kind::Bool),
    Param::may("purge", Kind::Bool),
    Param::may("skiplock", Kind::Bool),
];

pub(crate) const ROUTES: &[Route] = &[Route::on_node(
    "DELETE",
    "/nodes/{node}/qemu/{vmid}",
    PARAMS,
    Check::All("/vms/{vmid}", &["VM.Allocate"]),
    handler!(delete),
)];

async fn delete(call: Call) -> Answer {
    call.root_only(&["skiplock"])?;
    let (node, vmid) = (call.node.clone(), call.vmid());
    let skip_lock = call.args.flag("skiplock").unwrap_or(false);
    {
        let state = call.cluster.state();
        let vm = state.vm(&node, vmid)?;
        may_go(&call.cluster, vm, skip_lock).map_err(ApiError::died)?;
    }
    call.task("qmdestroy", |run| async move { destroy(run, &node, vmid, skip_lock).await })
}

fn may_go(cluster: &Cluster, vm: &Vm, skip_lock: bool) -> Result<(), String> {
    let vmid = vm.vmid;
    if !skip_lock {
        cluster.check_lock(vm)?;
    }
    if vm.flag("protection") {
        return Err(format!("can't remove VM {vmid} - protection mode enabled"));
    }
    if vm.running() {
        return Err(format!("VM {vmid} is running - destroy failed"));
    }
    Ok(())
}

async fn destroy(run: Run, node: &str, vmid: u32, skip_lock: bool) -> Result<(), String> {
    let cluster = &run.cluster;
    let _held = run.lock_vm(vmid, Mode::Exclusive, LOCK_WAIT).await?;
    let (volumes, guest) = {
        let state = cluster.state();
        let vm = state.vm(node, vmid).map_err(|error| error.message)?;
        may_go(cluster, vm, skip_lock)?;
        let drives = vm.options.iter().filter(|(o, _)| is_drive(o) || o.starts_with("unused"));
        let drives = drives.map(|(_, value)| Drive::parse(value));
        let own = drives.filter(|d| !d.is_cdrom() || d.is_cloud_init());
        let volumes: Vec<String> = own.map(|d| d.volume).collect();
        for volume in &volumes {
            state.volumes.check_unused(node, volume)?;
        }
        (volumes, vm.guest.clone())
    };
    run.spend(Operation::Delete, vmid).await?;
    for volume in &volumes {
        let storage = volume.split_once(':').map_or("", |(id, _)| id);
        if cluster.storage(storage).is_some() {
            let _storage = run.with_storage(storage, vmid).await?;
        }
    }
    run.about_to_act()?;
    if let Some(powered) = guest {
        bounded("removing the disk", powered.guest.erase()).await?;
    }
    let mut state = cluster.state();
    for volume in &volumes {
        // A clone of this template may have begun meanwhile.
        state.volumes.check_unused(node, volume)?;
    }
    state.volumes.remove_all(node, vmid);
    state.forget_vm(vmid);
    drop(state);
    cluster.log.add(Event::VmDeleted { vmid });
    Ok(())
}
