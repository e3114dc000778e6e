//! `/api/v1/quarantine`: machines, and what is outside them, that only an operator may judge.

use axum::extract::State;
use axum::response::Response;
use axum::{Extension, Json};
use daas_core::engine::{Caller, EffectFinding, EffectReport, Finding, SweepReport};
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
    /// What was caused outside the guests, such as computer accounts; null before the first look,
    /// and where no configurator can list it.
    pub(crate) effects: Option<Effects>,
}

/// What the last comparison with directories and their like found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Effects {
    /// When it ended.
    pub(crate) at: Timestamp,
    /// Their session has ended: they are removed after a grace period.
    pub(crate) orphans: Vec<FoundEffect>,
    /// Nobody knows their session: remove them by hand.
    pub(crate) unknown: Vec<FoundEffect>,
    /// Whether the brake stopped the removal of orphans, since they were too many at once.
    pub(crate) braked: bool,
    /// Backends that could not be read, and why.
    pub(crate) failures: Vec<String>,
}

/// Something caused outside a guest that was found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FoundEffect {
    /// The backend that causes such.
    pub(crate) configurator: String,
    /// What it is: `computer-account`.
    pub(crate) kind: String,
    /// Its name where it is.
    pub(crate) key: String,
    /// The session in its mark.
    pub(crate) session: String,
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
    let mut found = app.engine.swept().map(Quarantine::from).unwrap_or_default();
    found.effects = app.engine.swept_effects().map(Effects::from);
    Json(found)
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
            effects: None,
        }
    }
}

impl From<EffectReport> for Effects {
    fn from(report: EffectReport) -> Self {
        let found = |findings: Vec<EffectFinding>| findings.into_iter().map(Into::into).collect();
        Self {
            at: report.at,
            orphans: found(report.orphans),
            unknown: found(report.unknown),
            braked: report.braked,
            failures: report.failures,
        }
    }
}

impl From<EffectFinding> for FoundEffect {
    fn from(EffectFinding { session, effect }: EffectFinding) -> Self {
        let (session, configurator) = (session.to_string(), effect.configurator.to_string());
        Self { configurator, kind: effect.kind, key: effect.key, session }
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
