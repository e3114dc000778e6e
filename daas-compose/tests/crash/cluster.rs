//! A simulated cluster whose machines are drawn guests, and what it tells as the judge's witness.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use daas_core::idle::IdleRules;
use daas_core::ids::{BackendName, DeploymentId};
use daas_core::provisioner::Provisioner;
use daas_core::secret::Secret;
use daas_core::template::{Ports, ReadyWhen, Template};
use daas_proxmox::{IdRange, ProxmoxConfig, ProxmoxProvisioner};
use daas_sim::guest::drawn::{DrawnConfig, DrawnGuests};
use daas_sim::{Durations, Event, Log, SimConfig, Simulator, Spread, View};
use tempfile::TempDir;

/// The template that machines are cloned from.
const SOURCE: u32 = 9000;
const NODES: usize = 2;

/// A cluster, and the directory of the one deployment on it.
#[derive(Debug)]
pub(crate) struct Cluster {
    data: TempDir,
    /// Until it is closed.
    sim: Mutex<Option<Simulator>>,
    view: View,
    log: Log,
    proxmox: ProxmoxConfig,
    ca_pem: String,
}

/// A machine that the cluster has had.
#[derive(Debug)]
struct Had {
    vmid: u32,
    /// A clone gets its name when its task is done.
    name: Option<String>,
    made: usize,
    gone: usize,
}

impl Cluster {
    /// One whose tasks take that long.
    pub(crate) async fn new(durations: Durations) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = SimConfig {
            // What the cluster's overview tells is a little old, as on a real one.
            statd_period: Duration::from_millis(200),
            log_requests: false,
            durations,
            ..SimConfig::nodes(NODES)
        };
        let guests = Arc::new(DrawnGuests::new(own_network()));
        let sim = Simulator::start(config, guests).await.unwrap();
        let token = Secret::new(sim.token("daas@pve", "daas").unwrap());
        let mut proxmox = ProxmoxConfig::with_token(sim.url().parse().unwrap(), token);
        proxmox.fingerprint = Some(sim.fingerprint().to_owned());
        proxmox.ids = IdRange { first: 5000, last: 5999 };
        proxmox.overview_age = Duration::from_millis(500);
        let (view, log, ca_pem) = (sim.cluster(), sim.log().clone(), sim.ca_pem().to_owned());
        // Short: SSH's sockets are below it.
        let data = tempfile::Builder::new().prefix("dc").tempdir_in("/tmp").unwrap();
        Self { data, sim: Mutex::new(Some(sim)), view, log, proxmox, ca_pem }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.data.path().join(name)
    }

    /// The native backend, opened anew.
    pub(crate) fn native(
        &self,
        deployment: &DeploymentId,
    ) -> daas_core::Result<Arc<dyn Provisioner>> {
        let native = ProxmoxProvisioner::new(self.proxmox.clone(), deployment.clone())?;
        Ok(Arc::new(native))
    }

    /// The address of the cluster, the certificate to trust, and a token.
    pub(crate) fn access(&self) -> (String, &str, String) {
        let token = self.proxmox.token.as_ref().unwrap().expose().clone();
        (self.proxmox.url.to_string(), &self.ca_pem, token)
    }

    /// The machines there are, and the volumes of such as are gone.
    pub(crate) fn machines(&self) -> Vec<String> {
        let machines = self.view.vms();
        let is_left = |vmid| vmid != SOURCE && machines.iter().all(|vm| vm.vmid != vmid);
        let volumes = self.view.volumes("pve1", "shared").into_iter();
        let volumes = volumes.filter(|(_, vmid)| is_left(*vmid)).map(|(id, _)| id);
        let there = machines.iter().map(|vm| format!("machine {} {:?}", vm.vmid, vm.name()));
        there.chain(volumes).collect()
    }

    /// Every machine that there ever was, oldest first.
    fn had(&self) -> Vec<Had> {
        let mut all: Vec<Had> = Vec::new();
        for (at, entry) in self.log.entries().into_iter().enumerate() {
            match entry.event {
                Event::VmCreated { vmid, .. } => {
                    all.push(Had { vmid, name: None, made: at, gone: usize::MAX });
                }
                Event::VmNamed { vmid, name } => {
                    if let Some(had) = there(&mut all, vmid) {
                        had.name.get_or_insert(name.into_string());
                    }
                }
                Event::VmDeleted { vmid } => {
                    if let Some(had) = there(&mut all, vmid) {
                        had.gone = at;
                    }
                }
                _ => {}
            }
        }
        all
    }

    /// Sessions for which more than one machine was made. One without a name counts for everybody.
    pub(crate) fn made_again(&self) -> Vec<String> {
        self.pairs(|_, _| true)
    }

    /// Sessions that had two machines at once: where what was made and not written down is undone
    /// before it is made afresh, only that must never be.
    pub(crate) fn two_at_once(&self) -> Vec<String> {
        self.pairs(|one, two| one.made < two.gone && two.made < one.gone)
    }

    fn pairs(&self, wrong: impl Fn(&Had, &Had) -> bool) -> Vec<String> {
        let all = self.had();
        let mut found = BTreeMap::new();
        for (number, one) in all.iter().enumerate() {
            for two in &all[number + 1..] {
                let same = one.name.is_none() || two.name.is_none() || one.name == two.name;
                if same && wrong(one, two) {
                    found.insert((one.vmid, two.vmid), format!("{one:?} and {two:?}"));
                }
            }
        }
        found.into_values().collect()
    }

    pub(crate) async fn close(&self) {
        let sim = self.sim.lock().unwrap().take();
        if let Some(sim) = sim {
            sim.stop().await;
        }
    }
}

/// The machine of this id that is there.
fn there(all: &mut [Had], vmid: u32) -> Option<&mut Had> {
    all.iter_mut().rfind(|had| had.vmid == vmid && had.gone == usize::MAX)
}

/// Tasks that take a little: a process may die while they run.
pub(crate) fn a_while() -> Durations {
    let each = Spread::new(Duration::from_millis(300), 0.5);
    Durations {
        clone_linked: each,
        config: each,
        start: each,
        boot: each,
        agent_start: each,
        stop: each,
        delete: each,
        ..Durations::zero()
    }
}

/// What people ask for.
pub(crate) fn template(provisioner: &str, configurator: &str) -> Template {
    let name = |name: &str| -> BackendName { name.parse().unwrap() };
    let mut template = Template::new("lab".parse().unwrap(), name(provisioner), SOURCE.to_string());
    template.configurator = Some(name(configurator));
    template.ready_when = ReadyWhen::Rdp;
    let drawn = DrawnConfig::default();
    template.ports = Ports { rdp: drawn.rdp_port, ssh: drawn.ssh_port };
    // Nobody reports here: only requests end a desktop.
    template.idle = IdleRules { first_connection: None, silence: None, ..IdleRules::default() };
    template
}

/// A network of 14 guests that no other world uses, nor another process of these trials.
fn own_network() -> DrawnConfig {
    /// 127.240.0.0 to 127.254.255.255, by sixteen.
    const NETWORKS: u32 = 15 << 12;
    static WORLDS: AtomicU32 = AtomicU32::new(0);
    let world = WORLDS.fetch_add(1, Ordering::Relaxed) % 64;
    let number = (std::process::id().wrapping_mul(64) + world) % NETWORKS;
    let network = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 240, 0, 0)) + (number << 4));
    DrawnConfig { network, prefix: 28, ..DrawnConfig::default() }
}
