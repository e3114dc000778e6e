//! Consoles: from `vncproxy` to a guest's screen, through a WebSocket and VNC authentication.

pub(crate) mod rfb;
pub(crate) mod session;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, Request, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::sync::oneshot;

/// The ports Proxmox gives to consoles. Nothing listens on them here: a port and its ticket are
/// only good for `vncwebsocket`.
const PORTS: std::ops::RangeInclusive<u16> = 5900..=5999;

/// The consoles that wait for their viewer, by node and port.
#[derive(Debug, Default)]
pub(crate) struct Consoles {
    waiting: Mutex<BTreeMap<(Arc<str>, u16), Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    vmid: u32,
    viewer: Option<oneshot::Sender<OnUpgrade>>,
}

/// A client's wish to switch to a WebSocket (RFC 6455, 4.2.1).
#[derive(Debug)]
pub(crate) struct SocketRequest {
    pub(crate) key: String,
    /// The subprotocol to echo.
    pub(crate) protocol: Option<String>,
    pub(crate) upgrade: OnUpgrade,
}

impl Consoles {
    /// Opens a console; gives its port and where its viewer's connection will come.
    pub(crate) fn open(
        &self,
        node: &Arc<str>,
        vmid: u32,
    ) -> Option<(u16, oneshot::Receiver<OnUpgrade>)> {
        let mut waiting = self.waiting();
        let port = PORTS.into_iter().find(|p| !waiting.contains_key(&(node.clone(), *p)))?;
        let (sender, receiver) = oneshot::channel();
        waiting.insert((node.clone(), port), Waiting { vmid, viewer: Some(sender) });
        Some((port, receiver))
    }

    /// Hands a viewer's connection to the console at `port`; false when none waits there.
    pub(crate) fn view(&self, node: &Arc<str>, port: u16, vmid: u32, viewer: OnUpgrade) -> bool {
        let mut waiting = self.waiting();
        let console = waiting.get_mut(&(node.clone(), port)).filter(|w| w.vmid == vmid);
        let sender = console.and_then(|w| w.viewer.take());
        sender.is_some_and(|sender| sender.send(viewer).is_ok())
    }

    pub(crate) fn close(&self, node: &Arc<str>, port: u16) {
        self.waiting().remove(&(node.clone(), port));
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<(Arc<str>, u16), Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SocketRequest {
    pub(crate) fn from_request(request: &mut Request<Incoming>) -> Option<Self> {
        let headers = request.headers();
        let is = |name, value: &str| {
            text(headers, name).is_some_and(|v| v.to_lowercase().contains(value))
        };
        if !is(header::UPGRADE, "websocket") || !is(header::CONNECTION, "upgrade") {
            return None;
        }
        if text(headers, header::SEC_WEBSOCKET_VERSION) != Some("13") {
            return None;
        }
        let key = text(headers, header::SEC_WEBSOCKET_KEY)?.to_owned();
        let offered = text(headers, header::SEC_WEBSOCKET_PROTOCOL).unwrap_or_default();
        let mut offered = offered.split(',').map(str::trim).filter(|p| !p.is_empty());
        let first = offered.next();
        let protocol = offered.find(|p| *p == "binary").or(first).map(str::to_owned);
        Some(Self { key, protocol, upgrade: hyper::upgrade::on(request) })
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|v| v.to_str().ok())
}
