//! Everybody's sessions: filtered, page by page, and the question before something is done to many.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use daas_core::access::SignIn;
use daas_core::engine::Caller;
use daas_core::ids::{Label, SessionId, TemplateName};
use daas_core::session::{Phase, Session};
use daas_core::store::{Filter, Page};

use super::bulk::{Bulk, Deed};
use super::{Link, around, query, time, written};
use crate::app::App;
use crate::body::Ask;
use crate::portal::{Frame, Words, page};
use crate::problem::Problem;

/// How many are shown at once.
const SHOWN: usize = 50;
/// Of how many a text is looked for in one go.
const LOOKED_AT: usize = 1_000;

/// A session in the list.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) label: String,
    pub(super) owner: String,
    pub(super) template: String,
    pub(super) phase: String,
    pub(super) state: String,
    pub(super) reason: String,
    pub(super) created: String,
}

impl Row {
    pub(super) fn of(w: Words, session: &Session) -> Self {
        let owner = session.owner.as_ref().map(ToString::to_string);
        Self {
            id: session.id.to_string(),
            label: session.label.as_ref().map(ToString::to_string).unwrap_or_default(),
            owner: owner.unwrap_or_default(),
            template: session.template.name.to_string(),
            phase: session.phase.to_string(),
            state: w.t(&format!("phase-{}", session.phase)),
            reason: session.reason.clone(),
            created: time(session.created_at),
        }
    }

    fn holds(&self, session: &Session, text: &str) -> bool {
        let address = session.address.map(|address| address.to_string()).unwrap_or_default();
        let holds = |field: &str| field.to_lowercase().contains(text);
        [&self.id, &self.label, &self.owner, &self.template, &self.reason, &address]
            .into_iter()
            .any(|field| holds(field))
    }
}

/// A choice of a list, and whether it is the one.
struct Choice {
    value: String,
    words: String,
    chosen: bool,
}

/// What the list's form holds.
#[derive(Debug, Default)]
struct Asked {
    owner: String,
    phase: String,
    template: String,
    label: String,
    text: String,
    ended: bool,
    page: Option<String>,
}

#[derive(Template)]
#[template(path = "admin-sessions.html")]
struct ListPage {
    f: Frame,
    links: Vec<Link>,
    asked: Asked,
    phases: Vec<Choice>,
    templates: Vec<Choice>,
    rows: Vec<Row>,
    deeds: Vec<(&'static str, String)>,
    /// The query of the next page.
    next: Option<String>,
}

pub(crate) async fn show(
    State(app): State<App>,
    Extension(sign_in): Extension<SignIn>,
    Extension(caller): Extension<Caller>,
    w: Words,
    Ask(fields): Ask<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    if fields.iter().any(|(name, _)| name == "act") {
        return Bulk::read(&fields)?.confirm(&app, w, &sign_in, &caller).await;
    }
    let asked = read(&fields)?;
    let filter = filter(&app, &asked)?;
    let text = asked.text.to_lowercase();
    let limit = if text.is_empty() { SHOWN } else { LOOKED_AT };
    let first = Page { limit, after: asked.page.clone() };
    let found = app.engine.sessions(&caller, filter, &first).await?;
    let rows = found.sessions.iter().map(|session| (Row::of(w, session), session));
    let rows = rows.filter(|(row, session)| text.is_empty() || row.holds(session, &text));
    let ended = if asked.ended { "true" } else { "" };
    let next = found.next.map(|next| {
        let Asked { owner, phase, template, label, text, .. } = &asked;
        query(&[
            ("owner", owner),
            ("phase", phase),
            ("template", template),
            ("label", label),
            ("text", text),
            ("ended", ended),
            ("page", &next),
        ])
    });
    let phase = |phase: &Phase| Choice {
        value: phase.to_string(),
        words: w.t(&format!("phase-{phase}")),
        chosen: phase.as_str() == asked.phase,
    };
    let template = |template: &daas_core::template::Template| Choice {
        value: template.name.to_string(),
        words: template.title().to_owned(),
        chosen: template.name.as_str() == asked.template,
    };
    let (f, links) = around(&app, w, &sign_in, "/admin/sessions");
    page(&ListPage {
        f,
        links,
        phases: Phase::ALL.iter().map(phase).collect(),
        templates: app.engine.templates().iter().map(template).collect(),
        rows: rows.map(|(row, _)| row).collect(),
        deeds: Deed::ALL.iter().map(|deed| (deed.as_str(), deed.words(w))).collect(),
        next,
        asked,
    })
}

fn read(fields: &[(String, String)]) -> Result<Asked, Problem> {
    let mut asked = Asked::default();
    for (name, value) in fields {
        let value = value.trim().to_owned();
        match name.as_str() {
            "owner" => asked.owner = value,
            "phase" => asked.phase = value,
            "template" => asked.template = value,
            "label" => asked.label = value,
            "text" => asked.text = value,
            "ended" => asked.ended = value == "true",
            "page" => asked.page = written(Some(&value)).map(str::to_owned),
            other => return Err(Problem::invalid("query", format!("unknown field {other:?}"))),
        }
    }
    Ok(asked)
}

fn filter(app: &App, asked: &Asked) -> Result<Filter, Problem> {
    let phase = written(Some(&asked.phase)).map(|text| {
        let known = Phase::ALL.into_iter().find(|phase| phase.as_str() == text);
        known.ok_or_else(|| Problem::invalid("phase", format!("there is no {text:?}")))
    });
    let phase = phase.transpose()?;
    // Who asks for a phase by name asks for the ended ones too, if it is that.
    let live = if asked.ended || phase == Some(Phase::Ended) { None } else { Some(true) };
    Ok(Filter {
        owner: written(Some(&asked.owner)).map(|text| app.realms.owner(text)).transpose()?,
        phase,
        template: written(Some(&asked.template)).map(TemplateName::new).transpose()?,
        label: written(Some(&asked.label)).map(Label::new).transpose()?,
        live,
        ..Filter::default()
    })
}

/// The sessions of these ids that are there, in their order.
pub(super) async fn chosen(
    app: &App,
    caller: &Caller,
    ids: &[SessionId],
) -> Result<Vec<Session>, Problem> {
    let mut sessions = Vec::with_capacity(ids.len());
    for id in ids {
        match app.engine.session(caller, id).await {
            Ok(session) => sessions.push(session),
            Err(error) if error.kind() == daas_core::Kind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(sessions)
}
