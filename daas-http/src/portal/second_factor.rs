//! The second factor: given at sign-in, enrolled, renewed and taken away on the account page.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use daas_core::access::SignIn;
use daas_core::owner::Owner;
use daas_core::secret::Secret;
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

use super::qr::{Drawing, draw};
use super::sign_in::{Again, agent, entered, identity, means, refused};
use super::{Frame, Words, own_path, page};
use crate::access::Origin;
use crate::app::App;
use crate::body::Form;
use crate::identity::cookie::Cookie;
use crate::identity::second_factor::{NotProved, Offer};
use crate::problem::Problem;

/// What a form sends.
#[derive(Debug, Deserialize)]
pub(crate) struct Given {
    code: Secret<String>,
    /// The offer that the code belongs to, when one is enrolled.
    offer: Option<String>,
}

/// An offer as a page shows it.
struct Shown {
    secret: String,
    url: String,
    sealed: String,
    drawing: Option<Drawing>,
}

impl From<Offer> for Shown {
    fn from(offer: Offer) -> Self {
        let groups = offer.secret.as_bytes().chunks(4).map(String::from_utf8_lossy);
        let secret = groups.collect::<Vec<_>>().join(" ");
        Self { secret, drawing: draw(&offer.url), url: offer.url, sealed: offer.sealed }
    }
}

/// Asks for a code at sign-in, or for the first one of a new secret.
#[derive(Template)]
#[template(path = "sign-in-code.html")]
struct CodePage {
    f: Frame,
    offer: Option<Shown>,
    failure: Option<String>,
}

/// What there is, on the account page.
#[derive(Template)]
#[template(path = "account-second-factor.html")]
struct FactorPage {
    f: Frame,
    /// When it was enrolled, and how many recovery codes are left; absent: there is none.
    enrolled: Option<(String, u64)>,
    offer: Option<Shown>,
    failure: Option<String>,
}

/// Recovery codes, this once.
#[derive(Template)]
#[template(path = "recovery-codes.html")]
struct CodesPage {
    f: Frame,
    codes: Vec<String>,
    next: String,
}

/// The status of a failure, and what people are told.
fn told(w: Words, failure: &NotProved) -> (StatusCode, String) {
    match failure {
        NotProved::Wrong => (StatusCode::UNAUTHORIZED, w.t("code-wrong")),
        NotProved::TooMany(wait) => {
            let minutes = wait.as_secs().div_ceil(60).max(1);
            (StatusCode::TOO_MANY_REQUESTS, w.with("code-too-many", "minutes", minutes))
        }
        NotProved::Stale => (StatusCode::CONFLICT, w.t("code-stale")),
        NotProved::Absent => (StatusCode::CONFLICT, w.t("code-absent")),
        NotProved::Away => (StatusCode::SERVICE_UNAVAILABLE, w.t("code-away")),
    }
}

fn with_status(mut response: Response, status: StatusCode) -> Response {
    *response.status_mut() = status;
    response
}

fn codes_page(
    app: &App,
    w: Words,
    sign_in: Option<&SignIn>,
    codes: &[Secret<String>],
    next: &str,
) -> Result<Response, Problem> {
    let codes = codes.iter().map(|code| code.expose().clone()).collect();
    page(&CodesPage { f: Frame::new(app, w, sign_in), codes, next: next.to_owned() })
}

// -- at sign-in

/// The page that asks somebody who waits.
async fn asking(
    app: &App,
    w: Words,
    owner: &Owner,
    given: Option<&str>,
    failure: Option<&NotProved>,
) -> Result<Response, Problem> {
    let means = means(app);
    let has = means.factors.second_factor_of(owner).await?.is_some();
    let offer = if has { None } else { Some(offer(app, owner, given)?) };
    let (status, failure) = match failure.map(|failure| told(w, failure)) {
        Some((status, said)) => (status, Some(said)),
        None => (StatusCode::OK, None),
    };
    let shown = page(&CodePage { f: Frame::new(app, w, None), offer, failure })?;
    Ok(with_status(shown, status))
}

/// The offer that was given, as long as it is good, else a new one.
fn offer(app: &App, owner: &Owner, given: Option<&str>) -> Result<Shown, Problem> {
    let (identity, means, brand) = (identity(app)?, means(app), &app.config.portal.name);
    let again = given.and_then(|sealed| identity.offer_again(owner, brand, sealed, &means));
    let offer = match again {
        Some(offer) => offer,
        None => identity.offer(owner, brand, &means)?,
    };
    Ok(offer.into())
}

pub(crate) async fn ask_code(
    State(app): State<App>,
    Extension(origin): Extension<Origin>,
    w: Words,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let token = Cookie::Waiting.value(&headers, origin.secure);
    match identity(&app)?.waiting(token) {
        Some(waiting) => asking(&app, w, &waiting.person.owner, None, None).await,
        None => Ok(Redirect::to("/sign-in").into_response()),
    }
}

