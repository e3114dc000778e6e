//! How everything stands, what desktops are made from and where they are.

use std::collections::BTreeMap;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use daas_core::access::SignIn;
use daas_core::engine::Caller;
use daas_core::session::Phase;
use daas_core::store::{Filter, Page};

use super::{Link, around, time};
use crate::app::App;
use crate::health::{Load, Ready};
use crate::portal::{Frame, Words, desktops, page};
use crate::problem::Problem;

/// A figure and what it counts.
struct Figure {
    words: String,
    value: String,
}

#[derive(Template)]
#[template(path = "admin-overview.html")]
struct OverviewPage {
    f: Frame,
    links: Vec<Link>,
    ready: Option<(u64, Ready)>,
    phases: Vec<Figure>,
    figures: Vec<Figure>,
    warnings: Vec<String>,
}

struct TemplateRow {
    name: String,
    title: String,
    size: String,
    usual: String,
    who: String,
    live: String,
}

#[derive(Template)]
#[template(path = "admin-templates.html")]
struct TemplatesPage {
    f: Frame,
    links: Vec<Link>,
    rows: Vec<TemplateRow>,
}

struct PlaceRow {
    name: String,
    online: bool,
    processor: u32,
    memory: u32,
    memory_words: String,
}

#[derive(Template)]
#[template(path = "admin-places.html")]
struct PlacesPage {
    f: Frame,
    links: Vec<Link>,
    /// How many seconds ago they were looked at.
    age: Option<u64>,
    rows: Vec<PlaceRow>,
}

pub(crate) async fn show(
    State(app): State<App>,
    Extension(sign_in): Extension<SignIn>,
    w: Words,
) -> Result<Response, Problem> {
    let tally = app.engine.store().tally().await?;
    let figure = |words: String, value: String| Figure { words, value };
    let phases = Phase::ALL.iter().filter_map(|phase| {
        let count = tally.by_phase.get(phase).filter(|count| **count > 0)?;
        Some(figure(w.t(&format!("phase-{phase}")), count.to_string()))
    });
    let phases = phases.collect();
    let brakes = app.engine.brakes();
    let mut figures = vec![
        figure(w.t("figure-created"), tally.created.to_string()),
        figure(w.t("figure-ended"), tally.ended.to_string()),
        figure(w.t("figure-in-hand"), app.engine.in_hand().to_string()),
        figure(w.t("figure-queued"), brakes.queued().to_string()),
        figure(w.t("figure-machines-max"), brakes.rules().machines_max.to_string()),
    ];
    if let Some(error) = app.engine.estimates().error_seconds() {
        figures.push(figure(w.t("figure-estimate-error"), format!("{error:.0} s")));
    }
    let mut warnings = Vec::new();
    match app.engine.swept() {
        None => warnings.push(w.t("not-swept")),
        Some(report) => {
            figures.push(figure(w.t("figure-machines"), report.machines.to_string()));
            figures.push(figure(w.t("figure-swept"), time(report.at)));
            warnings.extend(report.failures);
            if report.braked {
                warnings.push(w.t("sweep-braked"));
            }
            let count = report.quarantined.len();
            if count > 0 {
                warnings.push(w.with("quarantined-count", "count", count as u64));
            }
        }
    }
    if let Some(failing) = app.audit.as_ref().and_then(|log| log.state().failing) {
        warnings.push(format!("{} {failing}", w.t("audit-failing")));
    }
    let looking = app.clone();
    let look = async move { looking.readiness.look(&looking.engine).await };
    let ready = app.seen.ready.get(&app.tasks, look).map(|(age, ready)| (age.as_secs(), ready));
    let (f, links) = around(&app, w, &sign_in, "/admin");
    page(&OverviewPage { f, links, ready, phases, figures, warnings })
}

pub(crate) async fn templates(
    State(app): State<App>,
    Extension(sign_in): Extension<SignIn>,
    Extension(caller): Extension<Caller>,
    w: Words,
) -> Result<Response, Problem> {
    let mut rows = Vec::new();
    for template in app.engine.templates() {
        let name = template.name.clone();
        let filter = Filter { live: Some(true), template: Some(name), ..Filter::default() };
        let live = app.engine.sessions(&caller, filter, &Page::first(Page::LIMIT_MAX)).await?;
        let more = if live.next.is_some() { "+" } else { "" };
        let usual = app.engine.estimates().expected(&template.name);
        let organisations = template.organisations.iter().map(ToString::to_string);
        let who: Vec<_> = organisations.chain(template.groups.iter().cloned()).collect();
        rows.push(TemplateRow {
            name: template.name.to_string(),
            title: template.title().to_owned(),
            size: desktops::size(w, template),
            usual: usual.map_or_else(|| w.t("unknown"), |usual| format!("{} s", usual.as_secs())),
            who: if who.is_empty() { w.t("everybody") } else { who.join(", ") },
            live: format!("{}{more}", live.sessions.len()),
        });
    }
    let (f, links) = around(&app, w, &sign_in, "/admin/templates");
    page(&TemplatesPage { f, links, rows })
}

pub(crate) async fn places(
    State(app): State<App>,
    Extension(sign_in): Extension<SignIn>,
    w: Words,
) -> Result<Response, Problem> {
    let engine = app.engine.clone();
    let look = async move { crate::health::loads(&engine).await };
    let seen: Option<(_, BTreeMap<String, Load>)> = app.seen.places.get(&app.tasks, look);
    let age = seen.as_ref().map(|(age, _)| age.as_secs());
    let places = seen.map(|(_, places)| places).unwrap_or_default();
    let rows = places.into_iter().map(|(name, load)| PlaceRow {
        name,
        online: load.online,
        processor: percent(load.cpu),
        memory: percent(load.memory_used_mib as f64 / load.memory_mib.max(1) as f64),
        memory_words: format!("{} / {} MiB", load.memory_used_mib, load.memory_mib),
    });
    let rows = rows.collect();
    let (f, links) = around(&app, w, &sign_in, "/admin/places");
    page(&PlacesPage { f, links, age, rows })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
fn percent(part: f64) -> u32 {
    (part.clamp(0.0, 1.0) * 100.0).round() as u32
}
