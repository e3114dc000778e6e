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

async fn interrupt(child: &tokio::process::Child) {
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
}

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
        interrupt(&child).await;
        let status = tokio::time::timeout(DEADLINE, child.wait()).await.unwrap().unwrap();
        assert_eq!(status.code(), Some(130), "{moment}");
        assert!(served.live().await.is_empty(), "{moment}");
        assert!(served.machines().is_empty(), "{moment}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_while_the_desktop_is_used_is_waited_for() {
    let mut served = Served::start(0.02, 26).await;
    served.keep_address();
    // The client ends when its user wants it to: when the file is there.
    let close = served.directory.path().join("close");
    let script = format!("echo started >&2; until test -e {}; do sleep 0.1; done", close.display());
    let rdp = client(&served, &script);
    let arguments = ["connect", "lab", "--rdp-client", &rdp, "--countdown", "0"];
    for returns in [true, false] {
        let _ = std::fs::remove_file(&close);
        let mut child = served.command(&arguments).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut heard = String::new();
        let told = tokio::time::timeout(DEADLINE, async {
            while let Some(line) = lines.next_line().await.unwrap() {
                heard = format!("{heard}{line}\n");
                if line.contains("started") {
                    served.kill();
                    std::fs::write(&close, "").unwrap();
                } else if line.contains("trying again") && returns {
                    served.serve();
                } else if line.contains("trying again") {
                    interrupt(&child).await;
                }
            }
            child.wait().await.unwrap()
        });
        let status = told.await.expect("it ends in time");
        assert_eq!(heard.matches("trying again").count(), 1, "{heard}");
        if returns {
            assert_eq!(status.code(), Some(0), "{heard}");
            assert!(served.live().await.is_empty() && served.machines().is_empty(), "{heard}");
        } else {
            assert_eq!(status.code(), Some(8), "a session is left: {heard}");
            assert!(heard.contains("daas session destroy desktop-"), "{heard}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_followed_through_a_restart_of_the_server() {
    let mut served = Served::start(0.02, 27).await;
    served.keep_address();
    let id = served.ask("watched").await.unwrap();
    served.until_phase(&id, "ready").await;
    let mut command = served.command(&["--json", "session", "watch", &id]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut cursors = Vec::new();
    let read = tokio::time::timeout(DEADLINE, async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let event: Value = serde_json::from_str(&line).unwrap();
            cursors.extend(event["cursor"].as_u64());
            if event["to"] == "ready" {
                served.kill();
                served.serve();
                served.call("DELETE", &format!("/api/v1/sessions/{id}"), Value::Null).await;
            }
        }
        child.wait().await.unwrap()
    });
    assert!(read.await.expect("it ends with the session").success());
    let mut once = cursors.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(cursors, once, "each event once and in order");
    let (_, page) = served.call("GET", "/api/v1/sessions?live=true", Value::Null).await.unwrap();
    assert_eq!(page["sessions"], serde_json::json!([]), "{cursors:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_refused_before_anybody_is_asked() {
    let check = async |arguments: &[&str], words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_daas"));
        let output = command.env_clear().args(arguments).stdin(Stdio::null()).output();
        let output = tokio::time::timeout(DEADLINE, output).await.expect("in time").unwrap();
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        for word in words {
            assert!(told.contains(word), "{arguments:?}: {word:?} is not in {told}");
        }
    };
    check(&["--server", "127.0.0.1:1", "session", "list"], &["http://127.0.0.1:1"]).await;
    check(&["session", "destroy", "desktop-aaaaaaa/../x"], &["desktop-7f3k2mq"]).await;
    check(&["session", "show", ""], &["desktop-7f3k2mq"]).await;
    check(&["session", "extend", "desktop-aaaaaaa", "1x"], &["30m"]).await;
    check(&["bench", "herd", "-n", "0"], &["from 1 up"]).await;
    check(&["bench", "herd", "--scale", "-1"], &["from 0 up"]).await;
    check(&["serve", "--config", "/nowhere/daas.toml"], &["/nowhere/daas.toml"]).await;
    if !std::path::Path::new("/etc/daas/daas.toml").exists() {
        // Not a store somewhere that nobody named.
        check(&["key", "add", "x", "--owner", "alice"], &["--config", "no configuration"]).await;
    }
    check(&["--key-file", "/dev/null", "session", "list"], &["no API key", "daas_"]).await;
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
    let output = served.run(&["session", "show", "desktop-abcdefg"]).await;
    let told = text(&output.stderr);
    assert_eq!(told.matches("no such session").count(), 1, "said once: {told}");
    let tls = served.url().replace("http://", "https://");
    let output = Command::new(env!("CARGO_BIN_EXE_daas"))
        .args(["--server", &tls, "session", "list"])
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("with http://"), "{}", text(&output.stderr));
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
