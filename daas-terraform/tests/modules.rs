//! The modules that ship, applied: what was asked for is what the cluster then has.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use std::path::PathBuf;
use std::process::Command;

use daas_core::Kind;
use daas_core::machine::{Destroyed, Machine, MachineSpec, Observation, Power, Reservation};
use daas_core::provisioner::Provisioner;
use daas_core::template::CloneMode;
use daas_sim::VmView;
use daas_terraform::{TerraformConfig, TerraformProvisioner};
use world::{Cluster, left, make, power, remove, reserve, spec};

const KEYS: [&str; 2] = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDhFf3yW9ZzXkSX2x7Wk8pQ6q0cT7s0dX8v+/Zq1m2n3 first@a b",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK9sZzXkSX2x7Wk8pQ6q0cT7s0dX8v+DhFf3yW/q1m2n second",
];

/// A machine of which everything that a template may say is another than the template's own.
fn large(cluster: &Cluster) -> MachineSpec {
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
async fn made(
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

fn check_large(cluster: &Cluster, spec: &MachineSpec, seen: &VmView) {
    let option = |name: &str| seen.options.get(name).map(String::as_str).unwrap_or_default();
    assert!(seen.running());
    assert_eq!(seen.name(), Some(spec.session.as_str()));
    let mark = format!("daas-mark: {} {} {}", cluster.deployment, spec.session, seen.vmid);
    assert!(option("description").lines().any(|line| line == mark), "{}", option("description"));
    assert_eq!(option("tags"), format!("daas-{}", cluster.deployment));
    assert_eq!((option("cores"), option("memory")), ("3", "1536"));
    assert!(option("scsi0").contains("size=12G"), "{}", option("scsi0"));
    assert!(option("net0").contains("bridge=vmbr7"), "{}", option("net0"));
    assert_eq!((option("ciuser"), option("ipconfig0")), ("trainer", "ip=dhcp"));
    let keys = percent_encoding::percent_decode_str(option("sshkeys")).decode_utf8().unwrap();
    assert_eq!(keys.lines().collect::<Vec<_>>(), KEYS);
}

#[test]
fn every_module_is_formatted() {
    let format = Command::new("terraform")
        .args(["fmt", "-check", "-diff", "-recursive", env!("CARGO_MANIFEST_DIR")])
        .env_remove("TF_CLI_CONFIG_FILE")
        .output()
        .unwrap();
    assert!(format.status.success(), "{}", String::from_utf8_lossy(&format.stdout));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_provider_the_machine_is_as_asked() {
    let cluster = Cluster::new().await;
    let provisioner = cluster.provisioner(cluster.config());
    let spec = large(&cluster);
    let (_, seen) = made(&cluster, &provisioner, &spec).await;
    check_large(&cluster, &spec, &seen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_provider_and_a_platform_the_address_is_told() {
    let cluster = Cluster::new().await;
    let config = TerraformConfig { place: "pve2".into(), ..cluster.config() };
    let deployment = cluster.deployment.clone();
    let provisioner = TerraformProvisioner::new(config, deployment, None).unwrap();
    let spec = MachineSpec { clone: CloneMode::Full, ..large(&cluster) };
    let (machine, seen) = made(&cluster, &provisioner, &spec).await;
    check_large(&cluster, &spec, &seen);
    assert_eq!(seen.node, "pve2");
    // A simulated guest's address is made of its id.
    let [_, a, b, c] = seen.vmid.to_be_bytes();
    assert_eq!(machine.address, Some(std::net::IpAddr::from([10, a, b, c])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_platform_power_that_the_module_cannot_take_is_refused() {
    let cluster = Cluster::new().await;
    let config = TerraformConfig { place: "pve1".into(), ..cluster.config() };
    let provisioner = TerraformProvisioner::new(config, cluster.deployment.clone(), None).unwrap();
    let spec = spec(&cluster.deployment);
    let held = reserve(&provisioner, &spec).await;
    let machine = make(&provisioner, &held, &spec).await.expect("made");
    let held = Reservation { uuid: machine.uuid, ..held };
    let error = power(&provisioner, &held, &spec, Power::Stopped).await.expect_err("refused");
    assert_eq!(error.kind(), Kind::Unsupported, "{error}");
    assert!(cluster.sim.cluster().vms()[0].running());
    let observed = provisioner.observe(&held).await;
    assert!(
        matches!(&observed, Observation::Present(seen) if seen.power == Power::Running),
        "what was not done is not told: {observed:?}"
    );
    assert_eq!(remove(&provisioner, &held).await.expect("removed"), Destroyed::Gone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_provider_a_refusal_is_quoted() {
    let cluster = Cluster::new().await;
    let provisioner = cluster.provisioner(cluster.config());
    let spec = MachineSpec { disk_gib: Some(1), ..large(&cluster) };
    let held = reserve(&provisioner, &spec).await;
    let error = make(&provisioner, &held, &spec).await.expect_err("refused").to_string();
    assert!(error.contains("shrinking disks is not supported"), "{error}");
    assert_eq!(remove(&provisioner, &held).await.expect("removed"), Destroyed::Gone);
    assert_eq!(cluster.sim.cluster().vms().len(), 0);
}
