//! `POST /api/session/destroy`: answers after proof that nothing is left.

use axum::Json as Answer;
use axum::extract::State;
use daas_core::ids::SessionId;
use daas_core::session::{Phase, Session};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{REALM, caller, failed, narrowed, until};
use crate::app::App;
use crate::audit;
use crate::body::Json;
use crate::problem::Problem;

/// Which session to end.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct CompatEnd {
    #[schema(required = true)]
    session_id: Option<String>,
}

/// A session that is gone.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CompatDestroyed {
    session_id: String,
    /// Always `destroyed`.
    status: &'static str,
}

pub(crate) async fn destroy(
    State(app): State<App>,
    body: Result<Json<CompatEnd>, Problem>,
) -> Result<Answer<CompatDestroyed>, Problem> {
    let Json(end) = body.map_err(narrowed)?;
    let text = end.session_id.filter(|id| !id.is_empty());
    let text = text.ok_or_else(|| Problem::invalid("session_id", "is required"))?;
    let deadline = app.config.compat.create_deadline;
    let late = |why: String| failed("Session destruction failed", format!("{text}: {why}"));
    tokio::select! {
        gone = tokio::time::timeout(deadline, gone(&app, &text)) => {
            let why = |_| late(format!("its end is not proved after {} s", deadline.as_secs()));
            gone.map_err(why)??;
        }
        () = app.stopping.cancelled() => {
            return Err(late("the server is stopping; its end is not proved".to_owned()));
        }
    }
    Ok(Answer(CompatDestroyed { session_id: text, status: "destroyed" }))
}

/// Asks for the end of a session and waits for its proof.
async fn gone(app: &App, text: &str) -> Result<(), Problem> {
    let session = find(app, text).await?;
    audit::session(&session.id);
    if session.is_live() {
        let owner = session.owner.ok_or_else(|| unknown(text))?;
        let wished = app.engine.destroy(&caller(owner), &session.id, "asked for").await;
        wished.map_err(|error| narrowed(error.into()))?;
        until(app, &session.id, |session| session.phase == Phase::Ended).await?;
    }
    Ok(())
}

/// The session of that id, if it was asked for through this API.
async fn find(app: &App, text: &str) -> Result<Session, Problem> {
    let id = SessionId::new(text).map_err(|_| unknown(text))?;
    let found = app.engine.store().get(&id).await.map_err(|error| narrowed(error.into()))?;
    let ours = |s: &Session| s.owner.as_ref().is_some_and(|owner| owner.realm == REALM);
    found.filter(ours).ok_or_else(|| unknown(text))
}

fn unknown(text: &str) -> Problem {
    let shown: String = text.chars().take(80).collect();
    Problem::invalid("session_id", format!("there is no session {shown:?}"))
}
