//! A simulated cluster with a provisioner on it, and how a session is brought through its life.

#![allow(clippy::unwrap_used, dead_code, reason = "shared by several test programs")]

use std::sync::Arc;
use std::time::Duration;

use daas_core::ids::{DeploymentId, SessionId, SessionPrefix};
use daas_core::machine::{Destroyed, Ensured, Machine, MachineSpec, Power, Reservation, Taken};
use daas_core::progress::Progress;
use daas_core::provisioner::Provisioner;
use daas_core::secret::Secret;
use daas_core::template::{AddressFrom, CloneMode};
use daas_core::{Error, Result};
use daas_proxmox::{IdRange, ProxmoxConfig, ProxmoxProvisioner};
use daas_sim::{Event, NullGuests, SimConfig, Simulator};
use reqwest::Method;
use serde_json::Value;

/// How long anything here may take; the simulator takes no time of its own.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long an administrator's order may take.
const SOON: Duration = Duration::from_secs(20);
/// The template, and its node.
pub(crate) const TEMPLATE: &str = "/nodes/pve1/qemu/9000";

pub(crate) struct Bench {
    pub(crate) sim: Simulator,
    pub(crate) deployment: DeploymentId,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(SimConfig::nodes(3)).await
    }

    pub(crate) async fn with(mut config: SimConfig) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        config.next_id = (100, 999_999);
        let sim = Simulator::start(config, Arc::new(NullGuests::default())).await.unwrap();
        Self { sim, deployment: DeploymentId::mint() }
    }

    pub(crate) fn config(&self) -> ProxmoxConfig {
        let url = self.sim.url().parse().unwrap();
        let token = Secret::new(self.sim.token("daas@pve", "daas").unwrap());
        let mut config = ProxmoxConfig::with_token(url, token);
        config.fingerprint = Some(self.sim.fingerprint().to_owned());
        config.ids = IdRange { first: 5000, last: 5999 };
        config
    }

    pub(crate) fn provisioner(&self) -> ProxmoxProvisioner {
        ProxmoxProvisioner::new(self.config(), self.deployment.clone()).unwrap()
    }

    pub(crate) fn spec(&self) -> MachineSpec {
        MachineSpec {
            session: SessionId::mint(&SessionPrefix::default()),
            deployment: self.deployment.clone(),
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
            ssh_keys: vec![
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3vWxj0oZ0m8yq1WZ1dQn0fJt3o7m1k1k3kq3lq3lq3 t"
                    .into(),
            ],
        }
    }

    /// How many machines were made under this id, and how many are there.
    pub(crate) fn made(&self, reservation: &Reservation) -> (usize, usize) {
        let id: u32 = reservation.machine.as_str().parse().unwrap();
        let made =
            self.sim.log().count(|e| matches!(e, Event::VmCreated { vmid, .. } if *vmid == id));
        (made, usize::from(self.sim.cluster().vm(id).is_some()))
    }

    /// Nothing of any desktop is left: no machine, no volume.
    pub(crate) fn nothing_left(&self) {
        let left: Vec<_> = self.sim.cluster().vms().into_iter().map(|vm| vm.vmid).collect();
        assert!(left.is_empty(), "machines left: {left:?}");
        for node in ["pve1", "pve2", "pve3"] {
            let volumes: Vec<_> = self
                .sim
                .cluster()
                .volumes(node, "shared")
                .into_iter()
                .filter(|(_, vmid)| *vmid != 9000)
                .collect();
            assert!(volumes.is_empty(), "volumes left on {node}: {volumes:?}");
        }
    }
}

/// Somebody who works on the cluster by hand, past the provisioner.
pub(crate) struct Administrator(reqwest::Client);

impl Administrator {
    pub(crate) fn of(bench: &Bench) -> Self {
        let ca = reqwest::Certificate::from_pem(bench.sim.ca_pem().as_bytes()).unwrap();
        let builder = reqwest::Client::builder().tls_certs_only([ca]).timeout(SOON);
        Self(builder.build().unwrap())
    }

    /// Asks, and answers the data.
    pub(crate) async fn ask(
        &self,
        bench: &Bench,
        method: Method,
        path: &str,
        form: &[(&str, &str)],
    ) -> Value {
        let context = format!("{method} {path}");
        let url = format!("{}/api2/json{path}", bench.sim.url());
        let token = bench.sim.token("daas@pve", "daas").unwrap();
        let mut request = self.0.request(method, url);
        request = request.header("Authorization", format!("PVEAPIToken={token}"));
        if !form.is_empty() {
            request = request.form(form);
        }
        let answer = request.send().await.expect(&context);
        let mut answer: Value = answer.error_for_status().expect(&context).json().await.unwrap();
        answer["data"].take()
    }

    /// Orders a task, and waits until it has ended well.
    pub(crate) async fn order(
        &self,
        bench: &Bench,
        method: Method,
        path: &str,
        form: &[(&str, &str)],
    ) {
        let context = format!("{method} {path}");
        let task = self.ask(bench, method, path, form).await;
        let task = task.as_str().expect(&context);
        let ended = |e: &Event| matches!(e, Event::TaskEnd { upid, .. } if **upid == *task);
        let end = bench.sim.log().wait_for(ended, SOON).await.expect(&context);
        let Event::TaskEnd { exit, .. } = end.event else { unreachable!("what was waited for") };
        assert_eq!(&*exit, "OK", "{context}");
    }
}

pub(crate) async fn reserve(p: &ProxmoxProvisioner, spec: &MachineSpec) -> Result<Reservation> {
    p.reserve(&spec.session, spec, &Taken::default()).await
}

/// Calls `ensure` as the engine does, until it is done. Retryable failures are tried again.
pub(crate) async fn make(
    p: &ProxmoxProvisioner,
    reservation: &Reservation,
    spec: &MachineSpec,
    power: Power,
) -> Result<Machine> {
    let mut failures = 0;
    let work = async {
        loop {
            match p.ensure(reservation, spec, power, &Progress::silent()).await {
                Ok(Ensured::Done(machine)) => return Ok(machine),
                Ok(Ensured::Underway(u)) => {
                    let _ = tokio::time::timeout(u.check_after, u.wake.heard()).await;
                }
                Err(error) => retried(error, &mut failures)?,
            }
        }
    };
    tokio::time::timeout(DEADLINE, work).await.expect("made in time")
}

pub(crate) async fn remove(p: &ProxmoxProvisioner, reservation: &Reservation) -> Result<()> {
    let mut failures = 0;
    let work = async {
        loop {
            match p.destroy(reservation).await {
                Ok(Destroyed::Gone | Destroyed::LeftAlone(_)) => return Ok(()),
                Ok(Destroyed::Underway(u)) => {
                    let _ = tokio::time::timeout(u.check_after, u.wake.heard()).await;
                }
                Err(error) => retried(error, &mut failures)?,
            }
        }
    };
    tokio::time::timeout(DEADLINE, work).await.expect("removed in time")
}

fn retried(error: Error, failures: &mut u32) -> Result<()> {
    *failures += 1;
    if *failures > 5 || error.recovery() != daas_core::Recovery::Retry {
        return Err(error);
    }
    Ok(())
}
