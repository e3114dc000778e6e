//! One's desktops: the list, what can be asked for, one desktop and what is done with it.

use std::time::Duration;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use daas_core::access::SignIn;
use daas_core::engine::{Ask as Wanted, Caller};
use daas_core::ids::{Label, SessionId, TemplateName};
use daas_core::secret::{Secret, random_token};
use daas_core::session::{Goal, Phase, Session};
use daas_core::store::{Filter, Page};
use daas_core::template::{Lifetime, Template as Source};
use http::StatusCode;
use serde::Deserialize;

use super::{Frame, Words, is_operator, page};
use crate::app::App;
use crate::audit;
use crate::body::{Ask, Form, SessionPath};
use crate::gateway;
use crate::problem::Problem;
use crate::v1::view::SessionView;

/// How many desktops are shown: more than anybody's quota, as a rule.
const SHOWN_MAX: usize = 200;
/// What a click on "more time" grants.
const MORE_TIME: Duration = Duration::from_hours(1);

/// A desktop as a card shows it.
struct Card {
    id: String,
    name: String,
    /// Whose it is, when it is not one's own.
    owner: Option<String>,
    template: String,
    size: String,
    /// The phase's name, for its words and colour.
    phase: String,
    state: String,
    reason: String,
    progress: Option<String>,
    percent: Option<u32>,
    wait: Option<String>,
    warning: Option<String>,
    ends: Option<String>,
    address: Option<String>,
    can: Can,
}

/// What may be done with it now.
#[derive(Default)]
struct Can {
    connect: bool,
    /// Its screen can be shown here.
    show: bool,
    /// The same by Remote Desktop.
    rdp: bool,
    extend: bool,
    restart: bool,
    stop: bool,
    start: bool,
    delete: bool,
    /// It is on its way: its end is a change of mind.
    cancel: bool,
}

impl Can {
    fn of(app: &App, session: &Session) -> Self {
        if !session.is_live() || session.goal == Goal::Gone || session.phase == Phase::Destroying {
            return Self::default();
        }
        let ready = session.phase == Phase::Ready;
        let personal = session.lifetime == Lifetime::Personal;
        Self {
            connect: ready && session.address.is_some(),
            show: app.engine.shows(session),
            rdp: gateway::has_rdp(session),
            extend: ready,
            restart: ready,
            stop: ready && personal,
            start: matches!(session.phase, Phase::Stopped | Phase::Parked),
            delete: !session.phase.is_coming(),
            cancel: session.phase.is_coming(),
        }
    }
}

impl Card {
    fn of(app: &App, w: Words, caller: &Caller, session: Session) -> Self {
        let can = Can::of(app, &session);
        let title = session.template.title().to_owned();
        let size = size(w, &session.template);
        let theirs = session.owner.as_ref().filter(|owner| **owner != caller.owner);
        let owner = theirs.map(ToString::to_string);
        let view = SessionView::of(&app.engine, session);
        let wait = view.estimate.as_ref().and_then(|estimate| {
            if let Some(place) = estimate.queue_place {
                return Some(w.with("place-in-queue", "place", place as u64));
            }
            estimate.ready_in_seconds.map(|seconds| w.with("ready-in", "seconds", seconds))
        });
        let fraction = view.progress.as_ref().and_then(|progress| progress.fraction);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
        let percent = fraction.map(|fraction| (fraction.clamp(0.0, 1.0) * 100.0) as u32);
        Self {
            name: view.label.clone().unwrap_or_else(|| view.id.clone()),
            state: w.t(&format!("phase-{}", view.phase)),
            warning: view.failure.or(view.unconfigured).or(view.attempts.last_error),
            progress: view.progress.map(|progress| progress.what),
            ends: view.not_after.map(|at| at.strftime("%F %H:%M UTC").to_string()),
            address: view.address.map(|address| address.to_string()),
            id: view.id,
            owner,
            template: title,
            size,
            phase: view.phase,
            reason: view.reason,
            percent,
            wait,
            can,
        }
    }
}

