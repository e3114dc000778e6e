//! The core's conformance suite with real terraform: on a platform, and without one.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use std::sync::Arc;

use async_trait::async_trait;
use daas_core::conformance::{self, ProvisionerBench, broken, provisioner_clauses};
use daas_core::ids::{MachineId, SessionId};
use daas_core::machine::MachineSpec;
use daas_core::provisioner::Provisioner;
use daas_sim::Event;
use daas_terraform::TerraformProvisioner;
use reqwest::Method;
use serde_json::Value;
use world::trials::{run, trial};
use world::{Cluster, DEADLINE, Files, spec};

fn main() {
    run(vec![
        trial(
            "on_a_platform_it_keeps_the_provisioners_contract",
            on_a_platform_it_keeps_the_provisioners_contract(),
        ),
        trial("without_a_platform_it_keeps_what_it_can", without_a_platform_it_keeps_what_it_can()),
    ]);
}

/// What nobody can tell without asking the platform; said so in the crate's documentation.
const NEEDS_A_PLATFORM: [&str; 11] = [
    "reserve_of_a_missing_image_is_invalid",
    "reserve_while_away_is_unavailable",
    "ensure_never_makes_again_what_has_been",
    "ensure_while_away_is_unavailable",
    "observe_tells_present_and_absent",
    "observe_of_a_stranger_is_absent",
    "observe_while_away_is_unknown",
    "destroy_leaves_a_stranger_alone",
    "destroy_while_away_is_unavailable",
    "list_tells_ours_only",
    "list_while_away_is_an_error",
];

async fn on_a_platform_it_keeps_the_provisioners_contract() {
    conformance::provisioner(|| async {
        let cluster = Cluster::new().await;
        let provisioner = Arc::new(cluster.provisioner(cluster.config()));
        Arc::new(OnCluster { cluster, provisioner }) as Arc<dyn ProvisionerBench>
    })
    .await;
}

async fn without_a_platform_it_keeps_what_it_can() {
    let clauses: Vec<_> = provisioner_clauses()
        .into_iter()
        .filter(|clause| !NEEDS_A_PLATFORM.contains(&clause.name))
        .collect();
    assert!(clauses.len() >= 12, "a clause was renamed");
    let found = broken(&clauses, || async {
        let files = Files::new();
        let provisioner = Arc::new(files.provisioner(files.config()));
        Arc::new(OnFiles { files, provisioner }) as Arc<dyn ProvisionerBench>
    })
    .await;
    assert_eq!(found, []);
}

struct OnCluster {
    cluster: Cluster,
    provisioner: Arc<TerraformProvisioner>,
}

impl OnCluster {
    /// Orders a task past the provisioner, and waits until it has ended well.
    async fn order(&self, method: Method, path: &str, form: &[(&str, &str)]) {
        let sim = &self.cluster.sim;
        let ca = reqwest::Certificate::from_pem(sim.ca_pem().as_bytes()).unwrap();
        let client =
            reqwest::Client::builder().tls_certs_only([ca]).timeout(DEADLINE).build().unwrap();
        let token = sim.token("daas@pve", "daas").unwrap();
        let mut request = client.request(method, format!("{}/api2/json{path}", sim.url()));
        request = request.header("Authorization", format!("PVEAPIToken={token}"));
        if !form.is_empty() {
            request = request.form(form);
        }
        let answer = request.send().await.unwrap().error_for_status().expect(path);
        let answer: Value = answer.json().await.unwrap();
        let task = answer["data"].as_str().unwrap().to_owned();
        let ended = |e: &Event| matches!(e, Event::TaskEnd { upid, .. } if **upid == *task);
        let end = sim.log().wait_for(ended, DEADLINE).await.expect(path);
        let Event::TaskEnd { exit, .. } = end.event else { unreachable!("what was waited for") };
        assert_eq!(&*exit, "OK", "{path}");
    }
}

#[async_trait]
impl ProvisionerBench for OnCluster {
    fn provisioner(&self) -> Arc<dyn Provisioner> {
        Arc::clone(&self.provisioner) as _
    }

    fn spec(&self, session: &SessionId) -> MachineSpec {
        MachineSpec { session: session.clone(), ..spec(&self.cluster.deployment) }
    }

    fn spec_without_image(&self, session: &SessionId) -> MachineSpec {
        MachineSpec { source: "missing".into(), ..self.spec(session) }
    }

    /// A clone gets its name when its task is done; one that has none yet counts for everybody.
    async fn made(&self, session: &SessionId) -> usize {
        let log = self.cluster.sim.log().entries();
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
        self.cluster.sim.cluster().vm(machine.as_str().parse().unwrap()).is_some()
    }

    async fn put_stranger(&self, machine: &MachineId) {
        let form = [("newid", machine.as_str()), ("name", "stranger")];
        self.order(Method::POST, "/nodes/pve1/qemu/9000/clone", &form).await;
    }

    async fn remove_by_hand(&self, machine: &MachineId) {
        let there = self.cluster.sim.cluster().vm(machine.as_str().parse().unwrap()).unwrap();
        let path = format!("/nodes/{}/qemu/{machine}", there.node);
        if there.running() {
            self.order(Method::POST, &format!("{path}/status/stop"), &[]).await;
        }
        self.order(Method::DELETE, &path, &[]).await;
    }

    async fn set_away(&self, away: bool) {
        for (node, _) in self.cluster.sim.urls() {
            if away {
                self.cluster.sim.faults().node_away(&node);
            } else {
                self.cluster.sim.faults().node_back(&node);
            }
        }
    }
}

struct OnFiles {
    files: Files,
    provisioner: Arc<TerraformProvisioner>,
}

#[async_trait]
impl ProvisionerBench for OnFiles {
    fn provisioner(&self) -> Arc<dyn Provisioner> {
        Arc::clone(&self.provisioner) as _
    }

    fn spec(&self, session: &SessionId) -> MachineSpec {
        MachineSpec { session: session.clone(), ..spec(&self.files.deployment) }
    }

    fn spec_without_image(&self, session: &SessionId) -> MachineSpec {
        self.spec(session)
    }

    async fn made(&self, session: &SessionId) -> usize {
        self.files.made(session)
    }

    async fn exists(&self, machine: &MachineId) -> bool {
        self.files.temp.path().join("machines").join(machine.as_str()).exists()
    }

    async fn put_stranger(&self, machine: &MachineId) {
        let path = self.files.temp.path().join("machines").join(machine.as_str());
        std::fs::write(path, "a stranger").unwrap();
    }

    async fn remove_by_hand(&self, machine: &MachineId) {
        let path = self.files.temp.path().join("machines").join(machine.as_str());
        std::fs::remove_file(path).unwrap();
    }

    async fn set_away(&self, _: bool) {
        unreachable!("clauses that cut the platform off need one");
    }
}
