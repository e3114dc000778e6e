//! The sweep: what the hypervisor has is compared with what the store knows.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Inner;
use super::sightings::Sightings;
use crate::error::Result;
use crate::ids::{BackendName, MachineId, SessionId};
use crate::machine::{Destroyed, Listed, MarkSeen, Reservation};
use crate::provisioner::Provisioner;

/// What the last sweep found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SweepReport {
    /// When it ended.
    pub at: Timestamp,
    /// Machines with our mark.
    pub machines: usize,
    /// Machines whose session has ended: destroyed after a grace period, seen twice.
    pub orphans: Vec<Finding>,
    /// Machines with our mark and no record at all: only an operator ends them.
    pub quarantined: Vec<Finding>,
    /// Machines that carry a mark which another machine carries by right: never destroyed.
    pub duplicates: Vec<Finding>,
    /// Machines that look like ours but cannot be proved to be, their mark taken away by hand:
    /// never destroyed.
    pub left_alone: Vec<Finding>,
    /// Whether the brake stopped the removal of orphans; it asks an operator to look.
    pub braked: bool,
    /// Backends that could not be listed, and why.
    pub failures: Vec<String>,
}

/// A machine that the sweep has something to say of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Finding {
    /// Its backend.
    pub provisioner: BackendName,
    /// Its id there.
    pub machine: MachineId,
    /// Where it is.
    pub place: String,
    /// The session in its mark.
    pub session: SessionId,
}

/// What the sweep remembers between two turns.
#[derive(Debug, Default)]
pub struct Sweep {
    seen: Sightings<(BackendName, MachineId, SessionId)>,
    report: Mutex<Option<SweepReport>>,
}

impl Sweep {
    /// What the last sweep found.
    pub fn report(&self) -> Option<SweepReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a listed machine is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// A live record reserves it.
    Ours,
    /// Its session has ended.
    Orphan,
    /// Nobody knows its session.
    Quarantined,
    /// Its session has another machine.
    Duplicate,
    /// It cannot be proved to be ours.
    Unproved,
}

