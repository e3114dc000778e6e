//! The RDP server of a drawn guest: plays the unit `xrdp.service`.
//!
//! A connection goes through `opening` (negotiation, TLS, login, capabilities) and then lives in
//! `session`, which sends the desktop (`picture`) and takes the client's input (`input`).
//! Enhanced security with TLS only: a client that insists on network level authentication is
//! refused by a negotiation failure, as XRDP does it. No virtual channels.

mod certificate;
mod input;
mod opening;
mod picture;
mod session;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::LocalPoolHandle;

use super::DrawnGuest;
use super::disk::LogKind;
use super::drawn_guest::Native;
use super::live::{accept, bind};

/// The unit that is the RDP server.
pub(super) const UNIT: &str = "xrdp.service";

/// How long a client may take from its first byte to the desktop.
const OPENING_MAX: Duration = Duration::from_secs(30);

/// How many clients wait in the kernel until they are accepted.
const BACKLOG: u32 = 32;

/// The thread on which logins run, because their futures cannot move between threads. It is made
/// at the first login and ends with the guests' maker.
#[derive(Debug, Default)]
pub(super) struct Logins(OnceLock<LocalPoolHandle>);

impl Logins {
    fn pool(&self) -> &LocalPoolHandle {
        self.0.get_or_init(|| LocalPoolHandle::new(1))
    }
}

impl DrawnGuest {
    /// Starts the RDP server.
    pub(super) fn start_rdp(&self) {
        let Some(native) = self.begin_native(UNIT) else { return };
        let address = SocketAddr::new(self.address(), self.ports().rdp);
        let tls = certificate::server(self);
        let listening = bind(address).and_then(|socket| socket.listen(BACKLOG));
        match (listening, tls) {
            (Ok(listener), Ok(tls)) => serve(native, listener, tls),
            (Err(error), _) => self.unit_failed(UNIT, &format!("{address}: {error}")),
            (_, Err(reason)) => self.unit_failed(UNIT, &reason),
        }
    }
}

fn serve(native: Native, listener: TcpListener, tls: TlsAcceptor) {
    let Native { guest, live, stop, running } = native;
    live.clone().spawn(async move {
        let clients = guest.config().viewers_max;
        let accepting = accept(listener, clients, |stream, peer, slot| {
            let (guest, tls, stop) = (guest.clone(), tls.clone(), stop.clone());
            live.spawn_to_end(async move {
                if let Err(reason) = connection(&guest, stream, peer, tls, stop).await {
                    tracing::debug!(%peer, reason, "an RDP connection ended");
                }
                drop(slot);
            });
        });
        tokio::select! {
            () = stop.cancelled() => {}
            () = accepting => {}
        }
        // The port is free again.
        drop(running);
    });
}

async fn connection(
    guest: &Arc<DrawnGuest>,
    stream: TcpStream,
    peer: SocketAddr,
    tls: TlsAcceptor,
    stop: CancellationToken,
) -> Result<(), String> {
    let (login, cut) = (guest.clone(), stop.clone());
    // The pool's own task has to see the cut too: dropping its handle would not end it.
    let opening = guest.logins.pool().spawn_pinned(move || async move {
        tokio::select! {
            () = cut.cancelled() => Err("the server stopped".to_owned()),
            opened = timeout(OPENING_MAX, opening::open(&login, stream, peer, tls)) => {
                opened.unwrap_or_else(|_| Err("the client took too long".into()))
            }
        }
    });
    let opened = opening.await.map_err(|error| format!("the login failed: {error}"))??;
    let user = opened.user.clone();
    guest.note(LogKind::Login, &user, format!("rdp from {peer}"));
    guest.desktop().logged_in(&user);
    let presence = guest.activity().connect(&user, peer);
    let ended = tokio::select! {
        () = stop.cancelled() => Ok(()),
        ended = session::run(guest.desktop(), opened, &presence) => ended,
    };
    drop(presence);
    guest.note(LogKind::System, &user, format!("rdp from {peer} disconnected"));
    ended
}
