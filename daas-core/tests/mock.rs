//! The mocks of the four traits stand in for the real ones.

#![cfg(feature = "mock")]
#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

use std::sync::Arc;

use daas_core::access::Role;
use daas_core::clock::SystemClock;
use daas_core::configurator::{Configurator, MockConfigurator};
use daas_core::engine::{Ask, Caller, Engine, Parts, Settings};
use daas_core::idle::{Action, Evidence, IdlePolicy, MockIdlePolicy, Moment, Verdict};
use daas_core::ids::{BackendName, DeploymentId, Organisation, SessionId, SessionPrefix};
use daas_core::machine::{Observation, Reservation};
use daas_core::owner::Owner;
use daas_core::provisioner::{Extras, MockProvisioner, Provisioner};
use daas_core::secret::DeploymentKey;
use daas_core::session::Session;
use daas_core::store::{Inserted, MockSessionStore, SessionStore};
use daas_core::template::Template;
use daas_core::{Error, Kind, Operation};
use jiff::Timestamp;

fn session() -> Session {
    let template = Template::new("lab".parse().unwrap(), "fake".parse().unwrap(), "image");
    let id = SessionId::mint(&SessionPrefix::default());
    Session::new(id, template, None, Organisation::default(), Timestamp::UNIX_EPOCH)
}

#[tokio::test]
async fn mocks_answer_as_told_behind_every_trait() {
    let session = session();

    let mut store = MockSessionStore::new();
    let deployment = DeploymentId::mint();
    let told = deployment.clone();
    store.expect_deployment().times(1).returning(move || Ok(told.clone()));
    let found = session.clone();
    store.expect_get().returning(move |_| Ok(Some(found.clone())));
    let store: Arc<dyn SessionStore> = Arc::new(store);
    assert_eq!(store.deployment().await.unwrap(), deployment);
    assert_eq!(store.get(&session.id).await.unwrap().unwrap(), session);

    let mut provisioner = MockProvisioner::new();
    provisioner.expect_observe().times(1).returning(|_| Observation::Unknown("mocked".into()));
    let provisioner: Arc<dyn Provisioner> = Arc::new(provisioner);
    let reservation = Reservation {
        session: session.id.clone(),
        provisioner: "fake".parse().unwrap(),
        machine: "1".parse().unwrap(),
        place: "here".into(),
        memory_mib: 1,
        cores: 1,
        uuid: None,
    };
    let seen = provisioner.observe(&reservation).await;
    assert_eq!(seen, Observation::Unknown("mocked".into()));

    let mut configurator = MockConfigurator::new();
    let name: BackendName = "inside".parse().unwrap();
    configurator.expect_name().return_const(name.clone());
    let configurator: Arc<dyn Configurator> = Arc::new(configurator);
    assert_eq!(configurator.name(), &name);

    let mut policy = MockIdlePolicy::new();
    let now = Timestamp::UNIX_EPOCH;
    let rule = Evidence {
        rule: "mocked".into(),
        measured_seconds: 1,
        limit_seconds: 2,
        reported_at: None,
        passed_at: None,
    };
    let verdict = Verdict { action: Action::Keep, until: now, evidence: rule };
    policy.expect_verdict().return_const(verdict.clone());
    let policy: Arc<dyn IdlePolicy> = Arc::new(policy);
    let when = Moment { now, listening_since: now };
    assert_eq!(policy.verdict(&session, &Default::default(), when), verdict);
}

/// Session ids are drawn; one that is taken is drawn anew, and the asker never knows.
#[tokio::test]
async fn a_taken_session_id_is_drawn_anew() {
    let taken = session();
    let mut store = MockSessionStore::new();
    store.expect_deployment().returning(|| Ok(DeploymentId::mint()));
    store.expect_reserved().returning(|_| Ok(Vec::new()));
    let mut first = None;
    store.expect_insert().times(2).returning(move |new| {
        match first.replace(new.session.id.clone()) {
            None => Err(Error::new(Kind::Conflict, Operation::Store, &new.session.id, "taken")),
            Some(before) => {
                assert_ne!(before, new.session.id);
                Ok(Inserted::New(Box::new(new.session)))
            }
        }
    });
    store.expect_get().returning(move |_| Ok(Some(taken.clone())));
    let mut provisioner = MockProvisioner::new();
    provisioner.expect_extras().returning(Extras::default);
    provisioner.expect_name().return_const("fake".parse::<BackendName>().unwrap());
    let template = Template::new("lab".parse().unwrap(), "fake".parse().unwrap(), "image");
    let engine = Engine::new(Parts {
        store: Arc::new(store),
        provisioners: vec![Arc::new(provisioner)],
        configurators: Vec::new(),
        policy: Arc::new(MockIdlePolicy::new()),
        templates: vec![template.clone()],
        clock: Arc::new(SystemClock),
        key: DeploymentKey::mint(),
        settings: Settings::default(),
    })
    .await
    .unwrap();
    let caller = Caller {
        owner: Owner { realm: "lab".into(), name: "alice".into() },
        organisation: Organisation::default(),
        role: Role::User,
        groups: [].into(),
    };
    assert!(engine.ask(&caller, Ask::for_template(template.name)).await.unwrap().new);
}
