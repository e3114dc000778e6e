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
        self.reach_state(held, order).await?;
        if let Some(platform) = &self.platform {
            match platform.observe(&self.theirs(&order.reservation, held.dir.made()?)).await {
                Observation::Unknown(why) => return Err(TerraformError::Doubt(why)),
                Observation::Present(_) => {}
                // Nothing of ours: asked to destroy, it tells whether something of others.
                Observation::Absent => {
                    if let Some(why) = self.platform_destroys(held, order).await? {
                        return self.left_alone(held, order, why).await;
                    }
                }
            }
        }
        let destroyed = self.terraform_destroys(held, order).await;
        let Err(error) = destroyed else {
            return self.proved_by_platform(held, order).await;
        };
        let is_final = matches!(
            error,
            TerraformError::Cancelled { .. } | TerraformError::LockedElsewhere { .. }
        );
        if self.platform.is_none() || is_final {
            return Err(error);
        }
        warn!(session = %order.reservation.session, %error,
            "terraform cannot destroy it; the platform does");
        match self.proved_by_platform(held, order).await? {
            Undone::Gone => {}
            left => return Ok(left),
        }
        // The machine itself is gone; what else the module made is Terraform's alone to remove.
        match self.terraform_destroys(held, order).await {
            Err(TerraformError::StateBroken { why, .. }) => {
                let kept = held.set_state_aside()?;
                warn!(session = %order.reservation.session, ?kept, why,
                    "the machine is gone, but its state could not be read: what its module made \
                     beside it is to be removed by hand");
                Ok(Undone::Gone)
            }
            ended => ended.map(|()| Undone::Gone),
        }
    }

    /// Somebody else's machine is under the id: what the state holds is not touched.
    async fn left_alone(
        &self,
        held: &Held,
        order: &Order,
        why: String,
    ) -> Result<Undone, TerraformError> {
        let state_empty = match self.state(held, order).await {
            Ok(state) => state.is_empty(),
            Err(TerraformError::StateBroken { .. }) => false,
            Err(error) => return Err(error),
        };
        Ok(Undone::LeftAlone { why, state_empty })
    }

    async fn proved_by_platform(
        &self,
        held: &Held,
        order: &Order,
    ) -> Result<Undone, TerraformError> {
        match self.platform_destroys(held, order).await? {
            None => Ok(Undone::Gone),
            Some(why) => self.left_alone(held, order, why).await,
        }
    }

    /// Lets Terraform destroy what it knows of, and proves that it then knows of nothing.
    async fn terraform_destroys(&self, held: &Held, order: &Order) -> Result<(), TerraformError> {
        // One that is kept elsewhere is destroyed even so: that takes its lock, and proves that
        // nobody is at work on it.
        if self.backend.is_none() && self.state(held, order).await?.is_empty() {
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
