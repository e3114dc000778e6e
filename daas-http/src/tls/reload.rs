//! Certificate files that are replaced while the server runs, as whatever renews them does.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{certified, fingerprint};

/// The shortest time between two looks.
const PERIOD_MIN: Duration = Duration::from_millis(10);

/// The certificate that is shown to whoever connects next.
#[derive(Debug)]
pub(crate) struct Current(RwLock<Arc<CertifiedKey>>);

impl Current {
    pub(super) fn new(key: CertifiedKey) -> Arc<Self> {
        Arc::new(Self(RwLock::new(Arc::new(key))))
    }

    fn replace(&self, key: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// A certificate and its key in files that others write.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) current: Arc<Current>,
    /// What the files held when they were last looked at.
    pub(super) seen: [u8; 32],
}

/// What tells one pair of files from another.
pub(super) fn digest(certificate: &str, key: &str) -> [u8; 32] {
    Sha256::new().chain_update(certificate).chain_update([0]).chain_update(key).finalize().into()
}

impl Files {
    /// Looks at the files every `period` until `stop`. What cannot be used, such as a certificate
    /// whose key has yet to be written, is said once; the one before stays.
    pub(crate) async fn watch(mut self, period: Duration, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(period.max(PERIOD_MIN));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unreadable = false;
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            match self.look().await {
                Ok(()) => unreadable = false,
                Err(error) if !unreadable => {
                    let file = self.certificate.display();
                    warn!(%error, %file, "certificate files cannot be read; the one before stays");
                    unreadable = true;
                }
                Err(_) => {}
            }
        }
    }

    async fn look(&mut self) -> std::io::Result<()> {
        let certificate = tokio::fs::read_to_string(&self.certificate).await?;
        let key = tokio::fs::read_to_string(&self.key).await?;
        let found = digest(&certificate, &key);
        if found == self.seen {
            return Ok(());
        }
        self.seen = found;
        let file = self.certificate.display();
        match certified(&certificate, &key, &self.certificate) {
            Ok(key) => {
                let fingerprint = fingerprint(&key);
                self.current.replace(key);
                info!(%file, fingerprint, "a new certificate is shown from now on");
            }
            Err(error) => warn!(%error, "a new certificate is not used; the one before stays"),
        }
        Ok(())
    }
}
