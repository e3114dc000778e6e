//! Two worlds for real terraform: machines that are files, and machines of a simulated Proxmox VE.

#![allow(clippy::unwrap_used, dead_code, reason = "shared by several test programs")]

pub(crate) mod large;
pub(crate) mod trials;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use daas_core::Result;
use daas_core::ids::{DeploymentId, SessionId, SessionPrefix};
use daas_core::machine::{Destroyed, Ensured, Machine, MachineSpec, Power, Reservation, Taken};
use daas_core::progress::Progress;
use daas_core::provisioner::Provisioner;
use daas_core::secret::Secret;
use daas_core::template::{AddressFrom, CloneMode};
use daas_proxmox::{IdRange, ProxmoxConfig, ProxmoxProvisioner};
use daas_sim::{Event, NullGuests, SimConfig, Simulator};
use daas_terraform::{TerraformConfig, TerraformProvisioner};
use rustix::process::Pid;
use tempfile::TempDir;

/// How long anything here may take: a terraform command takes a fifth of a second, but cores are
/// shared.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);
/// `O_NONBLOCK` on Linux.
const NONBLOCK: i32 = 0o4000;
const LOOK: Duration = Duration::from_millis(10);

pub(crate) fn module(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/modules").join(name)
}

/// A module that ships.
pub(crate) fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("modules").join(name)
}

/// Copies a module, one of its files changed.
pub(crate) fn copy_module(
    from: &Path,
    to: &Path,
    name: &str,
    change: impl FnOnce(String) -> String,
) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let path = to.join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, change(text)).unwrap();
}

pub(crate) fn spec(deployment: &DeploymentId) -> MachineSpec {
    MachineSpec {
        session: SessionId::mint(&SessionPrefix::default()),
        deployment: deployment.clone(),
        source: "9000".into(),
        clone: CloneMode::Auto,
        storage: None,
        pool: None,
        cores: 2,
        memory_mib: 1024,
        disk_gib: None,
        network: None,
        address_from: AddressFrom::Agent,
        admin_user: "root".into(),
        ssh_keys: Vec::new(),
    }
}

/// Machines that are files.
pub(crate) struct Files {
    pub(crate) temp: TempDir,
    pub(crate) deployment: DeploymentId,
}

impl Files {
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        for name in ["machines", "made"] {
            std::fs::create_dir(temp.path().join(name)).unwrap();
        }
        Self { temp, deployment: DeploymentId::mint() }
    }

    pub(crate) fn config(&self) -> TerraformConfig {
        let mut config = TerraformConfig::new(module("files"), self.runs());
        config.variables.insert("world".into(), self.temp.path().to_str().unwrap().into());
        config.interrupt_grace = Duration::from_secs(5);
        config
    }

    pub(crate) fn runs(&self) -> PathBuf {
        self.temp.path().join("runs")
    }

    pub(crate) fn machine(&self, held: &Reservation) -> PathBuf {
        self.temp.path().join("machines").join(held.machine.as_str())
    }

    /// How many machines were made for the session.
    pub(crate) fn made(&self, session: &SessionId) -> usize {
        let made = std::fs::read_to_string(self.temp.path().join("made").join(session.as_str()));
        made.unwrap_or_default().lines().count()
    }

    pub(crate) fn provisioner(&self, config: TerraformConfig) -> TerraformProvisioner {
        TerraformProvisioner::new(config, self.deployment.clone(), None).unwrap()
    }
}

/// Machines of a simulated Proxmox VE.
pub(crate) struct Cluster {
    pub(crate) temp: TempDir,
    pub(crate) sim: Simulator,
    pub(crate) deployment: DeploymentId,
}

impl Cluster {
    pub(crate) async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = SimConfig::nodes(3);
        config.next_id = (100, 999_999);
        let sim = Simulator::start(config, Arc::new(NullGuests::default())).await.unwrap();
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("ca.pem"), sim.ca_pem()).unwrap();
        let token = sim.token("daas@pve", "daas").unwrap();
        std::fs::write(temp.path().join("token"), token).unwrap();
        Self { temp, sim, deployment: DeploymentId::mint() }
    }

    pub(crate) fn platform(&self) -> Arc<dyn Provisioner> {
        let token = Secret::new(self.sim.token("daas@pve", "daas").unwrap());
        let mut config = ProxmoxConfig::with_token(self.sim.url().parse().unwrap(), token);
        config.fingerprint = Some(self.sim.fingerprint().to_owned());
        config.ids = IdRange { first: 5000, last: 5999 };
        Arc::new(ProxmoxProvisioner::new(config, self.deployment.clone()).unwrap())
    }

    pub(crate) fn config(&self) -> TerraformConfig {
        let mut config = TerraformConfig::new(self.module(), self.temp.path().join("runs"));
        let ca = self.temp.path().join("ca.pem");
        config.variables.insert("proxmox_url".into(), self.sim.url().to_string().into());
        config.variables.insert("proxmox_ca".into(), ca.to_str().unwrap().into());
        config.secret_files.insert("proxmox_token".into(), self.temp.path().join("token"));
        config.interrupt_grace = Duration::from_secs(5);
        config
    }

    /// The shipped module that needs no provider, but for a gate after a clone and a removal.
    fn module(&self) -> PathBuf {
        let copy = self.temp.path().join("module");
        let gate = self.temp.path().join("gate");
        let wait = format!("[ ! -e '{0}' ] || cat '{0}'", gate.display());
        copy_module(&shipped("proxmox-curl"), &copy, "pve.sh", |script| {
            let parts: Vec<&str> = script.split("# cloned").collect();
            let [before, after] = parts[..] else { panic!("the place after a clone has moved") };
            let parts: Vec<&str> = after.split("# removed").collect();
            let [between, after] = parts[..] else { panic!("that after a removal has moved") };
            format!("{before}{wait}{between}{wait}{after}")
        });
        copy
    }

    pub(crate) fn provisioner(&self, config: TerraformConfig) -> TerraformProvisioner {
        let platform = Some(self.platform());
        TerraformProvisioner::new(config, self.deployment.clone(), platform).unwrap()
    }
}

