//! The core's conformance suite on the provisioner, judged by what the simulated cluster did.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod bench;

use std::sync::Arc;

use async_trait::async_trait;
use bench::{Administrator, Bench, TEMPLATE};
use daas_core::conformance::{self, ProvisionerBench};
use daas_core::ids::{MachineId, SessionId};
use daas_core::machine::MachineSpec;
use daas_core::provisioner::Provisioner;
use daas_proxmox::ProxmoxProvisioner;
use daas_sim::Event;
use reqwest::Method;

#[tokio::test]
async fn it_keeps_the_provisioners_contract() {
    conformance::provisioner(|| async {
        Arc::new(Judge::new().await) as Arc<dyn ProvisionerBench>
    })
    .await;
}

/// A cluster, the provisioner under judgement, and an administrator beside it.
struct Judge {
    bench: Bench,
    provisioner: Arc<ProxmoxProvisioner>,
    administrator: Administrator,
}

impl Judge {
    async fn new() -> Self {
        let bench = Bench::new().await;
        let provisioner = Arc::new(bench.provisioner());
        let administrator = Administrator::of(&bench);
        Self { bench, provisioner, administrator }
    }
}

#[async_trait]
impl ProvisionerBench for Judge {
    fn provisioner(&self) -> Arc<dyn Provisioner> {
        Arc::clone(&self.provisioner) as _
    }

    fn spec(&self, session: &SessionId) -> MachineSpec {
        MachineSpec { session: session.clone(), ..self.bench.spec() }
    }

    fn spec_without_image(&self, session: &SessionId) -> MachineSpec {
        MachineSpec { source: "missing".into(), ..self.spec(session) }
    }

    /// A clone gets its name when its task is done; one that has none yet counts for everybody.
    async fn made(&self, session: &SessionId) -> usize {
        let log = self.bench.sim.log().entries();
        let events: Vec<_> = log.into_iter().map(|entry| entry.event).collect();
        let named = |id: u32, later: &[Event]| {
            later.iter().find_map(|event| match event {
                Event::VmNamed { vmid, name } if *vmid == id => Some(name.clone()),
                _ => None,
            })
        };
        let made = events.iter().enumerate().filter(|(at, event)| match event {
            Event::VmCreated { vmid, .. } => {
                named(*vmid, &events[*at..]).is_none_or(|name| *name == *session.as_str())
            }
            _ => false,
        });
        made.count()
    }

    async fn exists(&self, machine: &MachineId) -> bool {
        self.bench.sim.cluster().vm(vmid(machine)).is_some()
    }

    async fn put_stranger(&self, machine: &MachineId) {
        let form = [("newid", machine.as_str()), ("name", "stranger")];
        self.administrator
            .order(&self.bench, Method::POST, &format!("{TEMPLATE}/clone"), &form)
            .await;
    }

    async fn remove_by_hand(&self, machine: &MachineId) {
        let there = self.bench.sim.cluster().vm(vmid(machine)).unwrap();
        let path = format!("/nodes/{}/qemu/{machine}", there.node);
        if there.running() {
            self.administrator
                .order(&self.bench, Method::POST, &format!("{path}/status/stop"), &[])
                .await;
        }
        self.administrator.order(&self.bench, Method::DELETE, &path, &[]).await;
    }

    async fn set_away(&self, away: bool) {
        for (node, _) in self.bench.sim.urls() {
            if away {
                self.bench.sim.faults().node_away(&node);
            } else {
                self.bench.sim.faults().node_back(&node);
            }
        }
    }
}

fn vmid(machine: &MachineId) -> u32 {
    machine.as_str().parse().unwrap()
}
