//! Many desktops at once by Terraform and Ansible, beside the same desktops one after the other, as
//! the earlier orchestrator made them. Real programs, real guests, a simulated cluster.
//!
//! `DAAS_TEST_LAB=1 cargo bench -p daas-compose --bench eight --profile dev`; the number of desktops
//! is in `DAAS_BENCH_SESSIONS`, 8 if it is not set.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark for people")]

#[path = "../tests/golden/api.rs"]
mod api;
#[path = "../tests/golden/world.rs"]
#[allow(dead_code, reason = "shared with the trials")]
mod world;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use daas_core::access::Role;
use daas_lab::trials::{self, Needs};
use daas_lab::{NspawnGuests, Recipe};
use daas_sim::Simulator;
use futures::future::join_all;
use serde_json::json;

use crate::api::Api;
use crate::world::{Running, ansible, cluster, proxmox, terraform};

fn main() {
    if let Some(why) = Needs::Orchestration.refusal() {
        println!("not measured: {why}");
        return;
    }
    // A thread of its own goes into the lab's network.
    std::thread::spawn(|| trials::with_guests(&[Recipe::desk()], measure)).join().unwrap();
}

/// A desktop that was ready, and when.
struct Ready {
    user: String,
    password: String,
    id: String,
    address: SocketAddr,
    took: Duration,
}

async fn measure(guests: Arc<NspawnGuests>) {
    let wished = std::env::var("DAAS_BENCH_SESSIONS").unwrap_or_else(|_| "8".to_owned());
    let number: usize = wished.parse().unwrap();
    let sim = cluster(&guests, &Recipe::desk()).await;
    let data = tempfile::tempdir().unwrap();
    let settings = settings(&sim, data.path());
    let (running, api) = Running::start(data, &settings, Role::Operator).await;

    // The first run prepares the module for all: it is in neither figure.
    let first = make(&api, 0).await;
    destroy(&api, &first).await;

    let begun = Instant::now();
    let together = join_all((1..=number).map(|nth| make(&api, nth))).await;
    let wall = begun.elapsed();
    check_no_cross_talk(&guests, &together).await;
    join_all(together.iter().map(|ready| destroy(&api, ready))).await;

    let begun = Instant::now();
    for nth in 1..=number {
        let ready = make(&api, nth).await;
        destroy(&api, &ready).await;
    }
    let in_turn = begun.elapsed();
    assert!(sim.cluster().vms().is_empty(), "machines are left");

    let sum: Duration = together.iter().map(|ready| ready.took).sum();
    println!("\n{number} desktops by Terraform and Ansible on {} processors", processors());
    println!("  all ready, asked for at once        {:7.1} s", wall.as_secs_f64());
    println!("  the sum of their times              {:7.1} s", sum.as_secs_f64());
    println!("  one after the other, each destroyed {:7.1} s", in_turn.as_secs_f64());
    running.stop().await;
    sim.stop().await;
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

async fn make(api: &Api, nth: usize) -> Ready {
    let (user, password) = (format!("user{nth}"), format!("it's $secret {nth}"));
    let begun = Instant::now();
    let wish = json!({"username": user, "session_user": user, "session_password": password});
    let made = api.call("POST", "/api/session/create", Some(wish)).await;
    assert_eq!(made["status"], "ready", "{made:#}");
    let address = made["vm_ip"].as_str().unwrap().parse().unwrap();
    let id = made["session_id"].as_str().unwrap().to_owned();
    let address = SocketAddr::new(address, 3389);
    Ready { user, password, id, address, took: begun.elapsed() }
}

async fn destroy(api: &Api, ready: &Ready) {
    let wish = json!({"session_id": ready.id});
    api.call("POST", "/api/session/destroy", Some(wish)).await;
    api.until(&ready.id, |session| session["phase"] == "ended").await;
}

/// Each user can log in to their own desktop, and to no other.
async fn check_no_cross_talk(guests: &NspawnGuests, all: &[Ready]) {
    let mut addresses: Vec<_> = all.iter().map(|ready| ready.address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), all.len(), "two have one address");
    for (at, own) in all.iter().enumerate() {
        let other = &all[(at + 1) % all.len()];
        let guest = guests.named(&own.id).await.unwrap();
        let entered = guest.log_in(&own.user, &own.password, &["id", "-un"]).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&entered.stdout).trim(), own.user);
        if other.id != own.id {
            let strange = guest.log_in(&other.user, &other.password, &["true"]).await.unwrap();
            assert_ne!(strange.code, Some(0), "{} is in the desktop of {}", other.user, own.user);
        }
    }
}

fn settings(sim: &Simulator, data: &Path) -> String {
    let rest = format!("[ansible]\nprogram = {:?}\n{TEMPLATE}", ansible());
    proxmox(sim) + &terraform(sim, data) + &rest
}

const TEMPLATE: &str = r#"
[http]
listen = "127.0.0.1:0"
guest_listen = "10.77.0.1:0"
[[templates]]
name = "desk"
provisioner = "terraform"
source = "9000"
configurator = "ansible"
"#;
