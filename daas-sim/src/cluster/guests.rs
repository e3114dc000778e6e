//! The cluster's side of its guests: what their states mean for the books.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Cluster;
use crate::guest::{GuestError, GuestState};
use crate::log::Event;

/// How long a guest may take to get or lose power, or to be erased, in real time.
pub(crate) const POWER_MAX: Duration = Duration::from_secs(120);

impl Cluster {
    /// Logs the states a guest comes to, until it is gone. States that pass faster than they can be
    /// looked at are skipped.
    pub(crate) fn watch_guest(self: &Arc<Self>, vmid: u32, mut state: watch::Receiver<GuestState>) {
        let (log, stopping) = (self.log.clone(), self.stopping.clone());
        let mut last = *state.borrow_and_update();
        self.tracker.spawn(async move {
            loop {
                tokio::select! {
                    () = stopping.cancelled() => return,
                    changed = state.changed() => if changed.is_err() { return },
                }
                let now = *state.borrow_and_update();
                if now != last {
                    log.add(Event::GuestState { vmid, state: now });
                }
                last = now;
            }
        });
    }
}

/// Waits for a guest, but not for ever.
pub(crate) async fn bounded(
    what: &str,
    work: impl Future<Output = Result<(), GuestError>>,
) -> Result<(), String> {
    match tokio::time::timeout(POWER_MAX, work).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("{what} failed: {error}")),
        Err(_) => Err(format!("{what} failed: got timeout")),
    }
}
