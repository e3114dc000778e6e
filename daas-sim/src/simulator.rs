//! Starts a simulated cluster, and ends it without a trace.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::access::{Access, AccessError};
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::cluster::drives;
use crate::cluster::view::View;
use crate::cluster::vm::Vm;
use crate::cluster::volumes::{CLOUD_INIT_SIZE, Volume};
use crate::config::{SimConfig, TemplateConfig};
use crate::faults::Faults;
use crate::guest::GuestMaker;
use crate::http::tls::{Identity, TlsError};
use crate::http::{self};
use crate::log::Log;

/// How long the end of tasks and guests is waited for.
const STOP_MAX: Duration = Duration::from_secs(60);

/// A running cluster. Call [`Simulator::stop`] to end it in good order; dropping it only tells its
/// tasks to end.
#[derive(Debug)]
pub struct Simulator {
    cluster: Arc<Cluster>,
    identity: Identity,
    addresses: Vec<(String, SocketAddr)>,
}

/// Why a cluster does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration contradicts itself.
    #[error("configuration: {0}")]
    Config(String),
    /// Users and rights make no sense.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// No certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A listener could not be bound.
    #[error("listen on {address} for node {node}: {source}")]
    Listen {
        /// The node.
        node: String,
        /// Where.
        address: SocketAddr,
        /// The reason.
        source: std::io::Error,
    },
}

impl Simulator {
    /// Starts a cluster whose machines are guests of `guests`. The templates are there, and every
    /// node answers, when this returns.
    pub async fn start(config: SimConfig, guests: Arc<dyn GuestMaker>) -> Result<Self, StartError> {
        check(&config)?;
        let access = Access::new(&config)?;
        let names: Vec<Arc<str>> =
            config.nodes.iter().map(|n| Arc::from(n.name.as_str())).collect();
        let identity = Identity::new(&names)?;
        let cluster = Arc::new(Cluster::new(config, access, guests, identity.leaf_pem.clone()));
        for template in &cluster.config.templates {
            add_template(&cluster, template)?;
        }
        cluster.publish();
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for node in &cluster.config.nodes {
            let address = node.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
            let failed = |source| StartError::Listen { node: node.name.clone(), address, source };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            let bound = listener.local_addr().map_err(failed)?;
            addresses.push((node.name.clone(), bound));
            listeners.push(listener);
        }
        for (node, listener) in cluster.nodes.iter().zip(listeners) {
            let acceptor = identity.acceptor.clone();
            cluster.tracker.spawn(http::serve(cluster.clone(), node.clone(), listener, acceptor));
        }
        cluster.tracker.spawn(cluster.clone().broadcast());
        Ok(Self { cluster, identity, addresses })
    }

    /// `https://127.0.0.1:PORT` of the first node.
    pub fn url(&self) -> String {
        self.addresses.first().map(|(_, address)| format!("https://{address}")).unwrap_or_default()
    }

    /// Every node and its address.
    pub fn urls(&self) -> Vec<(String, String)> {
        let url = |address: &SocketAddr| format!("https://{address}");
        self.addresses.iter().map(|(node, address)| (node.clone(), url(address))).collect()
    }

    /// The certificate authority to trust.
    pub fn ca_pem(&self) -> &str {
        &self.identity.ca_pem
    }

    /// SHA-256 of the certificate every node shows, `AA:BB:..`.
    pub fn fingerprint(&self) -> &str {
        &self.identity.fingerprint
    }

    /// A configured token as the `Authorization` header's value wants it: `user!name=secret`.
    pub fn token(&self, user: &str, name: &str) -> Option<String> {
        let tokens = &self.cluster.config.tokens;
        let token = tokens.iter().find(|t| t.user == user && t.name == name)?;
        Some(format!("{user}!{name}={}", token.secret))
    }

    /// The configuration it was started with.
    pub fn config(&self) -> &SimConfig {
        &self.cluster.config
    }

    /// What happened.
    pub fn log(&self) -> &Log {
        &self.cluster.log
    }

    /// What shall go wrong.
    pub fn faults(&self) -> &Faults {
        &self.cluster.faults
    }

    /// The clock, whose wall time can be moved on.
    pub fn clock(&self) -> &Clock {
        &self.cluster.clock
    }

