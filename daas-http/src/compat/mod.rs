//! The API of the earlier Flask orchestrator: paths, bodies, keys and codes as its clients know
//! them. Its callers are known by their network only; they see and end what was asked for here.

mod create;
mod destroy;
mod list;
mod wish;

use std::time::Duration;

use axum::extract::Request;
use axum::response::{Html, IntoResponse, Response};
use daas_core::engine::Caller;
use daas_core::ids::SessionId;
use daas_core::owner::Owner;
use daas_core::session::Session;
use http::StatusCode;
use tokio::sync::watch;
use tokio::time::Instant;

pub(crate) use self::create::{CompatReady, CompatWish, create};
pub(crate) use self::destroy::{CompatDestroyed, CompatEnd, destroy};
pub(crate) use self::list::{CompatSession, list};
use crate::app::App;
use crate::problem::Problem;
use crate::routes::{self, Listener};

/// The realm of owners whose names nobody verified.
pub(crate) const REALM: &str = "compat";
/// How often a record that is waited for is read, should no wake-up come.
const LOOK_PERIOD: Duration = Duration::from_secs(5);

/// The least time between two looks: the news are everybody's, and a thousand who wait must not
/// read a thousand records at each.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// Whether the path pattern is one of this API's, whose refusals look differently.
pub(crate) fn is_route(pattern: &str) -> bool {
    routes::all().any(|r| r.listener == Listener::Compat && r.path == pattern)
}

/// Marks requests of the listener that serves nothing but this API: its page leads nowhere else.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Alone;

pub(crate) async fn page(request: Request) -> Response {
    match request.extensions().get::<Alone>() {
        Some(Alone) => Html(include_str!("../../assets/alone.html")).into_response(),
        None => Html(include_str!("../../assets/index.html")).into_response(),
    }
}

/// `owner` as a caller of the engine.
fn caller(owner: Owner) -> Caller {
    Caller {
        owner,
        organisation: daas_core::ids::Organisation::default(),
        role: daas_core::access::Role::User,
        groups: [].into(),
    }
}

/// A refusal as 400 or 500: this API has no others.
fn narrowed(problem: Problem) -> Problem {
    let status = match problem.status {
        StatusCode::TOO_MANY_REQUESTS => StatusCode::INTERNAL_SERVER_ERROR,
        status if status.is_server_error() => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    };
    let details = problem.details.or_else(|| Some(problem.error.clone()));
    Problem { status, details, retry_after: None, ..problem }
}

/// A failure of the server, with its details.
fn failed(error: &str, details: impl Into<String>) -> Problem {
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    Problem::new(status, daas_core::Kind::Unavailable, error).because(details)
}

/// Reads the record of `id` anew whenever the store has news, until it is as wished.
async fn until(
    app: &App,
    id: &SessionId,
    mut wished: impl FnMut(&Session) -> bool,
) -> Result<Session, Problem> {
    let mut news: watch::Receiver<_> = app.engine.store().watch();
    loop {
        news.borrow_and_update();
        match app.engine.store().get(id).await {
            Ok(Some(session)) if wished(&session) => return Ok(session),
            Ok(Some(_)) => {}
            Ok(None) => return Err(failed("The session is lost", format!("{id} has no record"))),
            // The store may come back; the deadline of the call bounds the wait.
            Err(error) => tracing::warn!(session = %id, error = error.chain(), "cannot look"),
        }
        let looked = Instant::now();
        // An error here is a store that ended: the next look tells.
        let _ = tokio::time::timeout(LOOK_PERIOD, news.changed()).await;
        tokio::time::sleep_until(looked + LOOK_PAUSE).await;
    }
}
