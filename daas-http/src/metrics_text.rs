//! `/metrics`: what the recorder gathered, and our own gauges as they stand at this moment.

use std::fmt::Write as _;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use daas_core::engine::Engine;
use daas_core::session::Phase;
use daas_core::store::Tally;
use http::header;

use crate::app::App;
use crate::problem::Problem;

/// Prometheus's text format.
const MEDIA: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(crate) async fn show(State(app): State<App>) -> Result<Response, Problem> {
    let tally = app.engine.store().tally().await?;
    let mut text = app.metrics.as_ref().map(|handle| handle.render()).unwrap_or_default();
    gauges(&mut text, &app.engine, &tally);
    let open = app.gateway.connections.count() as f64;
    let help = "connections to screens";
    family(&mut text, "daas_gateway_connections", "gauge", help, [(String::new(), open)]);
    Ok(([(header::CONTENT_TYPE, MEDIA)], text).into_response())
}

fn gauges(text: &mut String, engine: &Engine, tally: &Tally) {
    let by_phase = Phase::ALL.iter().filter(|phase| **phase != Phase::Ended).map(|phase| {
        let count = tally.by_phase.get(phase).copied().unwrap_or_default();
        (format!("{{phase=\"{phase}\"}}"), count as f64)
    });
    family(text, "daas_sessions", "gauge", "live sessions by phase", by_phase);
    let mut one = |name: &str, kind: &str, help: &str, value: f64| {
        family(text, name, kind, help, [(String::new(), value)]);
    };
    one("daas_sessions_created_total", "counter", "sessions ever asked for", tally.created as f64);
    one("daas_sessions_ended_total", "counter", "sessions that ended", tally.ended as f64);
    let brakes = engine.brakes();
    one("daas_queue_sessions", "gauge", "sessions that wait for room", brakes.queued() as f64);
    let most = brakes.rules().machines_max as f64;
    one("daas_machines_max", "gauge", "machines that the brake allows", most);
    one("daas_in_hand_sessions", "gauge", "sessions being worked on", engine.in_hand() as f64);
    // What is not known yet is left out rather than called zero.
    if let Some(seconds) = engine.estimates().error_seconds() {
        let help = "median absolute error of the last estimates";
        one("daas_estimate_error_seconds", "gauge", help, seconds);
    }
    if let Some(report) = engine.swept() {
        let counts = [
            ("daas_machines", "machines with our mark", report.machines),
            ("daas_orphan_machines", "machines whose session has ended", report.orphans.len()),
            ("daas_quarantined_machines", "machines without a record", report.quarantined.len()),
            ("daas_duplicate_machines", "machines with another's mark", report.duplicates.len()),
            ("daas_left_alone_machines", "machines whose mark is gone", report.left_alone.len()),
            ("daas_sweep_failures", "backends that could not be listed", report.failures.len()),
        ];
        for (name, help, count) in counts {
            one(name, "gauge", help, count as f64);
        }
        let braked = f64::from(u8::from(report.braked));
        one("daas_sweep_braked", "gauge", "1: the removal of orphans was stopped", braked);
    }
    if let Some(report) = engine.swept_effects() {
        let counts = [
            ("daas_effects", "what has our mark outside the guests", report.effects),
            ("daas_orphan_effects", "effects whose session has ended", report.orphans.len()),
            ("daas_unknown_effects", "effects without a record", report.unknown.len()),
            ("daas_effect_sweep_failures", "what could not be listed", report.failures.len()),
        ];
        for (name, help, count) in counts {
            one(name, "gauge", help, count as f64);
        }
        let braked = f64::from(u8::from(report.braked));
        one("daas_effect_sweep_braked", "gauge", "1: their removal was stopped", braked);
    }
}

fn family(
    text: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    values: impl IntoIterator<Item = (String, f64)>,
) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value) in values {
        let _ = writeln!(text, "{name}{labels} {value}");
    }
}
