//! The way of one process to the world: all its calls pass a gate, which counts them, has them go
//! wrong, and is shut when the process dies.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::sync::watch;

use super::fault::{Fault, Plan};
use crate::configurator::{
    Applied, Configurator, ConfiguratorExtras, EffectInventory, GuestContext, Stage,
};
use crate::error::{Error, Kind, Operation, Result};
use crate::layer::{
    Answer, Call, ConfiguratorLayer, EffectsLayer, Layer, Layered, ProvisionerLayer, StoreLayer,
    Work,
};
use crate::machine::{Ensured, MachineSpec, Power, Reservation};
use crate::progress::Progress;
use crate::provisioner::Provisioner;
use crate::store::SessionStore;

/// What has become of an engine and its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// It works.
    Up,
    /// It is to be stopped, properly.
    Stopping,
    /// It does nothing any more: its calls never come back and have no effect.
    Dead,
}

/// A call as it is sent on its way, to have its effect when nobody waits for the answer.
type Order = BoxFuture<'static, ()>;

/// The gate of one process.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    plan: Arc<Plan>,
    life: Arc<watch::Sender<Life>>,
}

impl Gate {
    pub(super) fn new(plan: &Arc<Plan>) -> Self {
        Self { plan: Arc::clone(plan), life: Arc::new(watch::Sender::new(Life::Up)) }
    }

    /// Waits until the process no longer works; whether it is stopping or dead.
    pub(super) async fn ended(&self) -> Life {
        let mut life = self.life.subscribe();
        life.wait_for(|life| *life != Life::Up).await.map_or(Life::Dead, |life| *life)
    }

    /// From now on this process has no effect on the world.
    pub(super) fn kill(&self) {
        self.life.send_replace(Life::Dead);
    }

    /// Passes a call, or does to it what the plan says; `order` is the call as it arrives late.
    async fn pass<'a, T: Answer>(&self, call: Call, work: &Work<'a, T>, order: Option<Order>) -> T {
        if *self.life.borrow() == Life::Dead {
            return std::future::pending().await;
        }
        let cut_off = || T::failed(cut_off(call.operation));
        match self.plan.count(call.name) {
            None => work().await,
            Some(Fault::FailBefore) => cut_off(),
            Some(Fault::FailAfter) => {
                work().await;
                cut_off()
            }
            Some(Fault::Twice) => {
                work().await;
                work().await
            }
            Some(Fault::DropBefore) => self.hang(Life::Stopping).await,
            Some(Fault::DropAfter) => {
                work().await;
                self.hang(Life::Stopping).await
            }
            Some(Fault::KillBefore) => self.hang(Life::Dead).await,
            Some(Fault::KillAfter) => {
                work().await;
                self.hang(Life::Dead).await
            }
            Some(Fault::Late(delay)) => {
                send(order, delay);
                cut_off()
            }
            Some(Fault::LateInSilence(delay)) => {
                send(order, delay);
                std::future::pending().await
            }
        }
    }

    async fn hang<T>(&self, life: Life) -> T {
        self.life.send_replace(life);
        std::future::pending().await
    }
}

fn send(order: Option<Order>, delay: Duration) {
    if let Some(order) = order {
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            order.await;
        });
    }
}

/// The failure of a call that did not come back.
fn cut_off(operation: Operation) -> Error {
    Error::new(Kind::Unavailable, operation, "crash point", "the connection broke")
}

/// A backend behind a gate.
#[derive(Debug)]
pub(super) struct Gated<B: ?Sized> {
    pub(super) below: Arc<B>,
    pub(super) gate: Gate,
}

#[async_trait]
impl<B: std::fmt::Debug + Send + Sync + ?Sized> Layer for Gated<B> {
    async fn around<'a, T: Answer>(&self, call: Call, work: &Work<'a, T>) -> T {
        self.gate.pass(call, work, None).await
    }
}

impl StoreLayer for Gated<dyn SessionStore> {
    fn below(&self) -> &dyn SessionStore {
        self.below.as_ref()
    }
}

/// The order of a machine: what [`Fault::Late`] can delay.
pub(super) const ENSURE: Call = Call { name: "Provisioner::ensure", operation: Operation::Ensure };

#[async_trait]
impl ProvisionerLayer for Gated<dyn Provisioner> {
    fn below(&self) -> &dyn Provisioner {
        self.below.as_ref()
    }

    async fn ensure(
        &self,
        reservation: &Reservation,
        spec: &MachineSpec,
        power: Power,
        progress: &Progress,
    ) -> Result<Ensured> {
        let (below, held, made) = (Arc::clone(&self.below), reservation.clone(), spec.clone());
        let order = async move {
            // Nobody waits for the answer any more.
            let _ = below.ensure(&held, &made, power, &Progress::silent()).await;
        };
        let work = || self.below.ensure(reservation, spec, power, progress);
        self.gate.pass(ENSURE, &work, Some(Box::pin(order))).await
    }
}

/// The configuration of a guest: what [`Fault::Late`] can delay.
pub(super) const APPLY: Call =
    Call { name: "Configurator::apply", operation: Operation::Configure };

#[async_trait]
impl ConfiguratorLayer for Gated<dyn Configurator> {
    fn below(&self) -> &dyn Configurator {
        self.below.as_ref()
    }

    async fn apply(
        &self,
        guest: &GuestContext,
        stage: &Stage,
        progress: &Progress,
    ) -> Result<Applied> {
        let (below, inside, part) = (Arc::clone(&self.below), guest.clone(), stage.clone());
        let order = async move {
            // Nobody waits for the answer any more.
            let _ = below.apply(&inside, &part, &Progress::silent()).await;
        };
        let work = || self.below.apply(guest, stage, progress);
        self.gate.pass(APPLY, &work, Some(Box::pin(order))).await
    }

    fn extras(&self) -> ConfiguratorExtras {
        let gated = |below| {
            let gate = self.gate.clone();
            Arc::new(Layered(Gated::<dyn EffectInventory> { below, gate })) as _
        };
        ConfiguratorExtras { effects: self.below.extras().effects.map(gated) }
    }
}

impl EffectsLayer for Gated<dyn EffectInventory> {
    fn below(&self) -> &dyn EffectInventory {
        self.below.as_ref()
    }
}
