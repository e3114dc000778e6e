//! Machines that only an operator may judge.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use daas_core::access::SignIn;
use daas_core::engine::{Caller, Finding};
use daas_core::ids::SessionId;
use serde::Deserialize;

use super::{Link, around, time};
use crate::app::App;
use crate::body::{Ask, SessionPath};
use crate::portal::{Frame, Words, page};
use crate::problem::Problem;

/// Machines of one sort, and what that means.
struct Found {
    words: String,
    means: String,
    machines: Vec<Finding>,
    /// Whether they can be ended here.
    ends: bool,
}

#[derive(Template)]
#[template(path = "admin-quarantine.html")]
struct QuarantinePage {
    f: Frame,
    links: Vec<Link>,
    at: Option<String>,
    braked: bool,
    failures: Vec<String>,
    found: Vec<Found>,
    /// Which one is asked about.
    asked: Option<Finding>,
}

/// Which machine is asked about.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    end: Option<String>,
}

pub(crate) async fn show(
    State(app): State<App>,
    Extension(sign_in): Extension<SignIn>,
    w: Words,
    Ask(asked): Ask<Asked>,
) -> Result<Response, Problem> {
    let (f, links) = around(&app, w, &sign_in, "/admin/quarantine");
    let Some(report) = app.engine.swept() else {
        let (at, braked, failures) = (None, false, Vec::new());
        return page(&QuarantinePage {
            f,
            links,
            at,
            braked,
            failures,
            found: Vec::new(),
            asked: None,
        });
    };
    let asked = asked.end.map(|id| {
        let gone = || Problem::not_found("no machine in quarantine bears it");
        let id = SessionId::new(id).map_err(|_| gone())?;
        report.quarantined.iter().find(|f| f.session == id).cloned().ok_or_else(gone)
    });
    let asked = asked.transpose()?;
    let found = vec![
        Found {
            words: w.t("found-quarantined"),
            means: w.t("found-quarantined-means"),
            machines: report.quarantined,
            ends: true,
        },
        Found {
            words: w.t("found-orphans"),
            means: w.t("found-orphans-means"),
            machines: report.orphans,
            ends: false,
        },
        Found {
            words: w.t("found-duplicates"),
            means: w.t("found-duplicates-means"),
            machines: report.duplicates,
            ends: false,
        },
        Found {
            words: w.t("found-left-alone"),
            means: w.t("found-left-alone-means"),
            machines: report.left_alone,
            ends: false,
        },
    ];
    let (at, braked, failures) = (Some(time(report.at)), report.braked, report.failures);
    page(&QuarantinePage { f, links, at, braked, failures, found, asked })
}

pub(crate) async fn end(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    SessionPath(id): SessionPath,
) -> Result<Response, Problem> {
    let session = app.engine.end_quarantined(&caller, &id).await?;
    Ok(Redirect::to(&format!("/desktops/{}/history", session.id)).into_response())
}
