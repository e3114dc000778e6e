//! `daas inventory` as Ansible runs it.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod served;

use serde_json::{Value, json};
use served::Served;

#[tokio::test(flavor = "multi_thread")]
async fn a_desktop_that_is_there_is_a_host() {
    let served = Served::start(0.0, 1).await;
    let answer = async |arguments: &[&str]| -> Value {
        let output = served.run(arguments).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let empty = answer(&["inventory", "--list"]).await;
    assert_eq!(empty, json!({"_meta": {"hostvars": {}}}));
    let made = answer(&["--json", "session", "create", "lab", "--wait"]).await;
    let id = made["id"].as_str().unwrap();
    let listed = answer(&["inventory", "--list"]).await;
    for group in ["daas", "template_lab", "domain_vms", "ephemeral_desktop"] {
        assert_eq!(listed[group]["hosts"], json!([id]), "{listed}");
    }
    let host = answer(&["inventory", "--host", id]).await;
    assert_eq!(host["ansible_host"], made["address"]);
    assert_eq!(host, listed["_meta"]["hostvars"][id]);

    let refused = served.run(&["inventory"]).await;
    assert_eq!(refused.status.code(), Some(2), "neither --list nor --host");
}