/// Whatever a test comes to, no script is left waiting at a gate.
impl Drop for Files {
    fn drop(&mut self) {
        let_pass(self.temp.path());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let_pass(self.temp.path());
    }
}

/// Lets those pass who wait at a gate, also at one that was taken away.
fn let_pass(directory: &Path) {
    for name in ["gate", "gate.away"] {
        // Without a reader it cannot be opened, and nobody waits.
        let writer =
            OpenOptions::new().write(true).custom_flags(NONBLOCK).open(directory.join(name));
        drop(writer);
    }
}

/// Takes a gate away from those to come; who waits at it goes on waiting.
pub(crate) fn take_away(gate: &Path) {
    std::fs::rename(gate, gate.with_extension("away")).unwrap();
}

/// A named pipe at which a module's script waits.
pub(crate) fn gate(directory: &Path) -> PathBuf {
    let path = directory.join("gate");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    path
}

pub(crate) async fn reserve(p: &TerraformProvisioner, spec: &MachineSpec) -> Reservation {
    p.reserve(&spec.session, spec, &Taken::default()).await.unwrap()
}

pub(crate) async fn make(
    p: &TerraformProvisioner,
    held: &Reservation,
    spec: &MachineSpec,
) -> Result<Machine> {
    power(p, held, spec, Power::Running).await
}

/// Calls `ensure` as the engine does, until it has an answer.
pub(crate) async fn power(
    p: &TerraformProvisioner,
    held: &Reservation,
    spec: &MachineSpec,
    power: Power,
) -> Result<Machine> {
    let work = async {
        loop {
            match p.ensure(held, spec, power, &Progress::silent()).await? {
                Ensured::Done(machine) => return Ok(machine),
                Ensured::Underway(u) => {
                    let _ = tokio::time::timeout(u.check_after, u.wake.heard()).await;
                }
            }
        }
    };
    tokio::time::timeout(DEADLINE, work).await.expect("made in time")
}

pub(crate) async fn remove(p: &TerraformProvisioner, held: &Reservation) -> Result<Destroyed> {
    let work = async {
        loop {
            match p.destroy(held).await? {
                Destroyed::Underway(u) => {
                    let _ = tokio::time::timeout(u.check_after, u.wake.heard()).await;
                }
                end => return Ok(end),
            }
        }
    };
    tokio::time::timeout(DEADLINE, work).await.expect("removed in time")
}

/// Waits until `there` is true.
pub(crate) async fn until(what: &str, mut there: impl FnMut() -> bool) {
    let mut ticks = tokio::time::interval(LOOK);
    let work = async {
        while !there() {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(DEADLINE, work).await.expect(what);
}

/// The run directories that are left.
pub(crate) fn left(runs: &Path) -> Vec<PathBuf> {
    daas_lab::trials::visible(runs).unwrap()
}

/// The process group of the last run in a directory.
pub(crate) fn group(run: &Path) -> Pid {
    let leader = std::fs::read_to_string(run.join("leader")).unwrap();
    Pid::from_raw(leader.split_whitespace().next().unwrap().parse().unwrap()).unwrap()
}

/// The processes of a group that are no zombies.
pub(crate) fn members(group: Pid) -> usize {
    named(group, "")
}

/// Those of them of this name; all for none.
pub(crate) fn named(group: Pid, name: &str) -> usize {
    let stats = std::fs::read_dir("/proc").unwrap().flatten();
    let of_group = |stat: &String| {
        let fields: Vec<_> = stat[stat.rfind(')').unwrap() + 1..].split_whitespace().collect();
        let is_named = name.is_empty() || stat.contains(&format!("({name})"));
        fields[0] != "Z" && fields[2] == group.as_raw_nonzero().to_string() && is_named
    };
    stats
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok())
        .filter(of_group)
        .count()
}

pub(crate) fn run_of(runs: &Path, held: &Reservation) -> PathBuf {
    runs.join(format!("{}.{}", held.session, held.machine))
}

pub(crate) async fn begin(p: &TerraformProvisioner, held: &Reservation, spec: &MachineSpec) {
    let begun = p.ensure(held, spec, Power::Running, &Progress::silent()).await.unwrap();
    assert!(matches!(begun, Ensured::Underway(_)), "{begun:?}");
}

/// A cluster on which an apply stands still after its clone, before its state is written.
pub(crate) async fn half_made() -> (Cluster, TerraformProvisioner, Reservation, MachineSpec) {
    let cluster = Cluster::new().await;
    let (provisioner, held, spec) = stands_still(&cluster, cluster.config()).await;
    (cluster, provisioner, held, spec)
}

/// Begins an apply that stands still after its clone.
pub(crate) async fn stands_still(
    cluster: &Cluster,
    config: TerraformConfig,
) -> (TerraformProvisioner, Reservation, MachineSpec) {
    gate(cluster.temp.path());
    let runs = config.directory.clone();
    let provisioner = cluster.provisioner(config);
    let spec = spec(&cluster.deployment);
    let held = reserve(&provisioner, &spec).await;
    begin(&provisioner, &held, &spec).await;
    let cloned =
        |e: &Event| matches!(e, Event::VmNamed { name, .. } if **name == *held.session.as_str());
    cluster.sim.log().wait_for(cloned, DEADLINE).await.expect("cloned");
    let group = group(&run_of(&runs, &held));
    until("it waits at the gate", || named(group, "cat") == 1).await;
    (provisioner, held, spec)
}
