//! `/api/v1/sessions`: asking for desktops and changing what was asked.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as Answer};
use daas_core::Kind;
use daas_core::access::Role;
use daas_core::engine::{Ask as Wanted, Caller};
use daas_core::ids::{Label, TemplateName};
use daas_core::owner::Owner;
use daas_core::secret::Secret;
use daas_core::session::{Phase, Session};
use daas_core::store::{Filter, Page};
use daas_core::template::Lifetime;
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;

use super::view::{SessionList, SessionView};
use crate::app::App;
use crate::audit;
use crate::body::{Ask, Json, SessionPath};
use crate::problem::Problem;

/// The page's length unless said.
const PAGE_DEFAULT: usize = 100;
/// The wait that a refusal for lack of room asks for while nothing better is known, in seconds.
const ROOM_RETRY_SECONDS: u64 = 30;
/// The longest and shortest such wait, in seconds.
const ROOM_RETRY_BOUNDS: (u64, u64) = (1, 3_600);

/// A wish for a desktop.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    /// From which template.
    #[schema(value_type = String)]
    template: TemplateName,
    /// What to call it; unique among the live sessions of its owner.
    #[schema(value_type = Option<String>)]
    label: Option<Label>,
    /// The local account to make in it.
    session_user: Option<String>,
    /// Its password; kept as a hash only.
    #[schema(value_type = Option<String>, format = Password)]
    session_password: Option<Secret<String>>,
    /// `ephemeral` or `personal`; absent: as the template says.
    #[schema(value_type = Option<String>)]
    lifetime: Option<Lifetime>,
    /// It is not made before this.
    not_before: Option<Timestamp>,
    /// It ends at this.
    not_after: Option<Timestamp>,
}

/// More time.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MoreTime {
    /// How much, in seconds: 1 to 86,400.
    seconds: u64,
}

/// Which sessions to list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    owner: Option<String>,
    phase: Option<Phase>,
    template: Option<TemplateName>,
    label: Option<Label>,
    live: Option<bool>,
    limit: Option<usize>,
    page: Option<String>,
}

pub(crate) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Json(wish): Json<Wish>,
) -> Result<Response, Problem> {
    let key = match headers.get("idempotency-key").map(|v| v.to_str()) {
        None => None,
        Some(Ok(key)) => Some(key.to_owned()),
        Some(Err(_)) => return Err(Problem::invalid("Idempotency-Key", "it is not ASCII")),
    };
    let template = wish.template.clone();
    let label = wish.label.clone();
    let wanted = Wanted {
        template: wish.template,
        label: wish.label,
        session_user: wish.session_user,
        session_password: wish.session_password,
        lifetime: wish.lifetime,
        not_before: wish.not_before,
        not_after: wish.not_after,
        idempotency_key: key,
    };
    let asked = app.engine.ask(&caller, wanted).await.map_err(|error| match error.kind() {
        Kind::Exhausted => {
            let seconds = app.engine.estimates().expected(&template);
            let seconds = seconds.map_or(ROOM_RETRY_SECONDS, |d| d.as_secs());
            let (least, most) = ROOM_RETRY_BOUNDS;
            Problem::from(error).retry_after(seconds.clamp(least, most))
        }
        _ => error.into(),
    })?;
    audit::session(&asked.session.id);
    if asked.new {
        return Ok(accepted(&app, asked.session));
    }
    if asked.session.template.name != template || asked.session.label != label {
        let why = format!("Idempotency-Key: was used for another wish, {}", asked.session.id);
        return Err(Problem::new(StatusCode::CONFLICT, Kind::Conflict, why));
    }
    Ok(located(&app, StatusCode::OK, asked.session))
}

pub(crate) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Ask(which): Ask<Which>,
) -> Result<Answer<SessionList>, Problem> {
    let owner = which.owner.as_deref().map(|text| listed_owner(&app, &caller, text)).transpose()?;
    let limit = which.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=Page::LIMIT_MAX).contains(&limit) {
        return Err(Problem::invalid("limit", "is not between 1 and 1,000"));
    }
    let filter = Filter {
        owner,
        phase: which.phase,
        template: which.template,
        label: which.label,
        live: which.live,
        ..Filter::default()
    };
    let page = Page { limit, after: which.page };
    let found = app.engine.sessions(&caller, filter, &page).await?;
    let sessions = found.sessions.into_iter().map(|s| SessionView::of(&app.engine, s)).collect();
    Ok(Answer(SessionList { sessions, next: found.next }))
}

/// The owner whose sessions are asked for: oneself, or anybody for an operator.
fn listed_owner(app: &App, caller: &Caller, text: &str) -> Result<Owner, Problem> {
    let owner = app.realms.owner(text)?;
    if caller.role == Role::User && owner != caller.owner {
        return Err(Problem::forbidden("the sessions of others are for operators"));
    }
    Ok(owner)
}

pub(crate) async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    SessionPath(id): SessionPath,
) -> Result<Answer<SessionView>, Problem> {
    let session = app.engine.session(&caller, &id).await?;
    Ok(Answer(SessionView::of(&app.engine, session)))
}

pub(crate) async fn destroy(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    SessionPath(id): SessionPath,
) -> Result<Response, Problem> {
    let session = app.engine.destroy(&caller, &id, "asked for").await?;
    if session.is_live() {
        return Ok(accepted(&app, session));
    }
    Ok(Answer(SessionView::of(&app.engine, session)).into_response())
}

pub(crate) async fn stop(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    SessionPath(id): SessionPath,
) -> Result<Response, Problem> {
    Ok(accepted(&app, app.engine.stop(&caller, &id).await?))
}

pub(crate) async fn start(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    SessionPath(id): SessionPath,
) -> Result<Response, Problem> {
    Ok(accepted(&app, app.engine.start_session(&caller, &id).await?))
}

pub(crate) async fn restart(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    SessionPath(id): SessionPath,
) -> Result<Response, Problem> {
    Ok(accepted(&app, app.engine.restart(&caller, &id).await?))
}

pub(crate) async fn extend(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    SessionPath(id): SessionPath,
    Json(more): Json<MoreTime>,
) -> Result<Answer<SessionView>, Problem> {
    let by = Duration::from_secs(more.seconds);
    let session = app.engine.extend(&caller, &id, by).await?;
    Ok(Answer(SessionView::of(&app.engine, session)))
}

pub(super) fn accepted(app: &App, session: Session) -> Response {
    located(app, StatusCode::ACCEPTED, session)
}

fn located(app: &App, status: StatusCode, session: Session) -> Response {
    let at = format!("/api/v1/sessions/{}", session.id);
    let view = SessionView::of(&app.engine, session);
    (status, [(header::LOCATION, at)], Answer(view)).into_response()
}
