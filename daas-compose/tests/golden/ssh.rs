//! The native Proxmox backend and SSH, asked for through our own API.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use daas_core::access::Role;
use daas_lab::{NspawnGuests, RdpClient, RdpTarget, Recipe, trials};
use serde_json::{Value, json};

use crate::world::{COLOURS, DEADLINE, Running, cluster, proxmox};

const ACCOUNT: (&str, &str) = ("alice", "it's $(a) pass\"word");

pub(crate) fn a_real_desktop_comes_is_used_and_goes() {
    trials::with_guests(&[Recipe::desk()], golden);
}

async fn golden(guests: Arc<NspawnGuests>) {
    let sim = cluster(&guests, &Recipe::desk()).await;
    let settings = SETTINGS.to_owned() + &proxmox(&sim);
    let (running, api) = Running::start(tempfile::tempdir().unwrap(), &settings, Role::User).await;

    let (user, password) = ACCOUNT;
    let wish = json!({"template": "desk", "session_user": user, "session_password": password});
    let asked = api.call("POST", "/api/v1/sessions", Some(wish)).await;
    let id = asked["id"].as_str().unwrap().to_owned();
    let ready = api.until(&id, |s| s["phase"] == "ready" || s["goal"] == "gone").await;
    assert_eq!(ready["phase"], "ready", "{ready:#}");
    let address: IpAddr = ready["address"].as_str().unwrap().parse().unwrap();

    let address: SocketAddr = (address, 3389).into();
    let target = RdpTarget { address, user: user.to_owned(), password: password.to_owned() };
    let mut client = RdpClient::connect(guests.lab(), &target).await.unwrap();
    let colours = client.wait_colours(COLOURS, DEADLINE).await.unwrap();
    assert!(colours > COLOURS, "{colours} colours");
    // The idle rules know that somebody is there, by the guest's own report.
    let used = |s: &Value| s["progress"]["what"].as_str().unwrap_or_default().contains("touched");
    api.until(&id, used).await;
    client.cut().await.unwrap();
    client.close().await.unwrap();

    let ended = api.until(&id, |s| s["phase"] == "ended").await;
    assert_eq!(ended["outcome"], "destroyed", "{ended:#}");
    assert_eq!(ended["evidence"]["rule"], "disconnected", "{ended:#}");
    assert!(sim.cluster().vms().is_empty());
    running.stop().await;
    sim.stop().await;
}

const SETTINGS: &str = r#"
[ssh]
[http]
listen = "127.0.0.1:0"
guest_listen = "10.77.0.1:0"
[[templates]]
name = "desk"
provisioner = "proxmox"
source = "desk"
configurator = "ssh"
[templates.idle]
disconnected = "4s"
report_period = "2s"
"#;
