//! The modules that ship, applied: what was asked for is what the cluster then has.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use std::process::Command;

use daas_core::Kind;
use daas_core::machine::{Destroyed, MachineSpec, Observation, Power, Reservation};
use daas_core::provisioner::Provisioner;
use daas_core::template::CloneMode;
use daas_terraform::{TerraformConfig, TerraformProvisioner};
use world::large::{check_large, large, made};
use world::trials::{run, trial};
use world::{Cluster, make, power, remove, reserve, spec};

fn main() {
    run(vec![
        trial("every_module_is_formatted", every_module_is_formatted()),
        trial(
            "without_a_provider_the_machine_is_as_asked",
            without_a_provider_the_machine_is_as_asked(),
        ),
        trial(
            "without_a_provider_and_a_platform_the_address_is_told",
            without_a_provider_and_a_platform_the_address_is_told(),
        ),
        trial(
            "without_a_platform_power_that_the_module_cannot_take_is_refused",
            without_a_platform_power_that_the_module_cannot_take_is_refused(),
        ),
        trial("without_a_provider_a_refusal_is_quoted", without_a_provider_a_refusal_is_quoted()),
    ]);
}

async fn every_module_is_formatted() {
    let format = Command::new("terraform")
        .args(["fmt", "-check", "-diff", "-recursive", env!("CARGO_MANIFEST_DIR")])
        .env_remove("TF_CLI_CONFIG_FILE")
        .output()
        .unwrap();
    assert!(format.status.success(), "{}", String::from_utf8_lossy(&format.stdout));
}

async fn without_a_provider_the_machine_is_as_asked() {
    let cluster = Cluster::new().await;
    let provisioner = cluster.provisioner(cluster.config());
    let spec = large(&cluster);
    let (_, seen) = made(&cluster, &provisioner, &spec).await;
    check_large(&cluster, &spec, &seen);
}

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
