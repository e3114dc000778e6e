//! What there is of a guest only while it has power: its tasks, its boot, its seed.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::seed::Applied;
use crate::guest::Seed;

/// After a failed `accept` (no file descriptors left) the server looks again this much later.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// One stretch of power between switching on and off, or one boot of several.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) seed: Seed,
    pub(super) applied: Applied,
    pub(super) boot_id: Uuid,
    pub(super) since: Instant,
    /// Cancelled when power goes.
    pub(super) off: CancellationToken,
    tasks: TaskTracker,
}

impl Live {
    pub(super) fn new(seed: Seed, applied: Applied) -> Self {
        let (off, tasks) = (CancellationToken::new(), TaskTracker::new());
        Self { seed, applied, boot_id: Uuid::new_v4(), since: Instant::now(), off, tasks }
    }

    /// Runs a task until it ends or power goes.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let off = self.off.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = off.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Runs a task that ends by itself when power goes.
    pub(super) fn spawn_to_end(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Takes power away and waits until no task is left.
    pub(super) async fn cut(&self) {
        self.off.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// How many tasks run.
    pub(super) fn tasks(&self) -> usize {
        self.tasks.len()
    }
}

/// Holds a port without listening yet, so that a busy one is noticed at power-on.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Accepts connections for as long as the task lives; `connections` bounds how many at once.
pub(super) async fn accept(
    listener: TcpListener,
    connections: usize,
    mut serve: impl FnMut(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit),
) {
    let slots = Arc::new(Semaphore::new(connections));
    loop {
        // The slot comes first: while all are taken, new clients wait in the kernel's backlog.
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection without TCP_NODELAY");
                }
                serve(stream, peer, slot);
            }
            Err(error) => {
                tracing::warn!(%error, "a drawn guest could not accept a connection");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}
