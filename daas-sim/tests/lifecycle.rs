//! A desktop's life over TLS: clone, configure, start, agent, stop, delete, by a raw client.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

mod common;

use common::{SOON, start};
use daas_sim::guest::GuestState;
use daas_sim::{Event, SimConfig};
use serde_json::json;

#[tokio::test]
async fn a_desktop_lives_and_leaves_nothing() {
    let (sim, client) = start(SimConfig::default()).await;
    assert_eq!(client.get("/cluster/nextid").await.data(), json!("100"));
    client.clone_of_9000(&sim, 100, "desktop-1").await;
    let vm = "/nodes/pve/qemu/100";

    let config = client.get(&format!("{vm}/config")).await.data();
    assert_eq!(config["name"], "desktop-1");
    assert_eq!(config["memory"], "2048", "memory is text");
    assert_eq!(config["cores"], 2, "cores is a number");
    assert_eq!(config["scsi0"], "local-zfs:base-9000-disk-0/vm-100-disk-0,size=8G");
    assert!(config.get("lock").is_none() && config.get("template").is_none());
    let template = client.get("/nodes/pve/qemu/9000/config").await.data();
    for identity in ["net0", "smbios1"] {
        assert_ne!(config[identity], template[identity], "{identity} is the clone's own");
    }

    let key = "ssh-ed25519%20AAAAC3NzaC1lZDI1NTE5%2B%2F%3D%20a%40b";
    let form = [("ciuser", "alice"), ("cipassword", "secret"), ("sshkeys", key), ("tags", "B;a;b")];
    let put = client.put(&format!("{vm}/config"), &form).await;
    assert_eq!((put.status, put.text.as_str()), (200, r#"{"data":null}"#));
    let config = client.get(&format!("{vm}/config")).await.data();
    assert_eq!(config["cipassword"], "**********");
    assert_eq!(config["tags"], "a;b");
    let kept = sim.cluster().vm(100).unwrap();
    assert!(kept.options["cipassword"].starts_with("$5$"), "{:?}", kept.options["cipassword"]);

    let started = client.post(&format!("{vm}/status/start"), &[]).await;
    assert_eq!(client.done(&sim, started).await, "OK");
    let up = |e: &Event| matches!(e, Event::GuestState { vmid: 100, state: GuestState::AgentUp });
    sim.log().wait_for(up, SOON).await.expect("the agent comes up");
    let status = client.get(&format!("{vm}/status/current")).await.data();
    assert_eq!(status["status"], "running");
    let net = client.get(&format!("{vm}/agent/network-get-interfaces")).await.data();
    assert_eq!(net["result"][0]["name"], "lo");
    let mac = net["result"][1]["hardware-address"].as_str().unwrap().to_uppercase();
    assert!(config["net0"].as_str().unwrap().contains(&mac));
    let name = client.get(&format!("{vm}/agent/get-host-name")).await.data();
    assert_eq!(name["result"]["host-name"], "desktop-1");

    let refused = client.delete(vm).await;
    assert_eq!(refused.brief(), (500, "VM 100 is running - destroy failed"));
    let again = client.post(&format!("{vm}/status/start"), &[]).await;
    assert_eq!(client.done(&sim, again).await, "VM 100 already running");
    let stopped = client.post(&format!("{vm}/status/stop"), &[]).await;
    assert_eq!(client.done(&sim, stopped).await, "OK");
    let deleted = client.delete(&format!("{vm}/?purge=1")).await;
    assert_eq!(client.done(&sim, deleted).await, "OK");

    let gone = "Configuration file 'nodes/pve/qemu-server/100.conf' does not exist";
    assert_eq!(client.get(&format!("{vm}/config")).await.brief(), (500, gone));
    assert!(sim.cluster().vms().is_empty());
    assert!(sim.cluster().volumes("pve", "local-zfs").iter().all(|(_, vmid)| *vmid == 9000));
    let told = sim.log().select(|e| matches!(e, Event::VmCreated { .. } | Event::VmDeleted { .. }));
    assert_eq!(told.len(), 2);
    sim.stop().await;
    let refused = client.send(reqwest::Method::GET, "/version", None).await.unwrap_err();
    assert!(refused.is_connect(), "nobody listens any more: {refused}");
}
