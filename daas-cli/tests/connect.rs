//! `daas connect` and the session commands, as a user runs them, with a program of the test's own as
//! the RDP client.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod served;

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use served::{DEADLINE, Served};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An executable script that plays the RDP client.
fn client(served: &Served, script: &str) -> String {
    let path: PathBuf = served.directory.path().join("rdp-client");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("{} {{file}} {{address}}", path.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_opens_the_client_and_leaves_nothing() {
    let served = Served::start(0.02, 21).await;
    let seen = served.directory.path().join("seen");
    let rdp = client(&served, &format!("cp \"$1\" {0}.rdp; echo \"$2\" > {0}", seen.display()));
    let output = served.run(&["connect", "--rdp-client", &rdp, "--countdown", "0"]).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let file = std::fs::read_to_string(format!("{}.rdp", seen.display())).unwrap();
    assert!(file.contains("full address:s:"), "{file}");
    assert!(std::fs::read_to_string(seen).unwrap().contains(":3389"));
    assert!(served.live().await.is_empty());
    assert!(served.machines().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interruption_at_any_moment_leaves_nothing() {
    // Interrupted before the desktop is ready, and while the client runs.
    for moment in ["creating", "client"] {
        let served = Served::start(if moment == "creating" { 1.0 } else { 0.02 }, 22).await;
        let rdp = client(&served, "echo started >&2; exec sleep 600");
        let arguments = ["connect", "lab", "--rdp-client", &rdp];
        let mut child = served.command(&arguments).stderr(Stdio::piped()).spawn().unwrap();
        if moment == "client" {
            let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains("started") {
                    break;
                }
            }
        } else {
            served
                .until("creating", async || {
                    served.live().await.iter().any(|s| s.contains("creating"))
                })
                .await;
        }
        let pid = child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
        let status = tokio::time::timeout(DEADLINE, child.wait()).await.unwrap().unwrap();
        assert_eq!(status.code(), Some(130), "{moment}");
        assert!(served.live().await.is_empty(), "{moment}");
        assert!(served.machines().is_empty(), "{moment}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_said_with_the_way_out_and_its_exit_code() {
    let mut served = Served::start(0.02, 23).await;
    let check = async |served: &Served, arguments: &[&str], code: i32, words: &[&str]| {
        let output = served.run(arguments).await;
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        for word in words {
            assert!(told.contains(word), "{arguments:?}: {word:?} is not in {told}");
        }
    };
    check(&served, &["session", "create", "nothing"], 2, &["template", "lab"]).await;
    check(&served, &["session", "create", "lab", "--label", "No Label"], 2, &["label"]).await;
    check(&served, &["session", "show", "desktop-abcdefg"], 3, &["desktop-abcdefg"]).await;
    let missing = ["connect", "--rdp-client", "/nowhere/client"];
    check(&served, &missing, 1, &["/nowhere/client", "by hand"]).await;
    assert!(served.machines().is_empty());

    served.key = "daas_0000".to_owned();
    check(&served, &["session", "list"], 4, &["--key-file"]).await;
    let gone = served.url().to_owned();
    served.kill();
    let output = Command::new(env!("CARGO_BIN_EXE_daas"))
        .args(["--server", &gone, "session", "list"])
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("cannot reach"));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_worked_with_by_the_command_line() {
    let served = Served::start(0.02, 24).await;
    let create = ["--json", "session", "create", "lab", "--label", "maths", "--wait"];
    let output = served.run(&[&create[..], &["--lifetime", "personal"]].concat()).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let session: Value = serde_json::from_slice(&output.stdout).unwrap();
    let id = session["id"].as_str().unwrap();
    let list = served.run(&["session", "list"]).await;
    assert!(text(&list.stdout).contains("maths"), "{}", text(&list.stdout));
    for act in ["stop", "start", "extend"] {
        let output = served.run(&["session", act, id]).await;
        assert!(output.status.success(), "{act}: {}", text(&output.stderr));
        let phase = if act == "stop" { "stopped" } else { "ready" };
        served.until_phase(id, phase).await;
    }
    let watch = served.command(&["session", "watch", id]).stdout(Stdio::piped()).spawn().unwrap();
    assert!(served.run(&["session", "destroy", id, "--wait"]).await.status.success());
    let watched = tokio::time::timeout(DEADLINE, watch.wait_with_output()).await.unwrap().unwrap();
    let watched = text(&watched.stdout);
    assert!(watched.contains("asked for from template lab"), "{watched}");
    assert!(watched.contains("-> ended"), "{watched}");
    let templates = served.run(&["template", "list"]).await;
    assert!(text(&templates.stdout).contains("lab"));
    let completions = served.run(&["completions", "bash"]).await;
    assert!(text(&completions.stdout).contains("_daas"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_what_is_wrong() {
    let mut served = Served::start(0.02, 25).await;
    served.kill();
    let config = served.config_file();
    let doctor = async || {
        let output = Command::new(env!("CARGO_BIN_EXE_daas"))
            .arg("doctor")
            .env("DAAS_CONFIG", &config)
            .output()
            .await
            .unwrap();
        (output.status.code(), text(&output.stdout))
    };
    let (code, told) = doctor().await;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("deployment"), "{told}");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("source = \"9000\"", "source = \"9999\"")).unwrap();
    let (code, told) = doctor().await;
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("9999"), "{told}");
}
