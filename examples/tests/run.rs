//! Every example runs, without the internet, says what it promises and leaves nothing.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

use std::time::Duration;

use tokio::process::Command;

/// How long an example may take.
const DEADLINE: Duration = Duration::from_secs(120);

async fn check(program: &str, says: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command.env_clear().env("TMPDIR", directory.path()).kill_on_drop(true);
    let output = tokio::time::timeout(DEADLINE, command.output()).await.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {said}{complained}");
    let mut rest = &*said;
    for part in says {
        let Some((_, after)) = rest.split_once(part) else {
            panic!("{program}: {part:?} is not in {said}{complained}");
        };
        rest = after;
    }
    let left: Vec<_> = directory.path().read_dir().unwrap().map(|e| e.unwrap().path()).collect();
    assert!(left.is_empty(), "{program} left {left:?}");
}

#[tokio::test]
async fn the_engine_alone() {
    let says = ["is asked for by alice@api", "is ready; the platform has 1 machine", "0 machines"];
    check(env!("CARGO_BIN_EXE_engine"), &says).await;
}

#[tokio::test]
async fn a_whole_deployment_through_http() {
    let says = ["is asked for", "is ready on pve", "\"destroyed\"; 0 machines are left"];
    check(env!("CARGO_BIN_EXE_deployment"), &says).await;
}

#[tokio::test]
async fn a_backend_of_ones_own() {
    check(env!("CARGO_BIN_EXE_own-backend"), &["clauses kept"]).await;
}
