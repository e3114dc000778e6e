//! A backend of one's own, held to the contract: the folder provisioner beside this file is run
//! through the same conformance suite that the real ones pass.
//!
//! In a crate of yours the call of the suite is an ordinary `#[tokio::test]`. Break a promise in
//! `folder.rs` (read an error as absence, forget the mark) and see which clause tells you.
//!
//! `cargo run -p daas-examples --bin own-backend`

#![expect(clippy::print_stdout, reason = "an example tells what it does")]

mod folder;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use daas_core::conformance::{self, ProvisionerBench};
use daas_core::ids::{DeploymentId, MachineId, SessionId, SessionPrefix};
use daas_core::machine::{MachineSpec, Power};
use daas_core::provisioner::Provisioner;
use daas_core::template::Template;

use crate::folder::{Contents, Folder};

#[tokio::main]
async fn main() {
    // Each clause gets a fresh platform; a broken one panics with its name and what was seen.
    conformance::provisioner(|| async { Arc::new(Bench::new()) as Arc<dyn ProvisionerBench> })
        .await;
    println!("{} clauses kept", conformance::provisioner_clauses().len());
}

/// A platform and the judge's own hands on it: what the suite cannot do through the trait.
struct Bench {
    provisioner: Arc<Folder>,
    _directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("machines");
        std::fs::create_dir(&path).expect("a folder in it");
        let name = "folder".parse().expect("a name");
        let provisioner = Arc::new(Folder { name, deployment: DeploymentId::mint(), path });
        Self { provisioner, _directory: directory }
    }

    fn file(&self, machine: &MachineId) -> PathBuf {
        self.provisioner.path.join(machine.as_str())
    }
}

#[async_trait]
impl ProvisionerBench for Bench {
    fn provisioner(&self) -> Arc<dyn Provisioner> {
        Arc::clone(&self.provisioner) as Arc<dyn Provisioner>
    }

    fn spec(&self, session: &SessionId) -> MachineSpec {
        let template = Template::new(
            "lab".parse().expect("a name"),
            self.provisioner.name.clone(),
            "empty-file",
        );
        MachineSpec {
            session: session.clone(),
            deployment: self.provisioner.deployment.clone(),
            source: template.source,
            clone: template.clone,
            storage: None,
            pool: None,
            cores: template.cores,
            memory_mib: template.memory_mib,
            disk_gib: None,
            network: None,
            address_from: template.address_from,
            admin_user: template.admin_user,
            ssh_keys: Vec::new(),
        }
    }

    fn spec_without_image(&self, session: &SessionId) -> MachineSpec {
        MachineSpec { source: "missing".to_owned(), ..self.spec(session) }
    }

    /// A folder keeps no history: what is there is counted, which shows a machine made twice.
    async fn made(&self, session: &SessionId) -> usize {
        let listed = self.provisioner.list().await.expect("the folder is there");
        listed.iter().filter(|machine| machine.session == *session).count()
    }

    async fn exists(&self, machine: &MachineId) -> bool {
        self.file(machine).exists()
    }

    async fn put_stranger(&self, machine: &MachineId) {
        let stranger = Contents {
            deployment: DeploymentId::mint(),
            session: SessionId::mint(&SessionPrefix::default()),
            uuid: "a stranger's".to_owned(),
            power: Power::Running,
        };
        self.provisioner.write(machine, &stranger).expect("written");
    }

    async fn remove_by_hand(&self, machine: &MachineId) {
        std::fs::remove_file(self.file(machine)).expect("removed");
    }

    /// The folder is moved away, as a network file system that is not mounted.
    async fn set_away(&self, away: bool) {
        let (here, aside) = (&self.provisioner.path, self.provisioner.path.with_extension("aside"));
        let (from, to) = if away { (here, &aside) } else { (&aside, here) };
        std::fs::rename(from, to).expect("moved");
    }
}
