//! Scripted faults do what they say; whether the effect happened is judged by the log.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

mod common;

use std::time::Duration;

use common::{Client, SOON, start};
use daas_sim::{Durations, Effect, Event, Fault, SimConfig, Simulator, Spread, When};
use reqwest::Method;

const CLONE: &str = "/nodes/*/qemu/*/clone";
const PATH: &str = "/nodes/pve/qemu/9000/clone";

fn created(sim: &Simulator) -> usize {
    sim.log().count(|e| matches!(e, Event::VmCreated { .. }))
}

async fn clone(client: &Client, vmid: &str) -> Result<common::Said, reqwest::Error> {
    client.send(Method::POST, PATH, Some(&[("newid", vmid)])).await
}

#[tokio::test]
async fn errors_come_before_or_after_the_effect() {
    let (sim, client) = start(SimConfig::default()).await;
    let error = |before| {
        let (status, reason) = (596, "Connection timed out".to_owned());
        match before {
            true => Effect::ErrorBefore { status, reason },
            false => Effect::ErrorAfter { status, reason },
        }
    };
    sim.faults().add(Fault::once("POST", CLONE, error(true)));
    assert_eq!(clone(&client, "100").await.unwrap().brief(), (596, "Connection timed out"));
    assert_eq!(created(&sim), 0);
    let said = clone(&client, "100").await.unwrap();
    assert_eq!(client.done(&sim, said).await, "OK", "only the first was hit");
    sim.faults().add(Fault { when: When::Nth(2), ..Fault::always("POST", CLONE, error(false)) });
    let said = clone(&client, "101").await.unwrap();
    assert_eq!(said.status, 200);
    assert_eq!(clone(&client, "102").await.unwrap().status, 596);
    let made = |e: &Event| matches!(e, Event::VmNamed { vmid: 102, .. });
    sim.log().wait_for(made, SOON).await.expect("the effect happened all the same");
    assert_eq!(sim.log().count(|e| matches!(e, Event::Fault { .. })), 2);
    sim.stop().await;
}

#[tokio::test]
async fn connections_drop_and_hang() {
    let (sim, client) = start(SimConfig::default()).await;
    sim.faults().add(Fault::once("POST", CLONE, Effect::DropBefore));
    assert!(clone(&client, "100").await.is_err());
    assert_eq!(created(&sim), 0);
    sim.faults().clear();
    sim.faults().add(Fault::once("POST", CLONE, Effect::DropAfter));
    assert!(clone(&client, "100").await.is_err());
    assert_eq!(created(&sim), 1);
    sim.faults().clear();
    sim.faults().add(Fault::once("POST", CLONE, Effect::HangAfter));
    let short = client.request(Method::POST, PATH).form(&[("newid", "101")]);
    let error = short.timeout(Duration::from_millis(400)).send().await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert_eq!(created(&sim), 2);
    sim.faults().clear();
    sim.faults().add(Fault::once("GET", "/version", Effect::HangBefore));
    let hanging = client.clone();
    let hanging = tokio::spawn(async move { hanging.send(Method::GET, "/version", None).await });
    let hit = |e: &Event| matches!(e, Event::Fault { what } if what.contains("/version"));
    sim.log().wait_for(hit, SOON).await.unwrap();
    sim.stop().await;
    assert!(hanging.await.unwrap().is_err(), "the end of the cluster ends what hangs");
}

