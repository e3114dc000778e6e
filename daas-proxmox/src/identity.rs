//! Who is under a machine id: read before every write and every delete.

use std::time::Duration;

use daas_core::ids::DeploymentId;
use daas_core::machine::Reservation;

use crate::api::VmConfig;
use crate::client::{Client, Purpose};
use crate::error::ProxmoxError;
use crate::mark::{Mark, is_under_construction};
use crate::overview::Overviews;

/// Who is under the reserved id.
#[derive(Debug)]
pub(crate) enum Standing {
    /// Proved: no machine of the cluster has this id.
    Nobody,
    /// A clone is being made there; whose, cannot be read before it is done.
    UnderConstruction { node: String },
    /// Proved by the mark, and by the uuid once that is recorded.
    Ours { node: String, config: VmConfig },
    /// Proved to be somebody else's.
    Foreign(String),
    /// It cannot be told.
    Doubt(String),
}

/// Reads who is under `reservation`'s id.
pub(crate) async fn standing(
    client: &Client,
    overviews: &Overviews,
    purpose: Purpose,
    deployment: &DeploymentId,
    reservation: &Reservation,
    vmid: u32,
) -> Result<Standing, ProxmoxError> {
    let expected = reservation.place.clone();
    if let Some(config) = client.vm_config(purpose, &expected, vmid).await? {
        return Ok(judge(deployment, reservation, vmid, expected, config));
    }
    if client.is_free(purpose, vmid).await? {
        return Ok(Standing::Nobody);
    }
    // The id is used, but not on the node we chose: it may have been migrated.
    let overview = overviews.no_older_than(Duration::ZERO, purpose).await?;
    let Some(node) = overview.machines.get(&vmid).and_then(|m| m.node.clone()) else {
        let why = format!("id {vmid} is in use by a machine that this account cannot see");
        return Ok(Standing::Doubt(why));
    };
    match client.vm_config(purpose, &node, vmid).await? {
        Some(config) => Ok(judge(deployment, reservation, vmid, node, config)),
        None => Ok(Standing::Doubt(format!("machine {vmid} is moving between nodes"))),
    }
}

fn judge(
    deployment: &DeploymentId,
    reservation: &Reservation,
    vmid: u32,
    node: String,
    config: VmConfig,
) -> Standing {
    let description = config.text("description");
    let unnamed_clone =
        config.text("lock").as_deref() == Some("clone") && config.text("name").is_none();
    if is_under_construction(description.as_deref()) || unnamed_clone {
        return Standing::UnderConstruction { node };
    }
    let mark = description.as_deref().and_then(Mark::read);
    let name = config.text("name").unwrap_or_else(|| "without a name".to_owned());
    match mark {
        None => Standing::Foreign(format!("{name} on {node} bears no mark of ours")),
        Some(mark) if mark.deployment != *deployment => {
            Standing::Foreign(format!("it belongs to deployment {}", mark.deployment))
        }
        Some(mark) if mark.session != reservation.session || mark.vmid != vmid => {
            Standing::Foreign(format!("it is {}, made as machine {}", mark.session, mark.vmid))
        }
        Some(_) => match (&reservation.uuid, config.uuid()) {
            // Identity is mark and uuid: a copy bears the mark, but a uuid of its own.
            (Some(recorded), Some(now)) if *recorded != now => Standing::Foreign(
                "it bears our mark but another uuid than the one first seen".to_owned(),
            ),
            _ => Standing::Ours { node, config },
        },
    }
}
