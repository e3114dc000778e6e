//! Removing a machine: by Terraform where it knows of it, by the platform where it does not.

use daas_core::machine::{Destroyed, Observation};
use tracing::warn;

use crate::error::TerraformError;
use crate::jobs::Done;
use crate::making::Order;
use crate::provisioner::Shared;
use crate::run_dir::Held;

/// How often a platform that is at work is asked again.
const ASKS_MAX: usize = 2_000;

/// What undoing came to.
#[derive(Debug)]
pub(crate) enum Undone {
    /// Nothing is left, proved by the state and by the platform.
    Gone,
    /// Somebody else's machine is under the id; what the state holds was not touched.
    LeftAlone { why: String, state_empty: bool },
}

impl Shared {
    /// Removes the machine and its directory.
    pub(crate) async fn remove(&self, order: Order) -> Result<Done, TerraformError> {
        let held = self.take(&order.dir).await?;
        match self.undo(&held, &order).await? {
            Undone::Gone => {
                held.remove()?;
                Ok(Done::Gone)
            }
            Undone::LeftAlone { why, state_empty } => {
                if state_empty {
                    held.remove()?;
                    return Ok(Done::LeftAlone(why));
                }
                let kept = order.dir.path.display();
                warn!(directory = %kept, why, "a state is kept: its machine id is somebody else's");
                Ok(Done::LeftAlone(format!("{why}; Terraform's state is kept in {kept}")))
            }
        }
    }

    /// Undoes all that was ever done in a directory.
    ///
    /// INVARIANT: Terraform destroys by machine id, whoever has it. So it is not run while the
    /// platform shows somebody else's machine under it.
    pub(crate) async fn undo(&self, held: &Held, order: &Order) -> Result<Undone, TerraformError> {
        if let Some(platform) = &self.platform {
            match platform.observe(&self.theirs(&order.reservation, held.dir.made()?)).await {
                Observation::Unknown(why) => return Err(TerraformError::Doubt(why)),
                Observation::Present(_) => {}
                // Nothing of ours: asked to destroy, it tells whether something of others.
                Observation::Absent => {
                    if let Some(why) = self.platform_destroys(held, order).await? {
                        let state_empty = self.state(held, order).await?.is_empty();
                        return Ok(Undone::LeftAlone { why, state_empty });
                    }
                }
            }
        }
        let destroyed = self.terraform_destroys(held, order).await;
        let Err(error) = destroyed else {
            return self.proved_by_platform(held, order).await;
        };
        if self.platform.is_none() || matches!(error, TerraformError::Cancelled { .. }) {
            return Err(error);
        }
        warn!(session = %order.reservation.session, %error,
            "terraform cannot destroy it; the platform does");
        match self.proved_by_platform(held, order).await? {
            Undone::Gone => {}
            left => return Ok(left),
        }
        // The machine itself is gone; what else the module made is Terraform's alone to remove.
        self.terraform_destroys(held, order).await?;
        Ok(Undone::Gone)
    }

    async fn proved_by_platform(
        &self,
        held: &Held,
        order: &Order,
    ) -> Result<Undone, TerraformError> {
        match self.platform_destroys(held, order).await? {
            None => Ok(Undone::Gone),
            Some(why) => {
                let state_empty = self.state(held, order).await?.is_empty();
                Ok(Undone::LeftAlone { why, state_empty })
            }
        }
    }

    /// Lets Terraform destroy what it knows of, and proves that it then knows of nothing.
    async fn terraform_destroys(&self, held: &Held, order: &Order) -> Result<(), TerraformError> {
        if self.state(held, order).await?.is_empty() {
            return Ok(());
        }
        order.progress.tell("terraform removes the machine", None);
        let destroy = &["destroy", "-json", "-input=false", "-auto-approve"];
        self.terraform(held, order, destroy).await?;
        let state = self.state(held, order).await?;
        if state.is_empty() {
            return Ok(());
        }
        let left = state.resources.join(", ");
        Err(TerraformError::StateLeft { directory: held.dir.path.clone(), left })
    }

    /// Lets the platform destroy and prove: `None` when nothing is there, else whose it is.
    async fn platform_destroys(
        &self,
        held: &Held,
        order: &Order,
    ) -> Result<Option<String>, TerraformError> {
        let Some(platform) = &self.platform else { return Ok(None) };
        let theirs = self.theirs(&order.reservation, held.dir.made()?);
        for _ in 0..ASKS_MAX {
            match platform.destroy(&theirs).await.map_err(TerraformError::Platform)? {
                Destroyed::Gone => return Ok(None),
                Destroyed::LeftAlone(why) => return Ok(Some(why)),
                Destroyed::Underway(work) => {
                    order.progress.tell(work.what.clone(), None);
                    // Woken or not: asking again is right at any time.
                    let _ = tokio::time::timeout(work.check_after, work.wake.heard()).await;
                }
            }
        }
        Err(TerraformError::Doubt("the platform is at work on it for ever".to_owned()))
    }
}
