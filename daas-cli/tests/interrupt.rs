//! Programs that make a world of their own leave nothing of it when they are interrupted, at
//! whatever moment.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long anything here may take.
const DEADLINE: Duration = Duration::from_secs(60);
const BENCH: &[&str] = &["bench", "herd", "-n", "60", "--scale", "1"];
const BENCH_SSH: &[&str] = &["bench", "herd", "-n", "6", "--scale", "0", "--configurator", "ssh"];
const DEMO: &[&str] = &["demo", "--port", "0"];

/// The real program in a process group of its own, whose temporary files go into `directory`. What
/// these tests were started with, `nohup` perhaps, is none of its business.
fn daas(directory: &Path, arguments: &[&str]) -> Child {
    Command::new("env")
        .args(["--default-signal=INT,TERM,HUP", env!("CARGO_BIN_EXE_daas")])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("TMPDIR", directory)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn signal(child: &Child, signal: &str) {
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().await.unwrap().success());
}

/// The processes of a group, as `/proc` tells.
fn of_group(group: u32) -> Vec<String> {
    let stats = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let stat = std::fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        (fields.get(2)?.parse() == Ok(group)).then_some(stat)
    });
    stats.collect()
}

/// Interrupts `arguments` as soon as it says `when`, and looks for what is left.
async fn check(arguments: &[&str], when: &str, with: &str, code: i32) {
    let directory = tempfile::tempdir().unwrap();
    let mut child = daas(directory.path(), arguments);
    let group = child.id().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut heard = Vec::new();
    let ended = tokio::time::timeout(DEADLINE, async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let now = line.contains(when);
            heard.push(line);
            if now {
                assert!(directory.path().read_dir().unwrap().next().is_some(), "it has files");
                signal(&child, with).await;
            }
        }
        child.wait().await.unwrap()
    });
    let ended = ended.await.unwrap_or_else(|_| panic!("{arguments:?} did not end"));
    assert!(heard.iter().any(|line| line.contains(when)), "{heard:#?}");
    assert_eq!(ended.code(), Some(code), "{arguments:?} {with}: {heard:#?}");
    let left: Vec<_> = directory.path().read_dir().unwrap().map(|e| e.unwrap().path()).collect();
    assert!(left.is_empty(), "{arguments:?} {with}: {left:?}");
    assert_eq!(of_group(group), Vec::<String>::new(), "{arguments:?} {with}");
}

#[tokio::test]
async fn an_interrupted_benchmark_leaves_nothing() {
    for with in ["-INT", "-TERM", "-HUP"] {
        check(BENCH, "asking for 60 desktops", with, 130).await;
    }
    check(BENCH_SSH, "asking for 6 desktops", "-TERM", 130).await;
    // While they are destroyed.
    let quick = ["bench", "herd", "-n", "20", "--scale", "0"];
    check(&quick, "destroying them", "-INT", 130).await;
}

#[tokio::test]
async fn an_interrupted_demo_leaves_nothing() {
    check(DEMO, "a simulated Proxmox VE cluster runs", "-INT", 0).await;
    check(DEMO, "the demo stays until Ctrl-C", "-TERM", 0).await;
}

#[tokio::test]
async fn a_demo_whose_reader_has_gone_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    let script = r#""$0" demo --port 0 --scale 0 --once | true; exit 0"#;
    command.args(["-c", script, env!("CARGO_BIN_EXE_daas")]).env("TMPDIR", directory.path());
    let output = command.kill_on_drop(true).output();
    let output = tokio::time::timeout(DEADLINE, output).await.expect("it ends").unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("the desktop is destroyed"), "{told}");
    assert_eq!(directory.path().read_dir().unwrap().count(), 0, "{told}");
}

#[tokio::test]
async fn what_was_started_to_outlive_its_terminal_does() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("nohup");
    command
        .arg(env!("CARGO_BIN_EXE_daas"))
        .args(["demo", "--port", "0", "--scale", "0"])
        .env("TMPDIR", directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let ended = tokio::time::timeout(DEADLINE, async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("cluster runs") {
                signal(&child, "-HUP").await;
            }
            // It went on: the terminal's end was none of its own.
            if line.contains("the demo stays") {
                signal(&child, "-TERM").await;
            }
        }
        child.wait().await.unwrap()
    });
    assert!(ended.await.expect("it ends in time").success());
    assert_eq!(directory.path().read_dir().unwrap().count(), 0);
}