pub(crate) async fn give_code(
    State(app): State<App>,
    Extension(origin): Extension<Origin>,
    w: Words,
    headers: HeaderMap,
    Form(given): Form<Given>,
) -> Result<Response, Problem> {
    let (identity, means) = (identity(&app)?, means(&app));
    let token = Cookie::Waiting.value(&headers, origin.secure).unwrap_or_default();
    let Some(waiting) = identity.waiting(Some(token)) else {
        return Ok(Redirect::to("/sign-in").into_response());
    };
    let (owner, next) = (waiting.person.owner.clone(), waiting.next.clone());
    let code = given.code.expose();
    let proved = match &given.offer {
        None => identity.prove(&owner, code, origin.client, &means).await.map(|()| Vec::new()),
        Some(offer) => identity.enrol(&owner, (offer, code), origin.client, &means).await,
    };
    let codes = match proved {
        Ok(codes) => codes,
        Err(failure) => {
            return asking(&app, w, &owner, given.offer.as_deref(), Some(&failure)).await;
        }
    };
    let from = (origin.client, agent(&headers));
    let (signed_in, sign_in) = match identity.waited(token, waiting, from, &means).await {
        Ok(done) => done,
        Err(denied) => return refused(&app, w, &denied, &Again::default()),
    };
    let mut response = entered(identity, &signed_in, &next, origin.secure);
    if !codes.is_empty() {
        let shown = codes_page(&app, w, Some(&sign_in), &codes, own_path(Some(&next)))?;
        let cookies = std::mem::take(response.headers_mut());
        response = shown;
        for cookie in cookies.get_all(header::SET_COOKIE) {
            response.headers_mut().append(header::SET_COOKIE, cookie.clone());
        }
    }
    let over = Cookie::Waiting.take_away(origin.secure);
    response.headers_mut().append(header::SET_COOKIE, over);
    Ok(response)
}

// -- on the account page

async fn account_page(
    app: &App,
    w: Words,
    sign_in: &SignIn,
    given: Option<&str>,
    failure: Option<&NotProved>,
) -> Result<Response, Problem> {
    if !identity(app)?.takes_second_factor(&sign_in.owner) {
        return Err(Problem::not_found(w.t("factor-elsewhere")));
    }
    let factor = app.engine.store().second_factors().second_factor_of(&sign_in.owner).await?;
    let offer = if factor.is_some() { None } else { Some(offer(app, &sign_in.owner, given)?) };
    let enrolled = factor.map(|factor| {
        let since = factor.created_at.strftime("%F %H:%M UTC").to_string();
        (since, factor.recovery_codes.len() as u64)
    });
    let (status, failure) = match failure.map(|failure| told(w, failure)) {
        Some((status, said)) => (status, Some(said)),
        None => (StatusCode::OK, None),
    };
    let f = Frame::new(app, w, Some(sign_in));
    Ok(with_status(page(&FactorPage { f, enrolled, offer, failure })?, status))
}

pub(crate) async fn show_factor(
    State(app): State<App>,
    Extension(sign_in): Extension<SignIn>,
    w: Words,
) -> Result<Response, Problem> {
    account_page(&app, w, &sign_in, None, None).await
}

pub(crate) async fn enrol_factor(
    State(app): State<App>,
    Extension(sign_in): Extension<SignIn>,
    Extension(origin): Extension<Origin>,
    w: Words,
    Form(given): Form<Given>,
) -> Result<Response, Problem> {
    let (identity, means) = (identity(&app)?, means(&app));
    if !identity.takes_second_factor(&sign_in.owner) {
        return Err(Problem::not_found(w.t("factor-elsewhere")));
    }
    let offer = given.offer.as_deref().unwrap_or_default();
    let code = given.code.expose();
    match identity.enrol(&sign_in.owner, (offer, code), origin.client, &means).await {
        Ok(codes) => codes_page(&app, w, Some(&sign_in), &codes, "/account/second-factor"),
        Err(failure) => account_page(&app, w, &sign_in, Some(offer), Some(&failure)).await,
    }
}

pub(crate) async fn renew_codes(
    State(app): State<App>,
    Extension(sign_in): Extension<SignIn>,
    Extension(origin): Extension<Origin>,
    w: Words,
    Form(given): Form<Given>,
) -> Result<Response, Problem> {
    let (identity, means) = (identity(&app)?, means(&app));
    let (owner, code) = (&sign_in.owner, given.code.expose());
    let renewed = async {
        identity.prove(owner, code, origin.client, &means).await?;
        identity.renew_recovery_codes(owner, &means).await
    };
    match renewed.await {
        Ok(codes) => codes_page(&app, w, Some(&sign_in), &codes, "/account/second-factor"),
        Err(failure) => account_page(&app, w, &sign_in, None, Some(&failure)).await,
    }
}

pub(crate) async fn remove_factor(
    State(app): State<App>,
    Extension(sign_in): Extension<SignIn>,
    Extension(origin): Extension<Origin>,
    w: Words,
    Form(given): Form<Given>,
) -> Result<Response, Problem> {
    let (identity, means) = (identity(&app)?, means(&app));
    let owner = &sign_in.owner;
    let proved = identity.prove(owner, given.code.expose(), origin.client, &means).await;
    if let Err(failure) = proved {
        return account_page(&app, w, &sign_in, None, Some(&failure)).await;
    }
    means.factors.remove_second_factor(owner).await?;
    tracing::info!(%owner, address = %origin.client, "a second factor was taken away by its owner");
    Ok(Redirect::to("/account").into_response())
}
