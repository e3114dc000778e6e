//! Signing in and out.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use daas_core::Kind;
use daas_core::access::SignIn;
use daas_core::secret::Secret;
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

use super::{Frame, Words, own_path, page};
use crate::access::Origin;
use crate::app::App;
use crate::body::{Ask, Form};
use crate::identity::{Denied, Identity, Presented, cookie};
use crate::problem::Problem;

/// Where to go afterwards.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Next {
    next: Option<String>,
}

/// What the form sends.
#[derive(Debug, Deserialize)]
pub(crate) struct Given {
    name: String,
    password: Secret<String>,
    realm: Option<String>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "sign-in.html")]
struct SignInPage {
    f: Frame,
    /// Realms to choose from, when there is a choice; whether each is the chosen one.
    realms: Vec<(String, bool)>,
    name: String,
    next: String,
    failure: Option<String>,
}

fn identity(app: &App) -> Result<&Identity, Problem> {
    app.identity.as_deref().ok_or_else(|| {
        Problem::not_found("nobody can sign in here: no source of identities is configured")
    })
}

fn form(
    app: &App,
    w: Words,
    given: (&str, Option<&str>, Option<&str>),
    failure: Option<String>,
) -> Result<Response, Problem> {
    let (name, realm, next) = given;
    let mut realms: Vec<(String, bool)> =
        identity(app)?.realms().map(|known| (known.to_owned(), realm == Some(known))).collect();
    if realms.len() < 2 {
        realms.clear();
    }
    page(&SignInPage {
        f: Frame::new(app, w, None),
        realms,
        name: name.to_owned(),
        next: own_path(next).to_owned(),
        failure,
    })
}

pub(crate) async fn ask(
    State(app): State<App>,
    w: Words,
    Ask(next): Ask<Next>,
) -> Result<Response, Problem> {
    form(&app, w, ("", None, next.next.as_deref()), None)
}

pub(crate) async fn sign_in(
    State(app): State<App>,
    Extension(origin): Extension<Origin>,
    w: Words,
    headers: HeaderMap,
    Form(given): Form<Given>,
) -> Result<Response, Problem> {
    let identity = identity(&app)?;
    let agent = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok());
    let presented = Presented {
        name: &given.name,
        password: given.password,
        realm: given.realm.as_deref(),
        address: origin.client,
        agent: agent.unwrap_or_default(),
    };
    let sign_ins = app.engine.store().sign_ins();
    let clock = app.engine.clock();
    let denied = match identity.sign_in(presented, sign_ins.as_ref(), clock.as_ref()).await {
        Ok((token, _)) => {
            let mut response = Redirect::to(own_path(given.next.as_deref())).into_response();
            let cookie = cookie::give(&token, origin.secure, identity.lifetime());
            response.headers_mut().append(header::SET_COOKIE, cookie);
            return Ok(response);
        }
        Err(denied) => denied,
    };
    let (status, said, wait) = match denied {
        Denied::Wrong => (StatusCode::UNAUTHORIZED, w.t("sign-in-wrong"), None),
        Denied::NotEntitled => (StatusCode::FORBIDDEN, w.t("sign-in-not-entitled"), None),
        Denied::TooMany(wait) => {
            let minutes = wait.as_secs().div_ceil(60).max(1);
            let said = w.with("sign-in-too-many", "minutes", minutes);
            (StatusCode::TOO_MANY_REQUESTS, said, Some(wait))
        }
        Denied::NeedsMore => (StatusCode::FORBIDDEN, w.t("sign-in-needs-more"), None),
        Denied::Away => (StatusCode::SERVICE_UNAVAILABLE, w.t("sign-in-away"), None),
    };
    let again = (given.name.as_str(), given.realm.as_deref(), given.next.as_deref());
    let mut response = form(&app, w, again, Some(said))?;
    *response.status_mut() = status;
    if let Some(wait) = wait {
        response.headers_mut().insert(header::RETRY_AFTER, wait.as_secs().max(1).into());
    }
    Ok(response)
}

pub(crate) async fn sign_out(
    State(app): State<App>,
    Extension(origin): Extension<Origin>,
    Extension(sign_in): Extension<SignIn>,
) -> Result<Response, Problem> {
    let ended = app.engine.store().sign_ins().end_sign_in(&sign_in.owner, &sign_in.id).await?;
    if !ended {
        return Err(Problem::new(StatusCode::CONFLICT, Kind::Conflict, "it has ended already"));
    }
    app.gateway.signed_out(&sign_in.owner, &sign_in.id);
    tracing::info!(owner = %sign_in.owner, id = sign_in.id, "signed out");
    let mut response = Redirect::to("/sign-in").into_response();
    response.headers_mut().append(header::SET_COOKIE, cookie::take_away(origin.secure));
    Ok(response)
}
