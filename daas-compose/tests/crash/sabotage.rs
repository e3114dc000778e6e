//! Provisioners that lie, on the same cluster: the judge finds each out by the cluster's own word.

use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use daas_core::Result;
use daas_core::crash::{
    Backends, MakeBackends, Points, Sabotage, Sabotaged, Story, Worlds, every_point_in,
};
use daas_core::layer::{Layer, Layered, ProvisionerLayer};
use daas_core::machine::{
    Destroyed, Ensured, Listed, MachineSpec, Observation, Power, Reservation, Underway,
};
use daas_core::progress::Progress;
use daas_core::provisioner::Provisioner;
use daas_sim::Durations;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;

use crate::cluster::Cluster;
use crate::native::Native;

/// Judges that a life without any fault goes wrong with this word.
pub(crate) fn is_found_out(make: MakeBackends<'_>, word: &str) {
    let worlds = Worlds::real(make, 1);
    let points = Points::Some { lives_max: 1, seed: 1 };
    let told = catch_unwind(std::panic::AssertUnwindSafe(|| {
        every_point_in(&Story::named("ephemeral"), &worlds, points)
    }));
    let panic = told.expect_err("it was not found out");
    let said = panic.downcast_ref::<String>().unwrap();
    assert!(said.contains(word), "{said}");
}

pub(crate) fn doubling() -> LocalBoxFuture<'static, Arc<dyn Backends>> {
    sabotaged(|below| Arc::new(Layered(Doubles(below)))).boxed_local()
}

pub(crate) fn forgetting() -> LocalBoxFuture<'static, Arc<dyn Backends>> {
    sabotaged(|below| Arc::new(Layered(Forgets { below, forgotten: AtomicBool::new(false) })))
        .boxed_local()
}

async fn sabotaged(sabotage: Sabotage) -> Arc<dyn Backends> {
    // By the milder of the two ways to judge what was made twice.
    let mut native = Native::new(Durations::zero()).await;
    native.doubled = Cluster::two_at_once;
    Sabotaged::around(Arc::new(native), sabotage)
}

/// Makes a second machine beside the first, and removes it before anybody looks.
#[derive(Debug)]
struct Doubles(Arc<dyn Provisioner>);

impl Layer for Doubles {}

#[async_trait]
impl ProvisionerLayer for Doubles {
    fn below(&self) -> &dyn Provisioner {
        self.0.as_ref()
    }

    async fn ensure(
        &self,
        reservation: &Reservation,
        spec: &MachineSpec,
        power: Power,
        progress: &Progress,
    ) -> Result<Ensured> {
        let made = self.0.ensure(reservation, spec, power, progress).await?;
        if matches!(made, Ensured::Done(_)) {
            let second = second(reservation);
            while let Ensured::Underway(work) =
                self.0.ensure(&second, spec, Power::Stopped, progress).await?
            {
                pause(work).await;
            }
            while let Destroyed::Underway(work) = self.0.destroy(&second).await? {
                pause(work).await;
            }
        }
        Ok(made)
    }
}

fn second(reservation: &Reservation) -> Reservation {
    let id: u32 = reservation.machine.as_str().parse().unwrap();
    let machine = (id + 500).to_string().parse().unwrap();
    Reservation { machine, uuid: None, ..reservation.clone() }
}

async fn pause(work: Underway) {
    // Woken or not: asking again is right at any time.
    let _ = tokio::time::timeout(work.check_after, work.wake.heard()).await;
}

/// Says of a machine that it is gone, and does nothing.
#[derive(Debug)]
struct Forgets {
    below: Arc<dyn Provisioner>,
    forgotten: AtomicBool,
}

impl Layer for Forgets {}

#[async_trait]
impl ProvisionerLayer for Forgets {
    fn below(&self) -> &dyn Provisioner {
        self.below.as_ref()
    }

    async fn observe(&self, reservation: &Reservation) -> Observation {
        if self.forgotten.load(Ordering::SeqCst) {
            return Observation::Absent;
        }
        self.below.observe(reservation).await
    }

    async fn destroy(&self, _: &Reservation) -> Result<Destroyed> {
        self.forgotten.store(true, Ordering::SeqCst);
        Ok(Destroyed::Gone)
    }

    async fn list(&self) -> Result<Vec<Listed>> {
        Ok(Vec::new())
    }
}