pub(super) async fn sweep(inner: Arc<Inner>, stop: CancellationToken) {
    loop {
        let turn = turn(&inner);
        if stop.run_until_cancelled(turn).await.is_none() {
            return;
        }
        let pause = tokio::time::sleep(inner.limits().sweep_period);
        if stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

async fn turn(inner: &Arc<Inner>) {
    let mut report = SweepReport {
        at: inner.now(),
        machines: 0,
        orphans: Vec::new(),
        quarantined: Vec::new(),
        duplicates: Vec::new(),
        left_alone: Vec::new(),
        braked: false,
        failures: Vec::new(),
    };
    let mut orphans = Vec::new();
    for provisioner in inner.listing() {
        let deadline = inner.limits().observe_deadline;
        match tokio::time::timeout(deadline, provisioner.list()).await {
            Ok(Ok(listed)) => {
                if let Err(error) =
                    sort(inner, provisioner, listed, &mut report, &mut orphans).await
                {
                    report.failures.push(error.chain());
                }
            }
            Ok(Err(error)) => report.failures.push(error.chain()),
            Err(_) => report.failures.push(format!("{}: no answer in time", provisioner.name())),
        }
    }
    if report.failures.is_empty() {
        inner.brakes.note_unreserved(
            report.orphans.len()
                + report.quarantined.len()
                + report.duplicates.len()
                + report.left_alone.len(),
        );
    }
    report.braked = !inner.brakes.may_sweep(orphans.len(), report.machines);
    if report.braked {
        warn!(
            orphans = orphans.len(),
            machines = report.machines,
            "the sweep would remove too large a share; look at them and raise \
             brakes.sweep_removals_free"
        );
    } else {
        for (provisioner, machine) in orphans {
            if let Removal::LeftAlone = remove(inner, &provisioner, &machine).await {
                report.left_alone.push(finding(provisioner.name(), &machine));
            }
        }
    }
    *inner.sweep.report.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
}

/// Tells for each listed machine what it is to us; orphans whose time has come are collected.
async fn sort(
    inner: &Arc<Inner>,
    provisioner: &Arc<dyn Provisioner>,
    listed: Vec<Listed>,
    report: &mut SweepReport,
    due: &mut Vec<(Arc<dyn Provisioner>, Listed)>,
) -> Result<()> {
    report.machines += listed.len();
    let name = provisioner.name().clone();
    let grace = inner.limits().orphan_grace;
    let mut still_there = Vec::new();
    for machine in listed {
        let standing = standing(inner, &name, &machine).await?;
        let finding = finding(&name, &machine);
        match standing {
            Standing::Ours => {}
            Standing::Duplicate => report.duplicates.push(finding),
            Standing::Unproved => report.left_alone.push(finding),
            Standing::Quarantined => report.quarantined.push(finding),
            Standing::Orphan => {
                let key = (name.clone(), machine.machine.clone(), machine.session.clone());
                still_there.push(key.clone());
                report.orphans.push(finding);
                if inner.sweep.seen.seen_long_enough(&key, inner.now(), grace) {
                    due.push((Arc::clone(provisioner), machine));
                }
            }
        }
    }
    inner.sweep.seen.keep_only(|key| key.0 != name || still_there.contains(key));
    Ok(())
}

/// What a listed machine is to us, by the store.
pub(super) async fn standing(
    inner: &Inner,
    name: &BackendName,
    machine: &Listed,
) -> Result<Standing> {
    match machine.mark {
        MarkSeen::Own => {}
        MarkSeen::Copied => return Ok(Standing::Duplicate),
        MarkSeen::Missing => return Ok(Standing::Unproved),
    }
    let Some(session) = inner.store().get(&machine.session).await? else {
        // Its record may have been pruned meanwhile; that it ended is known for ever.
        let retired = inner.store().retired(&machine.session).await?;
        return Ok(if retired { Standing::Orphan } else { Standing::Quarantined });
    };
    if !session.is_live() {
        return Ok(Standing::Orphan);
    }
    let reserves = |r: &Reservation| {
        let uuid = r.uuid.is_none() || machine.uuid.is_none() || r.uuid == machine.uuid;
        inner.platforms.same(&r.provisioner, name) && r.machine == machine.machine && uuid
    };
    // Without a reservation the record is older than the machine: a restored store. The session
    // will reserve anew, and this machine is nobody's.
    Ok(if session.reservations().any(reserves) { Standing::Ours } else { Standing::Duplicate })
}

fn finding(provisioner: &BackendName, machine: &Listed) -> Finding {
    Finding {
        provisioner: provisioner.clone(),
        machine: machine.machine.clone(),
        place: machine.place.clone(),
        session: machine.session.clone(),
    }
}

/// What came of the removal of an orphan.
enum Removal {
    /// It is gone, or goes; else the next sweep goes on with it.
    Begun,
    /// It is not provably ours.
    LeftAlone,
}

async fn remove(
    inner: &Arc<Inner>,
    provisioner: &Arc<dyn Provisioner>,
    machine: &Listed,
) -> Removal {
    if !inner.brakes.may_destroy(inner.now()) {
        return Removal::Begun;
    }
    // Looked up once more: between the listing and now the world has gone on.
    let name = provisioner.name();
    if !matches!(standing(inner, name, machine).await, Ok(Standing::Orphan)) {
        return Removal::Begun;
    }
    let reservation = reservation_of(name, machine);
    let (session, machine) = (&machine.session, &machine.machine);
    let deadline = inner.limits().destroy_deadline;
    match tokio::time::timeout(deadline, provisioner.destroy(&reservation)).await {
        Ok(Ok(Destroyed::Gone)) => info!(%machine, %session, "an orphan is gone"),
        Ok(Ok(Destroyed::LeftAlone(why))) => {
            warn!(%machine, %session, why, "a machine that looks like an orphan is left alone");
            return Removal::LeftAlone;
        }
        Ok(Ok(Destroyed::Underway(_))) => {}
        Ok(Err(error)) => warn!(%machine, error = error.chain(), "an orphan stays for now"),
        Err(_) => warn!(%machine, "an orphan's removal took too long"),
    }
    Removal::Begun
}

/// The reservation that a listed machine would have, were there a record of it.
pub(super) fn reservation_of(provisioner: &BackendName, machine: &Listed) -> Reservation {
    Reservation {
        session: machine.session.clone(),
        provisioner: provisioner.clone(),
        machine: machine.machine.clone(),
        place: machine.place.clone(),
        memory_mib: 0,
        cores: 0,
        uuid: machine.uuid.clone(),
    }
}
