//! The modules for bpg/proxmox and telmate/proxmox, planned and applied by real terraform: with
//! look-alikes of the two providers, which are of our own making and come from a mirror in the file
//! system. They show the schemas that the real ones document, and make machines on the simulated
//! cluster as those do, as far as these modules can notice; they are no proof of the real ones.
//!
//! Terraform starts this program itself as the provider, so it has a `main` of its own.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod plugin;
mod provider;
mod proxmox;
mod schema;
mod value;
mod wire;
#[path = "../world/mod.rs"]
mod world;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use daas_core::Kind as ErrorKind;
use daas_core::machine::{Destroyed, MachineSpec, Reservation};
use daas_core::template::CloneMode;
use daas_sim::Event;
use daas_terraform::TerraformConfig;
use rustix::process::Signal;
use tokio::runtime::Runtime;

use self::provider::Provider;
use self::proxmox::Kind;
use self::world::large::{check_large, large, made};
use self::world::trials::{always, run, trial};
use self::world::{
    Cluster, DEADLINE, begin, copy_module, gate, group, left, make, members, remove, reserve,
    run_of, shipped, spec, take_away,
};

/// Set in the script that terraform takes for the provider: whom to play.
const ROLE: &str = "DAAS_LOOKALIKE";
/// A named pipe at which it waits after a clone, while that is there.
const GATE: &str = "DAAS_LOOKALIKE_GATE";

fn main() {
    let role = std::env::var(ROLE).ok().map(|role| match role.as_str() {
        "bpg" => Kind::Bpg,
        _ => Kind::Telmate,
    });
    if let Some(kind) = role {
        rustls::crypto::ring::default_provider().install_default().unwrap();
        Runtime::new().unwrap().block_on(plugin::serve(Provider::new(kind)));
        return;
    }
    let trials = vec![
        always("values_survive_the_wire", async { values_survive_the_wire() }),
        trial("bpg_makes_the_machine_that_was_asked_for", bpg(CloneMode::Auto)),
        trial("bpg_makes_a_full_clone_elsewhere", bpg(CloneMode::Full)),
        trial("bpg_wants_the_storage_of_a_disk_that_grows", bpg_without_storage()),
        trial("telmate_makes_the_machine_that_was_asked_for", telmate()),
        trial("telmate_refuses_a_disk_that_it_cannot_grow", telmate_with_a_disk()),
        trial("eight_at_once_share_the_providers", eight_at_once()),
        trial("a_provider_that_outlives_terraform_is_ended", orphaned()),
        trial("the_module_of_the_migration_page_is_taken", of_the_page()),
        trial("what_the_provider_does_not_know_is_refused", misspelt()),
    ];
    run(trials);
}

