//! What happened to a desktop, with what each decision rested on: for its owner and for operators.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use daas_core::Kind;
use daas_core::access::SignIn;
use daas_core::engine::Caller;
use daas_core::event::{Event, What};
use daas_core::idle::Evidence;
use daas_core::ids::Cursor;
use daas_core::session::Goal;
use daas_core::store::EventFilter;

use super::{Frame, Words, page};
use crate::app::App;
use crate::body::SessionPath;
use crate::problem::Problem;

/// How many events are shown; a session has a few dozen as a rule.
const SHOWN_MAX: usize = 1_000;

/// An event as people read it.
struct Row {
    at: String,
    words: String,
    reason: String,
    by: Option<String>,
    evidence: Option<Proof>,
}

/// What a decision rested on.
struct Proof {
    rule: String,
    measured: String,
    limit: String,
    reported: Option<String>,
    passed: Option<String>,
}

#[derive(Template)]
#[template(path = "history.html")]
struct HistoryPage {
    f: Frame,
    id: String,
    name: String,
    owner: String,
    rows: Vec<Row>,
    /// What is going to happen, or happened last, and why.
    verdict: Option<Proof>,
    more: bool,
}

pub(crate) async fn show(
    State(app): State<App>,
    Extension(sign_in): Extension<SignIn>,
    Extension(caller): Extension<Caller>,
    w: Words,
    SessionPath(id): SessionPath,
) -> Result<Response, Problem> {
    let session = app.engine.session(&caller, &id).await?;
    let filter = EventFilter { session: Some(id.clone()), ..EventFilter::default() };
    let events = match app.engine.store().events(Cursor(0), &filter, SHOWN_MAX).await {
        // Removed in this moment, with its session.
        Err(error) if error.kind() == Kind::NotFound => Vec::new(),
        events => events?,
    };
    let more = events.len() == SHOWN_MAX;
    let label = session.label.as_ref().map(ToString::to_string);
    page(&HistoryPage {
        f: Frame::new(&app, w, Some(&sign_in)),
        name: label.unwrap_or_else(|| id.to_string()),
        id: id.to_string(),
        owner: session.owner.as_ref().map(ToString::to_string).unwrap_or_default(),
        rows: events.into_iter().map(|event| row(w, event)).collect(),
        verdict: session.evidence.map(|evidence| proof(w, evidence)),
        more,
    })
}

fn row(w: Words, event: Event) -> Row {
    let at = time(event.at);
    let plain = |words: String, reason: String| Row {
        at: at.clone(),
        words,
        reason,
        by: None,
        evidence: None,
    };
    match event.what {
        What::Requested { template } => plain(w.t("event-requested"), template),
        What::Phase { to, reason, .. } => plain(w.t(&format!("phase-{to}")), reason),
        What::Goal { goal, by, reason, evidence } => {
            let words = match goal {
                Goal::Running => w.t("event-goal-running"),
                Goal::Stopped => w.t("event-goal-stopped"),
                Goal::Gone => w.t("event-goal-gone"),
            };
            let evidence = evidence.map(|evidence| proof(w, evidence));
            Row { by: Some(by), evidence, ..plain(words, reason) }
        }
        What::Warning { at: ends, evidence } => {
            let evidence = Some(proof(w, evidence));
            Row { evidence, ..plain(w.t("event-warning"), time(ends)) }
        }
        What::Failed { attempt, reason } => {
            plain(w.with("event-failed", "attempt", u64::from(attempt)), reason)
        }
        What::Note { text } => plain(w.t("event-note"), text),
    }
}

fn proof(w: Words, evidence: Evidence) -> Proof {
    Proof {
        rule: w.t(&format!("rule-{}", evidence.rule.replace('_', "-"))),
        measured: seconds(evidence.measured_seconds),
        limit: seconds(evidence.limit_seconds),
        reported: evidence.reported_at.map(time),
        passed: evidence.passed_at.map(time),
    }
}

/// A duration in hours, minutes and seconds.
fn seconds(all: u64) -> String {
    let (hours, minutes, rest) = (all / 3_600, all / 60 % 60, all % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest} s"),
        (0, _) => format!("{minutes} min {rest} s"),
        _ => format!("{hours} h {minutes} min"),
    }
}

fn time(at: jiff::Timestamp) -> String {
    at.strftime("%F %H:%M:%S UTC").to_string()
}
