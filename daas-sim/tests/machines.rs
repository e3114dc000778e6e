//! Machines in trouble: taken ids, locks, full storages, pending changes, late broadcasts.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

mod common;

use std::time::{Duration, Instant};

use common::{Client, SOON, start};
use daas_sim::guest::GuestState;
use daas_sim::{Durations, Event, Grant, RoleConfig, SimConfig, Simulator, Spread, Version};
use serde_json::json;

fn slow(millis: u64) -> Spread {
    Spread::new(Duration::from_millis(millis), 0.0)
}

async fn run(sim: &Simulator, client: &Client, vmid: u32) {
    let said = client.post(&format!("/nodes/pve/qemu/{vmid}/status/start"), &[]).await;
    assert_eq!(client.done(sim, said).await, "OK");
    let up = |e: &Event| matches!(e, Event::GuestState { vmid: v, state: GuestState::AgentUp } if *v == vmid);
    sim.log().wait_for(up, SOON).await.expect("the guest comes up");
}

#[tokio::test]
async fn an_id_is_taken_from_the_call_on() {
    let durations = Durations { clone_linked: slow(300), ..Durations::zero() };
    let (sim, client) = start(SimConfig { durations, ..SimConfig::default() }).await;
    let path = "/nodes/pve/qemu/9000/clone";
    let first = client.post(path, &[("newid", "100"), ("name", "one")]).await;
    let config = client.get("/nodes/pve/qemu/100/config").await.data();
    assert_eq!(config["lock"], "clone");
    assert_eq!(config["description"], " qmclone temporary file\n");
    assert!(config.get("name").is_none(), "{config}");
    let second = client.post(path, &[("newid", "100")]).await;
    assert_eq!(second.brief(), (500, "unable to create VM 100: config file already exists"));
    let write = client.put("/nodes/pve/qemu/100/config", &[("cores", "4")]).await;
    assert_eq!(write.brief(), (500, "VM is locked (clone)"));
    let delete = client.delete("/nodes/pve/qemu/100").await;
    assert_eq!(delete.brief(), (500, "VM is locked (clone)"));
    assert_eq!(client.get("/cluster/nextid").await.data(), "101");
    let taken = client.get("/cluster/nextid?vmid=100").await;
    assert_eq!(taken.json()["errors"]["vmid"], "VM 100 already exists");
    assert_eq!(client.done(&sim, first).await, "OK");
    assert_eq!(client.get("/nodes/pve/qemu/100/config").await.data()["name"], "one");
    sim.stop().await;
}

#[tokio::test]
async fn clones_to_other_nodes_need_shared_storage_and_a_free_id() {
    let (sim, client) = start(SimConfig::nodes(2)).await;
    let path = "/nodes/pve1/qemu/9000/clone";
    let form = [("newid", "200"), ("target", "pve2"), ("pool", "daas")];
    let said = client.post(path, &form).await;
    assert_eq!(client.done(&sim, said).await, "OK");
    assert_eq!(sim.cluster().vm(200).unwrap().node, "pve2");
    assert_eq!(sim.cluster().pool("daas"), [200]);
    let taken = client.post(path, &[("newid", "200")]).await;
    let exit = client.done(&sim, taken).await;
    assert!(exit.starts_with("clone failed: close (rename) atomic file"), "{exit}");
    assert_eq!(sim.cluster().vm(200).unwrap().node, "pve2", "the other machine is untouched");
    let storage = client.post(path, &[("newid", "201"), ("storage", "shared")]).await;
    let expect = "parameter 'storage' not allowed for linked clones";
    assert_eq!(storage.json()["errors"]["storage"], expect);
    let form = [("newid", "201"), ("full", "1"), ("target", "pve2"), ("storage", "local")];
    let local = client.post(path, &form).await;
    assert_eq!(local.brief(), (500, "can't clone to non-shared storage 'local'"));
    sim.stop().await;
}