    /// What is there.
    pub fn cluster(&self) -> View {
        View { cluster: self.cluster.clone() }
    }

    /// Ends listeners, connections, tasks and guests; nothing is left when this returns.
    pub async fn stop(self) {
        self.cluster.stopping.cancel();
        self.cluster.tracker.close();
        if tokio::time::timeout(STOP_MAX, self.cluster.tracker.wait()).await.is_err() {
            tracing::error!("tasks of the simulated cluster did not end within {STOP_MAX:?}");
        }
        if tokio::time::timeout(STOP_MAX, self.cluster.guests.close()).await.is_err() {
            tracing::error!("guests did not end within {STOP_MAX:?}");
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.cluster.stopping.cancel();
    }
}

fn check(config: &SimConfig) -> Result<(), StartError> {
    let wrong = |why: String| Err(StartError::Config(why));
    if config.nodes.is_empty() {
        return wrong("a cluster needs a node; add one to nodes".to_owned());
    }
    let mut names = BTreeMap::new();
    for node in &config.nodes {
        if names.insert(node.name.as_str(), ()).is_some() {
            return wrong(format!("two nodes are called {:?}", node.name));
        }
    }
    if !(config.scale.is_finite() && config.scale >= 0.0) {
        return wrong(format!("scale {} is no factor; use 0 or more", config.scale));
    }
    let mut vmids = BTreeMap::new();
    for template in &config.templates {
        let vmid = template.vmid;
        if vmids.insert(vmid, ()).is_some() {
            return wrong(format!("two templates have id {vmid}"));
        }
        if !names.contains_key(template.node.as_str()) {
            return wrong(format!("template {vmid}: no node {:?}", template.node));
        }
        if let Some(pool) = template.pool.as_ref().filter(|p| !config.pools.contains(p)) {
            return wrong(format!("template {vmid}: no pool {pool:?}"));
        }
    }
    Ok(())
}

fn add_template(cluster: &Cluster, template: &TemplateConfig) -> Result<(), StartError> {
    let vmid = template.vmid;
    let wrong = |why: String| StartError::Config(format!("template {vmid}: {why}"));
    let storage = cluster
        .storage(&template.storage)
        .ok_or_else(|| wrong(format!("no storage {:?}", template.storage)))?;
    let node = cluster.node(&template.node).ok_or_else(|| wrong("no such node".to_owned()))?;
    let disk = drives::disk_name(storage, vmid, 0, true);
    let cloud_init = drives::cloud_init_name(storage, vmid);
    let size = template.disk_gib << 30;
    let fixed = [
        ("boot", "order=scsi0".to_owned()),
        ("cores", template.cores.to_string()),
        ("cpu", "x86-64-v2-AES".to_owned()),
        ("ide2", format!("{cloud_init},media=cdrom")),
        ("memory", template.memory_mib.to_string()),
        ("name", template.name.clone()),
        ("net0", "virtio=BC:24:11:00:00:00,bridge=vmbr0".to_owned()),
        ("ostype", "l26".to_owned()),
        ("scsi0", format!("{disk},size={}", drives::format_size(size))),
        ("scsihw", "virtio-scsi-single".to_owned()),
        ("smbios1", format!("uuid=00000000-0000-4000-8000-{vmid:012}")),
        ("template", "1".to_owned()),
    ];
    let mut options: BTreeMap<String, String> =
        fixed.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    if template.agent {
        options.insert("agent".to_owned(), "1".to_owned());
    }
    options.extend(template.options.clone());
    let created = cluster.clock.unix();
    let volume = |size| Volume { vmid, size, base: None, whole: true, created };
    let mut state = cluster.state();
    for (name, size) in [(disk, size), (cloud_init, CLOUD_INIT_SIZE)] {
        state.volumes.add(&cluster.faults, node, &name, volume(size)).map_err(wrong)?;
    }
    if let Some(members) = template.pool.as_ref().and_then(|p| state.access.pools.get_mut(p)) {
        members.insert(vmid);
    }
    let image = template.image.clone();
    let pending = BTreeMap::new();
    let node = node.clone();
    state.vms.insert(
        vmid,
        Vm { vmid, node, options, pending, image, guest: None, started: None, pid: 0 },
    );
    Ok(())
}
