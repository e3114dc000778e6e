//! Tickets: who asked for a connection with the right to it may open it once, within seconds.
//!
//! They are kept in this process alone: one outlives neither its half minute nor a restart, and who
//! has none asks for another.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use daas_core::engine::Caller;
use daas_core::ids::SessionId;
use daas_core::owner::Owner;
use daas_core::secret::{Secret, random_token, sha256_hex};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::{Kind, rdp};
use crate::app::App;
use crate::body::{Json, SessionPath};
use crate::problem::Problem;

/// Tickets at once; each takes some 200 bytes for half a minute.
const TICKETS_MAX: usize = 20_000;
/// Tickets at once of one owner: nobody takes them all.
const TICKETS_OF_ONE_MAX: usize = 200;
/// What a ticket begins with where it stands among a WebSocket's subprotocols.
pub(super) const PROTOCOL_PREFIX: &str = "daas.ticket.";

/// What a ticket is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) owner: Owner,
    pub(crate) session: SessionId,
    pub(crate) kind: Kind,
}

/// The tickets that are out, by their hash.
#[derive(Debug)]
pub(crate) struct Tickets {
    life: Duration,
    out: Mutex<HashMap<String, (Granted, Instant)>>,
}

impl Tickets {
    pub(crate) fn new(life: Duration) -> Self {
        Self { life, out: Mutex::default() }
    }

    /// A ticket for `granted`; absent: too many are out.
    fn issue(&self, granted: Granted) -> Option<Secret<String>> {
        let now = Instant::now();
        let mut out = self.out();
        out.retain(|_, (_, end)| *end > now);
        let of_owner = out.values().filter(|(g, _)| g.owner == granted.owner).count();
        if of_owner >= TICKETS_OF_ONE_MAX || out.len() >= TICKETS_MAX {
            return None;
        }
        let ticket = random_token();
        out.insert(sha256_hex(ticket.expose()), (granted, now + self.life));
        Some(ticket)
    }

    /// What `ticket` is good for. It is good for nothing afterwards.
    pub(super) fn take(&self, ticket: &str) -> Option<Granted> {
        let (granted, end) = self.out().remove(&sha256_hex(ticket))?;
        (end > Instant::now()).then_some(granted)
    }

    fn out(&self) -> MutexGuard<'_, HashMap<String, (Granted, Instant)>> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What somebody wants to connect by.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTicket {
    /// What is spoken on the connection.
    kind: Kind,
}

/// A ticket, shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TicketView {
    /// Good for one connection, by its user.
    ticket: String,
    /// What is spoken on the connection.
    kind: Kind,
    /// Where to connect, as a WebSocket on this server.
    path: &'static str,
    /// The subprotocols to ask for; the last carries the ticket.
    protocols: [String; 2],
    /// How long it is good, in seconds.
    expires_in_seconds: u64,
}

/// `POST /api/v1/sessions/{id}/tickets`.
pub(crate) async fn issue(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    SessionPath(id): SessionPath,
    Json(new): Json<NewTicket>,
) -> Result<Response, Problem> {
    match new.kind {
        Kind::Vnc => app.engine.has_screen(&caller, &id).await?,
        Kind::Rdp => rdp::Target::find(&app, &caller, &id).await.map(drop)?,
    }
    let granted = Granted { owner: caller.owner, session: id, kind: new.kind };
    let ticket = app.gateway.tickets.issue(granted).ok_or_else(|| {
        let why = "too many tickets are out; use them, or wait";
        let status = StatusCode::TOO_MANY_REQUESTS;
        let problem = Problem::new(status, daas_core::Kind::Exhausted, why);
        problem.retry_after(app.gateway.config.ticket_life.as_secs().max(1))
    })?;
    let view = TicketView {
        protocols: ["binary".to_owned(), format!("{PROTOCOL_PREFIX}{}", ticket.expose())],
        ticket: ticket.expose().clone(),
        kind: new.kind,
        path: new.kind.path(),
        expires_in_seconds: app.gateway.config.ticket_life.as_secs(),
    };
    Ok((StatusCode::CREATED, axum::Json(view)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(name: &str) -> Granted {
        Granted {
            owner: Owner { realm: "api".to_owned(), name: name.to_owned() },
            session: "desktop-7f3k2mq".parse().expect("id"),
            kind: Kind::Vnc,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_is_good_once_and_not_for_long() {
        let tickets = Tickets::new(Duration::from_secs(30));
        let ticket = tickets.issue(granted("alice")).expect("room");
        assert_eq!(tickets.take("another"), None);
        assert_eq!(tickets.take(ticket.expose()), Some(granted("alice")));
        assert_eq!(tickets.take(ticket.expose()), None, "used");
        let ticket = tickets.issue(granted("alice")).expect("room");
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(tickets.take(ticket.expose()), None, "too old");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_takes_the_tickets_of_others_and_old_ones_make_room() {
        let tickets = Tickets::new(Duration::from_secs(30));
        for _ in 0..TICKETS_OF_ONE_MAX {
            assert!(tickets.issue(granted("alice")).is_some());
        }
        assert!(tickets.issue(granted("alice")).is_none());
        assert!(tickets.issue(granted("bob")).is_some());
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(tickets.issue(granted("alice")).is_some());
    }
}
