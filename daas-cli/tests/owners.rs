//! Keys made on the server's machine and keys made through its API speak for the same people.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod served;

use std::process::Command;
use std::sync::Arc;

use daas_sim::{Durations, NullGuests, SimConfig, Simulator};
use serde_json::json;
use served::Served;

const REALMS: &str = r#"
[realms]
default = "lab"
aliases = { LAB = "lab", "lab.test" = "lab" }
"#;

/// What `daas key` says of a key's owner, while no server has the store.
fn key_list(served: &Served) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_daas"))
        .args(["key", "list"])
        .env("DAAS_CONFIG", served.config_file())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ways_to_make_a_key_give_the_same_owner() {
    let mut config = SimConfig::nodes(1);
    config.durations = Durations::zero();
    for (realms, owner) in [(REALMS, "bob@lab"), ("", "bob@api")] {
        let sim = Simulator::start(config.clone(), Arc::new(NullGuests::default())).await.unwrap();
        let mut served = Served::on(Arc::new(sim), realms).await;
        let new = json!({"name": "by-api", "owner": "Bob", "role": "user"});
        let (status, made) = served.call("POST", "/api/v1/keys", new).await.unwrap();
        assert_eq!((status, &made["owner"]), (201, &owner.into()), "{made}");
        served.kill();
        let output = Command::new(env!("CARGO_BIN_EXE_daas"))
            .args(["key", "add", "by-hand", "--owner", "BOB"])
            .env("DAAS_CONFIG", served.config_file())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let list = key_list(&served);
        assert_eq!(list.matches(owner).count(), 2, "{list}");
    }
}
