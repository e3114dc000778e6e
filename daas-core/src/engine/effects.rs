//! The sweep of effects: what is there outside the guests is compared with what the store knows.
//!
//! The ledger holds an effect until it is proved gone. Yet an order that was given up may still be
//! on its way, and cause the effect after that proof, and after its session has ended: it is found
//! here by its mark, and retracted like an orphan.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Inner;
use super::sightings::Sightings;
use crate::configurator::{Configurator, EffectInventory, EffectThere, GuestContext};
use crate::error::Result;
use crate::ids::SessionId;
use crate::ledger::Effect;
use crate::session::Session;

/// What the last sweep of effects found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct EffectReport {
    /// When it ended.
    pub at: Timestamp,
    /// Effects with our mark.
    pub effects: usize,
    /// Effects whose session has ended: retracted after a grace period, seen twice.
    pub orphans: Vec<EffectFinding>,
    /// Effects with our mark and no record at all: only an operator ends them.
    pub unknown: Vec<EffectFinding>,
    /// Whether the brake stopped the retraction of orphans; it asks an operator to look.
    pub braked: bool,
    /// Backends that could not be read, and why.
    pub failures: Vec<String>,
}

/// An effect that the sweep has something to say of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
pub struct EffectFinding {
    /// The session in its mark.
    pub session: SessionId,
    /// The effect.
    pub effect: Effect,
}

/// What the sweep of effects remembers between two turns.
#[derive(Debug, Default)]
pub(super) struct EffectSweep {
    seen: Sightings<EffectFinding>,
    report: Mutex<Option<EffectReport>>,
}

impl EffectSweep {
    /// What the last turn found.
    pub(super) fn report(&self) -> Option<EffectReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets what `report` no longer calls an orphan; not what may be where nobody could look.
    fn keep_only(&self, report: &EffectReport) {
        if report.failures.is_empty() {
            self.seen.keep_only(|orphan| report.orphans.contains(orphan));
        }
    }
}

/// What an effect is to us.
enum Standing {
    /// Its session lives; the ledger sees to it.
    Live,
    /// Its session has ended.
    Orphan(Box<Session>),
    /// Nobody knows its session.
    Unknown,
}

/// An orphan whose time has come, and who can retract it.
type Due = (Arc<dyn Configurator>, EffectFinding);

pub(super) async fn sweep(inner: Arc<Inner>, stop: CancellationToken) {
    loop {
        if stop.run_until_cancelled(turn(&inner)).await.is_none() {
            return;
        }
        let pause = tokio::time::sleep(inner.limits().sweep_period);
        if stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

async fn turn(inner: &Arc<Inner>) {
    let mut report = EffectReport {
        at: inner.now(),
        effects: 0,
        orphans: Vec::new(),
        unknown: Vec::new(),
        braked: false,
        failures: Vec::new(),
    };
    let mut due = Vec::new();
    for configurator in inner.configurators.values() {
        let Some(inventory) = configurator.extras().effects else { continue };
        let sorted = async { sort(inner, configurator, &*inventory, &mut report, &mut due).await };
        match tokio::time::timeout(inner.limits().observe_deadline, sorted).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => report.failures.push(error.chain()),
            Err(_) => report.failures.push(format!("{}: no answer in time", configurator.name())),
        }
    }
    inner.effect_sweep.keep_only(&report);
    report.braked = !inner.brakes.may_sweep(due.len(), report.effects);
    if report.braked {
        warn!(
            orphans = due.len(),
            effects = report.effects,
            "the sweep would retract too large a share of all effects; look at them and raise \
             brakes.sweep_removals_free"
        );
    } else {
        for orphan in due {
            retract(inner, orphan).await;
        }
    }
    *inner.effect_sweep.report.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
}

/// Tells for each effect what it is to us; orphans whose time has come are collected.
async fn sort(
    inner: &Inner,
    configurator: &Arc<dyn Configurator>,
    inventory: &dyn EffectInventory,
    report: &mut EffectReport,
    due: &mut Vec<Due>,
) -> Result<()> {
    let grace = inner.limits().orphan_grace;
    for EffectThere { session, effect } in inventory.effects_there().await? {
        report.effects += 1;
        let finding = EffectFinding { session, effect };
        match standing(inner, &finding.session).await? {
            Standing::Live => {}
            Standing::Unknown => report.unknown.push(finding),
            Standing::Orphan(_) => {
                if inner.effect_sweep.seen.seen_long_enough(&finding, inner.now(), grace) {
                    due.push((Arc::clone(configurator), finding.clone()));
                }
                report.orphans.push(finding);
            }
        }
    }
    Ok(())
}

async fn standing(inner: &Inner, session: &SessionId) -> Result<Standing> {
    Ok(match inner.store().get(session).await? {
        None => Standing::Unknown,
        Some(session) if session.is_live() => Standing::Live,
        Some(session) => Standing::Orphan(Box::new(session)),
    })
}

async fn retract(inner: &Inner, (configurator, orphan): Due) {
    let EffectFinding { session, effect } = &orphan;
    // Looked up once more: a session that was read as ended does not live again, but a store may
    // have been restored meanwhile.
    let Ok(Standing::Orphan(ended)) = standing(inner, session).await else { return };
    // The guest is gone; whoever has its address now is somebody else.
    let guest =
        GuestContext { address: None, host_key: None, activity: None, ..inner.guest(&ended) };
    let deadline = inner.limits().configure_deadline;
    match tokio::time::timeout(deadline, configurator.retract(&guest, effect)).await {
        Ok(Ok(())) => {
            info!(%session, kind = effect.kind, key = effect.key, "a late effect is gone")
        }
        // The next sweep goes on with it.
        Ok(Err(error)) => {
            warn!(%session, key = effect.key, error = error.chain(), "a late effect stays for now");
        }
        Err(_) => warn!(%session, key = effect.key, "a late effect's retraction took too long"),
    }
}
