//! Machines by Proxmox' own API, guests by SSH.

use std::sync::Arc;

use async_trait::async_trait;
use daas_core::crash::{Backends, Opened};
use daas_core::ids::DeploymentId;
use daas_core::secret::Secret;
use daas_core::template::Template;
use daas_sim::Durations;
use daas_ssh::{SshConfig, SshConfigurator};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;

use crate::cluster::{Cluster, a_while, template};

/// On a cluster that takes no time.
pub(crate) fn at_once() -> LocalBoxFuture<'static, Arc<dyn Backends>> {
    async { Arc::new(Native::new(Durations::zero()).await) as Arc<dyn Backends> }.boxed_local()
}

/// On one whose tasks take their time: a process may die while they run.
pub(crate) fn in_time() -> LocalBoxFuture<'static, Arc<dyn Backends>> {
    async { Arc::new(Native::new(a_while()).await) as Arc<dyn Backends> }.boxed_local()
}

#[derive(Debug)]
pub(crate) struct Native {
    cluster: Cluster,
    /// How it is judged that a machine was made twice.
    pub(crate) doubled: fn(&Cluster) -> Vec<String>,
}

impl Native {
    pub(crate) async fn new(durations: Durations) -> Self {
        Self { cluster: Cluster::new(durations).await, doubled: Cluster::made_again }
    }
}

#[async_trait(?Send)]
impl Backends for Native {
    fn template(&self) -> Template {
        template("proxmox", "ssh")
    }

    fn account(&self) -> Option<(String, Secret<String>)> {
        Some(("alice".to_owned(), Secret::new("it's a secret".to_owned())))
    }

    async fn open(&self, deployment: &DeploymentId) -> daas_core::Result<Opened> {
        let ssh = SshConfigurator::new(SshConfig::default().in_directory(&self.cluster.path("")))?;
        Ok(Opened {
            provisioners: vec![self.cluster.native(deployment)?],
            ssh_keys: vec![ssh.public_key().to_owned()],
            configurators: vec![Arc::new(ssh)],
        })
    }

    async fn kill(&self) {}

    async fn machines(&self) -> Vec<String> {
        self.cluster.machines()
    }

    async fn effects(&self) -> Vec<String> {
        Vec::new()
    }

    async fn traces(&self) -> Vec<String> {
        Vec::new()
    }

    async fn doubled(&self) -> Vec<String> {
        (self.doubled)(&self.cluster)
    }

    async fn close(&self) {
        self.cluster.close().await;
    }
}
