//! What is read, in the shapes clients rely on: numbers, strings and what is absent.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

mod common;

use common::{SOON, start};
use daas_sim::guest::GuestState;
use daas_sim::{Event, SimConfig, UserConfig};
use serde_json::{Value, json};

fn find<'a>(list: &'a Value, key: &str, value: &str) -> &'a Value {
    let all = list.as_array().unwrap();
    all.iter().find(|row| row[key] == value).unwrap_or_else(|| panic!("no {value} in {list}"))
}

#[tokio::test]
async fn nodes_and_storages_tell_their_room() {
    let (sim, client) = start(SimConfig::default()).await;
    let nodes = client.get("/nodes").await.data();
    let node = find(&nodes, "node", "pve");
    assert_eq!(node["status"], "online");
    assert!(node["maxmem"].is_u64() && node["mem"].is_u64() && node["cpu"].is_f64(), "{node}");
    let status = client.get("/nodes/pve/status").await.data();
    let memory = &status["memory"];
    let sum = memory["used"].as_u64().unwrap() + memory["free"].as_u64().unwrap();
    assert_eq!(memory["total"], json!(sum));
    assert!(status["loadavg"][0].is_string(), "{status}");
    assert_eq!(status["cpuinfo"]["cpus"], 16);
    let storages = client.get("/nodes/pve/storage?content=images").await.data();
    let zfs = find(&storages, "storage", "local-zfs");
    assert_eq!((zfs["shared"].as_u64(), zfs["type"].as_str()), (Some(0), Some("zfspool")));
    assert_eq!(find(&storages, "storage", "shared")["shared"], 1);
    let snippets = client.get("/nodes/pve/storage?content=snippets").await.data();
    assert_eq!(snippets.as_array().unwrap().len(), 2, "only directories hold snippets");
    let before = zfs["used"].as_u64().unwrap();
    let said = client.post("/nodes/pve/qemu/9000/clone", &[("newid", "100"), ("full", "1")]).await;
    assert_eq!(client.done(&sim, said).await, "OK");
    let storages = client.get("/nodes/pve/storage").await.data();
    let used = find(&storages, "storage", "local-zfs")["used"].as_u64().unwrap();
    assert_eq!(used - before, (8 << 30) + (4 << 20), "a disk and cloud-init's drive");
    let content = client.get("/nodes/pve/storage/local-zfs/content?vmid=100").await.data();
    assert_eq!(find(&content, "volid", "local-zfs:vm-100-disk-0")["size"], 8u64 << 30);
    let missing = client.root().await.get("/nodes/pve/storage/nope/content").await;
    assert_eq!(missing.brief(), (500, "storage 'nope' does not exist"));
    sim.stop().await;
}

#[tokio::test]
async fn the_cluster_tells_version_resources_tasks_and_pools() {
    let (sim, client) = start(SimConfig::default()).await;
    let version = client.get("/version").await.data();
    assert_eq!(
        (version["release"].as_str(), version["version"].as_str()),
        (Some("9.1"), Some("9.1.1"))
    );
    let resources = client.get("/cluster/resources").await.data();
    assert_eq!(find(&resources, "id", "node/pve")["type"], "node");
    assert_eq!(find(&resources, "id", "storage/pve/shared")["plugintype"], "nfs");
    let template = find(&resources, "id", "qemu/9000");
    assert_eq!((template["template"].as_u64(), template["vmid"].as_u64()), (Some(1), Some(9000)));
    let status = client.get("/cluster/status").await.data();
    assert_eq!(status.as_array().unwrap().len(), 1, "a single node is no cluster: {status}");

    let said =
        client.post("/nodes/pve/qemu/9000/clone", &[("newid", "100"), ("pool", "daas")]).await;
    let upid = said.data();
    assert_eq!(client.done(&sim, said).await, "OK");
    let tasks = client.get("/cluster/tasks").await.data();
    assert_eq!((&tasks[0]["upid"], tasks[0]["status"].as_str()), (&upid, Some("OK")));
    let pool = client.get("/pools/daas").await.data();
    assert_eq!(pool["members"][0]["id"], "qemu/100");
    assert_eq!(client.get("/pools").await.data(), json!([{"poolid": "daas"}]));
    let pools = client.get("/pools?poolid=daas&type=qemu").await.data();
    assert_eq!(pools[0]["members"][0]["vmid"], 100);
    let held = client.get("/access/permissions?path=/vms").await.data();
    assert_eq!(held["/vms"]["VM.Clone"], 1);
    let foreign = client.get("/access/permissions?userid=root@pam").await;
    assert_eq!(foreign.brief(), (403, "Permission check failed (/access, Sys.Audit)"));
    sim.stop().await;
}

