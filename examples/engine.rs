//! The engine alone, inside a program of yours: ask for a desktop, wait until it is ready, end it.
//!
//! Everything here is in memory, so nothing needs to be installed. Put another store, provisioner
//! or configurator in its place, and the rest stays as it is.
//!
//! `cargo run -p daas-examples --bin engine`

#![expect(clippy::print_stdout, reason = "an example tells what it does")]

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use daas_core::access::Role;
use daas_core::clock::SystemClock;
use daas_core::engine::{Ask, Caller, Engine, Parts, Settings};
use daas_core::fake::{FakePlatform, FakeProvisioner, Timing};
use daas_core::idle::TemplateRules;
use daas_core::ids::{Organisation, SessionId};
use daas_core::owner::Realms;
use daas_core::secret::DeploymentKey;
use daas_core::session::{Phase, Session};
use daas_core::store::SessionStore;
use daas_core::store::memory::MemoryStore;
use daas_core::template::{ReadyWhen, Template};

#[tokio::main]
async fn main() -> Result<()> {
    // What desktops can be made from. There is no configurator: the machine is used as it comes.
    let mut template = Template::new("lab".parse()?, "fake".parse()?, "an-image");
    template.ready_when = ReadyWhen::Agent;

    // The store mints the deployment's id: with the session's it is the mark of every machine.
    let store: Arc<dyn SessionStore> = Arc::new(MemoryStore::new());
    let deployment = store.deployment().await?;
    let platform =
        FakePlatform::with(Timing { create: Duration::from_millis(300), ..Timing::default() });
    let provisioner = FakeProvisioner::new("fake".parse()?, deployment, Arc::clone(&platform));

    let engine = Engine::new(Parts {
        store,
        provisioners: vec![Arc::new(provisioner)],
        configurators: Vec::new(),
        policy: Arc::new(TemplateRules),
        templates: vec![template],
        clock: Arc::new(SystemClock),
        key: DeploymentKey::mint(),
        settings: Settings::default(),
    })
    .await?;
    // From here on the engine works; until then, what is asked for is only written down.
    let running = engine.start();

    // Who asks. The realms say which spellings of a name are one person.
    let alice = Caller {
        owner: Realms::default().owner("Alice")?,
        organisation: Organisation::default(),
        role: Role::User,
        groups: [].into(),
    };
    let asked = engine.ask(&alice, Ask::for_template("lab".parse()?)).await?;
    println!("{} is asked for by {}", asked.session.id, alice.owner);

    let ready = until(&engine, &asked.session.id, Phase::Ready).await?;
    println!("{} is ready; the platform has {} machine", ready.id, platform.machines().len());

    engine.destroy(&alice, &ready.id, "the example is over").await?;
    let ended = until(&engine, &ready.id, Phase::Ended).await?;
    println!("{} is {:?}; {} machines are left", ended.id, ended.phase, platform.machines().len());

    running.stop().await;
    Ok(())
}

/// Waits for a phase, woken by the store whenever a record changes.
async fn until(engine: &Engine, id: &SessionId, phase: Phase) -> Result<Session> {
    let mut news = engine.store().watch();
    let waiting = async {
        loop {
            news.borrow_and_update();
            let session = engine.store().get(id).await?.context("a session keeps its record")?;
            if session.phase == phase {
                return Ok(session);
            }
            news.changed().await?;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await?
}
