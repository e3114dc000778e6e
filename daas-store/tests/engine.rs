//! Whole lives of desktops on a store in a file, and a second process that takes over.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use daas_core::access::Role;
use daas_core::clock::SystemClock;
use daas_core::engine::{Ask, Caller, Engine, Parts, Settings};
use daas_core::fake::{FakeConfigurator, FakeGuests, FakePlatform, FakeProvisioner};
use daas_core::idle::TemplateRules;
use daas_core::ids::{Cursor, Organisation, SessionId};
use daas_core::owner::Owner;
use daas_core::secret::DeploymentKey;
use daas_core::session::{Phase, Session};
use daas_core::store::{EventFilter, SessionStore};
use daas_core::template::{ReadyWhen, Template};
use daas_store::SqliteStore;

const DEADLINE: Duration = Duration::from_secs(20);

struct World {
    platform: Arc<FakePlatform>,
    guests: Arc<FakeGuests>,
}

impl World {
    async fn engine(&self, store: &Arc<SqliteStore>) -> Engine {
        let deployment = store.deployment().await.unwrap();
        let mut template = Template::new("lab".parse().unwrap(), "fake".parse().unwrap(), "image");
        template.ready_when = ReadyWhen::Agent;
        template.configurator = Some("inside".parse().unwrap());
        let provisioner =
            FakeProvisioner::new("fake".parse().unwrap(), deployment, Arc::clone(&self.platform));
        let configurator =
            FakeConfigurator::joining("inside".parse().unwrap(), Arc::clone(&self.guests));
        Engine::new(Parts {
            store: Arc::clone(store) as _,
            provisioners: vec![Arc::new(provisioner)],
            configurators: vec![Arc::new(configurator)],
            policy: Arc::new(TemplateRules),
            templates: vec![template],
            clock: Arc::new(SystemClock),
            key: DeploymentKey::mint(),
            settings: Settings::default(),
        })
        .await
        .unwrap()
    }
}

fn alice() -> Caller {
    Caller {
        owner: Owner { realm: "lab".into(), name: "alice".into() },
        organisation: Organisation::default(),
        role: Role::User,
        groups: [].into(),
    }
}

/// Waits for the phase, woken by the store.
async fn phase(store: &SqliteStore, id: &SessionId, phase: Phase) -> Session {
    let mut changes = store.watch();
    let there = async {
        loop {
            let session = store.get(id).await.unwrap().unwrap();
            if session.phase == phase {
                return session;
            }
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(DEADLINE, there).await.unwrap()
}

async fn open(path: &Path) -> Arc<SqliteStore> {
    SqliteStore::open(path).await.unwrap()
}

#[tokio::test]
async fn a_desktop_outlives_the_process_that_made_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions.db");
    let world = World { platform: FakePlatform::new(), guests: FakeGuests::new() };

    let store = open(&path).await;
    let engine = world.engine(&store).await;
    let running = engine.start();
    let ask = Ask::for_template("lab".parse().unwrap());
    let session = engine.ask(&alice(), ask).await.unwrap().session;
    phase(&store, &session.id, Phase::Ready).await;
    running.stop().await;
    drop(engine);
    store.close().await;

    let store = open(&path).await;
    let engine = world.engine(&store).await;
    let running = engine.start();
    let found = engine.session(&alice(), &session.id).await.unwrap();
    assert_eq!(found.phase, Phase::Ready);
    engine.destroy(&alice(), &session.id, "done").await.unwrap();
    phase(&store, &session.id, Phase::Ended).await;
    assert!(world.platform.machines().is_empty());
    assert!(world.guests.accounts().is_empty());
    let events = store.events(Cursor(0), &EventFilter::default(), 100).await.unwrap();
    assert!(events.len() >= 6, "{events:?}");
    assert!(events.windows(2).all(|pair| pair[0].cursor < pair[1].cursor));
    let tally = store.tally().await.unwrap();
    assert_eq!((tally.created, tally.ended, tally.live()), (1, 1, 0));
    running.stop().await;
    store.close().await;
}
