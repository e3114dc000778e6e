//! A deployment: everything made from the configuration, started, and stopped in order.

use std::sync::{Arc, OnceLock};

use daas_core::audit::AuditLog;
use daas_core::clock::SystemClock;
use daas_core::engine::{Engine, Parts, Settings as EngineSettings};
use daas_core::idle::TemplateRules;
use daas_http::{Addresses, Extra, Listeners, Server};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::audit::open_audit;
use crate::backends::{backends, open_store};
use crate::error::{ComposeError, chain};
use crate::keys;
use crate::people::identity;
use crate::settings::Settings;

/// A deployment that is ready to run: its ports are bound, nothing is answered yet.
#[derive(Debug)]
pub struct Deployment {
    engine: Engine,
    server: Server,
    audit: AuditLog,
}

impl Deployment {
    /// Makes everything that `settings` name. An error names the setting to mend.
    pub async fn open(settings: Settings) -> Result<Self, ComposeError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store = open_store(&settings).await?;
        let deployment = store.deployment().await?;
        let key = match settings.store_path() {
            Some(_) => keys::deployment_key(&settings.data_dir)?,
            None => daas_core::secret::DeploymentKey::mint(),
        };
        let listeners =
            Listeners::bind(&settings.http).await.map_err(|e| ComposeError::Http(chain(&e)))?;
        let parts = backends(&settings, &deployment)?;
        let guest_url = settings.guest_url.clone().or_else(|| listeners.addresses().guest_url());
        if guest_url.is_none() && settings.templates.iter().any(|t| t.configurator.is_some()) {
            warn!("http.guest_listen is not set: guests cannot report, so idle rules cannot work");
        }
        let engine = Engine::new(Parts {
            store,
            provisioners: parts.provisioners,
            configurators: parts.configurators,
            policy: Arc::new(TemplateRules),
            templates: settings.templates.clone(),
            clock: Arc::new(SystemClock),
            key,
            settings: EngineSettings {
                limits: settings.limits.clone(),
                brakes: settings.brakes.clone(),
                quotas: settings.quotas,
                prefix: settings.prefix.clone(),
                ssh_keys: parts.ssh_keys,
                guest_url,
                guest_ca_pem: listeners.guest_certificate_pem().map(str::to_owned),
            },
        })
        .await?;
        let realms = settings.realms.clone();
        let identity = identity(&settings)?.map(Arc::new);
        let audit = open_audit(&settings, engine.store().as_ref()).await?;
        let extra = Extra {
            metrics: recorder(),
            realms,
            identity,
            audit: Some(audit.clone()),
            ..Extra::default()
        };
        let server = Server::new(listeners, settings.http, engine.clone(), extra);
        Ok(Self { engine, server, audit })
    }

    /// The engine, for whoever embeds a deployment.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        self.server.addresses()
    }

    /// What people want to know at its start, a line each.
    pub fn greeting(&self) -> Vec<String> {
        let addresses = self.server.addresses();
        let mut lines =
            vec![format!("deployment {} listens on {}", self.engine.deployment(), addresses.url())];
        if let Some(fingerprint) = self.server.fingerprint() {
            lines.push(format!("its certificate's SHA-256 fingerprint is {fingerprint}"));
        }
        if let Some(url) = addresses.guest_url() {
            lines.push(format!("guests report to {url}"));
        }
        lines
    }

    /// Runs until `stop`: requests end first, then the engine lets go of what it has in hand.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ComposeError> {
        let running = self.engine.start();
        let fed = stop.child_token();
        let watchdog = tokio::spawn(feed_watchdog(running.heartbeat(), fed.clone()));
        if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
            warn!(%error, "the service manager was not told that we are ready");
        }
        info!(deployment = %self.engine.deployment(), "running");
        let served = self.server.run(stop).await;
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        running.stop().await;
        self.audit.close().await;
        fed.cancel();
        let _ = watchdog.await;
        info!("stopped");
        served.map_err(|e| ComposeError::Http(chain(&e)))
    }
}

/// Feeds the service manager's watchdog as long as the engine's loop turns: a loop that hangs gets
/// the process restarted.
async fn feed_watchdog(mut heartbeat: tokio::sync::watch::Receiver<u64>, stop: CancellationToken) {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let pause = period / 3;
    while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
        if heartbeat.has_changed().unwrap_or(false) {
            heartbeat.borrow_and_update();
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        } else {
            warn!(waited = ?pause, "the engine's loop has not turned");
        }
    }
}

/// The process's one metrics recorder.
fn recorder() -> Option<PrometheusHandle> {
    static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    RECORDER.get_or_init(|| PrometheusBuilder::new().install_recorder().ok()).clone()
}
