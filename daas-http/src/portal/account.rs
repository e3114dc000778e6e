//! What somebody sees of themselves: where they have signed in.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use daas_core::access::SignIn;

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
    sign_ins: Vec<Row>,
}

pub(crate) async fn show(
    State(app): State<App>,
    Extension(sign_in): Extension<SignIn>,
    w: Words,
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
    page(&AccountPage {
        f: Frame::new(&app, w, Some(&sign_in)),
        owner: sign_in.owner.to_string(),
        role: access::name(sign_in.role),
        sign_ins: all.into_iter().filter(|one| one.ends_at > now).map(row).collect(),
    })
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
