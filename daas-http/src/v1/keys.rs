//! `/api/v1/keys`: API keys, shown once and kept as hashes.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as Answer};
use daas_core::access::{ApiKey, Role};
use daas_core::engine::Caller;
use daas_core::ids::{Label, Organisation};
use daas_core::owner::Owner;
use daas_core::secret::{Secret, random_token, sha256_hex};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tracing::info;
use utoipa::ToSchema;

use crate::access::{self, KEY_PREFIX};
use crate::app::App;
use crate::audit;
use crate::body::Json;
use crate::problem::Problem;

/// A key to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    /// What it is called and revoked by: a DNS label, unique.
    #[schema(value_type = String)]
    name: Label,
    /// For whom it speaks: `name@realm`, `REALM\name`, or `name` in the deployment's own realm.
    owner: String,
    /// In which organisation; `default` unless said.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    organisation: Organisation,
    /// `user`, `operator` or `admin`.
    #[schema(value_type = String)]
    role: Role,
    /// The groups that it counts as being in, of its owner's realm: for templates that are for these
    /// alone. None unless said.
    #[serde(default)]
    groups: BTreeSet<String>,
    /// When it ends; when it is revoked unless said.
    #[serde(default)]
    ends_at: Option<Timestamp>,
}

/// A key, without the key itself.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyView {
    /// What it is called.
    pub(crate) name: String,
    /// For whom it speaks.
    pub(crate) owner: String,
    /// In which organisation.
    pub(crate) organisation: String,
    /// `user`, `operator` or `admin`.
    pub(crate) role: String,
    /// When it was made.
    pub(crate) created_at: Timestamp,
    /// When it ends; null: when it is revoked.
    pub(crate) ends_at: Option<Timestamp>,
    /// When it was used last, to the day; null: never, as far as is known.
    pub(crate) used_at: Option<Timestamp>,
}

/// A key just made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MadeKey {
    /// The key; it is not kept and cannot be shown again.
    #[schema(format = Password)]
    key: String,
    /// What it is called.
    name: String,
    /// For whom it speaks.
    owner: String,
    /// In which organisation.
    organisation: String,
    /// `user`, `operator` or `admin`.
    role: String,
    /// When it was made.
    created_at: Timestamp,
}

/// All keys.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyList {
    /// By name.
    keys: Vec<KeyView>,
}

/// A new key: its text, to be shown once, and its record, to be added to the store.
pub fn mint_key(
    name: &str,
    owner: Owner,
    organisation: Organisation,
    role: Role,
    now: Timestamp,
) -> daas_core::Result<(Secret<String>, ApiKey)> {
    let name = Label::new(name)?.to_string();
    let text = format!("{KEY_PREFIX}{}", random_token().expose());
    let hash = sha256_hex(&text);
    let key = ApiKey {
        name,
        hash,
        owner,
        organisation,
        role,
        groups: [].into(),
        created_at: now,
        ends_at: None,
        used_at: None,
    };
    Ok((Secret::new(text), key))
}

pub(crate) async fn list(State(app): State<App>) -> Result<Answer<KeyList>, Problem> {
    let keys = app.engine.store().keys().keys().await?;
    let keys = keys.into_iter().map(|key| KeyView {
        name: key.name,
        owner: key.owner.to_string(),
        organisation: key.organisation.to_string(),
        role: access::name(key.role).to_owned(),
        created_at: key.created_at,
        ends_at: key.ends_at,
        used_at: key.used_at,
    });
    Ok(Answer(KeyList { keys: keys.collect() }))
}

pub(crate) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Json(new): Json<NewKey>,
) -> Result<Response, Problem> {
    audit::subject(new.name.as_str());
    let owner = app.realms.owner(&new.owner)?;
    let now = app.engine.clock().now();
    if new.ends_at.is_some_and(|end| end <= now) {
        return Err(Problem::invalid("ends_at", "lies in the past"));
    }
    let (text, mut key) = mint_key(new.name.as_str(), owner, new.organisation, new.role, now)?;
    key.groups = new.groups.iter().map(|group| group.trim().to_lowercase()).collect();
    key.ends_at = new.ends_at;
    app.engine.store().keys().add_key(&key).await?;
    info!(name = key.name, owner = %key.owner, role = access::name(key.role), by = %caller.owner,
        "an API key was made");
    let made = MadeKey {
        key: text.expose().clone(),
        name: key.name,
        owner: key.owner.to_string(),
        organisation: key.organisation.to_string(),
        role: access::name(key.role).to_owned(),
        created_at: key.created_at,
    };
    Ok((StatusCode::CREATED, Answer(made)).into_response())
}

pub(crate) async fn revoke(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    if !app.engine.store().keys().revoke_key(&name).await? {
        return Err(Problem::not_found("there is no key of that name"));
    }
    info!(name, by = %caller.owner, "an API key was revoked");
    Ok(StatusCode::NO_CONTENT)
}
