//! Whether the process, its store and its hypervisors are there, and a few figures.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use daas_core::engine::Engine;
use daas_core::provisioner::Provisioner;
use daas_core::{Error, Kind};
use futures::future::join_all;
use http::StatusCode;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use utoipa::ToSchema;

use crate::app::App;
use crate::problem::Problem;

/// How long something may take to say that it is there.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);
/// How long what was seen is told again, so that probes do not weigh on the hypervisors.
const LOOK_PERIOD: Duration = Duration::from_secs(5);

/// The process is up.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// Always `up`.
    status: &'static str,
}

/// Whether all that is needed answers.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Ready {
    /// Whether all do.
    pub(crate) ready: bool,
    /// What does not: `store`, or a provisioner's name, and why.
    pub(crate) away: BTreeMap<String, String>,
}

/// The last look, shared by all who ask within its period.
#[derive(Debug, Default)]
pub(crate) struct Readiness(Mutex<Option<(Instant, Ready)>>);

/// A few figures.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Figures {
    /// Sessions ever asked for.
    total_sessions_created: u64,
    /// Sessions that have not ended.
    active_sessions: u64,
    /// How long ended sessions lasted on average, in seconds; 0 before the first.
    avg_session_duration: f64,
    /// Sessions that ended, with their machines.
    total_vms_destroyed: u64,
    /// The load of each place; places of a backend that does not answer are missing.
    system_load: BTreeMap<String, Load>,
}

/// The load of a place.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Load {
    /// Whether it answers.
    pub(crate) online: bool,
    /// Processor use, 0 to 1.
    pub(crate) cpu: f64,
    /// Memory in use, in MiB.
    pub(crate) memory_used_mib: u64,
    /// Memory there is, in MiB.
    pub(crate) memory_mib: u64,
}

pub(crate) async fn health() -> Answer<Health> {
    Answer(Health { status: "up" })
}

pub(crate) async fn ready(State(app): State<App>) -> Response {
    let ready = app.readiness.look(&app.engine).await;
    let status = if ready.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Answer(ready)).into_response()
}

impl Readiness {
    pub(crate) async fn look(&self, engine: &Engine) -> Ready {
        // Held while looking: those who ask meanwhile get the same answer.
        let mut last = self.0.lock().await;
        if let Some((at, ready)) = &*last
            && at.elapsed() < LOOK_PERIOD
        {
            return ready.clone();
        }
        let ready = look(engine).await;
        *last = Some((Instant::now(), ready.clone()));
        ready
    }
}

async fn look(engine: &Engine) -> Ready {
    let store = async {
        let answer = match timeout(LOOK_DEADLINE, engine.store().next_due()).await {
            Ok(answer) => answer.err().map(|error| shown("store", &error)),
            Err(_) => Some(silent()),
        };
        answer.map(|why| ("store".to_owned(), why))
    };
    let provisioners = engine.provisioners().iter().map(|provisioner| async move {
        let why = unreachable(provisioner).await?;
        Some((provisioner.name().to_string(), why))
    });
    let (store, provisioners) = tokio::join!(store, join_all(provisioners));
    let away: BTreeMap<_, _> =
        store.into_iter().chain(provisioners.into_iter().flatten()).collect();
    Ready { ready: away.is_empty(), away }
}

/// Why a provisioner cannot be reached; absent when it can, or cannot be asked.
async fn unreachable(provisioner: &Arc<dyn Provisioner>) -> Option<String> {
    let examine = provisioner.extras().examine?;
    match timeout(LOOK_DEADLINE, examine.reachable()).await {
        Ok(answer) => answer.err().map(|error| shown(provisioner.name().as_str(), &error)),
        Err(_) => Some(silent()),
    }
}

/// What everybody may know of a failure; addresses and the like are for the log.
fn shown(what: &str, error: &Error) -> String {
    tracing::warn!(what, error = error.chain(), "not ready");
    let shown = match error.kind() {
        Kind::Unavailable => "it does not answer",
        Kind::Denied => "it refuses our credentials",
        _ => "it does not answer as it should",
    };
    format!("{shown}; the log tells more")
}

fn silent() -> String {
    format!("no answer within {} s", LOOK_DEADLINE.as_secs())
}

pub(crate) async fn figures(State(app): State<App>) -> Result<Answer<Figures>, Problem> {
    let tally = app.engine.store().tally().await?;
    let avg_session_duration =
        if tally.ended == 0 { 0.0 } else { tally.ended_seconds / tally.ended as f64 };
    Ok(Answer(Figures {
        total_sessions_created: tally.created,
        active_sessions: tally.live(),
        avg_session_duration,
        total_vms_destroyed: tally.ended,
        system_load: loads(&app.engine).await,
    }))
}

/// The load of all places that answer in time, by name.
pub(crate) async fn loads(engine: &Engine) -> BTreeMap<String, Load> {
    let places = engine.provisioners().iter().map(|provisioner| async move {
        let places = provisioner.extras().places?;
        let told = timeout(LOOK_DEADLINE, places.places()).await.ok()?;
        told.inspect_err(|error| {
            tracing::warn!(provisioner = %provisioner.name(), error = error.chain(), "no load");
        })
        .ok()
    });
    let places = join_all(places).await.into_iter().flatten().flatten();
    let loads = places.map(|place| {
        let load = Load {
            online: place.online,
            cpu: place.processor,
            memory_used_mib: place.memory_used_mib,
            memory_mib: place.memory_mib,
        };
        (place.name, load)
    });
    loads.collect()
}