#[tokio::test]
async fn the_agent_runs_and_reads_and_a_guest_shuts_down() {
    let (sim, client) = start(SimConfig::default()).await;
    client.clone_of_9000(&sim, 100, "a").await;
    let vm = "/nodes/pve/qemu/100";
    let idle = client.post(&format!("{vm}/status/reset"), &[]).await;
    assert_eq!(idle.brief(), (500, "VM 100 not running"));
    let said = client.post(&format!("{vm}/status/start"), &[]).await;
    assert_eq!(client.done(&sim, said).await, "OK");
    let up = |e: &Event| matches!(e, Event::GuestState { state: GuestState::AgentUp, .. });
    sim.log().wait_for(up, SOON).await.expect("the agent comes up");

    let agent = |what: &str| format!("{vm}/agent/{what}");
    let form = [("command", "ls"), ("command", "-l")];
    assert_eq!(client.post(&agent("exec"), &form).await.data(), json!({"pid": 1}));
    let status = client.get(&agent("exec-status?pid=1")).await.data();
    assert_eq!((status["exited"].as_u64(), status["exitcode"].as_u64()), (Some(1), Some(0)));
    let file = client.get(&agent("file-read?file=/etc/hostname")).await.data();
    assert_eq!(file, json!({"content": "a\n", "bytes-read": 2}));
    let missing = client.get(&agent("file-read?file=/nope")).await;
    assert_eq!(missing.status, 500);
    assert!(missing.reason.starts_with("Agent error: failed to open file '/nope'"), "{missing:?}");
    assert_eq!(client.get(&agent("get-osinfo")).await.data()["result"]["id"], "null");

    let said = client.post(&format!("{vm}/status/reset"), &[]).await;
    assert_eq!(client.done(&sim, said).await, "OK");
    assert_eq!(sim.log().count(|e| matches!(e, Event::VmStarted { vmid: 100 })), 2);
    let said = client.post(&format!("{vm}/status/shutdown"), &[("timeout", "5")]).await;
    assert_eq!(client.done(&sim, said).await, "OK");
    let status = client.get(&format!("{vm}/status/current")).await.data();
    assert_eq!((status["status"].as_str(), status["uptime"].as_u64()), (Some("stopped"), Some(0)));
    assert!(status.get("pid").is_none(), "{status}");
    let root_only = client.post(&format!("{vm}/status/start"), &[("skiplock", "1")]).await;
    assert_eq!(root_only.json()["errors"]["skiplock"], "Only root may use this option.");
    sim.stop().await;
}

#[tokio::test]
async fn users_and_realms_are_told_to_whom_they_concern() {
    let careful = UserConfig {
        groups: vec!["staff".to_owned()],
        firstname: Some("C.".to_owned()),
        second_factor: true,
        ..UserConfig::new("careful@school", Some("word"))
    };
    let old = UserConfig { expire: 1, ..UserConfig::new("old@school", Some("word")) };
    let mut config = SimConfig::default();
    config.users.extend([careful, old]);
    let (sim, client) = start(config).await;
    let realms = client.bare().get("/access/domains").await.data();
    let names: Vec<_> = realms.as_array().unwrap().iter().map(|realm| &realm["realm"]).collect();
    assert_eq!(names, ["pam", "pve", "school"]);

    let refused = client.get("/access/users/careful@school").await;
    assert_eq!(refused.brief(), (403, "Permission check failed"));
    let root = client.root().await;
    let told = root.get("/access/users/careful@school").await.data();
    let wished = json!({"enable": 1, "expire": 0, "groups": ["staff"], "firstname": "C."});
    assert_eq!(told, wished);
    let missing = root.get("/access/users/nobody@school").await;
    assert_eq!(missing.brief(), (500, "no such user ('nobody@school')"));

    // Half a ticket, which opens nothing.
    let bare = client.bare();
    let form = [("username", "careful@school"), ("password", "word")];
    let half = bare.post("/access/ticket", &form).await.data();
    let ticket = half["ticket"].as_str().unwrap();
    assert!(half["NeedTFA"] == 1 && ticket.starts_with("PVE:!tfa!"), "{half}");
    assert!(half.get("cap").is_none(), "{half}");
    let cookie = bare.clone().header("Cookie", &format!("PVEAuthCookie={ticket}"));
    assert_eq!(cookie.get("/version").await.status, 401);
    let again = [("username", "careful@school"), ("password", ticket)];
    assert_eq!(bare.post("/access/ticket", &again).await.status, 401);
    let expired = [("username", "old@school"), ("password", "word")];
    assert_eq!(bare.post("/access/ticket", &expired).await.status, 401);
    sim.stop().await;
}