/// A mirror with both look-alikes, and terraform's settings that know nothing else.
fn mirror(directory: &Path) -> PathBuf {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    for (role, version) in [("bpg", "0.66.0"), ("telmate", "2.9.14")] {
        let place = directory
            .join(format!("mirror/registry.terraform.io/{role}/proxmox/{version}/linux_{arch}"));
        std::fs::create_dir_all(&place).unwrap();
        let program = place.join(format!("terraform-provider-proxmox_v{version}"));
        let this = std::env::current_exe().unwrap();
        let gate = directory.join("gate");
        let script = format!(
            "#!/bin/sh\n{GATE}='{}' {ROLE}={role} exec '{}'\n",
            gate.display(),
            this.display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let settings = directory.join("terraform.rc");
    let mirror = directory.join("mirror");
    let text = format!(
        "provider_installation {{\n  filesystem_mirror {{\n    path = \"{}\"\n  }}\n}}\n",
        mirror.display()
    );
    std::fs::write(&settings, text).unwrap();
    settings
}

/// Settings for a module with a provider on this cluster.
fn config(cluster: &Cluster, module: PathBuf) -> TerraformConfig {
    let mut config = TerraformConfig { module, ..cluster.config() };
    config.variables.remove("proxmox_ca");
    config.variables.insert("proxmox_insecure".into(), true.into());
    config.cli_config_file = Some(mirror(cluster.temp.path()));
    config
}

fn bpg_config(cluster: &Cluster) -> TerraformConfig {
    let mut config = config(cluster, shipped("proxmox-bpg"));
    config.variables.insert("source_node".into(), "pve1".into());
    config
}

async fn bpg(clone: CloneMode) {
    let cluster = Cluster::new().await;
    let provisioner = cluster.provisioner(bpg_config(&cluster));
    let spec = MachineSpec { storage: Some("shared".into()), clone, ..large(&cluster) };
    let (machine, seen) = made(&cluster, &provisioner, &spec).await;
    check_large(&cluster, &spec, &seen);
    assert!(machine.address.is_some());
    let option = |name: &str| seen.options.get(name).map(String::as_str);
    assert_eq!(option("cpu"), Some("x86-64-v2-AES"), "not the provider's own, of 2004");
    assert_eq!(option("onboot"), Some("0"), "a node's start starts no desktop");
    assert!(option("ide2").unwrap().starts_with("shared:"), "{:?}", option("ide2"));
}

async fn bpg_without_storage() {
    let cluster = Cluster::new().await;
    let provisioner = cluster.provisioner(bpg_config(&cluster));
    refused(&cluster, &provisioner, &large(&cluster), "name the storage").await;
}

async fn telmate() {
    let cluster = Cluster::new().await;
    let provisioner = cluster.provisioner(config(&cluster, shipped("proxmox-telmate")));
    let spec = MachineSpec { source: "debian-12".into(), disk_gib: None, ..large(&cluster) };
    let (machine, seen) = made(&cluster, &provisioner, &spec).await;
    check_large(&cluster, &spec, &seen);
    assert!(machine.address.is_some());
    assert_eq!(seen.options.get("scsihw").map(String::as_str), Some("virtio-scsi-pci"));
}

async fn telmate_with_a_disk() {
    let cluster = Cluster::new().await;
    let provisioner = cluster.provisioner(config(&cluster, shipped("proxmox-telmate")));
    let spec = MachineSpec { source: "debian-12".into(), ..large(&cluster) };
    refused(&cluster, &provisioner, &spec, "cannot grow").await;
}

/// One `init` for all, and each with a provider of its own.
async fn eight_at_once() {
    let cluster = Cluster::new().await;
    let provisioner = cluster.provisioner(bpg_config(&cluster));
    let one = async || {
        let spec = MachineSpec {
            storage: Some("shared".into()),
            memory_mib: 512,
            ..spec(&cluster.deployment)
        };
        let held = reserve(&provisioner, &spec).await;
        let machine = make(&provisioner, &held, &spec).await.expect("made");
        let id = held.machine.as_str().parse().unwrap();
        let seen = cluster.sim.cluster().vm(id).unwrap();
        assert_eq!(seen.name(), Some(spec.session.as_str()));
        let held = Reservation { uuid: machine.uuid, ..held };
        assert_eq!(remove(&provisioner, &held).await.expect("removed"), Destroyed::Gone);
    };
    tokio::join!(one(), one(), one(), one(), one(), one(), one(), one());
    assert_eq!(cluster.sim.cluster().vms().len(), 0);
    assert_eq!(left(&cluster.temp.path().join("runs")), Vec::<PathBuf>::new());
}

/// Terraform is killed while its provider makes a machine: that goes on, and could make one more.
async fn orphaned() {
    let cluster = Cluster::new().await;
    let gate = gate(cluster.temp.path());
    let provisioner = cluster.provisioner(bpg_config(&cluster));
    let spec = MachineSpec { storage: Some("shared".into()), ..spec(&cluster.deployment) };
    let held = reserve(&provisioner, &spec).await;
    begin(&provisioner, &held, &spec).await;
    let cloned =
        |e: &Event| matches!(e, Event::VmNamed { name, .. } if **name == *held.session.as_str());
    cluster.sim.log().wait_for(cloned, DEADLINE).await.expect("cloned");
    let old = group(&run_of(&cluster.temp.path().join("runs"), &held));
    rustix::process::kill_process(old, Signal::KILL).unwrap();
    make(&provisioner, &held, &spec).await.expect_err("it was killed");
    assert!(members(old) > 0, "its provider lives on");
    drop(provisioner);
    take_away(&gate);
    let successor = cluster.provisioner(bpg_config(&cluster));
    let machine = make(&successor, &held, &spec).await.expect("made");
    assert_eq!(members(old), 0, "the old provider has ended");
    assert_eq!(cluster.sim.cluster().vms().len(), 1);
    let held = Reservation { uuid: machine.uuid, ..held };
    assert_eq!(remove(&successor, &held).await.expect("removed"), Destroyed::Gone);
    assert_eq!(cluster.sim.cluster().vms().len(), 0);
}

/// What the page tells users of the earlier orchestrator to make of their module.
async fn of_the_page() {
    let cluster = Cluster::new().await;
    let page = include_str!("../../../docs/how-to/migrate-from-the-flask-orchestrator.md");
    let (_, code) = page.split_once("```hcl\n").unwrap();
    let (code, _) = code.split_once("```").unwrap();
    let module = cluster.temp.path().join("earlier");
    std::fs::create_dir(&module).unwrap();
    std::fs::write(module.join("main.tf"), code).unwrap();
    let mut format = std::process::Command::new("terraform");
    assert!(format.args(["fmt", "-check"]).current_dir(&module).status().unwrap().success());
    let provisioner = cluster.provisioner(config(&cluster, module));
    let spec = MachineSpec { source: "debian-12".into(), ..spec(&cluster.deployment) };
    let (machine, seen) = made(&cluster, &provisioner, &spec).await;
    assert_eq!(seen.name(), Some(spec.session.as_str()));
    assert!(machine.address.is_some());
}

/// The look-alike can say no: else the others would show nothing.
async fn misspelt() {
    let cluster = Cluster::new().await;
    let module = cluster.temp.path().join("misspelt");
    copy_module(&shipped("proxmox-bpg"), &module, "main.tf", |text| {
        let changed = text.replace("stop_on_destroy", "stop_at_destroy");
        assert_ne!(changed, text);
        changed
    });
    let provisioner = cluster.provisioner(TerraformConfig { module, ..bpg_config(&cluster) });
    refused(&cluster, &provisioner, &large(&cluster), "stop_at_destroy").await;
}

/// It is not made, for a reason that says this, and nothing is left.
async fn refused(
    cluster: &Cluster,
    provisioner: &daas_terraform::TerraformProvisioner,
    spec: &MachineSpec,
    says: &str,
) {
    let held = reserve(provisioner, spec).await;
    let error = make(provisioner, &held, spec).await.expect_err("refused");
    assert!(error.to_string().contains(says), "{error}");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert_eq!(cluster.sim.cluster().vms().len(), 0);
    assert_eq!(remove(provisioner, &held).await.expect("removed"), Destroyed::Gone);
}

fn values_survive_the_wire() {
    let value = serde_json::json!({
        "none": null, "yes": true, "numbers": [0, 127, -1, 1_i64 << 40, 1.5],
        "text": "é".repeat(300), "unknown": value::unknown(), "nested": [{"a": [["b"]]}],
    });
    assert_eq!(value::decode(&value::encode(&value)), Some(value));
    // As Terraform writes them: the shortest of each.
    let short =
        [0x82, 0xa1, b'a', 0xc3, 0xa1, b'b', 0x93, 0x07, 0xcd, 0x01, 0x00, 0xd4, 0x00, 0x00];
    let expected = serde_json::json!({"a": true, "b": [7, 256, value::unknown()]});
    assert_eq!(value::decode(&short), Some(expected));
    assert_eq!(value::decode(&short[..5]), None);
}
