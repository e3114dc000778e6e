//! A world in which chosen calls go wrong, whoever makes them, and an operator who starts the
//! engine anew when it has ended.

use std::sync::Arc;

use tokio::sync::watch;

use super::backends::{Backends, Opened};
use super::fault::Plan;
use super::gate::{Gate, Gated, Life};
use super::pace::{Home, Pace};
use super::storage::Storage;
use crate::access::Role;
use crate::clock::{Clock, TokioClock};
use crate::engine::{Ask, BrakeRules, Caller, Engine, Parts, Running, Settings};
use crate::error::{Kind, Result};
use crate::idle::TemplateRules;
use crate::ids::{Organisation, SessionId};
use crate::layer::Layered;
use crate::owner::Owner;
use crate::secret::DeploymentKey;
use crate::session::{Phase, Session};
use crate::store::SessionStore;
use crate::template::Lifetime;

/// Everything that outlives a process.
#[derive(Debug)]
pub(super) struct World {
    pub(super) backends: Arc<dyn Backends>,
    pub(super) storage: Arc<dyn Storage>,
    pub(super) pace: Pace,
    plan: Arc<Plan>,
    brakes: BrakeRules,
    clock: Arc<dyn Clock>,
    process: watch::Sender<Option<Process>>,
}

/// What one process is made of.
#[derive(Debug, Clone)]
struct Process {
    engine: Engine,
    gate: Gate,
    /// The store that it has open, not behind its gate.
    store: Arc<dyn SessionStore>,
}

impl World {
    pub(super) fn new(
        (storage, backends): (Arc<dyn Storage>, Arc<dyn Backends>),
        pace: Pace,
        plan: Arc<Plan>,
        machines_max: usize,
    ) -> Self {
        Self {
            backends,
            storage,
            pace,
            plan,
            brakes: BrakeRules { machines_max, ..BrakeRules::default() },
            clock: Arc::new(TokioClock::starting_at(jiff::Timestamp::now())),
            process: watch::Sender::new(None),
        }
    }

    /// Keeps an engine running: starts another one when it has stopped or died.
    pub(super) async fn operate(&self) -> std::convert::Infallible {
        loop {
            let store = self.storage.open().await.expect("the store opens");
            let gate = Gate::new(&self.plan);
            let home = self.pace.home();
            let ended = self.live(&gate, &home, store).await;
            gate.kill();
            if ended == Some(Life::Dead) {
                self.backends.kill().await;
            }
            home.end().await;
            match ended {
                Some(Life::Dead) => self.storage.kill().await,
                Some(Life::Up | Life::Stopping) => self.storage.close().await,
                None => {
                    self.storage.close().await;
                    // As a service manager does: once more, a little later.
                    tokio::time::sleep(self.pace.again_after).await;
                }
            }
        }
    }

    /// The life of one process; how it ended, or nothing if it could not be started.
    async fn live(&self, gate: &Gate, home: &Home, store: Arc<dyn SessionStore>) -> Option<Life> {
        let started = tokio::select! {
            started = home.at(self.start(gate, &store)) => started,
            _ = gate.ended() => return Some(Life::Dead),
        };
        let (engine, running) = started.ok()?;
        self.process.send_replace(Some(Process { engine, gate: gate.clone(), store }));
        let ended = gate.ended().await;
        self.process.send_replace(None);
        if ended == Life::Stopping
            && tokio::time::timeout(self.pace.stop_deadline, running.stop()).await.is_err()
        {
            return Some(Life::Dead);
        }
        Some(ended)
    }

    async fn start(&self, gate: &Gate, store: &Arc<dyn SessionStore>) -> Result<(Engine, Running)> {
        let deployment = store.deployment().await?;
        let Opened { provisioners, configurators, ssh_keys } =
            self.backends.open(&deployment).await?;
        let (brakes, limits) = (self.brakes.clone(), self.pace.limits.clone());
        let engine = Engine::new(Parts {
            store: gated(gate, Arc::clone(store)),
            provisioners: provisioners.into_iter().map(|p| gated(gate, p) as _).collect(),
            configurators: configurators.into_iter().map(|c| gated(gate, c) as _).collect(),
            policy: Arc::new(TemplateRules),
            templates: vec![self.backends.template()],
            clock: Arc::clone(&self.clock),
            key: DeploymentKey::mint(),
            settings: Settings { brakes, limits, ssh_keys, ..Settings::default() },
        })
        .await?;
        let running = engine.start();
        Ok((engine, running))
    }

