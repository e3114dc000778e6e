//! The gateway: one way from a browser or a client to a desktop's screen, with one rule for all.
//!
//! Who wants to connect asks for a ticket (`tickets`), which is short-lived, good for one
//! connection, and bound to its user, its session and its kind; where the connection goes is the
//! ticket's affair and never the client's. A connection is then counted (`connections`), carried
//! (`carry`) and told of as use of the desktop (`evidence`); `visit` has them in order. What is
//! special about a protocol is in `vnc`, with `rfb` for its words, and in
//! `rdp`: the gateway authenticates itself at the hypervisor, so that no
//! password or ticket of the hypervisor's reaches a browser.

mod carry;
mod config;
mod connections;
mod ended;
mod evidence;
mod rdp;
mod rfb;
mod tickets;
mod visit;
mod vnc;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use daas_core::owner::Owner;
use daas_core::session::Session;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::config::GatewayConfig;
pub(crate) use self::connections::{ConnectionList, Connections, end, list};
pub(crate) use self::tickets::{NewTicket, TicketView, Tickets, issue};
pub(crate) use self::visit::connect;
use crate::app::App;
use crate::v1::seats::Seats;

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// RFB, to the machine's own screen at the hypervisor.
    Vnc,
    /// Remote Desktop for a browser, by RDCleanPath.
    Rdp,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Vnc => "vnc",
            Self::Rdp => "rdp",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Self::Vnc, Self::Rdp].into_iter().find(|kind| kind.as_str() == word)
    }

    /// Where it is connected to.
    fn path(self) -> &'static str {
        match self {
            Self::Vnc => "/gateway/vnc",
            Self::Rdp => "/gateway/rdp",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a desktop can be shown by Remote Desktop now.
pub(crate) fn has_rdp(session: &Session) -> bool {
    rdp::Target::of(session).is_ok()
}

/// All of the gateway that its handlers share.
pub(crate) struct Gateway {
    pub(crate) config: GatewayConfig,
    pub(crate) tickets: Tickets,
    pub(crate) connections: Arc<Connections>,
    pub(crate) seats: Seats,
    /// Set when what follows the connections' desktops has begun.
    followed: AtomicBool,
}

impl Gateway {
    pub(crate) fn new(config: &GatewayConfig) -> Self {
        Self {
            tickets: Tickets::new(config.ticket_life),
            connections: Arc::default(),
            seats: Seats::new("connections", config.connections, config.connections_of_one),
            followed: AtomicBool::new(false),
            config: config.clone(),
        }
    }

    /// Sees to it that connections end with their desktops.
    fn follow(&self, app: &App) {
        if !self.followed.swap(true, Ordering::Relaxed) {
            app.tasks.spawn(evidence::follow(app.clone()));
        }
    }

    /// Ends the connections that were opened with a sign-in which has ended.
    pub(crate) fn signed_out(&self, owner: &Owner, sign_in: &str) {
        self.connections.end_where(&ended::Ended::SignedOut, |c| {
            c.sign_in.as_deref() == Some(sign_in) && c.owner == *owner
        });
    }
}
