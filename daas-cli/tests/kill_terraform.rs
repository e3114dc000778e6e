//! kill -9 of the real server at seeded moments, while Terraform makes and removes desktops beside the
//! native backend, on one cluster.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod served;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use daas_lab::trials::{self, Needs};
use daas_sim::{Durations, Event, NullGuests, SimConfig, Simulator};
use serde_json::Value;
use served::Served;

const KILLS: usize = 6;
const SESSIONS: usize = 8;
/// Where the module is that needs no provider's download.
const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../daas-terraform/modules/proxmox-curl");
/// One apply takes about a second, and two processors are shared by many.
const DEADLINE: Duration = Duration::from_secs(240);

fn main() {
    trials::run_with_terraform(vec![trials::trial(
        "a_server_killed_with_terraform_at_work_loses_and_leaks_nothing",
        Needs::Terraform,
        || {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.enable_all().build().unwrap();
            runtime.block_on(a_server_killed_with_terraform_at_work_loses_and_leaks_nothing());
        },
    )]);
}

async fn a_server_killed_with_terraform_at_work_loses_and_leaks_nothing() {
    let mut config = SimConfig::nodes(2);
    config.durations = Durations::realistic();
    config.scale = 0.03;
    let sim = Arc::new(Simulator::start(config, Arc::new(NullGuests::default())).await.unwrap());
    let files = tempfile::tempdir().unwrap();
    let mut served = Served::on(Arc::clone(&sim), &settings(&sim, files.path())).await;
    let runs = served.directory.path().join("data/terraform");

    let mut ids = Vec::new();
    for nth in 0..SESSIONS {
        let template = if nth % 4 == 3 { "lab" } else { "by-terraform" };
        ids.push(served.ask_for(template, &format!("wish-{nth}")).await.unwrap());
    }
    for kill in 0..KILLS {
        if kill == KILLS / 2 {
            // The later kills meet removals too.
            for id in ids.iter().step_by(2) {
                served.call("DELETE", &format!("/api/v1/sessions/{id}"), Value::Null).await;
            }
        }
        // The moment: after so many more changes on the cluster (readings tell nothing of work in
        // hand), or none comes any more.
        let log = served.sim.log().clone();
        let is_change = |event: &Event| !matches!(event, Event::Request { .. });
        let (wanted, seen) = (log.count(is_change) + 2 + 3 * kill, Cell::new(0));
        let enough = |event: &Event| {
            seen.set(seen.get() + usize::from(is_change(event)));
            seen.get() >= wanted
        };
        let _ = log.wait_for(enough, DEADLINE / 60).await;
        served.kill();
        served.serve();
    }
    for id in &ids {
        let answer = served.call("DELETE", &format!("/api/v1/sessions/{id}"), Value::Null).await;
        assert!(matches!(answer, Some((200..=202, _))), "{answer:?}");
    }
    served.until_in(DEADLINE, "all ended", async || served.live().await.is_empty()).await;
    served.until("no machine left", async || served.machines().is_empty()).await;
    served.never_two_machines();
    served.kill();
    assert_eq!(trials::visible(&runs).unwrap(), Vec::<PathBuf>::new(), "run directories are left");
    let made = sim.log().count(|e| matches!(e, Event::VmCreated { .. }));
    assert!(made >= SESSIONS / 2, "only {made} machines were made: the kills met no work");
}

fn settings(sim: &Simulator, files: &Path) -> String {
    let (ca, token) = (files.join("pve.pem"), files.join("token"));
    std::fs::write(&ca, sim.ca_pem()).unwrap();
    std::fs::write(&token, sim.token("daas@pve", "daas").unwrap()).unwrap();
    format!(
        r#"
[terraform]
module = {MODULE:?}
platform = "proxmox"
variables = {{ proxmox_url = {url:?}, proxmox_ca = {ca:?} }}
secret_files = {{ proxmox_token = {token:?} }}
[[templates]]
name = "by-terraform"
provisioner = "terraform"
source = "9000"
configurator = "fake"
ready_when = "agent"
"#,
        url = sim.url(),
    )
}
