//! `daas audit` with the real program: it is killed again and again, and its log verifies.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod served;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use served::Served;

/// A command about the store, while no server has it.
fn daas(served: &Served, arguments: &[&str]) -> Output {
    daas_with(&served.config_file(), arguments)
}

fn daas_with(config: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_daas"))
        .args(arguments)
        .env("DAAS_CONFIG", config)
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_leaves_a_log_that_leads_to_every_head_that_was_kept() {
    let mut served = Served::start(0.03, 7).await;
    let mut kept = Vec::new();
    for round in 0..5 {
        // Many at once, and the end in the middle of them.
        {
            let asking = (0..12).map(|n| {
                let name = format!("key-{round}-{n}");
                let body = json!({"name": name, "owner": "bob", "role": "user"});
                Box::pin(served.call("POST", "/api/v1/keys", body))
            });
            let (answer, ..) = futures::future::select_all(asking).await;
            assert_eq!(answer.unwrap().0, 201);
        }
        served.kill();
        out(&daas(&served, &["audit", "verify"]));
        kept.push(out(&daas(&served, &["audit", "head"])));
        served.serve();
    }
    served.kill();
    let mut arguments = vec!["audit", "verify", "--json"];
    kept.iter().for_each(|head| arguments.extend(["--expect", head]));
    let verdict: Value = serde_json::from_str(&out(&daas(&served, &arguments))).unwrap();
    assert_eq!(verdict["breaks"], json!([]));
    // One for each start, and one for the key that the test made by hand.
    assert_eq!(verdict["chains"].as_array().unwrap().len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_taken_away_and_checked_elsewhere() {
    let mut served = Served::start(0.0, 7).await;
    let id = served.ask("once").await.unwrap();
    let export = served.run(&["audit", "export"]).await;
    let text = out(&export);
    let key = out(&daas(&served, &["audit", "key"]));
    let file = served.directory.path().join("audit.jsonl");
    let config = served.config_file();
    let verify = |text: &str, more: &[&str]| {
        std::fs::write(&file, text).unwrap();
        let arguments = [&["audit", "verify", "--file", file.to_str().unwrap()], more].concat();
        daas_with(&config, &arguments)
    };
    assert!(out(&verify(&text, &["--key", &key])).contains("nothing was changed"));
    let unsure = verify(&text, &[]);
    assert!(String::from_utf8_lossy(&unsure.stderr).contains("Give yours with --key"));
    let other = "0".repeat(64);
    assert_eq!(verify(&text, &["--key", &other]).status.code(), Some(1));
    // Another session than the one that was asked for.
    let changed = verify(&text.replace(&id, "desktop-bbbbbbb"), &["--key", &key]);
    assert_eq!(changed.status.code(), Some(1));
    let said = String::from_utf8_lossy(&changed.stdout).into_owned();
    assert!(said.contains("BREAK") && said.contains("was changed after"), "{said}");
    let cut: Vec<&str> = text.lines().collect();
    let cut = verify(&cut[..cut.len() - 1].join("\n"), &["--key", &key]);
    assert!(String::from_utf8_lossy(&cut.stderr).contains("it was cut"), "{cut:?}");
    // What the test's own `key add` did is there, by who is at the machine.
    assert!(text.contains("\"act\":\"key-create\"") && text.contains("\"shell:uid "), "{text}");
    // While the server runs the store is its own; the hint says the way.
    let locked = daas(&served, &["audit", "verify"]);
    assert!(String::from_utf8_lossy(&locked.stderr).contains("audit export > FILE"), "{locked:?}");
    served.kill();
    let offline = out(&daas(&served, &["audit", "export", "--offline"]));
    assert!(out(&verify(&offline, &["--key", &key])).contains("nothing was changed"));
    let doctor = daas(&served, &["doctor"]);
    assert!(String::from_utf8_lossy(&doctor.stdout).contains(&key), "{doctor:?}");
}