#[tokio::test]
async fn tasks_fail_with_or_without_their_effect() {
    let (sim, client) = start(SimConfig::default()).await;
    let text = "clone failed at 80 %".to_owned();
    sim.faults().add(Fault::once("POST", CLONE, Effect::FailTask(text)));
    let said = clone(&client, "100").await.unwrap();
    let upid = said.data().as_str().unwrap().to_owned();
    assert_eq!(client.done(&sim, said).await, "clone failed: clone failed at 80 %");
    assert!(sim.cluster().vm(100).is_none(), "taken back");
    let status = client.get(&format!("/nodes/pve/tasks/{upid}/status")).await.data();
    assert_eq!(status["status"], "stopped");
    assert_eq!(status["exitstatus"], "clone failed: clone failed at 80 %");
    assert_eq!((status["type"].as_str(), status["id"].as_str()), (Some("qmclone"), Some("9000")));
    assert_eq!(
        (status["user"].as_str(), status["tokenid"].as_str()),
        (Some("daas@pve"), Some("daas"))
    );
    let log = client.get(&format!("/nodes/pve/tasks/{upid}/log")).await.data();
    let last = log.as_array().unwrap().last().unwrap()["t"].clone();
    assert_eq!(last, "TASK ERROR: clone failed: clone failed at 80 %");
    let list = client.get("/nodes/pve/tasks?errors=1&typefilter=qmclone").await.data();
    assert_eq!(list.as_array().unwrap().len(), 1);

    let start_path = "/nodes/*/qemu/*/status/start";
    let text = "got timeout".to_owned();
    client.clone_of_9000(&sim, 100, "a").await;
    sim.faults().add(Fault::once("POST", start_path, Effect::FailTaskAfter(text)));
    let said = client.post("/nodes/pve/qemu/100/status/start", &[]).await;
    assert_eq!(client.done(&sim, said).await, "got timeout");
    assert!(sim.cluster().vm(100).unwrap().running(), "and yet it runs");
    let bad = client.get("/nodes/pve/tasks/nonsense/status").await;
    assert_eq!(bad.json()["errors"]["upid"], "unable to parse worker upid");
    let unknown = client.get("/nodes/pve/tasks/UPID:pve:1:2:3:x:1:root@pam:/status").await;
    assert_eq!(unknown.json()["errors"]["upid"], "no such task");
    sim.stop().await;
}

#[tokio::test]
async fn a_killed_task_takes_its_clone_back() {
    let clone_linked = Spread::new(Duration::from_secs(3600), 0.0);
    let durations = Durations { clone_linked, ..Durations::zero() };
    let (sim, client) = start(SimConfig { durations, ..SimConfig::default() }).await;
    let said = clone(&client, "100").await.unwrap();
    let upid = said.data().as_str().unwrap().to_owned();
    let running = client.get("/nodes/pve/tasks?source=active").await.data();
    assert_eq!(running[0]["status"], "RUNNING");
    assert_eq!(client.delete(&format!("/nodes/pve/tasks/{upid}")).await.status, 200);
    assert_eq!(client.done(&sim, said).await, "clone failed: interrupted by signal");
    assert!(sim.cluster().vm(100).is_none());
    sim.stop().await;
}

#[tokio::test]
async fn switches_lock_fill_and_take_nodes_away() {
    let (sim, client) = start(SimConfig::nodes(2)).await;
    let path = "/nodes/pve1/qemu/9000";
    sim.faults().lock(9000, "backup");
    let locked = client.post(&format!("{path}/clone"), &[("newid", "100")]).await;
    assert_eq!(locked.brief(), (500, "VM is locked (backup)"));
    assert_eq!(client.get(&format!("{path}/config")).await.data()["lock"], "backup");
    sim.faults().unlock(9000);
    sim.faults().fill("shared");
    let said = client.post(&format!("{path}/clone"), &[("newid", "100")]).await;
    assert!(client.done(&sim, said).await.contains("No space left on device"));
    sim.faults().drain("shared");
    let said = client.post(&format!("{path}/clone"), &[("newid", "100")]).await;
    assert_eq!(client.done(&sim, said).await, "OK");

    sim.faults().node_away("pve1");
    assert!(client.send(Method::GET, "/version", None).await.is_err(), "pve1 itself is silent");
    let other = client.at(&sim.urls()[1].1);
    let proxied = other.get(&format!("{path}/config")).await;
    assert_eq!(proxied.brief(), (595, "No route to host"));
    let nodes = other.get("/nodes").await.data();
    assert_eq!(
        (nodes[0]["status"].as_str(), nodes[1]["status"].as_str()),
        (Some("offline"), Some("online"))
    );
    let all = other.get("/cluster/resources?type=vm").await.data();
    assert!(all.as_array().unwrap().iter().all(|r| r["status"] == "unknown"), "{all}");
    sim.faults().node_back("pve1");
    assert_eq!(client.get(&format!("{path}/config")).await.status, 200);
    sim.stop().await;
}
