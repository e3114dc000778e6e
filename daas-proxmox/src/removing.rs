//! Removing a machine, with proof before and after.

use std::time::Duration;

use daas_core::machine::{Destroyed, Power, Reservation, Underway};
use http::Method;
use tokio::time::Instant;
use tracing::info;

use crate::api::vm_path;
use crate::client::{Params, Purpose};
use crate::error::{Meaning, ProxmoxError};
use crate::identity::Standing;
use crate::provisioner::{Shared, power, vmid};
use crate::slots::Slot;

/// How many things one call does at most; more would be a circle.
const STEPS_MAX: usize = 8;

impl Shared {
    pub(crate) async fn remove(
        &self,
        reservation: &Reservation,
    ) -> Result<Destroyed, ProxmoxError> {
        let vmid = vmid(&reservation.machine)?;
        if self.config.protected.contains(&vmid) {
            return Err(ProxmoxError::Protected { vmid });
        }
        self.hand(vmid, |hand| {
            hand.known = None;
            hand.address = None;
        });
        for _ in 0..STEPS_MAX {
            // A clone that is being made cannot be removed before it is done; a failed one is gone.
            match self.settle_job(vmid) {
                Ok(None) => {}
                Ok(Some(wait)) => return Ok(Destroyed::Underway(wait)),
                Err(error)
                    if matches!(
                        error,
                        ProxmoxError::Task { .. } | ProxmoxError::Foreign { .. }
                    ) =>
                {
                    info!(vmid, error = %error, "its last task failed; it is removed all the same");
                }
                Err(error) => return Err(error),
            }
            if let Some(destroyed) = self.remove_once(reservation, vmid).await? {
                return Ok(destroyed);
            }
        }
        let why = format!("machine {vmid} does not settle");
        Err(ProxmoxError::TaskLost { kind: "destroy".to_owned(), why })
    }

    /// One order towards its removal; `None` asks to look again.
    async fn remove_once(
        &self,
        reservation: &Reservation,
        vmid: u32,
    ) -> Result<Option<Destroyed>, ProxmoxError> {
        let (node, config) = match self.standing(Purpose::Making, reservation, vmid).await? {
            Standing::Nobody => {
                // Kept while an order without an answer may still come true.
                let doubtful = self.hand(vmid, |hand| hand.doubt.is_some());
                if !doubtful {
                    self.forget(vmid);
                }
                return Ok(Some(Destroyed::Gone));
            }
            Standing::Foreign(why) => {
                self.forget(vmid);
                self.inventory.forget(vmid);
                return Ok(Some(Destroyed::LeftAlone(why)));
            }
            Standing::UnderConstruction { .. } => {
                return self.wait_locked_for(vmid, "clone").map(|w| Some(Destroyed::Underway(w)));
            }
            Standing::Doubt(why) => {
                return Err(ProxmoxError::TaskLost { kind: "destroy".to_owned(), why });
            }
            Standing::Ours { node, config } => (node, config),
        };
        if let Some(lock) = config.text("lock").filter(|lock| lock != "destroyed") {
            return self.wait_locked_for(vmid, &lock).map(|w| Some(Destroyed::Underway(w)));
        }
        let current = self.client.current(Purpose::Making, &node, vmid).await?;
        let path = vm_path(&node, vmid);
        let (method, path, params, kind) = match power(&current.status) {
            Power::Running => {
                (Method::POST, format!("{path}/status/stop"), Params::new(), "qmstop")
            }
            Power::Stopped => {
                let params =
                    vec![("purge", "1".to_owned()), ("destroy-unreferenced-disks", "1".to_owned())];
                (Method::DELETE, path, params, "qmdestroy")
            }
        };
        self.hand(vmid, |hand| hand.ordered_at = Some(Instant::now()));
        match self.client.order_task(method, &path, params).await {
            Ok(upid) => {
                let job = upid.map(|upid| self.tasks.follow(upid, kind, Slot::default()));
                self.hand(vmid, |hand| hand.job = job);
                Ok(None)
            }
            // Looked at again before anything else is ordered.
            Err(error) if error.outcome_unknown() => {
                let what = "the hypervisor gave no answer; it is looked at";
                let wait = Underway::for_at_most(Duration::from_millis(500), what);
                Ok(Some(Destroyed::Underway(wait)))
            }
            Err(error) => match error.meaning() {
                Meaning::LockTimeout | Meaning::Locked => {
                    self.try_again_soon(vmid, error).map(|w| Some(Destroyed::Underway(w)))
                }
                // It went, or lost its power, between the look and the order.
                Meaning::Missing | Meaning::AlreadySo => Ok(None),
                _ => Err(error),
            },
        }
    }
}
