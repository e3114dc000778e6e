//! API keys of one's own: made, shown once, listed, revoked.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use daas_core::Kind;
use daas_core::access::{ApiKey, Role, SignIn};
use daas_core::owner::Owner;
use http::StatusCode;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::account::{Failure, account_page};
use super::{Frame, Words, page};
use crate::access;
use crate::app::App;
use crate::audit;
use crate::body::Form;
use crate::problem::Problem;
use crate::v1::keys::mint_key;

/// How many keys may speak for one person.
const OF_ONE_MAX: u32 = 20;

/// A key to make, as the form sends it.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct NewKey {
    name: String,
    role: String,
    /// The last day; empty: none.
    #[serde(default)]
    ends: String,
}

/// A key to revoke.
#[derive(Debug, Deserialize)]
pub(crate) struct OldKey {
    name: String,
}

/// A key as the account page lists it.
pub(super) struct KeyRow {
    /// What it is revoked by.
    pub(super) name: String,
    /// What its owner calls it.
    pub(super) label: String,
    pub(super) role: &'static str,
    pub(super) made: String,
    pub(super) ends: Option<String>,
    pub(super) is_over: bool,
    pub(super) used: Option<String>,
}

#[derive(Template)]
#[template(path = "key-made.html")]
struct MadePage {
    f: Frame,
    label: String,
    key: String,
}

/// What the names of somebody's own keys begin with. Nobody else's do, nor an administrator's, which
/// are labels: they hold neither letter.
fn prefix(owner: &Owner) -> String {
    format!("{owner}/")
}

/// The keys that speak for somebody.
pub(super) async fn rows(app: &App, owner: &Owner) -> Result<Vec<KeyRow>, Problem> {
    let now = app.engine.clock().now();
    let day = |at: Timestamp| at.strftime("%F").to_string();
    let keys = app.engine.store().keys().keys_of(owner).await?;
    let row = |key: ApiKey| KeyRow {
        label: key.name.strip_prefix(&prefix(owner)).unwrap_or(&key.name).to_owned(),
        name: key.name,
        role: access::name(key.role),
        made: day(key.created_at),
        is_over: key.ends_at.is_some_and(|end| end <= now),
        ends: key.ends_at.map(day),
        used: key.used_at.map(day),
    };
    Ok(keys.into_iter().map(row).collect())
}

/// The roles that somebody's keys may have.
pub(super) fn roles(of: Role) -> impl Iterator<Item = &'static str> {
    [Role::User, Role::Operator, Role::Admin]
        .into_iter()
        .filter(move |r| *r <= of)
        .map(access::name)
}

/// The key that is asked for, or why it cannot be.
fn checked(
    wish: &NewKey,
    sign_in: &SignIn,
    now: Timestamp,
) -> Result<(daas_core::secret::Secret<String>, ApiKey), &'static str> {
    let roles = [Role::User, Role::Operator, Role::Admin];
    let role = roles.into_iter().find(|role| access::name(*role) == wish.role);
    let role = role.filter(|role| *role <= sign_in.role).ok_or("key-role-wrong")?;
    let ends_at = match wish.ends.trim() {
        "" => None,
        // To the end of that day.
        last => {
            let last: Date = last.parse().map_err(|_| "key-ends-wrong")?;
            let end = last.tomorrow().and_then(|day| day.to_zoned(TimeZone::UTC));
            Some(end.map_err(|_| "key-ends-wrong")?.timestamp())
        }
    };
    if ends_at.is_some_and(|end| end <= now) {
        return Err("key-ends-wrong");
    }
    let (owner, organisation) = (sign_in.owner.clone(), sign_in.organisation.clone());
    let minted = mint_key(wish.name.trim(), owner, organisation, role, now);
    let (text, mut key) = minted.map_err(|_| "key-name-wrong")?;
    key.name = format!("{}{}", prefix(&sign_in.owner), key.name);
    key.groups = sign_in.groups.clone();
    key.ends_at = ends_at;
    Ok((text, key))
}

pub(crate) async fn make_key(
    State(app): State<App>,
    Extension(sign_in): Extension<SignIn>,
    w: Words,
    Form(wish): Form<NewKey>,
) -> Result<Response, Problem> {
    let refused = async |status: StatusCode, said: String| {
        let failure = Failure { status, said, key_name: wish.name.clone() };
        account_page(&app, w, &sign_in, Some(failure)).await
    };
    let (text, key) = match checked(&wish, &sign_in, app.engine.clock().now()) {
        Ok(minted) => minted,
        Err("key-role-wrong") => {
            return refused(StatusCode::FORBIDDEN, w.t("key-role-wrong")).await;
        }
        Err("key-ends-wrong") => {
            return refused(StatusCode::BAD_REQUEST, w.t("key-ends-wrong")).await;
        }
        Err(_) => return refused(StatusCode::BAD_REQUEST, w.t("key-name-wrong")).await,
    };
    audit::subject(&*key.name);
    match app.engine.store().keys().add_key_within(&key, OF_ONE_MAX).await {
        Ok(()) => {}
        Err(error) if error.kind() == Kind::Conflict => {
            return refused(StatusCode::CONFLICT, w.t("key-taken")).await;
        }
        Err(error) if error.kind() == Kind::Exhausted => {
            let said = w.with("key-too-many", "most", OF_ONE_MAX);
            return refused(StatusCode::TOO_MANY_REQUESTS, said).await;
        }
        Err(error) => return Err(error.into()),
    }
    let role = access::name(key.role);
    tracing::info!(name = key.name, owner = %key.owner, role, "an API key was made by its owner");
    page(&MadePage {
        f: Frame::new(&app, w, Some(&sign_in)),
        label: wish.name.trim().to_owned(),
        key: text.expose().clone(),
    })
}

pub(crate) async fn revoke_key(
    State(app): State<App>,
    Extension(sign_in): Extension<SignIn>,
    Form(old): Form<OldKey>,
) -> Result<Response, Problem> {
    audit::subject(&*old.name);
    if !app.engine.store().keys().revoke_key_of(&sign_in.owner, &old.name).await? {
        return Err(Problem::not_found("there is no such API key of yours"));
    }
    tracing::info!(name = old.name, owner = %sign_in.owner, "an API key was revoked by its owner");
    Ok(Redirect::to("/account").into_response())
}
