//! The connections that are open: who, to what, since when and how much; and how each is ended.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Extension;
use axum::Json;
use axum::extract::{Path, State};
use daas_core::access::Role;
use daas_core::engine::Caller;
use daas_core::ids::SessionId;
use daas_core::owner::Owner;
use daas_core::secret::random_token;
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;

use super::Kind;
use super::ended::Ended;
use crate::app::App;
use crate::problem::Problem;

/// One open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// What it is listed and ended by.
    pub(crate) id: String,
    pub(crate) session: SessionId,
    pub(crate) owner: Owner,
    /// The sign-in it was opened with; absent: an API key.
    pub(crate) sign_in: Option<String>,
    pub(crate) kind: Kind,
    pub(crate) address: IpAddr,
    pub(crate) since: Timestamp,
    pub(super) down: Bytes,
    pub(super) up: Bytes,
    /// When a key or the mouse was last used, in milliseconds since 1970.
    touched: AtomicI64,
    /// Whether the screen was ever shown: only then it is use.
    shown: AtomicBool,
    end: watch::Sender<Option<Ended>>,
}

/// Bytes carried in one direction, counted for the connection and for all.
pub(super) struct Bytes {
    count: AtomicU64,
    all: metrics::Counter,
}

impl Bytes {
    fn new(kind: Kind, direction: &'static str) -> Self {
        let all = metrics::counter!(
            "daas_gateway_bytes_total", "kind" => kind.as_str(), "direction" => direction
        );
        Self { count: AtomicU64::new(0), all }
    }

    pub(super) fn add(&self, count: usize) {
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        self.all.increment(count as u64);
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.count().fmt(f)
    }
}

impl Connection {
    /// Notes that a key or the mouse was used.
    pub(super) fn touch(&self, now: Timestamp) {
        self.touched.fetch_max(now.as_millisecond(), Ordering::Relaxed);
    }

    /// When a key or the mouse was last used.
    pub(super) fn touched(&self) -> Timestamp {
        Timestamp::from_millisecond(self.touched.load(Ordering::Relaxed)).unwrap_or(self.since)
    }

    /// Notes that the screen is shown.
    pub(super) fn show(&self) {
        self.shown.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_shown(&self) -> bool {
        self.shown.load(Ordering::Relaxed)
    }

    /// Waits until somebody ends it; why.
    pub(super) async fn ended(&self) -> Ended {
        let mut end = self.end.subscribe();
        // The sender is our own field: it is there as long as this is.
        match end.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or(Ended::Left),
            Err(_) => Ended::Left,
        }
    }
}

/// All that are open.
#[derive(Debug, Default)]
pub(crate) struct Connections(Mutex<HashMap<String, Arc<Connection>>>);

/// An entry in the list, gone when dropped.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) connection: Arc<Connection>,
    all: Arc<Connections>,
}

/// Who opens a connection, and to what.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) session: SessionId,
    pub(super) owner: Owner,
    pub(super) sign_in: Option<String>,
    pub(super) kind: Kind,
    pub(super) address: IpAddr,
    pub(super) now: Timestamp,
}

impl Connections {
    /// Adds one.
    pub(super) fn open(self: &Arc<Self>, opening: Opening) -> Entry {
        let connection = Arc::new(Connection {
            id: random_token().expose()[..16].to_owned(),
            session: opening.session,
            owner: opening.owner,
            sign_in: opening.sign_in,
            kind: opening.kind,
            address: opening.address,
            since: opening.now,
            down: Bytes::new(opening.kind, "down"),
            up: Bytes::new(opening.kind, "up"),
            touched: AtomicI64::new(opening.now.as_millisecond()),
            shown: AtomicBool::new(false),
            end: watch::Sender::new(None),
        });
        self.all().insert(connection.id.clone(), Arc::clone(&connection));
        Entry { connection, all: Arc::clone(self) }
    }

    /// Ends those for which `which` says so.
    pub(crate) fn end_where(&self, why: &Ended, which: impl Fn(&Connection) -> bool) {
        for connection in self.all().values().filter(|c| which(c)) {
            connection.end.send_if_modified(|end| {
                let first = end.is_none();
                if first {
                    *end = Some(why.clone());
                }
                first
            });
        }
    }

    /// When a session was last touched by any that shows its screen; absent: none does.
    pub(super) fn touched(&self, session: &SessionId) -> Option<Timestamp> {
        let all = self.all();
        let shown = all.values().filter(|c| c.session == *session && c.is_shown());
        shown.map(|c| c.touched()).max()
    }

    /// The sessions that have any.
    pub(super) fn sessions(&self) -> Vec<SessionId> {
        let mut sessions: Vec<_> = self.all().values().map(|c| c.session.clone()).collect();
        sessions.sort_unstable();
        sessions.dedup();
        sessions
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.all().len()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Arc<Connection>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.all.all().remove(&self.connection.id);
    }
}

/// A connection, as it is listed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConnectionView {
    /// What it is ended by.
    id: String,
    /// The session it leads to.
    session: String,
    /// Who opened it.
    owner: String,
    /// What is spoken on it.
    kind: Kind,
    /// From where.
    address: String,
    /// Since when.
    since: Timestamp,
    /// When a key or the mouse was last used through it.
    touched_at: Timestamp,
    /// Bytes sent to the client.
    bytes_down: u64,
    /// Bytes that came from the client.
    bytes_up: u64,
}

/// Open connections.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConnectionList {
    connections: Vec<ConnectionView>,
}

fn may_see(caller: &Caller, connection: &Connection) -> bool {
    caller.role >= Role::Operator || connection.owner == caller.owner
}

/// `GET /api/v1/connections`: one's own, or everybody's for operators; the oldest first.
pub(crate) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Json<ConnectionList> {
    let all = app.gateway.connections.all();
    let mut connections: Vec<_> = all
        .values()
        .filter(|c| may_see(&caller, c))
        .map(|c| ConnectionView {
            id: c.id.clone(),
            session: c.session.to_string(),
            owner: c.owner.to_string(),
            kind: c.kind,
            address: c.address.to_string(),
            since: c.since,
            touched_at: c.touched(),
            bytes_down: c.down.count(),
            bytes_up: c.up.count(),
        })
        .collect();
    drop(all);
    connections.sort_unstable_by(|a, b| (a.since, &a.id).cmp(&(b.since, &b.id)));
    Json(ConnectionList { connections })
}

/// `DELETE /api/v1/connections/{id}`.
pub(crate) async fn end(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let connections = &app.gateway.connections;
    let known = connections.all().get(&id).is_some_and(|c| may_see(&caller, c));
    if !known {
        return Err(Problem::not_found("there is no such connection"));
    }
    tracing::info!(connection = id, by = %caller.owner, "a connection is ended");
    connections.end_where(&Ended::ByOperator, |c| c.id == id);
    Ok(StatusCode::NO_CONTENT)
}
