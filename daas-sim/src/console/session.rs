//! One console session: a viewer's WebSocket joined to a guest's screen.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::rfb;
use crate::guest::Guest;

/// How long the handshakes may take together.
const HANDSHAKE_MAX: Duration = Duration::from_secs(20);
/// The largest frame Proxmox takes.
const FRAME_MAX: usize = 128 << 10;
const BUFFER: usize = 64 << 10;

/// Serves a viewer until either side ends.
pub(crate) async fn serve(
    upgrade: OnUpgrade,
    guest: Arc<dyn Guest>,
    password: &str,
) -> Result<(), String> {
    let upgraded = tokio::time::timeout(HANDSHAKE_MAX, upgrade).await;
    let upgraded = upgraded.map_err(|_| "connection timed out".to_owned())?;
    let upgraded = upgraded.map_err(|error| format!("upgrade failed: {error}"))?;
    let config = WebSocketConfig::default()
        .max_frame_size(Some(FRAME_MAX))
        .max_message_size(Some(FRAME_MAX));
    let socket =
        WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    let (near, far) = tokio::io::duplex(BUFFER);
    let (pumped, joined) = tokio::join!(pump(socket, far), join(near, guest, password));
    joined.and(pumped)
}

async fn join(
    mut viewer: DuplexStream,
    guest: Arc<dyn Guest>,
    password: &str,
) -> Result<(), String> {
    let hello = async {
        rfb::authenticate(&mut viewer, password).await.map_err(|error| error.to_string())?;
        let mut screen = guest.screen().await.map_err(|error| error.to_string())?;
        rfb::greet(&mut screen).await.map_err(|error| error.to_string())?;
        Ok::<_, String>(screen)
    };
    let hello = tokio::time::timeout(HANDSHAKE_MAX, hello).await;
    let mut screen = hello.map_err(|_| "connection timed out".to_owned())??;
    // Whichever side goes first, the session has ended in good order.
    let _ = tokio::io::copy_bidirectional(&mut viewer, &mut screen).await;
    Ok(())
}

/// Carries bytes between binary frames and a stream.
async fn pump<S>(mut socket: WebSocketStream<S>, stream: DuplexStream) -> Result<(), String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (mut from, mut to) = tokio::io::split(stream);
    let mut buffer = vec![0; BUFFER];
    loop {
        tokio::select! {
            read = from.read(&mut buffer) => match read {
                Ok(0) | Err(_) => break,
                Ok(count) => {
                    let frame = Message::Binary(Bytes::copy_from_slice(&buffer[..count]));
                    if socket.send(frame).await.is_err() {
                        break;
                    }
                }
            },
            message = socket.next() => match message {
                Some(Ok(Message::Binary(data))) => {
                    if to.write_all(&data).await.is_err() {
                        break;
                    }
                }
                Some(Ok(Message::Text(data))) => {
                    if to.write_all(data.as_bytes()).await.is_err() {
                        break;
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
            },
        }
    }
    // The peer may be gone already.
    let _ = socket.close(None).await;
    Ok(())
}
