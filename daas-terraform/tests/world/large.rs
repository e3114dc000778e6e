//! A machine of which everything that a template may say is another than the template's own.

use std::path::PathBuf;

use daas_core::machine::{Destroyed, Machine, MachineSpec, Reservation};
use daas_sim::VmView;
use daas_terraform::TerraformProvisioner;

use super::{Cluster, left, make, remove, reserve, spec};

const KEYS: [&str; 2] = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDhFf3yW9ZzXkSX2x7Wk8pQ6q0cT7s0dX8v+/Zq1m2n3 first@a b",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK9sZzXkSX2x7Wk8pQ6q0cT7s0dX8v+DhFf3yW/q1m2n second",
];

/// A machine of which everything that a template may say is another than the template's own.
pub(crate) fn large(cluster: &Cluster) -> MachineSpec {
    MachineSpec {
        cores: 3,
        memory_mib: 1536,
        disk_gib: Some(12),
        network: Some("vmbr7".into()),
        admin_user: "trainer".into(),
        ssh_keys: KEYS.map(str::to_owned).to_vec(),
        ..spec(&cluster.deployment)
    }
}

/// Makes it, shows what the cluster then has, and removes it again.
pub(crate) async fn made(
    cluster: &Cluster,
    provisioner: &TerraformProvisioner,
    spec: &MachineSpec,
) -> (Machine, VmView) {
    let held = reserve(provisioner, spec).await;
    let machine = make(provisioner, &held, spec).await.expect("made");
    let seen = cluster.sim.cluster().vm(held.machine.as_str().parse().unwrap()).unwrap();
    let held = Reservation { uuid: machine.uuid.clone(), ..held };
    assert_eq!(remove(provisioner, &held).await.expect("removed"), Destroyed::Gone);
    assert_eq!(cluster.sim.cluster().vms().len(), 0);
    assert_eq!(left(&cluster.temp.path().join("runs")), Vec::<PathBuf>::new());
    (machine, seen)
}

pub(crate) fn check_large(cluster: &Cluster, spec: &MachineSpec, seen: &VmView) {
    let option = |name: &str| seen.options.get(name).map(String::as_str).unwrap_or_default();
    assert!(seen.running());
    assert_eq!(seen.name(), Some(spec.session.as_str()));
    let mark = format!("daas-mark: {} {} {}", cluster.deployment, spec.session, seen.vmid);
    assert!(option("description").lines().any(|line| line == mark), "{}", option("description"));
    assert_eq!(option("tags"), format!("daas-{}", cluster.deployment));
    assert_eq!((option("cores"), option("memory")), ("3", "1536"));
    let size = format!("size={}G", spec.disk_gib.unwrap_or(8));
    assert!(option("scsi0").contains(&size), "{}", option("scsi0"));
    assert!(option("net0").contains("bridge=vmbr7"), "{}", option("net0"));
    assert_eq!((option("ciuser"), option("ipconfig0")), ("trainer", "ip=dhcp"));
    let keys = percent_encoding::percent_decode_str(option("sshkeys")).decode_utf8().unwrap();
    assert_eq!(keys.lines().collect::<Vec<_>>(), KEYS);
}
