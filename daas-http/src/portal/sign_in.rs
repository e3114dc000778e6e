//! Signing in and out.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use daas_core::Kind;
use daas_core::access::SignIn;
use daas_core::secret::Secret;
use http::{HeaderMap, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::{Frame, Words, own_path, page};
use crate::access::Origin;
use crate::app::App;
use crate::body::{Ask, Form};
use crate::identity::cookie::Cookie;
use crate::identity::waiting::WAITS;
use crate::identity::{Denied, Entered, Identity, Means, Presented};
use crate::problem::Problem;

/// Where to go afterwards.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Next {
    pub(super) next: Option<String>,
}

/// What the form sends.
#[derive(Debug, Deserialize)]
pub(crate) struct Given {
    name: String,
    password: Secret<String>,
    realm: Option<String>,
    next: Option<String>,
}

/// A provider to go to.
struct Provider {
    href: String,
    label: String,
}

#[derive(Template)]
#[template(path = "sign-in.html")]
struct SignInPage {
    f: Frame,
    /// Whether anybody is known by a name and a password.
    by_password: bool,
    /// Realms to choose from, when there is a choice; whether each is the chosen one.
    realms: Vec<(String, bool)>,
    providers: Vec<Provider>,
    name: String,
    next: String,
    failure: Option<String>,
}

pub(super) fn identity(app: &App) -> Result<&Identity, Problem> {
    app.identity.as_deref().filter(|identity| identity.signs_in()).ok_or_else(|| {
        Problem::not_found("nobody can sign in here: no source of identities is configured")
    })
}

/// What sign-ins are made with here.
pub(super) fn means(app: &App) -> Means<'_> {
    let engine = &app.engine;
    let (sign_ins, factors) = (engine.store().sign_ins(), engine.store().second_factors());
    Means { sign_ins, factors, clock: engine.clock().as_ref(), key: engine.key() }
}

/// What a browser calls itself.
pub(super) fn agent(headers: &HeaderMap) -> &str {
    headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

/// What the form shows when it is shown again.
#[derive(Default)]
pub(super) struct Again<'a> {
    pub(super) name: &'a str,
    pub(super) realm: Option<&'a str>,
    pub(super) next: Option<&'a str>,
}

fn form(
    app: &App,
    w: Words,
    again: &Again<'_>,
    failure: Option<String>,
) -> Result<Response, Problem> {
    let identity = identity(app)?;
    let mut realms: Vec<(String, bool)> =
        identity.realms().map(|known| (known.to_owned(), again.realm == Some(known))).collect();
    let by_password = !realms.is_empty();
    if realms.len() < 2 {
        realms.clear();
    }
    let next = own_path(again.next);
    let back = utf8_percent_encode(next, NON_ALPHANUMERIC);
    let provider = |(realm, label): (&str, Option<&str>)| Provider {
        href: format!("/sign-in/oidc/{}?next={back}", utf8_percent_encode(realm, NON_ALPHANUMERIC)),
        label: label.map_or_else(|| w.with("sign-in-by", "realm", realm), str::to_owned),
    };
    page(&SignInPage {
        f: Frame::new(app, w, None),
        by_password,
        realms,
        providers: identity.providers().map(provider).collect(),
        name: again.name.to_owned(),
        next: next.to_owned(),
        failure,
    })
}

/// The form again, with why nobody was signed in.
pub(super) fn refused(
    app: &App,
    w: Words,
    denied: &Denied,
    again: &Again<'_>,
) -> Result<Response, Problem> {
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
        Denied::NotBegun => (StatusCode::CONFLICT, w.t("provider-not-begun"), None),
        Denied::ByProvider => (StatusCode::FORBIDDEN, w.t("provider-refused"), None),
        Denied::Untrusted => (StatusCode::FORBIDDEN, w.t("provider-untrusted"), None),
        Denied::ProviderAway => (StatusCode::SERVICE_UNAVAILABLE, w.t("provider-away"), None),
        Denied::NotSetUp => (StatusCode::SERVICE_UNAVAILABLE, w.t("provider-not-set-up"), None),
    };
    let mut response = form(app, w, again, Some(said))?;
    *response.status_mut() = status;
    if let Some(wait) = wait {
        response.headers_mut().insert(header::RETRY_AFTER, wait.as_secs().max(1).into());
    }
    Ok(response)
}

/// On to where somebody wished to go, signed in.
pub(super) fn entered(
    identity: &Identity,
    token: &Secret<String>,
    next: &str,
    secure: bool,
) -> Response {
    let mut response = Redirect::to(own_path(Some(next))).into_response();
    let cookie = Cookie::SignIn.give(token, secure, identity.lifetime());
    response.headers_mut().append(header::SET_COOKIE, cookie);
    response
}

pub(crate) async fn ask(
    State(app): State<App>,
    w: Words,
    Ask(next): Ask<Next>,
) -> Result<Response, Problem> {
    form(&app, w, &Again { next: next.next.as_deref(), ..Again::default() }, None)
}

pub(crate) async fn sign_in(
    State(app): State<App>,
    Extension(origin): Extension<Origin>,
    w: Words,
    headers: HeaderMap,
    Form(given): Form<Given>,
) -> Result<Response, Problem> {
    let identity = identity(&app)?;
    let next = given.next.as_deref();
    let presented = Presented {
        name: &given.name,
        password: given.password,
        realm: given.realm.as_deref(),
        next: own_path(next),
        address: origin.client,
        agent: agent(&headers),
    };
    match identity.sign_in(presented, &means(&app)).await {
        Ok(Entered::In(token)) => Ok(entered(identity, &token, own_path(next), origin.secure)),
        Ok(Entered::Waits(token)) => {
            let mut response = Redirect::to("/sign-in/second-factor").into_response();
            let cookie = Cookie::Waiting.give(&token, origin.secure, WAITS);
            response.headers_mut().append(header::SET_COOKIE, cookie);
            Ok(response)
        }
        Err(denied) => {
            let again = Again { name: &given.name, realm: given.realm.as_deref(), next };
            refused(&app, w, &denied, &again)
        }
    }
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
    response.headers_mut().append(header::SET_COOKIE, Cookie::SignIn.take_away(origin.secure));
    Ok(response)
}