#[tokio::test]
async fn lock_files_are_waited_for_and_given_up() {
    let durations = Durations { start: slow(4000), ..Durations::zero() };
    let config = SimConfig {
        durations,
        scale: 0.25,
        lock_wait_min: Duration::from_millis(10),
        ..SimConfig::default()
    };
    let (sim, client) = start(config).await;
    client.clone_of_9000(&sim, 100, "a").await;
    // A start holds the lock file for a second of real time; a clone waits for a quarter of one.
    let began = Instant::now();
    let starting = client.post("/nodes/pve/qemu/100/status/start", &[]).await;
    let clone = client.post("/nodes/pve/qemu/100/clone", &[("newid", "101"), ("full", "1")]).await;
    let exit = client.done(&sim, clone).await;
    assert_eq!(exit, "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout");
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(sim.cluster().vm(101).is_none(), "the failed clone is gone");
    // A change waits ten seconds, so it gets the lock.
    assert_eq!(client.put("/nodes/pve/qemu/100/config", &[("onboot", "1")]).await.status, 200);
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(client.done(&sim, starting).await, "OK");
    let waits = sim.log().select(|e| matches!(e, Event::LockWait { .. }));
    let got: Vec<bool> = waits
        .iter()
        .filter_map(|e| match e.event {
            Event::LockWait { got, .. } => Some(got),
            _ => None,
        })
        .collect();
    assert_eq!(got, [false, true]);
    sim.stop().await;
}

#[tokio::test]
async fn clones_queue_for_the_storage_and_some_lose() {
    let durations = Durations { storage: slow(4000), ..Durations::zero() };
    let scale = 0.1;
    let (sim, client) = start(SimConfig { durations, scale, ..SimConfig::nodes(1) }).await;
    // Each clone holds the storage's lock twice for 4 s (disk, cloud-init); waits end at 10 s.
    let mut begun = Vec::new();
    for vmid in 100..104 {
        let form = [("newid", &*vmid.to_string())];
        begun.push(client.post("/nodes/pve1/qemu/9000/clone", &form).await);
    }
    let mut lost = 0;
    for said in begun {
        match client.done(&sim, said).await.as_str() {
            "OK" => {}
            text => {
                let expect =
                    "clone failed: cfs-lock 'storage-shared' error: got lock request timeout";
                assert_eq!(text, expect);
                lost += 1;
            }
        }
    }
    assert!((1..4).contains(&lost), "{lost} of 4 lost");
    assert_eq!(sim.cluster().vms().len(), 4 - lost);
    let volumes = sim.cluster().volumes("pve1", "shared");
    assert_eq!(volumes.len(), 2 + 2 * (4 - lost), "losers leave no volume: {volumes:?}");
    sim.stop().await;
}

#[tokio::test]
async fn templates_in_use_and_protected_machines_stay() {
    let (sim, client) = start(SimConfig::default()).await;
    client.clone_of_9000(&sim, 100, "a").await;
    let said = client.delete("/nodes/pve/qemu/9000").await;
    let exit = client.done(&sim, said).await;
    assert_eq!(exit, "base volume 'base-9000-disk-0' is still in use by linked cloned");
    let started = client.post("/nodes/pve/qemu/9000/status/start", &[]).await;
    assert_eq!(client.done(&sim, started).await, "you can't start a vm if it's a template");
    client.put("/nodes/pve/qemu/100/config", &[("protection", "1")]).await.data();
    let kept = client.delete("/nodes/pve/qemu/100").await;
    assert_eq!(kept.brief(), (500, "can't remove VM 100 - protection mode enabled"));
    client.put("/nodes/pve/qemu/100/config", &[("delete", "protection")]).await.data();
    let said = client.post("/nodes/pve/qemu/100/clone", &[("newid", "101"), ("full", "0")]).await;
    let exit = client.done(&sim, said).await;
    let volume = "local-zfs:base-9000-disk-0/vm-100-disk-0";
    let expect =
        format!("clone failed: Linked clone feature is not supported for '{volume}' (scsi0)");
    assert_eq!(exit, expect);
    let said = client.post("/nodes/pve/qemu/100/template", &[]).await;
    assert_eq!(client.done(&sim, said).await, "OK");
    let config = client.get("/nodes/pve/qemu/100/config").await.data();
    assert_eq!(config["scsi0"], "local-zfs:base-9000-disk-0/base-100-disk-0,size=8G");
    sim.stop().await;
}

