//! Crash points on the store in memory: a whole life of a desktop, and for every call that it makes
//! every way in which that call can go wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use daas_core::Result;
use daas_core::crash::{
    InFakes, InMemory, Lives, MakeStorage, Points, Sabotage, Sabotaged, Storage, Story, Worlds,
    every_point, every_point_in, late_effects, several_at_once,
};
use daas_core::event::What;
use daas_core::ids::Version;
use daas_core::layer::{Layer, Layered, ProvisionerLayer, StoreLayer};
use daas_core::machine::{
    Destroyed, Ensured, Listed, MachineSpec, Observation, Power, Reservation,
};
use daas_core::progress::Progress;
use daas_core::provisioner::Provisioner;
use daas_core::session::Phase;
use daas_core::store::{Change, SessionStore};
use futures::FutureExt as _;

fn in_memory() -> Arc<dyn Storage> {
    Arc::new(InMemory::default())
}

fn judge(lives: &Lives) {
    eprintln!("{lives}");
    lives.judge();
}

fn every(story: &str, make: MakeStorage<'_>) {
    judge(&every_point(&Story::named(story), make, Points::All));
}

#[test]
fn an_ephemeral_desktop_survives_every_crash() {
    every("ephemeral", &in_memory);
}

#[test]
fn a_personal_desktop_survives_every_crash() {
    every("personal", &in_memory);
}

#[test]
fn two_desktops_at_once_survive_every_crash() {
    every("together", &in_memory);
}

#[test]
fn one_close_behind_another_survives_every_crash() {
    every("close behind", &in_memory);
}

#[test]
fn a_full_house_survives_every_crash() {
    every("in turn", &in_memory);
}

#[test]
fn a_cancelled_desktop_survives_every_crash() {
    every("cancelled", &in_memory);
}

#[test]
fn a_desktop_cancelled_while_it_is_configured_survives_every_crash() {
    every("cancelled inside", &in_memory);
}

#[test]
fn lives_with_several_crashes_end_well() {
    for (seed, (story, lives)) in
        [("ephemeral", 300), ("personal", 200), ("cancelled", 300), ("close behind", 200)]
            .into_iter()
            .enumerate()
    {
        judge(&several_at_once(&Story::named(story), &in_memory, seed as u64 + 1, lives));
    }
}

/// An order that was still on its way when it was given up: what it causes may appear when its
/// record has ended, and is then found and removed.
#[test]
fn effects_that_arrive_late_leave_nothing_behind() {
    for story in ["ephemeral", "cancelled", "cancelled inside"] {
        judge(&late_effects(&Story::named(story), &in_memory));
    }
}

/// A store that loses one event of each session.
#[derive(Debug)]
struct LosesAnEvent(Arc<dyn SessionStore>);

impl Layer for LosesAnEvent {}

#[async_trait]
impl StoreLayer for LosesAnEvent {
    fn below(&self) -> &dyn SessionStore {
        self.0.as_ref()
    }

    async fn update(&self, mut change: Change) -> Result<Version> {
        let lost = |what: &What| matches!(what, What::Phase { to: Phase::Assigning, .. });
        change.events.retain(|event| !lost(&event.what));
        self.0.update(change).await
    }
}

#[derive(Debug, Default)]
struct Forgetful(InMemory);

#[async_trait(?Send)]
impl Storage for Forgetful {
    async fn open(&self) -> Result<Arc<dyn SessionStore>> {
        Ok(Arc::new(Layered(LosesAnEvent(self.0.open().await?))))
    }

    async fn close(&self) {}

    async fn kill(&self) {}
}

/// The judges are not asleep: a store that parts records from their events is found out.
#[test]
#[should_panic(expected = "a phase is missing")]
fn a_store_that_loses_events_is_found_out() {
    every("ephemeral", &|| Arc::new(Forgetful::default()));
}

fn sabotaged(sabotage: Sabotage) {
    let backends = move || {
        let below = Arc::new(InFakes::default());
        async move { Sabotaged::around(below, sabotage) }.boxed_local()
    };
    let worlds = Worlds { backends: &backends, ..Worlds::in_memory(&in_memory) };
    judge(&every_point_in(&Story::named("ephemeral"), &worlds, Points::All));
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
        let machine = "9999".parse()?;
        let second = Reservation { machine, uuid: None, ..reservation.clone() };
        self.0.ensure(&second, spec, power, progress).await?;
        self.0.destroy(&second).await?;
        self.0.ensure(reservation, spec, power, progress).await
    }
}

#[test]
#[should_panic(expected = "made more than once")]
fn a_provisioner_that_makes_two_is_found_out() {
    sabotaged(|below| Arc::new(Layered(Doubles(below))));
}

/// Says of every machine that it is gone, once one was to be removed, and does nothing.
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

#[test]
#[should_panic(expected = "machines are left")]
fn a_provisioner_that_forgets_a_machine_is_found_out() {
    sabotaged(|below| Arc::new(Layered(Forgets { below, forgotten: AtomicBool::new(false) })));
}
