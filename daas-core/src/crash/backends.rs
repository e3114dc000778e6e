//! What the machines and guests of a world are, and who tells in the end what is left of them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::configurator::Configurator;
use crate::error::Result;
use crate::fake::{
    FakeConfigurator, FakeGuests, FakePlatform, FakeProvisioner, PlatformAct, Timing,
};
use crate::idle::IdleRules;
use crate::ids::{DeploymentId, SessionId};
use crate::provisioner::Provisioner;
use crate::secret::Secret;
use crate::template::{ReadyWhen, Template};

/// What one process has open.
#[derive(Debug)]
pub struct Opened {
    /// Makes the machines; those first that others stand on.
    pub provisioners: Vec<Arc<dyn Provisioner>>,
    /// Configures the guests.
    pub configurators: Vec<Arc<dyn Configurator>>,
    /// OpenSSH public keys for the administrator's account in the guests.
    pub ssh_keys: Vec<String>,
}

/// The machines and guests of one world through the lives of its processes, and the platform's own
/// truth about them: the judge never asks the backends that are judged.
///
/// Each world has a thread of its own, so that nothing here need be `Send`: implement it under
/// `#[async_trait(?Send)]`.
#[async_trait(?Send)]
pub trait Backends: Debug + Send + Sync {
    /// The template that people ask for.
    fn template(&self) -> Template;

    /// Name and password of the local account that they ask for, if they do.
    fn account(&self) -> Option<(String, Secret<String>)>;

    /// Opens the backends, as a process does that starts. What they spawn ends with the process:
    /// in a world of [`super::Pace::real`] its tasks are dropped and waited for, whether it was
    /// stopped or killed. What they started elsewhere (a program, a task of the platform) is left
    /// as their `Drop` leaves it, and the next process finds it so.
    async fn open(&self, deployment: &DeploymentId) -> Result<Opened>;

    /// Ends what dies with a process that is killed, just before its own tasks are dropped: where a
    /// service manager kills it, the programs that it has started.
    async fn kill(&self);

    /// The desktops' machines there are, whole or not, and what they occupy.
    async fn machines(&self) -> Vec<String>;

    /// What there is outside the guests on behalf of one: computer accounts.
    async fn effects(&self) -> Vec<String>;

    /// What runs have left on this machine: files of sessions, processes. Asked for when all has
    /// come to rest.
    async fn traces(&self) -> Vec<String>;

    /// What was made that must not have been, by the platform's log: a second machine.
    async fn doubled(&self) -> Vec<String>;

    /// Ends the platform; the process that used it has ended.
    async fn close(&self);
}

/// A platform, guests and a directory in memory.
#[derive(Debug)]
pub struct InFakes {
    platform: Arc<FakePlatform>,
    guests: Arc<FakeGuests>,
}

impl Default for InFakes {
    fn default() -> Self {
        let timing = Timing { create: Duration::from_secs(3), boot: Duration::from_secs(7) };
        Self { platform: FakePlatform::with(timing), guests: FakeGuests::new() }
    }
}

#[async_trait(?Send)]
impl Backends for InFakes {
    fn template(&self) -> Template {
        let name = |name: &str| name.parse().expect("a name");
        let mut template = Template::new("lab".parse().expect("a name"), name("fake"), "image");
        template.ready_when = ReadyWhen::Agent;
        template.configurator = Some(name("inside"));
        // Nobody reports here: only requests end a desktop.
        template.idle = IdleRules { first_connection: None, silence: None, ..IdleRules::default() };
        template
    }

    fn account(&self) -> Option<(String, Secret<String>)> {
        None
    }

    async fn open(&self, deployment: &DeploymentId) -> Result<Opened> {
        let (platform, guests) = (Arc::clone(&self.platform), Arc::clone(&self.guests));
        let machines = FakeProvisioner::new("fake".parse()?, deployment.clone(), platform);
        let inside = FakeConfigurator::joining("inside".parse()?, guests);
        Ok(Opened {
            provisioners: vec![Arc::new(machines)],
            configurators: vec![Arc::new(inside)],
            ssh_keys: Vec::new(),
        })
    }

    async fn kill(&self) {}

    async fn machines(&self) -> Vec<String> {
        self.platform.machines().iter().map(|machine| format!("{machine:?}")).collect()
    }

    async fn effects(&self) -> Vec<String> {
        self.guests.accounts()
    }

    async fn traces(&self) -> Vec<String> {
        Vec::new()
    }

    async fn doubled(&self) -> Vec<String> {
        let mut made: BTreeMap<SessionId, usize> = BTreeMap::new();
        for act in self.platform.log() {
            if let PlatformAct::Made(_, session) = act {
                *made.entry(session).or_default() += 1;
            }
        }
        let twice = made.into_iter().filter(|(_, times)| *times > 1);
        twice.map(|(session, times)| format!("{session} {times} times")).collect()
    }

    async fn close(&self) {}
}

/// What makes a provisioner lie.
pub type Sabotage = fn(Arc<dyn Provisioner>) -> Arc<dyn Provisioner>;

/// Backends of which the provisioners lie: a judge that does not find them out is none.
#[derive(Debug)]
pub struct Sabotaged {
    below: Arc<dyn Backends>,
    sabotage: Sabotage,
}

impl Sabotaged {
    /// The backends `below`, each of their provisioners sabotaged.
    pub fn around(below: Arc<dyn Backends>, sabotage: Sabotage) -> Arc<dyn Backends> {
        Arc::new(Self { below, sabotage })
    }
}

#[async_trait(?Send)]
impl Backends for Sabotaged {
    fn template(&self) -> Template {
        self.below.template()
    }

    fn account(&self) -> Option<(String, Secret<String>)> {
        self.below.account()
    }

    async fn open(&self, deployment: &DeploymentId) -> Result<Opened> {
        let opened = self.below.open(deployment).await?;
        let provisioners = opened.provisioners.into_iter().map(self.sabotage).collect();
        Ok(Opened { provisioners, ..opened })
    }

    async fn kill(&self) {
        self.below.kill().await;
    }

    async fn machines(&self) -> Vec<String> {
        self.below.machines().await
    }

    async fn effects(&self) -> Vec<String> {
        self.below.effects().await
    }

    async fn traces(&self) -> Vec<String> {
        self.below.traces().await
    }

    async fn doubled(&self) -> Vec<String> {
        self.below.doubled().await
    }

    async fn close(&self) {
        self.below.close().await;
    }
}
