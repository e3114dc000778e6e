//! Accepts connections, as many as the limit allows. HTTP/2 is for those who agreed on it in TLS;
//! guessing it from the first bytes would need a time limit of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tracing::{debug, warn};

use crate::access::Peer;
use crate::config::HttpLimits;
use crate::listeners::Bound;
use crate::tls::Identity;

/// The wait after the system refused to accept, so that a lack of descriptors is no busy loop.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// Requests at once on one HTTP/2 connection.
const HTTP2_STREAMS_MAX: u32 = 64;
/// How long an HTTP/2 connection is silent before it is asked whether it lives.
const HTTP2_PING: Duration = Duration::from_secs(20);
/// The longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Tells connections to end: first politely, then at once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ending {
    pub(crate) politely: CancellationToken,
    pub(crate) now: CancellationToken,
}

/// Serves `router` on `bound` until the ending; its connections are counted by `connections`.
pub(crate) async fn serve(
    bound: Bound,
    router: Router,
    limits: HttpLimits,
    ending: Ending,
    connections: TaskTracker,
) {
    let room = Arc::new(Semaphore::new(limits.connections.max(1)));
    loop {
        let Some((stream, peer, permit)) =
            ending.politely.run_until_cancelled(accept(&bound, &room)).await
        else {
            return;
        };
        let connection = Connection {
            peer,
            router: router.clone(),
            header_time: limits.header_time,
            ending: ending.clone(),
        };
        let identity = bound.identity.clone();
        connections.spawn(async move {
            let now = connection.ending.now.clone();
            now.run_until_cancelled(connection.open(stream, identity)).await;
            drop(permit);
        });
    }
}

/// The next connection for which there is room.
async fn accept(
    bound: &Bound,
    room: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed; without a permit one connection more would do no harm.
    let permit = Arc::clone(room).acquire_owned().await.ok();
    loop {
        match bound.socket.accept().await {
            Ok((stream, peer)) => return (stream, peer, permit),
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
    }
}

/// One connection.
struct Connection {
    peer: SocketAddr,
    router: Router,
    header_time: Duration,
    ending: Ending,
}

impl Connection {
    async fn open(self, stream: TcpStream, identity: Option<Identity>) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "cannot set TCP_NODELAY");
        }
        let Some(identity) = identity else {
            return self.speak(stream, false).await;
        };
        let handshake = identity.acceptor.accept(stream);
        match tokio::time::timeout(self.header_time, handshake).await {
            Ok(Ok(stream)) => {
                let speaks_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                self.speak(stream, speaks_http2).await;
            }
            Ok(Err(error)) => debug!(peer = %self.peer, %error, "no TLS handshake"),
            Err(_) => debug!(peer = %self.peer, "no TLS handshake in time"),
        }
    }

    async fn speak(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        speaks_http2: bool,
    ) {
        let Self { peer, router, header_time, ending } = self;
        let service = service_fn(move |mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            router.clone().oneshot(request)
        });
        let io = TokioIo::new(stream);
        if speaks_http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(HTTP2_STREAMS_MAX)
                .max_header_list_size(HEAD_BYTES_MAX as u32)
                .keep_alive_interval(HTTP2_PING)
                .keep_alive_timeout(header_time);
            drive(peer, builder.serve_connection(io, service), &ending).await;
        } else {
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(header_time)
                .max_buf_size(HEAD_BYTES_MAX);
            drive(peer, builder.serve_connection(io, service), &ending).await;
        }
    }
}

/// Lets a connection go on until its end, or until it is asked to finish what it began.
async fn drive<C>(peer: SocketAddr, connection: C, ending: &Ending)
where
    C: GracefulConnection,
    C::Error: std::fmt::Display,
{
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = ending.politely.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "a connection ended badly");
    }
}
