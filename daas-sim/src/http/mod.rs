//! The HTTP layer: one listener per node, TLS, and the order in which Proxmox looks at a request.

pub(crate) mod auth;
pub(crate) mod dispatch;
pub(crate) mod params;
pub(crate) mod reply;
pub(crate) mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::cluster::Cluster;

/// Connections a node serves at a time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 2048;
/// Requests on one connection before it is closed.
const REQUESTS_PER_CONNECTION: u32 = 100;
/// How long a client may take for its TLS hello, or for the head of a request.
const HELLO_MAX: Duration = Duration::from_secs(30);

/// A connection's own facts.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) node: Arc<str>,
    served: AtomicU32,
}

/// Why a connection ends without an answer: a scripted fault, or the node's absence.
#[derive(Debug, thiserror::Error)]
#[error("the connection is dropped on purpose")]
pub(crate) struct Dropped;

impl Connection {
    /// Counts a request; true when it is the connection's last.
    pub(crate) fn count(&self) -> bool {
        self.served.fetch_add(1, Ordering::Relaxed) + 1 >= REQUESTS_PER_CONNECTION
    }
}

/// Serves a node until the cluster stops.
pub(crate) async fn serve(
    cluster: Arc<Cluster>,
    node: Arc<str>,
    listener: TcpListener,
    acceptor: TlsAcceptor,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = cluster.stopping.cancelled() => return,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        if cluster.faults.is_away(&node) {
            continue;
        }
        let (cluster, node, acceptor) = (cluster.clone(), node.clone(), acceptor.clone());
        let tracker = cluster.tracker.clone();
        tracker.spawn(async move {
            let stopping = cluster.stopping.clone();
            tokio::select! {
                () = stopping.cancelled() => {}
                () = serve_one(cluster, node, stream, peer, acceptor) => {}
            }
            drop(place);
        });
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, place)),
        Err(error) => {
            // Out of file descriptors, or the peer is gone already; the former needs time to pass.
            tracing::warn!(%error, "accept failed");
            tokio::time::sleep(Duration::from_millis(20)).await;
            None
        }
    }
}

async fn serve_one(
    cluster: Arc<Cluster>,
    node: Arc<str>,
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: TlsAcceptor,
) {
    let _ = stream.set_nodelay(true);
    let mut first = [0];
    match tokio::time::timeout(HELLO_MAX, stream.peek(&mut first)).await {
        Ok(Ok(1)) if first[0] == 0x16 => {}
        Ok(Ok(1)) => return redirect(stream).await,
        _ => return,
    }
    let Ok(Ok(stream)) = tokio::time::timeout(HELLO_MAX, acceptor.accept(stream)).await else {
        tracing::debug!(%peer, "no TLS");
        return;
    };
    let connection = Arc::new(Connection { cluster, node, served: AtomicU32::new(0) });
    let service = service_fn(|request| {
        let connection = connection.clone();
        async move { dispatch::respond(connection, request).await }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HELLO_MAX)
        .title_case_headers(true)
        .max_headers(64)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// Plain HTTP is sent to the same place by TLS.
async fn redirect(mut stream: TcpStream) {
    let Ok(own) = stream.local_addr() else { return };
    let text = format!(
        "HTTP/1.1 301 Moved Permanently\r\nLocation: https://{own}/\r\nContent-Length: 0\r\n\
         Connection: close\r\n\r\n"
    );
    // The client may be gone; there is nobody to tell.
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}
