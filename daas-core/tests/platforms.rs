//! Two backends on one platform, such as Terraform's and the native one: one world of machines.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use daas_core::Result;
use daas_core::clock::TokioClock;
use daas_core::engine::{Ask, Engine, Parts, Settings};
use daas_core::fake::{FakeConfigurator, FakeProvisioner, Timing};
use daas_core::idle::TemplateRules;
use daas_core::ids::SessionId;
use daas_core::layer::{Layer, Layered, ProvisionerLayer};
use daas_core::machine::{MachineSpec, Reservation, Taken};
use daas_core::provisioner::{Extras, Provisioner};
use daas_core::secret::DeploymentKey;
use daas_core::session::Phase;
use daas_core::store::SessionStore;
use daas_core::template::Template;
use world::World;

/// Makes its machines on the platform of `fake`.
#[derive(Debug)]
struct Above(FakeProvisioner);

impl Layer for Above {}

impl ProvisionerLayer for Above {
    fn below(&self) -> &dyn Provisioner {
        &self.0
    }

    fn extras(&self) -> Extras {
        Extras { platform: Some("fake".parse().unwrap()), ..Extras::default() }
    }
}

/// The native backend, which keeps what it is told to be taken.
#[derive(Debug)]
struct Native {
    real: FakeProvisioner,
    told: Arc<Mutex<Taken>>,
}

impl Layer for Native {}

#[async_trait]
impl ProvisionerLayer for Native {
    fn below(&self) -> &dyn Provisioner {
        &self.real
    }

    async fn reserve(
        &self,
        id: &SessionId,
        spec: &MachineSpec,
        taken: &Taken,
    ) -> Result<Reservation> {
        *self.told.lock().unwrap() = taken.clone();
        self.real.reserve(id, spec, taken).await
    }
}

async fn engine(world: &World) -> (Engine, Arc<Mutex<Taken>>) {
    let told = Arc::default();
    let backend = |name: &str| {
        let platform = Arc::clone(&world.platform);
        FakeProvisioner::new(name.parse().unwrap(), world.deployment.clone(), platform)
    };
    let above = Template {
        name: "above".parse().unwrap(),
        provisioner: "above".parse().unwrap(),
        ..World::template()
    };
    let inside = FakeConfigurator::new("inside".parse().unwrap(), Arc::clone(&world.guests));
    let native = Native { real: backend("fake"), told: Arc::clone(&told) };
    let engine = Engine::new(Parts {
        store: Arc::clone(&world.store) as Arc<dyn SessionStore>,
        provisioners: vec![Arc::new(Layered(native)), Arc::new(Layered(Above(backend("above"))))],
        configurators: vec![Arc::new(inside)],
        policy: Arc::new(TemplateRules),
        templates: vec![World::template(), above],
        clock: Arc::new(TokioClock::starting_at(jiff::Timestamp::now())),
        key: DeploymentKey::mint(),
        settings: Settings::default(),
    });
    (engine.await.unwrap(), told)
}

#[tokio::test(start_paused = true)]
async fn each_keeps_its_own_and_neither_calls_the_others_a_stray() {
    let world = World::with(Timing { create: Duration::from_secs(3), ..Timing::default() });
    let (engine, _) = engine(&world).await;
    let running = engine.start();
    let mut sessions = Vec::new();
    for template in ["lab", "above", "lab", "above"] {
        let ask = Ask::for_template(template.parse().unwrap());
        sessions.push(engine.ask(&world.alice(), ask).await.unwrap().session.id);
    }
    let mut machines = Vec::new();
    for id in &sessions {
        machines.push(world.phase(id, Phase::Ready).await.reservation.unwrap().machine);
    }
    machines.sort();
    machines.dedup();
    assert_eq!(machines.len(), 4, "an id was given twice");

    // Time for many sweeps.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let report = engine.swept().unwrap();
    assert_eq!(report.machines, 4, "{report:?}");
    let strays = [&report.orphans, &report.quarantined, &report.duplicates, &report.left_alone];
    assert!(strays.iter().all(|strays| strays.is_empty()), "{report:?}");
    for id in &sessions {
        assert_eq!(world.get(id).await.phase, Phase::Ready);
        engine.destroy(&world.alice(), id, "done").await.unwrap();
        world.phase(id, Phase::Ended).await;
    }
    assert!(world.platform.machines().is_empty());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_successor_reserves_no_id_that_the_other_holds() {
    let world = World::with(Timing { create: Duration::from_secs(600), ..Timing::default() });
    let (first, _) = engine(&world).await;
    let running = first.start();
    let ask = |template: &str| Ask::for_template(template.parse().unwrap());
    let before = first.ask(&world.alice(), ask("above")).await.unwrap().session.id;
    let before = world.phase(&before, Phase::Creating).await.reservation.unwrap().machine;
    running.stop().await;
    let (next, told) = engine(&world).await;
    let running = next.start();
    let after = next.ask(&world.alice(), ask("lab")).await.unwrap().session.id;
    world.phase(&after, Phase::Creating).await;
    assert!(told.lock().unwrap().contains(&before));
    running.stop().await;
}