#[tokio::test]
async fn a_full_storage_fails_full_clones_and_leaves_nothing() {
    let base = SimConfig::default();
    let mut storages = base.storages.clone();
    storages[1].capacity = 20 << 30;
    let (sim, client) = start(SimConfig { storages, ..base }).await;
    let path = "/nodes/pve/qemu/9000/clone";
    let said = client.post(path, &[("newid", "100"), ("full", "1")]).await;
    assert_eq!(client.done(&sim, said).await, "OK");
    let said = client.post(path, &[("newid", "101"), ("full", "1")]).await;
    let exit = client.done(&sim, said).await;
    let expect = "clone failed: zfs error: cannot create 'local-zfs/vm-101-disk-0': out of space";
    assert_eq!(exit, expect);
    assert!(sim.cluster().vm(101).is_none());
    assert!(sim.cluster().volumes("pve", "local-zfs").iter().all(|(_, vmid)| *vmid != 101));
    let said = client.post(path, &[("newid", "101")]).await;
    assert_eq!(client.done(&sim, said).await, "OK", "a linked clone still fits");
    let grow = [("disk", "scsi0"), ("size", "+10G")];
    let said = client.put("/nodes/pve/qemu/100/resize", &grow).await;
    assert!(client.done(&sim, said).await.contains("out of space"));
    let shrink =
        client.put("/nodes/pve/qemu/100/resize", &[("disk", "scsi0"), ("size", "1G")]).await;
    assert_eq!(shrink.brief(), (500, "shrinking disks is not supported"));
    let none = client.put("/nodes/pve/qemu/100/resize", &[("disk", "scsi9"), ("size", "9G")]).await;
    assert_eq!(none.brief(), (500, "disk 'scsi9' does not exist"));
    let said =
        client.put("/nodes/pve/qemu/101/resize", &[("disk", "scsi0"), ("size", "10G")]).await;
    assert_eq!(client.done(&sim, said).await, "OK");
    let size = client.get("/nodes/pve/qemu/101/config").await.data()["scsi0"].clone();
    assert!(size.as_str().unwrap().ends_with("size=10G"), "{size}");
    sim.stop().await;
}

#[tokio::test]
async fn a_running_machine_takes_some_changes_at_its_next_start() {
    let (sim, client) = start(SimConfig::default()).await;
    client.clone_of_9000(&sim, 100, "a").await;
    run(&sim, &client, 100).await;
    let form = [("memory", "4096"), ("description", "now")];
    client.put("/nodes/pve/qemu/100/config", &form).await.data();
    let rows = client.get("/nodes/pve/qemu/100/pending").await.data();
    let row =
        |key: &str| rows.as_array().unwrap().iter().find(|r| r["key"] == key).unwrap().clone();
    assert_eq!(row("memory"), json!({"key": "memory", "value": "2048", "pending": "4096"}));
    assert_eq!(row("description"), json!({"key": "description", "value": "now"}));
    let current = client.get("/nodes/pve/qemu/100/config?current=1").await.data();
    assert_eq!(current["memory"], "2048");
    let said = client.post("/nodes/pve/qemu/100/status/reboot", &[]).await;
    assert_eq!(client.done(&sim, said).await, "OK");
    let current = client.get("/nodes/pve/qemu/100/config?current=1").await.data();
    assert_eq!(current["memory"], "4096");
    let stale = client.put("/nodes/pve/qemu/100/config", &[("digest", "0"), ("cores", "1")]).await;
    assert_eq!(stale.brief(), (500, "checksum mismatch (file change by other user?)"));
    let nothing = client.put("/nodes/pve/qemu/100/config", &[]).await;
    assert_eq!(nothing.brief(), (500, "no options specified"));
    sim.stop().await;
}

#[tokio::test]
async fn resources_hear_of_machines_late() {
    let (sim, client) = start(SimConfig::default()).await;
    client.clone_of_9000(&sim, 100, "a").await;
    let find = async || {
        let all = client.get("/cluster/resources?type=vm").await.data();
        all.as_array().unwrap().iter().find(|r| r["vmid"] == 100).unwrap().clone()
    };
    let new = find().await;
    assert_eq!(new["status"], "unknown");
    assert!(new.get("name").is_none() && new.get("maxmem").is_none(), "{new}");
    sim.cluster().publish();
    let heard = find().await;
    assert_eq!((heard["status"].as_str(), heard["name"].as_str()), (Some("stopped"), Some("a")));
    sim.stop().await;

    let config = SimConfig { statd_period: Duration::ZERO, ..SimConfig::default() };
    let (sim, client) = start(config).await;
    client.clone_of_9000(&sim, 100, "a").await;
    let all = client.get("/cluster/resources?type=vm").await.data();
    assert!(all.as_array().unwrap().iter().any(|r| r["name"] == "a"), "without delay: {all}");
    sim.stop().await;
}

