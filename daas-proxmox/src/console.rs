//! Machines' consoles: `vncproxy`, then its WebSocket.
//!
//! Both calls must reach the same node of the cluster, for it is the contacted node that listens
//! (for ten seconds), wherever the machine is: `proxmox.url` has to name one node, or a balancer
//! that keeps a client with one node.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf as _, Bytes};
use daas_core::machine::Reservation;
use daas_core::provisioner::{Console, ConsoleLine};
use daas_core::secret::Secret;
use daas_core::{Operation, Result};
use futures::{Sink as _, Stream as _};
use http::{Method, StatusCode, header};
use reqwest::Upgraded;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::api::{VncProxy, vm_path};
use crate::client::{Params, Purpose};
use crate::error::ProxmoxError;
use crate::extras::ProxmoxExtras;
use crate::identity::Standing;
use crate::provisioner::vmid;

/// How long all of the opening may take: the ticket lives longer, the listener does not.
const OPEN_DEADLINE: Duration = Duration::from_secs(10);
/// The largest frame that is sent; Proxmox takes 128 KiB.
const FRAME_MAX: usize = 64 << 10;
/// The largest frame that is taken.
const TAKEN_MAX: usize = 1 << 20;
/// VNC passwords end here.
const PASSWORD_MAX: usize = 8;

#[async_trait]
impl Console for ProxmoxExtras {
    async fn open(&self, reservation: &Reservation) -> Result<ConsoleLine> {
        let opened = tokio::time::timeout(OPEN_DEADLINE, self.open_console(reservation)).await;
        let opened = opened.unwrap_or_else(|_| {
            Err(ProxmoxError::NoConsole { why: "it did not open within 10 s".to_owned() })
        });
        opened.map_err(|e| e.while_doing(Operation::Request, &reservation.session))
    }
}

impl ProxmoxExtras {
    async fn open_console(
        &self,
        reservation: &Reservation,
    ) -> std::result::Result<ConsoleLine, ProxmoxError> {
        let shared = &self.0;
        let vmid = vmid(&reservation.machine)?;
        let node = match shared.standing(Purpose::Other, reservation, vmid).await? {
            Standing::Ours { node, .. } => node,
            Standing::Foreign(why) => return Err(ProxmoxError::Foreign { vmid, why }),
            Standing::Nobody | Standing::UnderConstruction { .. } => {
                return Err(ProxmoxError::Vanished { vmid });
            }
            Standing::Doubt(why) => return Err(ProxmoxError::NoConsole { why }),
        };
        if shared.client.current(Purpose::Other, &node, vmid).await?.status != "running" {
            return Err(ProxmoxError::NoPower { vmid });
        }
        let path = format!("{}/vncproxy", vm_path(&node, vmid));
        let params: Params = vec![("websocket", "1".to_owned())];
        let answer = shared.client.order(Purpose::Other, Method::POST, &path, params).await?;
        let proxy: VncProxy = serde_json::from_value(answer)
            .map_err(|e| ProxmoxError::Shape { path, why: e.to_string() })?;
        let port = match &proxy.port {
            Value::String(port) => port.clone(),
            other => other.to_string(),
        };
        let path = format!("{}/vncwebsocket", vm_path(&node, vmid));
        let mut url = shared.client.address(&path);
        url.query_pairs_mut().append_pair("port", &port).append_pair("vncticket", &proxy.ticket);
        let key = generate_key();
        let upgrade = [
            (header::CONNECTION, "Upgrade"),
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_VERSION, "13"),
            (header::SEC_WEBSOCKET_PROTOCOL, "binary"),
            (header::SEC_WEBSOCKET_KEY, key.as_str()),
        ];
        let response = shared.client.open(Purpose::Other, url, &path, &upgrade).await?;
        let accepted = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        if response.status() != StatusCode::SWITCHING_PROTOCOLS
            || accepted.is_none_or(|key_of| key_of != derive_accept_key(key.as_bytes()).as_str())
        {
            let why = format!("it answers {} to a WebSocket", response.status());
            return Err(ProxmoxError::Shape { path, why });
        }
        let stream = response.upgrade().await.map_err(|source| ProxmoxError::NoAnswer {
            method: Method::GET.to_string(),
            path,
            source,
        })?;
        let config = WebSocketConfig::default()
            .max_frame_size(Some(TAKEN_MAX))
            .max_message_size(Some(TAKEN_MAX));
        let socket = WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await;
        // Until 2026 the ticket itself is the VNC password, of which VNC uses eight bytes.
        let password =
            proxy.password.unwrap_or_else(|| proxy.ticket.chars().take(PASSWORD_MAX).collect());
        let stream = Box::new(Frames { socket, taken: Bytes::new() });
        Ok(ConsoleLine { stream, password: Some(Secret::new(password)) })
    }
}

/// A WebSocket's binary frames as a stream of bytes.
struct Frames {
    socket: WebSocketStream<Upgraded>,
    /// What was taken and not read yet.
    taken: Bytes,
}

impl AsyncRead for Frames {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.taken.is_empty() {
            match ready!(Pin::new(&mut this.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(data))) => this.taken = data,
                Some(Ok(Message::Text(data))) => this.taken = data.into(),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
            }
        }
        let count = this.taken.len().min(buf.remaining());
        buf.put_slice(&this.taken[..count]);
        this.taken.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Frames {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let socket = &mut self.get_mut().socket;
        ready!(Pin::new(&mut *socket).poll_ready(cx)).map_err(io::Error::other)?;
        let count = data.len().min(FRAME_MAX);
        let frame = Message::Binary(Bytes::copy_from_slice(&data[..count]));
        Pin::new(socket).start_send(frame).map_err(io::Error::other)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx).map_err(io::Error::other)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_close(cx).map_err(io::Error::other)
    }
}
