//! `GET /gateway/{kind}`: what is the same for every kind of connection, from its ticket to the word
//! of how it ended.

use std::net::IpAddr;

use axum::Extension;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use daas_core::access::SignIn;
use daas_core::audit::{Act, KnownBy, Note, Stage};
use daas_core::clock::between;
use daas_core::engine::Caller;
use http::{HeaderMap, StatusCode, header};
use tokio::time::timeout;
use tracing::info;

use super::carry::Client;
use super::connections::{Connection, Opening};
use super::ended::Ended;
use super::tickets::PROTOCOL_PREFIX;
use super::{Kind, evidence, rdp, vnc};
use crate::access::Origin;
use crate::app::App;
use crate::problem::Problem;

/// The subprotocol that is spoken: bytes as they are.
const PROTOCOL: &str = "binary";
/// The largest frame and message that a client may send, in bytes.
const FRAME_MAX: usize = 1 << 20;

/// Who connects.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) caller: Caller,
    /// The sign-in of their browser; absent: an API key.
    sign_in: Option<String>,
    address: IpAddr,
    /// The ticket among the subprotocols they ask for.
    ticket: Option<String>,
}

pub(crate) async fn connect(
    State(app): State<App>,
    Path(kind): Path<String>,
    Extension(origin): Extension<Origin>,
    Extension(caller): Extension<Caller>,
    sign_in: Option<Extension<SignIn>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let kind = Kind::of(&kind).ok_or_else(|| Problem::not_found("no such way is known here"))?;
    let upgrade = upgrade.map_err(|_| {
        let why = "connect to this by a WebSocket, in HTTP/1.1";
        Problem::new(StatusCode::UPGRADE_REQUIRED, daas_core::Kind::Invalid, why)
    })?;
    let visitor = Visitor {
        caller,
        sign_in: sign_in.map(|Extension(sign_in)| sign_in.id),
        address: origin.client,
        ticket: ticket(&headers),
    };
    let upgrade =
        upgrade.protocols([PROTOCOL]).max_frame_size(FRAME_MAX).max_message_size(FRAME_MAX);
    // Everything else is told on the WebSocket: a page cannot read why an upgrade was refused.
    Ok(upgrade.on_upgrade(move |socket| {
        let tasks = app.tasks.clone();
        tasks.track_future(async move {
            let mut client = Client::new(socket);
            let ended = visit(&app, kind, visitor, &mut client).await;
            if kind == Kind::Rdp && !client.was_shown() {
                rdp::refuse(&mut client, &ended).await;
            }
            client.close(&ended).await;
        })
    }))
}

/// The ticket among the subprotocols: there it is in no address, so in no log of any proxy.
fn ticket(headers: &HeaderMap) -> Option<String> {
    let asked = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let asked = asked.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let mut tickets = asked.filter_map(|one| one.trim().strip_prefix(PROTOCOL_PREFIX));
    tickets.next().map(str::to_owned)
}

async fn visit(app: &App, kind: Kind, visitor: Visitor, client: &mut Client) -> Ended {
    let Visitor { caller, sign_in, address, mut ticket } = visitor;
    let mut request = Vec::new();
    if kind == Kind::Rdp {
        // The browser's client writes the ticket where RDCleanPath has room for it.
        let opening = timeout(app.gateway.config.open_time, rdp::Opening::read(client)).await;
        match opening {
            Ok(Ok(opening)) => (ticket, request) = (Some(opening.ticket), opening.request),
            Ok(Err(ended)) => return ended,
            Err(_) => return Ended::Lost,
        }
    }
    let granted = ticket.and_then(|ticket| app.gateway.tickets.take(&ticket));
    let Some(granted) = granted.filter(|granted| granted.kind == kind) else {
        return Ended::Ticket;
    };
    if granted.owner != caller.owner {
        return Ended::NotYours;
    }
    let _seat = match app.gateway.seats.take(&caller.owner) {
        Ok(seat) => seat,
        Err(why) => return Ended::Full(why),
    };
    let session = granted.session;
    let known_by = match &sign_in {
        Some(id) => KnownBy::SignIn(id.clone()),
        // A key or a token; which, the entry of the ticket tells.
        None => KnownBy::Ticket,
    };
    let now = app.engine.clock().now();
    let opening = Opening {
        session: session.clone(),
        owner: caller.owner.clone(),
        sign_in,
        kind,
        address,
        now,
    };
    let entry = app.gateway.connections.open(opening);
    let connection = &*entry.connection;
    app.gateway.follow(app);
    info!(%session, owner = %caller.owner, %kind, %address, id = connection.id, "connected");
    let note = Note {
        owner: Some(caller.owner.clone()),
        role: Some(caller.role),
        address: Some(address),
        session: Some(session.clone()),
        subject: Some(format!("{kind} {}", connection.id)),
        ..Note::of(Act::ConsoleOpen, Stage::Noted)
    };
    tell(app, Note { known_by, ..note.clone() }).await;
    let ended = tokio::select! {
        ended = show(app, &caller, client, connection, &request) => ended,
        ended = connection.ended() => ended,
        () = app.stopping.cancelled() => Ended::Stopping,
    };
    let (id, touched, was_shown) =
        (connection.id.clone(), connection.touched(), connection.is_shown());
    let (down, up) = (connection.down.count(), connection.up.count());
    drop(entry);
    if was_shown {
        evidence::tell(app, &session, Some(touched)).await;
    }
    let why = ended.word();
    let seconds = between(now, app.engine.clock().now()).as_secs();
    info!(%session, owner = %caller.owner, %kind, id, why, seconds, down, up, "disconnected");
    let reason = Some(format!("{why}, after {seconds} s"));
    tell(app, Note { reason, known_by: KnownBy::Program, act: Act::ConsoleEnd, ..note }).await;
    metrics::counter!("daas_gateway_ended_total", "kind" => kind.as_str(), "why" => why)
        .increment(1);
    ended
}

/// Writes to the audit log; the ticket was written there before it was given.
async fn tell(app: &App, note: Note) {
    if let Some(log) = &app.audit {
        log.leave(note).await;
    }
}

async fn show(
    app: &App,
    caller: &Caller,
    client: &mut Client,
    connection: &Connection,
    request: &[u8],
) -> Ended {
    match connection.kind {
        Kind::Vnc => vnc::show(app, caller, client, connection).await,
        Kind::Rdp => rdp::show(app, caller, client, connection, request).await,
    }
}
