//! Accepts connections, as many as the limit allows, and cuts those whose client is gone, says
//! nothing or takes nothing. HTTP/2 is for those who agreed on it in TLS; guessing it from the
//! first bytes would need a time limit of its own.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::{BoxError, Router};
use futures::TryFutureExt as _;
use hyper::body::{Body, Incoming};
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
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
use crate::traffic::{Overdue, Traffic};

/// The wait after the system refused to accept, so that a lack of descriptors is no busy loop.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// Requests at once on one HTTP/2 connection.
const HTTP2_STREAMS_MAX: u32 = 64;
/// How long an HTTP/2 connection is silent before it is asked whether it lives.
const HTTP2_PING: Duration = Duration::from_secs(20);
/// The longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// How long a connection is silent before the system asks the other one whether it is there, and
/// how often it asks then: a create that blocks must notice a client that went without a word.
const PROBE_AFTER: Duration = Duration::from_secs(30);
const PROBE_PERIOD: Duration = Duration::from_secs(10);
/// How long neither a probe nor what was sent may stay without an echo.
const ECHO_TIME: Duration = Duration::from_secs(60);

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
            traffic: Traffic::new(limits.header_time, limits.take_time),
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
    traffic: Traffic,
    ending: Ending,
}

impl Connection {
    async fn open(self, stream: TcpStream, identity: Option<Identity>) {
        if let Err(error) = tune(&stream) {
            debug!(%error, "cannot set the options of a connection");
        }
        let stream = self.traffic.watch(stream);
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
        let Self { peer, router, header_time, traffic, ending } = self;
        let books = traffic.clone();
        let service = service_fn(move |mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            let in_hand = books.request();
            let answer = router.clone().oneshot(request);
            answer.map_ok(|answer| answer.map(|body| in_hand.until_taken(body)))
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
            drive(peer, builder.serve_connection(io, service), &traffic, &ending).await;
        } else {
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(header_time)
                .max_buf_size(HEAD_BYTES_MAX);
            let connection = builder.serve_connection(io, service).with_upgrades();
            drive(peer, connection, &traffic, &ending).await;
        }
    }
}

/// A connection that can be asked to finish what it began and no more.
trait Polite {
    fn finish(self: Pin<&mut Self>);
}

impl<I, S> Polite for http1::UpgradeableConnection<I, S>
where
    S: HttpService<Incoming, Error: Into<BoxError>, ResBody: Body<Error: Into<BoxError>> + 'static>,
    I: Read + Write + Unpin + Send + 'static,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S> Polite for http2::Connection<I, S, TokioExecutor>
where
    S: HttpService<Incoming, Error: Into<BoxError>, ResBody: Body<Error: Into<BoxError>> + 'static>,
    I: Read + Write + Unpin,
    TokioExecutor: Http2ServerConnExec<S::Future, S::ResBody>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Lets a connection go on until its end, until it is asked to finish what it began, or until its
/// client has failed to do its part.
async fn drive<C>(peer: SocketAddr, connection: C, traffic: &Traffic, ending: &Ending)
where
    C: Future<Output = hyper::Result<()>> + Polite,
{
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        overdue = traffic.overdue() => match overdue {
            Overdue::Untaken => return debug!(%peer, "cut: it takes nothing of its answer"),
            Overdue::Idle => None,
        },
        () = ending.politely.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().finish();
            traffic.forgive();
            tokio::select! {
                ended = connection => ended,
                overdue = traffic.overdue() => {
                    return debug!(%peer, ?overdue, "cut: it does not end in order");
                }
            }
        }
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "a connection ended badly");
    }
}

/// Sends without delay, and notices a client that has gone without a word.
fn tune(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let probes = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_PERIOD);
    socket.set_tcp_keepalive(&probes)?;
    // Probes are not sent while something else waits for its echo.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(ECHO_TIME))?;
    Ok(())
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