#[tokio::test]
async fn the_agent_is_waited_for_as_long_as_a_ping_lasts() {
    let durations = Durations { boot: slow(2000), agent_start: slow(10_000), ..Durations::zero() };
    let config = SimConfig { durations, scale: 0.1, ..SimConfig::default() };
    let (sim, client) = start(config).await;
    client.clone_of_9000(&sim, 100, "a").await;
    let ping = "/nodes/pve/qemu/100/agent/ping";
    assert_eq!(client.post(ping, &[]).await.brief(), (500, "VM 100 is not running"));
    let said = client.post("/nodes/pve/qemu/100/status/start", &[]).await;
    assert_eq!(client.done(&sim, said).await, "OK");
    let began = Instant::now();
    let early = client.post(ping, &[]).await;
    assert_eq!(early.brief(), (500, "QEMU guest agent is not running"));
    let waited = began.elapsed();
    assert!(waited >= Duration::from_millis(300), "a ping lasts 3 s at scale 0.1: {waited:?}");
    // A call made within the last 3 s before the agent is up is answered as soon as it is.
    let up = |e: &Event| matches!(e, Event::GuestState { vmid: 100, state: GuestState::AgentUp });
    loop {
        let said = client.post(ping, &[]).await;
        if said.status == 200 {
            break;
        }
        assert!(began.elapsed() < SOON, "{said:?}");
    }
    let at = sim.log().wait_for(up, SOON).await.unwrap().at;
    let started = sim.log().select(|e| matches!(e, Event::VmStarted { .. }))[0].at;
    assert!(at - started >= Duration::from_millis(1190), "{:?}", at - started);
    client.put("/nodes/pve/qemu/9000/config", &[("delete", "agent")]).await.data();
    let none = client.post("/nodes/pve/qemu/9000/agent/ping", &[]).await;
    assert_eq!(none.brief(), (500, "No QEMU guest agent configured"));
    sim.stop().await;
}

