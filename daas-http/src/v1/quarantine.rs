//! `/api/v1/quarantine`: machines that only an operator may judge.

use axum::extract::State;
use axum::response::Response;
use axum::{Extension, Json};
use daas_core::engine::{Caller, Finding, SweepReport};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::sessions::accepted;
use crate::app::App;
use crate::body::SessionPath;
use crate::problem::Problem;

/// What the last comparison with the hypervisors found.
#[derive(Debug, Default, Serialize, ToSchema)]
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
    /// They look like ours, but their mark was taken away by hand: they are never destroyed.
    pub(crate) left_alone: Vec<FoundMachine>,
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
    Json(app.engine.swept().map(Quarantine::from).unwrap_or_default())
}

pub(crate) async fn end(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    SessionPath(id): SessionPath,
) -> Result<Response, Problem> {
    Ok(accepted(&app, app.engine.end_quarantined(&caller, &id).await?))
}

impl From<SweepReport> for Quarantine {
    fn from(report: SweepReport) -> Self {
        Self {
            at: Some(report.at),
            machines: report.machines,
            orphans: found(report.orphans),
            quarantined: found(report.quarantined),
            duplicates: found(report.duplicates),
            left_alone: found(report.left_alone),
            braked: report.braked,
            failures: report.failures,
        }
    }
}

fn found(findings: Vec<Finding>) -> Vec<FoundMachine> {
    let findings = findings.into_iter();
    let told = |f: Finding| FoundMachine {
        provisioner: f.provisioner.to_string(),
        machine: f.machine.to_string(),
        place: f.place,
        session: f.session.to_string(),
    };
    findings.map(told).collect()
}
