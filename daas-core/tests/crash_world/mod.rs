//! A world in which chosen calls go wrong, whoever makes them, and an operator who starts the
//! engine anew when it has ended.

pub(crate) mod backends;
pub(crate) mod faults;
pub(crate) mod store;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use daas_core::access::Role;
use daas_core::clock::{Clock, TokioClock};
use daas_core::engine::{Ask, BrakeRules, Caller, Engine, Parts, Running, Settings};
use daas_core::fake::{
    FakeConfigurator, FakeGuests, FakePlatform, FakeProvisioner, PlatformAct, Timing,
};
use daas_core::idle::{IdleRules, TemplateRules};
use daas_core::ids::{DeploymentId, Organisation, SessionId};
use daas_core::owner::Owner;
use daas_core::secret::DeploymentKey;
use daas_core::session::{Phase, Session};
use daas_core::store::memory::MemoryStore;
use daas_core::store::{Filter, Page, SessionStore};
use daas_core::template::{Lifetime, ReadyWhen, Template};
use daas_core::{Kind, Result};
use tokio::sync::watch;

use self::backends::{GatedConfigurator, GatedProvisioner};
use self::faults::{Fault, Gate, Life, Plan};
use self::store::GatedStore;

/// How long anything may take until the world counts as stuck, on paused time.
const STUCK_AFTER: Duration = Duration::from_secs(20 * 60);
/// How long an engine may take to stop; one that hangs in a call is then killed.
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// Everything that outlives a process.
pub(crate) struct World {
    pub(crate) platform: Arc<FakePlatform>,
    pub(crate) guests: Arc<FakeGuests>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) plan: Arc<Plan>,
    brakes: BrakeRules,
    clock: Arc<dyn Clock>,
    engine: watch::Sender<Option<(Engine, Gate)>>,
}

impl World {
    pub(crate) fn new(faults: Vec<(usize, Fault)>, machines_max: usize) -> Arc<Self> {
        let timing = Timing { create: Duration::from_secs(3), boot: Duration::from_secs(7) };
        Arc::new(Self {
            platform: FakePlatform::with(timing),
            guests: FakeGuests::new(),
            store: Arc::new(MemoryStore::of(DeploymentId::mint())),
            plan: Plan::new(faults),
            brakes: BrakeRules { machines_max, ..BrakeRules::default() },
            clock: Arc::new(TokioClock::starting_at(jiff::Timestamp::now())),
            engine: watch::Sender::new(None),
        })
    }

    /// Keeps an engine running: starts another one when it has stopped or died.
    pub(crate) async fn operate(self: Arc<Self>) {
        loop {
            let gate = Gate::new(&self.plan);
            let mut life = gate.life();
            let starting = self.start(&gate);
            let started = tokio::select! {
                started = starting => started,
                _ = ended(&mut life) => {
                    gate.kill();
                    continue;
                }
            };
            let Ok((engine, running)) = started else {
                // As a service manager does: once more, a little later.
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            };
            self.engine.send_replace(Some((engine, gate.clone())));
            let ended = ended(&mut life).await;
            self.engine.send_replace(None);
            if ended == Life::Stopping {
                let _ = tokio::time::timeout(STOP_DEADLINE, running.stop()).await;
            }
            gate.kill();
        }
    }

    async fn start(&self, gate: &Gate) -> Result<(Engine, Running)> {
        let deployment = self.store.deployment().await?;
        let provisioner = Arc::new(GatedProvisioner {
            real: Arc::new(FakeProvisioner::new(
                "fake".parse()?,
                deployment,
                Arc::clone(&self.platform),
            )),
            gate: gate.clone(),
        });
        let configurator = Arc::new(GatedConfigurator {
            real: Arc::new(FakeConfigurator::joining("inside".parse()?, Arc::clone(&self.guests))),
            gate: gate.clone(),
        });
        let engine = Engine::new(Parts {
            store: Arc::new(GatedStore { real: Arc::clone(&self.store) as _, gate: gate.clone() }),
            provisioners: vec![provisioner],
            configurators: vec![configurator],
            policy: Arc::new(TemplateRules),
            templates: vec![template()],
            clock: Arc::clone(&self.clock),
            key: DeploymentKey::mint(),
            settings: Settings { brakes: self.brakes.clone(), ..Settings::default() },
        })
        .await?;
        let running = engine.start();
        Ok((engine, running))
    }

