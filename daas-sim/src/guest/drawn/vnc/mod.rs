//! The VNC server (RFB 3.3, 3.7 and 3.8, RFC 6143): the console of a drawn guest and its VNC port.
//!
//! `handshake` opens a connection, `messages` reads what clients say, `pixels` writes the picture
//! (Raw and ZRLE, in the client's pixel format). Each connection looks at the desktop for itself.

mod handshake;
mod messages;
mod pixels;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::DrawnGuest;
use super::desktop::{Area, Desktop, Key, Viewer};
use super::disk::LogKind;
use super::live::{Live, accept};
use handshake::Security;
use messages::Message;
use pixels::Painter;

/// How long the opening may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(20);

/// How long a client may take to accept one update.
const WRITE_MAX: Duration = Duration::from_secs(30);

/// How often the clock is looked at.
const TICK: Duration = Duration::from_secs(5);

/// Serves the VNC port, with VNC authentication, until power goes.
pub(super) fn serve(guest: &Arc<DrawnGuest>, live: &Arc<Live>, listener: TcpListener) {
    let (guest, connections) = (guest.clone(), live.clone());
    live.spawn(async move {
        let viewers = guest.config().viewers_max;
        accept(listener, viewers, |stream, peer, slot| {
            let guest = guest.clone();
            connections.spawn(async move {
                let password = guest.config().vnc_password.clone().unwrap_or_default();
                let ended = talk(guest.desktop(), stream, Security::Password(password)).await;
                if let Err(error) = ended {
                    let denied = error.kind() == io::ErrorKind::PermissionDenied;
                    if denied {
                        guest.note(LogKind::Refused, "", format!("vnc from {peer}: {error}"));
                    }
                    tracing::debug!(%peer, %error, "a VNC connection ended");
                }
                drop(slot);
            });
        })
        .await;
    });
}

/// Shows the desktop on a stream of the caller's, without authentication.
pub(super) async fn show<S>(desktop: Arc<Desktop>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if let Err(error) = talk(&desktop, stream, Security::None).await {
        tracing::debug!(%error, "a screen ended");
    }
}

async fn talk<S>(desktop: &Arc<Desktop>, mut stream: S, security: Security) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    timeout(HANDSHAKE_MAX, handshake::open(&mut stream, &security)).await??;
    let mut client = Client { viewer: desktop.look(), painter: Painter::new(), wanted: None };
    let mut tick = tokio::time::interval(TICK);
    let mut input = BytesMut::with_capacity(4096);
    loop {
        while let Some(message) = messages::take(&mut input)? {
            client.obey(message)?;
        }
        if let Some(update) = client.update()? {
            timeout(WRITE_MAX, stream.write_all(&update)).await??;
            timeout(WRITE_MAX, stream.flush()).await??;
        }
        tokio::select! {
            read = stream.read_buf(&mut input) => {
                if read? == 0 {
                    return Ok(());
                }
            }
            () = client.viewer.changed() => {}
            _ = tick.tick() => desktop.tick(),
        }
    }
}

struct Client {
    viewer: Viewer,
    painter: Painter,
    /// The area the client waits for.
    wanted: Option<Area>,
}

impl Client {
    fn obey(&mut self, message: Message) -> io::Result<()> {
        match message {
            Message::Format(format) => self.painter.set_format(format)?,
            Message::Encodings(encodings) => self.painter.set_encodings(&encodings),
            Message::Update { incremental, area } => {
                if let Some(area) = area.filter(|_| !incremental) {
                    self.viewer.forget(area);
                }
                self.wanted = area.or(self.wanted);
            }
            Message::Key { down: true, keysym } => {
                if let Some(key) = Key::of_keysym(keysym) {
                    self.viewer.desktop().key(key);
                }
            }
            Message::Pointer { buttons, x, y } => self.viewer.desktop().pointer(x, y, buttons),
            Message::Key { down: false, .. } | Message::CutText => {}
        }
        Ok(())
    }

    /// The update the client waits for, once there is something new in its area.
    fn update(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(wanted) = self.wanted else { return Ok(None) };
        let mut parts = Vec::new();
        for area in self.viewer.unseen() {
            let part = area.both(wanted);
            parts.extend(part);
            if part != Some(area) {
                self.viewer.forget(area);
            }
        }
        if parts.is_empty() {
            return Ok(None);
        }
        self.wanted = None;
        let pictures = parts.into_iter().map(|area| (area, self.viewer.pixels(area)));
        self.painter.update(pictures.collect()).map(Some)
    }
}
