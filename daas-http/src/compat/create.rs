//! `POST /api/session/create`: blocks until the desktop is ready.

use axum::Json as Answer;
use axum::extract::State;
use daas_core::engine::{Ask, Asked, Caller};
use daas_core::ids::TemplateName;
use daas_core::owner::{Owner, Realms};
use daas_core::secret::Secret;
use daas_core::session::{Goal, Outcome, Phase, Session};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;

use super::wish::Awaited;
use super::{REALM, caller, failed, narrowed, until};
use crate::app::App;
use crate::audit;
use crate::body::Json;
use crate::problem::Problem;

/// A wish, as the earlier clients send it; what else they send is not looked at.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct CompatWish {
    /// Whose desktop it is to be; nobody verifies it.
    #[schema(required = true)]
    username: Option<String>,
    /// From which template; absent: the default.
    #[schema(value_type = Option<String>)]
    template: Option<TemplateName>,
    /// The local account to make in it.
    session_user: Option<String>,
    /// Its password.
    #[schema(value_type = Option<String>, format = Password)]
    session_password: Option<Secret<String>>,
}

/// A desktop that is ready.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CompatReady {
    session_id: String,
    vm_name: String,
    vm_ip: String,
    rdp_port: u16,
    username: String,
    session_user: Option<String>,
    /// Always `ready`.
    status: &'static str,
    message: String,
}

pub(crate) async fn create(
    State(app): State<App>,
    body: Result<Json<CompatWish>, Problem>,
) -> Result<Answer<CompatReady>, Problem> {
    let Json(wish) = body.map_err(narrowed)?;
    let username = wish.username.unwrap_or_default().trim().to_owned();
    if username.is_empty() {
        return Err(Problem::invalid("username", "is required"));
    }
    let caller = caller(owner(&username)?);
    audit::on_behalf_of(&caller.owner);
    let template = template(&app, &caller, wish.template)?;
    let ask = Ask {
        session_user: wish.session_user.filter(|user| !user.is_empty()),
        session_password: wish.session_password.filter(|p| !p.expose().is_empty()),
        ..Ask::for_template(template)
    };
    let deadline = app.config.compat.create_deadline;
    let until_then = Instant::now() + deadline;
    let asked = timeout_at(until_then, ask_for(&app, caller, ask)).await;
    // What comes of the ask later is ended by the task that made it.
    let late = |_| failed("Session creation failed", "the store does not answer");
    let awaited = asked.map_err(late)??;
    let id = awaited.id.clone();
    audit::session(&id);
    let settled = until(&app, &id, is_settled);
    let (reason, details) = tokio::select! {
        settled = timeout_at(until_then, settled) => match settled {
            Ok(session) => return handed_over(awaited, session, username).await,
            Err(_) => ("its deadline passed before it was ready", format!(
                "{id} was not ready within {} s; it is being destroyed", deadline.as_secs()
            )),
        },
        () = app.stopping.cancelled() => (
            "the server stopped before it was ready",
            format!("the server is stopping; {id} is being destroyed"),
        ),
    };
    awaited.give_up(reason).await;
    Err(failed("Session creation failed", details))
}

/// The answer for a session that is as far as it comes.
async fn handed_over(
    awaited: Awaited,
    session: Result<Session, Problem>,
    username: String,
) -> Result<Answer<CompatReady>, Problem> {
    // For an operator to look at, as its template says.
    let kept = session.as_ref().is_ok_and(|session| session.phase == Phase::Parked);
    match session.and_then(|session| ready(session, username)) {
        Ok(ready) => {
            awaited.keep();
            Ok(Answer(ready))
        }
        Err(problem) if kept => {
            awaited.keep();
            Err(problem)
        }
        Err(problem) => {
            awaited.give_up("it did not become ready").await;
            Err(problem)
        }
    }
}

/// The owner that `username` names; nobody verifies it.
fn owner(username: &str) -> Result<Owner, Problem> {
    let owner = Realms::default().owner_in(REALM, username);
    owner.map_err(|error| Problem::invalid("username", error.message()))
}

fn template(
    app: &App,
    caller: &Caller,
    wished: Option<TemplateName>,
) -> Result<TemplateName, Problem> {
    if let Some(name) = wished.or_else(|| app.config.compat.default_template.clone()) {
        return Ok(name);
    }
    match app.engine.templates_for(caller).as_slice() {
        [only] => Ok(only.name.clone()),
        [] => Err(failed("Session creation failed", "no template is configured")),
        several => {
            let names: Vec<_> = several.iter().map(|t| t.name.as_str()).collect();
            let why = format!("is required; there are: {}", names.join(", "));
            Err(Problem::invalid("template", why))
        }
    }
}

/// Asks in a task of its own: whatever moment the client goes away at, what was asked for is known
/// and ended.
async fn ask_for(app: &App, caller: Caller, ask: Ask) -> Result<Awaited, Problem> {
    let (tell, told) = oneshot::channel();
    let task_app = app.clone();
    app.tasks.spawn(async move {
        let asked = task_app.engine.ask(&caller, ask).await;
        let asked = asked.map(|Asked { session, .. }| Awaited::new(task_app, caller, session.id));
        // Nobody there to be told: what is dropped here ends itself.
        drop(tell.send(asked));
    });
    let gone = |_| failed("Session creation failed", "the request was dropped");
    told.await.map_err(gone)?.map_err(|error| narrowed(error.into()))
}

/// Whether waiting longer is of no use.
fn is_settled(session: &Session) -> bool {
    session.goal != Goal::Running
        || matches!(session.phase, Phase::Ready | Phase::Parked | Phase::Ended)
}

fn ready(session: Session, username: String) -> Result<CompatReady, Problem> {
    let there = session.goal == Goal::Running && session.phase == Phase::Ready;
    let Some(address) = session.address.filter(|_| there) else {
        return Err(failed("Session creation failed", why_not(&session)));
    };
    let message = match &session.unconfigured {
        None => format!("Session {} is ready", session.id),
        Some(why) => {
            format!("Session {} is handed over, but could not be configured: {why}", session.id)
        }
    };
    Ok(CompatReady {
        session_id: session.id.to_string(),
        vm_name: session.id.to_string(),
        vm_ip: address.to_string(),
        rdp_port: session.template.ports.rdp,
        username,
        session_user: session.account.map(|a| a.user),
        status: "ready",
        message,
    })
}

fn why_not(session: &Session) -> String {
    let failure = match &session.outcome {
        Some(Outcome::Failed { reason }) => Some(reason.clone()),
        _ => session.attempts.last_error.clone(),
    };
    let why = failure.unwrap_or_else(|| session.reason.clone());
    if session.phase == Phase::Ready && session.goal == Goal::Running {
        return format!("{} has no address: this API cannot hand it over", session.id);
    }
    format!("{} is {}: {why}", session.id, session.phase)
}