    /// Has `wish` granted, as a patient user does: again after every failure and every restart.
    pub(crate) async fn insist<T>(&self, what: &str, wish: impl AsyncFn(Engine) -> Result<T>) -> T {
        let mut engines = self.engine.subscribe();
        let granted = tokio::time::timeout(STUCK_AFTER, async {
            loop {
                let up = engines.wait_for(Option::is_some).await.unwrap().clone();
                let Some((engine, gate)) = up else { continue };
                let mut life = gate.life();
                let granted = tokio::select! {
                    granted = wish(engine) => granted,
                    _ = ended(&mut life) => {
                        engines.changed().await.unwrap();
                        continue;
                    }
                };
                match granted {
                    Ok(granted) => return granted,
                    Err(error) if error.kind() == Kind::Unavailable => {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                    Err(error) => panic!("{what}: {}", error.chain()),
                }
            }
        });
        granted.await.unwrap_or_else(|_| panic!("{what}: not granted"))
    }

    pub(crate) async fn ask(&self, key: &str, lifetime: Lifetime) -> SessionId {
        let asked = self.insist("ask", async |engine| {
            let mut ask = Ask::for_template("lab".parse()?);
            ask.idempotency_key = Some(key.to_owned());
            ask.lifetime = Some(lifetime);
            engine.ask(&alice(), ask).await
        });
        asked.await.session.id
    }

    pub(crate) async fn destroy(&self, id: &SessionId) {
        self.insist("destroy", async |engine| engine.destroy(&alice(), id, "done").await).await;
    }

    /// Waits until the record is as wished.
    pub(crate) async fn until(
        &self,
        id: &SessionId,
        what: &str,
        wished: impl Fn(&Session) -> bool,
    ) {
        let mut changes = self.store.watch();
        let waited = tokio::time::timeout(STUCK_AFTER, async {
            loop {
                changes.borrow_and_update();
                if wished(&self.record(id).await) {
                    return;
                }
                changes.changed().await.unwrap();
            }
        });
        if waited.await.is_err() {
            let Session { phase, goal, reason, attempts, .. } = self.record(id).await;
            panic!("never {what}: {phase}, goal {goal:?}, {reason}, {attempts:?}");
        }
    }

    pub(crate) async fn phase(&self, id: &SessionId, phase: Phase) {
        self.until(id, phase.as_str(), |session| session.phase == phase).await;
    }

    pub(crate) async fn record(&self, id: &SessionId) -> Session {
        self.store.get(id).await.unwrap().unwrap()
    }

    /// Judges that nothing is left, whatever was there meanwhile.
    pub(crate) async fn judge_left(&self) {
        let left = self.platform.machines();
        assert!(left.is_empty(), "machines are left: {left:?}");
        let accounts = self.guests.accounts();
        assert!(accounts.is_empty(), "accounts are left: {accounts:?}");
        let all = self.store.list(&Filter::default(), &Page::first(100)).await.unwrap();
        for session in all.sessions {
            assert_eq!(session.phase, Phase::Ended, "{}", session.reason);
            assert!(session.ledger.is_empty(), "{:?}", session.ledger);
        }
    }

    /// Judges from the platform's and the guests' own logs that nothing is left and nothing was
    /// made twice.
    pub(crate) async fn judge(&self) {
        self.judge_left().await;
        let mut made: BTreeMap<SessionId, usize> = BTreeMap::new();
        for act in self.platform.log() {
            if let PlatformAct::Made(_, session) = act {
                *made.entry(session).or_default() += 1;
            }
        }
        assert!(made.values().all(|times| *times == 1), "made more than once: {made:?}");
    }
}

/// Waits until a process no longer works.
async fn ended(life: &mut watch::Receiver<Life>) -> Life {
    *life.wait_for(|life| *life != Life::Up).await.unwrap()
}

pub(crate) fn alice() -> Caller {
    Caller {
        owner: Owner { realm: "lab".into(), name: "alice".into() },
        organisation: Organisation::default(),
        role: Role::User,
    }
}

fn template() -> Template {
    let mut template = Template::new("lab".parse().unwrap(), "fake".parse().unwrap(), "image");
    template.ready_when = ReadyWhen::Agent;
    template.configurator = Some("inside".parse().unwrap());
    // Nobody reports here: only requests end a desktop.
    template.idle = IdleRules { first_connection: None, silence: None, ..IdleRules::default() };
    template
}
