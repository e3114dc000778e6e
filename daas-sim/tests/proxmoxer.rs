//! proxmoxer, Proxmox's Python client, works on the simulated cluster as it is.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use daas_sim::{NullGuests, SimConfig, Simulator};
use tokio::process::Command;

/// How long the installation and the check may take, each.
const DEADLINE: Duration = Duration::from_secs(180);

/// Runs a program to its end; it does not outlive the test.
async fn run(program: &Path, arguments: &[&str]) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(DEADLINE, command.output()).await.expect("in time").unwrap();
    let told = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&told));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs python3 with venv, and PyPI: cargo xtask test --install"]
async fn proxmoxer_signs_in_clones_starts_and_deletes() {
    let directory = tempfile::tempdir().unwrap();
    let venv = directory.path().join("venv");
    run(Path::new("python3"), &["-m", "venv", venv.to_str().unwrap()]).await;
    let python = venv.join("bin/python");
    run(&python, &["-m", "pip", "install", "--quiet", "proxmoxer==2.3.0", "requests"]).await;

    let sim =
        Simulator::start(SimConfig::default(), Arc::new(NullGuests::default())).await.unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, sim.ca_pem()).unwrap();
    let token = sim.token("daas@pve", "daas").unwrap();
    let check = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proxmoxer/check.py");
    let url = sim.url();
    let arguments = [check, &url, ca.to_str().unwrap(), "root@pam", "simulated", &token];
    run(&python, &arguments).await;
    assert!(sim.cluster().vms().is_empty(), "it deletes what it made");
    sim.stop().await;
}