#[tokio::test]
async fn clone_rights_follow_the_pool() {
    let user = "daas@pve";
    let acl = vec![
        Grant::new("/vms/9000", user, "PVETemplateUser"),
        Grant::new("/pool/daas", user, "DaasMachines"),
        Grant::new("/storage", user, "DaasStorage"),
    ];
    let (sim, client) = start(SimConfig { acl, ..SimConfig::default() }).await;
    let path = "/nodes/pve/qemu/9000/clone";
    let denied = client.post(path, &[("newid", "100")]).await;
    assert_eq!(denied.brief(), (403, "Permission check failed"));
    let said = client.post(path, &[("newid", "100"), ("pool", "daas")]).await;
    assert_eq!(client.done(&sim, said).await, "OK");
    assert_eq!(client.get("/nodes/pve/qemu/100/config").await.status, 200);
    let root = client.root().await;
    root.clone_of_9000(&sim, 101, "foreign").await;
    let foreign = client.delete("/nodes/pve/qemu/101").await;
    assert_eq!(foreign.brief(), (403, "Permission check failed (/vms/101, VM.Allocate)"));
    let seen = client.get("/nodes/pve/qemu").await.data();
    let mut ids: Vec<u64> =
        seen.as_array().unwrap().iter().map(|v| v["vmid"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [100, 9000]);
    let args = client.put("/nodes/pve/qemu/100/config", &[("args", "-s")]).await;
    assert_eq!(args.brief(), (500, "only root can set 'args' config"));
    sim.stop().await;
}

#[tokio::test]
async fn two_runs_of_a_seed_are_alike() {
    let life = async |seed| {
        let durations = Durations::realistic();
        let config = SimConfig { durations, scale: 0.0, seed, ..SimConfig::default() };
        let (sim, client) = start(config).await;
        client.clone_of_9000(&sim, 100, "a").await;
        let options = sim.cluster().vm(100).unwrap().options;
        sim.stop().await;
        options
    };
    assert_eq!(life(1).await, life(1).await);
    assert_ne!(life(1).await, life(2).await);
}

#[tokio::test]
async fn the_agent_is_guarded_by_another_privilege_since_9() {
    let role = |privilege: &str| RoleConfig {
        name: "Only".to_owned(),
        privileges: vec![privilege.to_owned()],
    };
    let check = async |version, privilege: &str, expect: (u16, &str)| {
        let roles = [SimConfig::default().roles, vec![role(privilege)]].concat();
        let acl = vec![Grant::new("/vms", "daas@pve", "Only")];
        let (sim, client) = start(SimConfig { version, roles, acl, ..SimConfig::default() }).await;
        let said = client.post("/nodes/pve/qemu/9000/agent/ping", &[]).await;
        assert_eq!(said.brief(), expect, "{version:?} {privilege}");
        sim.stop().await;
    };
    let off = (500, "VM 9000 is not running");
    let old = (403, "Permission check failed (/vms/9000, VM.Monitor)");
    let new = "Permission check failed (/vms/9000, VM.GuestAgent.Audit|VM.GuestAgent.Unrestricted)";
    check(Version::V8_4, "VM.Monitor", off).await;
    check(Version::V8_4, "VM.GuestAgent.Audit", old).await;
    check(Version::V9_0, "VM.GuestAgent.Audit", off).await;
    check(Version::V9_1, "VM.Monitor", (403, new)).await;
}

#[tokio::test]
async fn disks_that_are_taken_off_stay_until_they_are_deleted() {
    let (sim, client) = start(SimConfig::default()).await;
    client.clone_of_9000(&sim, 100, "a").await;
    let path = "/nodes/pve/qemu/100/config";
    client.put(path, &[("scsi1", "local-zfs:4")]).await.data();
    let config = client.get(path).await.data();
    assert_eq!(config["scsi1"], "local-zfs:vm-100-disk-1,size=4G");
    client.put(path, &[("delete", "scsi1")]).await.data();
    let config = client.get(path).await.data();
    assert_eq!(config["unused0"], "local-zfs:vm-100-disk-1");
    let kept = client.get("/nodes/pve/storage/local-zfs/content?vmid=100").await.data();
    assert_eq!(kept.as_array().unwrap().len(), 3, "{kept}");
    client.put(path, &[("delete", "unused0")]).await.data();
    let kept = client.get("/nodes/pve/storage/local-zfs/content?vmid=100").await.data();
    assert_eq!(kept.as_array().unwrap().len(), 2, "{kept}");
    sim.stop().await;
}

#[tokio::test]
async fn a_changed_configuration_may_be_a_task() {
    let (sim, client) = start(SimConfig::default()).await;
    client.clone_of_9000(&sim, 100, "a").await;
    let path = "/nodes/pve/qemu/100/config";
    let said = client.post(path, &[("name", "b")]).await;
    assert_eq!(client.done(&sim, said).await, "OK");
    let said = client.post(path, &[("name", "c"), ("background_delay", "5")]).await;
    assert_eq!(said.data(), json!(null), "ended within the delay");
    assert_eq!(sim.cluster().vm(100).unwrap().name(), Some("c"));
    let key = "ssh-ed25519%20nonsense";
    let said = client.post(path, &[("sshkeys", key)]).await;
    assert_eq!(said.brief(), (500, "SSH public key validation error: ssh-ed25519 nonsense"));
    sim.stop().await;
}

#[tokio::test]
async fn room_on_a_storage_must_be_allowed() {
    let acl = vec![Grant::new("/vms", "daas@pve", "DaasMachines")];
    let (sim, client) = start(SimConfig { acl, ..SimConfig::default() }).await;
    let denied = client.post("/nodes/pve/qemu/9000/clone", &[("newid", "100")]).await;
    let expect = "Permission check failed (/storage/local-zfs, Datastore.AllocateSpace)";
    assert_eq!(denied.brief(), (403, expect));
    assert!(sim.cluster().vm(100).is_none());
    sim.stop().await;
}

#[tokio::test]
async fn a_node_gives_up_on_another_one_but_the_work_goes_on() {
    let durations = Durations { config: slow(60_000), ..Durations::zero() };
    let config = SimConfig {
        durations,
        scale: 0.01,
        guest_wait_min: Duration::from_millis(100),
        ..SimConfig::nodes(2)
    };
    let (sim, client) = start(config).await;
    let other = client.at(&sim.urls()[1].1);
    // At this scale another node is waited for 0.3 s, and the change takes 0.6 s.
    let said = other.put("/nodes/pve1/qemu/9000/config", &[("name", "late")]).await;
    assert_eq!(said.brief(), (596, "Connection timed out"));
    let named = |e: &Event| matches!(e, Event::VmNamed { vmid: 9000, .. });
    sim.log().wait_for(named, SOON).await.expect("the change is made all the same");
    sim.stop().await;
}