    /// Has `wish` granted, as a patient user does: again after every failure and every restart.
    pub(super) async fn insist<T>(&self, what: &str, wish: impl AsyncFn(Engine) -> Result<T>) -> T {
        let mut processes = self.process.subscribe();
        let granted = tokio::time::timeout(self.pace.stuck_after, async {
            loop {
                let Process { engine, gate, .. } = self.up(&mut processes).await;
                let granted = tokio::select! {
                    granted = wish(engine) => granted,
                    _ = gate.ended() => {
                        processes.changed().await.expect("the world goes on");
                        continue;
                    }
                };
                match granted {
                    Ok(granted) => return granted,
                    Err(error) if error.kind() == Kind::Unavailable => {
                        tokio::time::sleep(self.pace.again_after).await;
                    }
                    Err(error) => panic!("{what}: {}", error.chain()),
                }
            }
        });
        granted.await.unwrap_or_else(|_| panic!("{what}: not granted"))
    }

    pub(super) async fn ask(&self, key: &str, lifetime: Lifetime) -> SessionId {
        let asked = self.insist("ask", async |engine| {
            let mut ask = Ask::for_template("lab".parse()?);
            ask.idempotency_key = Some(key.to_owned());
            ask.lifetime = Some(lifetime);
            (ask.session_user, ask.session_password) = self.backends.account().unzip();
            engine.ask(&alice(), ask).await
        });
        asked.await.session.id
    }

    pub(super) async fn destroy(&self, id: &SessionId) {
        self.insist("destroy", async |engine| engine.destroy(&alice(), id, "done").await).await;
    }

    /// Waits until the record is as wished.
    pub(super) async fn until(
        &self,
        id: &SessionId,
        what: &str,
        wished: impl Fn(&Session) -> bool,
    ) {
        let mut last = None;
        let waited = tokio::time::timeout(self.pace.stuck_after, async {
            loop {
                let (session, mut changes) = self
                    .read(async |store| {
                        let mut changes = store.watch();
                        changes.borrow_and_update();
                        Ok((store.get(id).await?.expect("no record is lost"), changes))
                    })
                    .await;
                if wished(&session) {
                    return;
                }
                last = Some(session);
                let mut processes = self.process.subscribe();
                tokio::select! {
                    _ = changes.changed() => {}
                    _ = processes.changed() => {}
                }
            }
        });
        if waited.await.is_err() {
            let Some(Session { phase, goal, reason, attempts, .. }) = last else {
                panic!("never {what}: no process reads the store");
            };
            panic!("never {what}: {phase}, goal {goal:?}, {reason}, {attempts:?}");
        }
    }

    pub(super) async fn phase(&self, id: &SessionId, phase: Phase) {
        self.until(id, phase.as_str(), |session| session.phase == phase).await;
    }

    /// Reads the store as the process that is up has it open.
    pub(super) async fn read<T>(
        &self,
        read: impl AsyncFn(Arc<dyn SessionStore>) -> Result<T>,
    ) -> T {
        let mut processes = self.process.subscribe();
        loop {
            let Process { store, .. } = self.up(&mut processes).await;
            let told = read(store).await;
            // What a store tells that is being killed may not be there when it is opened again.
            if !processes.has_changed().expect("the world goes on") {
                return told.expect("the store is read");
            }
        }
    }

    /// The process that is up, or the next to be.
    async fn up(&self, processes: &mut watch::Receiver<Option<Process>>) -> Process {
        let found = tokio::time::timeout(self.pace.stuck_after, async {
            loop {
                if let Some(process) = processes.borrow_and_update().clone() {
                    return process;
                }
                processes.changed().await.expect("the world goes on");
            }
        });
        found.await.unwrap_or_else(|_| panic!("no process comes up"))
    }
}

/// A backend behind the gate of its process.
fn gated<B: ?Sized>(gate: &Gate, below: Arc<B>) -> Arc<Layered<Gated<B>>> {
    Arc::new(Layered(Gated { below, gate: gate.clone() }))
}

pub(super) fn alice() -> Caller {
    Caller {
        owner: Owner { realm: "lab".into(), name: "alice".into() },
        organisation: Organisation::default(),
        role: Role::User,
        groups: [].into(),
    }
}
