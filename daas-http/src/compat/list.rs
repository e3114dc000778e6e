//! `GET /api/sessions`: an object, keyed by session id.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use daas_core::session::Session;
use daas_core::store::{Filter, Page};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use utoipa::ToSchema;

use super::{REALM, narrowed};
use crate::app::App;
use crate::problem::Problem;

/// The most sessions that are listed.
const SESSIONS_MAX: usize = 1_000;
/// The most pages that are read for them: sessions of the modern API are passed over.
const PAGES_MAX: usize = 20;
/// How long an ended session stays in the list.
const ENDED_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Local time as the earlier orchestrator wrote it: without zone.
const LOCAL: &str = "%Y-%m-%dT%H:%M:%S%.6f";

/// A session, as the earlier clients read it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CompatSession {
    session_id: String,
    vm_name: String,
    /// Null until it is known.
    vm_ip: Option<String>,
    username: String,
    session_user: Option<String>,
    /// Local time without zone.
    created_at: String,
    /// `active` or `destroyed`.
    status: &'static str,
    /// Local time without zone; there for `destroyed` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    destroyed_at: Option<String>,
}

pub(crate) async fn list(
    State(app): State<App>,
) -> Result<Answer<BTreeMap<String, CompatSession>>, Problem> {
    let mut listed = BTreeMap::new();
    let now = app.engine.clock().now();
    let ended_since = now.checked_sub(ENDED_FOR).unwrap_or(Timestamp::MIN);
    let live = Filter { live: Some(true), ..Filter::default() };
    let ended = Filter { ended_since: Some(ended_since), ..Filter::default() };
    for filter in [live, ended] {
        let mut page = Page::first(Page::LIMIT_MAX);
        for _ in 0..PAGES_MAX {
            let found = app.engine.store().list(&filter, &page).await;
            let found = found.map_err(|error| narrowed(error.into()))?;
            for session in found.sessions {
                if listed.len() < SESSIONS_MAX
                    && let Some(shown) = shown(session, &app.zone)
                {
                    listed.insert(shown.session_id.clone(), shown);
                }
            }
            page.after = found.next;
            if page.after.is_none() || listed.len() >= SESSIONS_MAX {
                break;
            }
        }
    }
    Ok(Answer(listed))
}

/// The session as it is shown; absent when it was not asked for through this API.
fn shown(session: Session, zone: &TimeZone) -> Option<CompatSession> {
    let owner = session.owner.filter(|owner| owner.realm == REALM)?;
    let local = |at: Timestamp| at.to_zoned(zone.clone()).strftime(LOCAL).to_string();
    Some(CompatSession {
        session_id: session.id.to_string(),
        vm_name: session.id.to_string(),
        vm_ip: session.address.map(|a| a.to_string()),
        username: owner.name,
        session_user: session.account.map(|a| a.user),
        created_at: local(session.created_at),
        status: if session.ended_at.is_some() { "destroyed" } else { "active" },
        destroyed_at: session.ended_at.map(local),
    })
}