pub(super) fn size(w: Words, template: &Source) -> String {
    let memory = w.with("memory", "mib", template.memory_mib);
    let cores = w.with("cores", "cores", template.cores);
    let disk = template.disk_gib.map(|gib| w.with("disk", "gib", gib));
    [Some(cores), Some(memory), disk].into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

#[derive(Template)]
#[template(path = "desktops.html")]
struct ListPage {
    f: Frame,
    cards: Vec<Card>,
    /// Whether everybody's are shown.
    all: bool,
    may_see_all: bool,
}

#[derive(Template)]
#[template(path = "desktop.html")]
struct DesktopPage {
    f: Frame,
    card: Card,
}

#[derive(Template)]
#[template(path = "delete.html")]
struct DeletePage {
    f: Frame,
    card: Card,
}

/// Something that can be asked for.
struct Offer {
    name: String,
    title: String,
    size: String,
    wait: Option<String>,
    takes_account: bool,
}

#[derive(Template)]
#[template(path = "new.html")]
struct NewPage {
    f: Frame,
    offers: Vec<Offer>,
    failure: Option<String>,
    /// Another for each form that is sent out.
    once: String,
    chosen: String,
    label: String,
    user: String,
}

/// Whose are listed.
#[derive(Debug, Deserialize)]
pub(crate) struct Whose {
    #[serde(default)]
    all: bool,
}

/// The form of a wish.
#[derive(Debug, Deserialize)]
pub(crate) struct Wish {
    template: String,
    #[serde(default)]
    label: String,
    #[serde(default)]
    session_user: String,
    session_password: Option<Secret<String>>,
    /// Made with the form: a form sent twice is one wish.
    once: String,
}

pub(crate) async fn list(
    State(app): State<App>,
    Extension(sign_in): Extension<SignIn>,
    Extension(caller): Extension<Caller>,
    w: Words,
    Ask(whose): Ask<Whose>,
) -> Result<Response, Problem> {
    let all = whose.all && is_operator(&sign_in);
    let owner = (!all).then(|| caller.owner.clone());
    let filter = Filter { live: Some(true), owner, ..Filter::default() };
    let found = app.engine.sessions(&caller, filter, &Page::first(SHOWN_MAX)).await?;
    let cards = found.sessions.into_iter().map(|s| Card::of(&app, w, &caller, s)).collect();
    let may_see_all = is_operator(&sign_in);
    page(&ListPage { f: Frame::new(&app, w, Some(&sign_in)), cards, all, may_see_all })
}

pub(crate) async fn show(
    State(app): State<App>,
    Extension(sign_in): Extension<SignIn>,
    Extension(caller): Extension<Caller>,
    w: Words,
    SessionPath(id): SessionPath,
) -> Result<Response, Problem> {
    let card = card(&app, w, &caller, &id).await?;
    page(&DesktopPage { f: Frame::new(&app, w, Some(&sign_in)), card })
}

pub(crate) async fn confirm(
    State(app): State<App>,
    Extension(sign_in): Extension<SignIn>,
    Extension(caller): Extension<Caller>,
    w: Words,
    SessionPath(id): SessionPath,
) -> Result<Response, Problem> {
    let card = card(&app, w, &caller, &id).await?;
    page(&DeletePage { f: Frame::new(&app, w, Some(&sign_in)), card })
}

async fn card(app: &App, w: Words, caller: &Caller, id: &SessionId) -> Result<Card, Problem> {
    let session = app.engine.session(caller, id).await?;
    Ok(Card::of(app, w, caller, session))
}

pub(crate) async fn new(
    State(app): State<App>,
    Extension(sign_in): Extension<SignIn>,
    Extension(caller): Extension<Caller>,
    w: Words,
) -> Result<Response, Problem> {
    catalogue(&app, w, &sign_in, &caller, ("", "", ""), None)
}

fn catalogue(
    app: &App,
    w: Words,
    sign_in: &SignIn,
    caller: &Caller,
    (chosen, label, user): (&str, &str, &str),
    failure: Option<String>,
) -> Result<Response, Problem> {
    let offer = |template: &Source| Offer {
        name: template.name.to_string(),
        title: template.title().to_owned(),
        size: size(w, template),
        wait: app
            .engine
            .estimates()
            .expected(&template.name)
            .map(|usual| w.with("usually", "seconds", usual.as_secs())),
        takes_account: template.configurator.is_some(),
    };
    page(&NewPage {
        f: Frame::new(app, w, Some(sign_in)),
        offers: app.engine.templates_for(caller).into_iter().map(offer).collect(),
        failure,
        once: random_token().expose()[..32].to_owned(),
        chosen: chosen.to_owned(),
        label: label.to_owned(),
        user: user.to_owned(),
    })
}

pub(crate) async fn create(
    State(app): State<App>,
    Extension(sign_in): Extension<SignIn>,
    Extension(caller): Extension<Caller>,
    w: Words,
    Form(wish): Form<Wish>,
) -> Result<Response, Problem> {
    let text = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let asked = async {
        let wanted = Wanted {
            template: TemplateName::new(&wish.template)?,
            label: text(&wish.label).map(|label| Label::new(&label)).transpose()?,
            session_user: text(&wish.session_user),
            session_password: wish.session_password.filter(|word| !word.expose().is_empty()),
            lifetime: None,
            not_before: None,
            not_after: None,
            idempotency_key: Some(wish.once),
        };
        app.engine.ask(&caller, wanted).await
    };
    let error = match asked.await {
        Ok(asked) if asked.session.template.name.as_str() != wish.template => {
            Problem::new(StatusCode::CONFLICT, daas_core::Kind::Conflict, w.t("form-used"))
        }
        Ok(asked) => {
            audit::session(&asked.session.id);
            return Ok(Redirect::to(&format!("/desktops/{}", asked.session.id)).into_response());
        }
        Err(error) => Problem::from(error),
    };
    // What can be mended is said beside the form, with what was written in it.
    let given = (wish.template.as_str(), wish.label.as_str(), wish.session_user.as_str());
    let status = error.status;
    let mut response = catalogue(&app, w, &sign_in, &caller, given, Some(error.error))?;
    *response.status_mut() = status;
    Ok(response)
}

pub(crate) async fn act(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((id, act)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let nothing = || Problem::not_found("there is no such session");
    let id = SessionId::new(&id).map_err(|_| nothing())?;
    let engine = &app.engine;
    match act.as_str() {
        "stop" => drop(engine.stop(&caller, &id).await?),
        "start" => drop(engine.start_session(&caller, &id).await?),
        "restart" => drop(engine.restart(&caller, &id).await?),
        "extend" => drop(engine.extend(&caller, &id, MORE_TIME).await?),
        "delete" => drop(engine.destroy(&caller, &id, "asked for").await?),
        _ => {
            let why = format!("{act:?} is nothing that can be done with a desktop");
            return Err(Problem::new(StatusCode::NOT_FOUND, daas_core::Kind::NotFound, why));
        }
    }
    Ok(Redirect::to(&format!("/desktops/{id}")).into_response())
}
