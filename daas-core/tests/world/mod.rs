//! A small world for the engine's tests: a platform, guests, a store, and who asks.

#![allow(clippy::unwrap_used, dead_code, reason = "shared by several test programs")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use daas_core::Result;
use daas_core::access::Role;
use daas_core::activity::Report;
use daas_core::clock::TokioClock;
use daas_core::engine::{Ask, BrakeRules, Caller, Engine, Parts, Settings};
use daas_core::fake::{FakeConfigurator, FakeGuests, FakePlatform, FakeProvisioner, Timing};
use daas_core::idle::TemplateRules;
use daas_core::ids::{DeploymentId, Organisation, SessionId};
use daas_core::layer::{Layer, Layered, ProvisionerLayer};
use daas_core::machine::{MachineSpec, Power, Reservation, Taken};
use daas_core::owner::Owner;
use daas_core::progress::Progress;
use daas_core::provisioner::Provisioner;
use daas_core::secret::DeploymentKey;
use daas_core::session::{Goal, Phase, Session};
use daas_core::store::SessionStore;
use daas_core::store::memory::MemoryStore;
use daas_core::template::{OnFailure, ReadyWhen, Template};

pub(crate) struct World {
    pub(crate) platform: Arc<FakePlatform>,
    pub(crate) guests: Arc<FakeGuests>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) deployment: DeploymentId,
    pub(crate) steal_next_id: Arc<AtomicBool>,
    pub(crate) brakes: BrakeRules,
    pub(crate) on_failure: OnFailure,
    /// The groups that its template is for.
    pub(crate) groups: Vec<String>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Timing::default())
    }

    pub(crate) fn with(timing: Timing) -> Self {
        let deployment = DeploymentId::mint();
        Self {
            platform: FakePlatform::with(timing),
            guests: FakeGuests::new(),
            store: Arc::new(MemoryStore::of(deployment.clone())),
            deployment,
            steal_next_id: Arc::default(),
            brakes: BrakeRules::default(),
            on_failure: OnFailure::default(),
            groups: Vec::new(),
        }
    }

    /// One whose template says what becomes of desktops that cannot be configured.
    pub(crate) fn failing(on_failure: OnFailure) -> Self {
        Self { on_failure, ..Self::new() }
    }

    pub(crate) fn template() -> Template {
        let mut template = Template::new("lab".parse().unwrap(), "fake".parse().unwrap(), "image");
        template.ready_when = ReadyWhen::Agent;
        template.configurator = Some("inside".parse().unwrap());
        template
    }

    pub(crate) async fn engine(&self) -> Engine {
        let store: Arc<dyn SessionStore> = Arc::clone(&self.store) as _;
        let provisioner = Thief {
            real: FakeProvisioner::new(
                "fake".parse().unwrap(),
                self.deployment.clone(),
                Arc::clone(&self.platform),
            ),
            platform: Arc::clone(&self.platform),
            steal: Arc::clone(&self.steal_next_id),
        };
        let configurator =
            FakeConfigurator::joining("inside".parse().unwrap(), Arc::clone(&self.guests));
        Engine::new(Parts {
            store,
            provisioners: vec![Arc::new(Layered(provisioner))],
            configurators: vec![Arc::new(configurator)],
            policy: Arc::new(TemplateRules),
            templates: vec![Template {
                on_failure: self.on_failure,
                groups: self.groups.clone(),
                ..Self::template()
            }],
            clock: Arc::new(TokioClock::starting_at(jiff::Timestamp::now())),
            key: DeploymentKey::mint(),
            settings: Settings { brakes: self.brakes.clone(), ..Settings::default() },
        })
        .await
        .unwrap()
    }

    pub(crate) fn caller(&self, name: &str) -> Caller {
        Caller {
            owner: Owner { realm: "lab".into(), name: name.into() },
            organisation: Organisation::default(),
            role: Role::User,
            groups: [].into(),
        }
    }

    pub(crate) fn alice(&self) -> Caller {
        self.caller("alice")
    }

    pub(crate) fn ask(&self) -> Ask {
        Ask::for_template("lab".parse().unwrap())
    }

    pub(crate) async fn get(&self, id: &SessionId) -> Session {
        self.store.get(id).await.unwrap().unwrap()
    }

    pub(crate) async fn phase(&self, id: &SessionId, phase: Phase) -> Session {
        self.until(id, |s| s.phase == phase, &format!("phase {phase}")).await
    }

    pub(crate) async fn goal(&self, id: &SessionId, goal: Goal) -> Session {
        self.until(id, |s| s.goal == goal, &format!("goal {goal:?}")).await
    }

    /// Waits for the record to be as wished, woken by the store's own changes.
    pub(crate) async fn until(
        &self,
        id: &SessionId,
        wished: impl Fn(&Session) -> bool,
        what: &str,
    ) -> Session {
        let mut changes = self.store.watch();
        let waited = tokio::time::timeout(Duration::from_secs(4 * 3600), async {
            loop {
                changes.borrow_and_update();
                let session = self.get(id).await;
                if wished(&session) {
                    return session;
                }
                changes.changed().await.unwrap();
            }
        });
        match waited.await {
            Ok(session) => session,
            Err(_) => panic!("no {what} within 4 h: {:#?}", self.get(id).await),
        }
    }

    /// Plays the reporter of a guest to which nobody is connected.
    pub(crate) async fn report_every(
        &self,
        engine: &Engine,
        id: &SessionId,
        period: Duration,
        times: usize,
    ) {
        let token = engine.key().guest_token(id, 1);
        for _ in 0..times {
            let report = Report { sessions: vec![], uptime_seconds: 1, boot_id: "b".into() };
            engine.report(id, token.expose(), report).await.unwrap();
            tokio::time::sleep(period).await;
        }
    }

    /// Puts a machine with our mark on the platform, behind the engine's back.
    pub(crate) async fn put_marked(&self, machine: &str, session: &SessionId) {
        let provisioner = FakeProvisioner::new(
            "fake".parse().unwrap(),
            self.deployment.clone(),
            Arc::clone(&self.platform),
        );
        let reservation = Reservation {
            session: session.clone(),
            provisioner: "fake".parse().unwrap(),
            machine: machine.parse().unwrap(),
            place: "fake".into(),
            memory_mib: 0,
            cores: 0,
            uuid: None,
        };
        let template = Self::template();
        let spec = MachineSpec {
            session: session.clone(),
            deployment: self.deployment.clone(),
            source: template.source,
            clone: template.clone,
            storage: None,
            pool: None,
            cores: 1,
            memory_mib: 1,
            disk_gib: None,
            network: None,
            address_from: template.address_from,
            admin_user: "root".into(),
            ssh_keys: vec![],
        };
        provisioner.ensure(&reservation, &spec, Power::Stopped, &Progress::silent()).await.unwrap();
    }
}

/// The fake provisioner, on a platform where a stranger may take an id right after it was chosen.
#[derive(Debug)]
struct Thief {
    real: FakeProvisioner,
    platform: Arc<FakePlatform>,
    steal: Arc<AtomicBool>,
}

impl Layer for Thief {}

#[async_trait]
impl ProvisionerLayer for Thief {
    fn below(&self) -> &dyn Provisioner {
        &self.real
    }

    async fn reserve(
        &self,
        id: &SessionId,
        spec: &MachineSpec,
        taken: &Taken,
    ) -> Result<Reservation> {
        let reservation = self.real.reserve(id, spec, taken).await?;
        if self.steal.swap(false, Ordering::SeqCst) {
            self.platform.put_stranger(&reservation.machine);
        }
        Ok(reservation)
    }
}
