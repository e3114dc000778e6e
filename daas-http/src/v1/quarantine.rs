//! `/api/v1/quarantine`: machines that only an operator may judge.

use axum::Json;
use axum::extract::State;
use daas_core::engine::SweepReport;
use daas_core::ids::{BackendName, MachineId, SessionId};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;

/// What the last comparison with the hypervisors found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Quarantine {
    /// When it ended; null before the first. Then nothing is known, and all else is empty.
    pub(crate) at: Option<Timestamp>,
    /// Machines with our mark.
    pub(crate) machines: usize,
    /// Their session has ended: they are destroyed after a grace period.
    pub(crate) orphans: Vec<FoundMachine>,
    /// Nobody knows their session: they stay until an operator ends them.
    pub(crate) quarantined: Vec<FoundMachine>,
    /// They carry a mark that another machine carries by right: they are never destroyed.
    pub(crate) duplicates: Vec<FoundMachine>,
    /// Whether the brake stopped the removal of orphans, since they were too many at once.
    pub(crate) braked: bool,
    /// Backends that could not be listed, and why.
    pub(crate) failures: Vec<String>,
}

/// A machine that was found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FoundMachine {
    /// Its backend.
    pub(crate) provisioner: String,
    /// Its id there.
    pub(crate) machine: String,
    /// Where it is.
    pub(crate) place: String,
    /// The session in its mark.
    pub(crate) session: String,
}

pub(crate) async fn show(State(app): State<App>) -> Json<Quarantine> {
    Json(app.engine.swept().map_or_else(Quarantine::nothing_known, Quarantine::of))
}

impl Quarantine {
    fn nothing_known() -> Self {
        Self {
            at: None,
            machines: 0,
            orphans: Vec::new(),
            quarantined: Vec::new(),
            duplicates: Vec::new(),
            braked: false,
            failures: Vec::new(),
        }
    }

    fn of(report: SweepReport) -> Self {
        let orphans = report.orphans.into_iter();
        let quarantined = report.quarantined.into_iter();
        let duplicates = report.duplicates.into_iter();
        Self {
            at: Some(report.at),
            machines: report.machines,
            orphans: orphans.map(|f| found(f.provisioner, f.machine, f.place, f.session)).collect(),
            quarantined: quarantined
                .map(|f| found(f.provisioner, f.machine, f.place, f.session))
                .collect(),
            duplicates: duplicates
                .map(|f| found(f.provisioner, f.machine, f.place, f.session))
                .collect(),
            braked: report.braked,
            failures: report.failures,
        }
    }
}

fn found(
    provisioner: BackendName,
    machine: MachineId,
    place: String,
    session: SessionId,
) -> FoundMachine {
    FoundMachine {
        provisioner: provisioner.to_string(),
        machine: machine.to_string(),
        place,
        session: session.to_string(),
    }
}
