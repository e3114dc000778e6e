//! What somebody sees of themselves: where they have signed in, and the keys that speak for them.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use daas_core::access::SignIn;
use http::StatusCode;

use super::keys::{self, KeyRow};
use super::sign_in::identity;
use super::{Frame, Words, page};
use crate::access;
use crate::app::App;
use crate::problem::Problem;

struct Row {
    id: String,
    address: String,
    agent: String,
    seen: String,
    is_this: bool,
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    f: Frame,
    owner: String,
    role: &'static str,
    /// Whether a second factor can be asked of them here.
    takes_factor: bool,
    sign_ins: Vec<Row>,
    keys: Vec<KeyRow>,
    /// The roles that a key of theirs may have.
    roles: Vec<&'static str>,
    /// Why a key was not made, and how it was to be called.
    failure: Option<String>,
    key_name: String,
}

/// Why what was asked for on the page was not done.
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) said: String,
    pub(super) key_name: String,
}

pub(crate) async fn show(
    State(app): State<App>,
    Extension(sign_in): Extension<SignIn>,
    w: Words,
) -> Result<Response, Problem> {
    account_page(&app, w, &sign_in, None).await
}

/// The page, with what went wrong on it.
pub(super) async fn account_page(
    app: &App,
    w: Words,
    sign_in: &SignIn,
    failure: Option<Failure>,
) -> Result<Response, Problem> {
    let all = app.engine.store().sign_ins().sign_ins_of(&sign_in.owner).await?;
    let now = app.engine.clock().now();
    let row = |one: SignIn| Row {
        is_this: one.id == sign_in.id,
        id: one.id,
        address: one.address.to_string(),
        agent: one.agent,
        seen: one.seen_at.strftime("%F %H:%M UTC").to_string(),
    };
    let status = failure.as_ref().map_or(StatusCode::OK, |failure| failure.status);
    let (failure, key_name) = failure.map(|failure| (failure.said, failure.key_name)).unzip();
    let mut shown = page(&AccountPage {
        f: Frame::new(app, w, Some(sign_in)),
        owner: sign_in.owner.to_string(),
        role: access::name(sign_in.role),
        takes_factor: identity(app)?.takes_second_factor(&sign_in.owner),
        sign_ins: all.into_iter().filter(|one| one.ends_at > now).map(row).collect(),
        keys: keys::rows(app, &sign_in.owner).await?,
        roles: keys::roles(sign_in.role).collect(),
        failure,
        key_name: key_name.unwrap_or_default(),
    })?;
    *shown.status_mut() = status;
    Ok(shown)
}

pub(crate) async fn end_sign_in(
    State(app): State<App>,
    Extension(sign_in): Extension<SignIn>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    if !app.engine.store().sign_ins().end_sign_in(&sign_in.owner, &id).await? {
        return Err(Problem::not_found("there is no such sign-in of yours"));
    }
    app.gateway.signed_out(&sign_in.owner, &id);
    tracing::info!(owner = %sign_in.owner, id, "a sign-in was ended");
    Ok(Redirect::to("/account").into_response())
}
