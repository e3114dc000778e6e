//! The server: answers on the bound sockets until it is told to stop.

use daas_core::engine::Engine;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::app::Extra;
use crate::config::HttpConfig;
use crate::connection::{self, Ending};
use crate::face::Face;
use crate::listeners::{Addresses, Listeners, ServeError};
use crate::redirect;

/// A server that is bound and does not answer yet.
#[derive(Debug)]
pub struct Server {
    listeners: Listeners,
    config: HttpConfig,
    face: Face,
}

impl Server {
    /// Binds what `config` names, for `engine`.
    pub async fn bind(
        config: HttpConfig,
        engine: Engine,
        extra: Extra,
    ) -> Result<Self, ServeError> {
        let listeners = Listeners::bind(&config).await?;
        Ok(Self::new(listeners, config, engine, extra))
    }

    /// A server on `listeners`, which were bound with the same `config`.
    pub fn new(listeners: Listeners, config: HttpConfig, engine: Engine, extra: Extra) -> Self {
        let face = Face::new(config.clone(), engine, extra);
        Self { listeners, config, face }
    }

    /// Where is being listened.
    pub fn addresses(&self) -> &Addresses {
        self.listeners.addresses()
    }

    /// SHA-256 of the API's certificate, `AA:BB:…`; absent without TLS.
    pub fn fingerprint(&self) -> Option<&str> {
        self.listeners.fingerprint()
    }

    /// Answers until `shutdown`; then accepts nothing more, ends event streams and blocked creates,
    /// lets other calls finish for `limits.stop_time` and cuts what is left.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ServeError> {
        let (ending, connections) = (Ending::default(), TaskTracker::new());
        let listening = TaskTracker::new();
        let addresses = *self.addresses();
        info!(url = addresses.url(), guests = ?addresses.guests, "listening");
        let redirect = redirect::router(&self.config, addresses.main.port());
        let bounds = [&self.listeners.main].into_iter().chain(&self.listeners.guests);
        for files in bounds.filter_map(|bound| bound.identity.as_ref()?.files.clone()) {
            let period = self.config.limits.reload_time;
            listening.spawn(files.watch(period, ending.politely.clone()));
        }
        let pairs = [
            (self.listeners.redirect, redirect),
            (Some(self.listeners.main), self.face.main.clone()),
            (self.listeners.compat, self.face.compat.clone()),
            (self.listeners.guests, self.face.guests.clone()),
        ];
        for (bound, router) in pairs {
            let Some(bound) = bound else { continue };
            let limits = self.config.limits.clone();
            let serving =
                connection::serve(bound, router, limits, ending.clone(), connections.clone());
            listening.spawn(serving);
        }
        // Dropped with this future: nothing goes on that nobody waits for.
        let (politely, now) = (ending.politely.drop_guard(), ending.now.drop_guard());
        shutdown.cancelled().await;
        self.face.stop();
        drop(politely);
        let tasks = &self.face.app.tasks;
        for tracker in [&listening, &connections, tasks] {
            tracker.close();
        }
        let all = async {
            listening.wait().await;
            connections.wait().await;
            tasks.wait().await;
        };
        if tokio::time::timeout(self.config.limits.stop_time, all).await.is_err() {
            warn!(connections = connections.len(), tasks = tasks.len(), "cut off at the stop");
        }
        drop(now);
        connections.wait().await;
        Ok(())
    }
}
