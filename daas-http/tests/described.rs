//! What the API says of itself holds for whatever is sent to it: schemathesis makes up requests from the
//! description, with and without a key, and no answer may be a 500 or one that is not described.

#![allow(clippy::unwrap_used, reason = "a trial may panic")]

mod world;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use daas_http::{Extra, HttpConfig, Server};
use daas_lab::trials::{run_or_explain, trial_unless};
use tokio_util::sync::CancellationToken;
use world::{Wanted, World};

const WAY_OUT: &str = "cargo xtask test --install";
/// How long one run may take, and what it aims at.
const LIMIT: Duration = Duration::from_secs(170);
const BUDGET_SECONDS: &str = "45";
/// What is looked at in each answer.
const CHECKS: [&str; 4] = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
];

fn main() {
    let needs = "needs schemathesis; to run them: ".to_owned() + WAY_OUT;
    let missing = schemathesis().is_none().then(|| needs.clone());
    let trials = vec![
        trial_unless(missing.clone(), "as_an_administrator", || judge(Some(()))),
        trial_unless(missing, "without_a_key", || judge(None)),
    ];
    run_or_explain(trials, &needs);
}

/// The program, where it is installed.
fn schemathesis() -> Option<PathBuf> {
    let installed = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schemathesis/bin/schemathesis");
    installed.is_file().then_some(installed)
}

fn judge(key: Option<()>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        tokio::time::timeout(LIMIT, asked(key.is_some())).await.expect("in time");
    });
}

async fn asked(with_key: bool) {
    let world = World::with(Wanted::default()).await;
    let config = HttpConfig { listen: "127.0.0.1:0".parse().unwrap(), ..HttpConfig::default() };
    let server = Server::bind(config, world.engine.clone(), Extra::default()).await.unwrap();
    let (url, stop) = (server.addresses().url(), CancellationToken::new());
    let running = tokio::spawn(server.run(stop.clone()));
    let room = tempfile::tempdir().unwrap();
    let mut command = Command::new(schemathesis().unwrap());
    command
        .args(["run", "--no-color", "--seed=1", "--workers=2", "--max-examples=30"])
        .args(["--phases=examples,coverage,fuzzing", "--suppress-health-check=all"])
        .args(["--warnings=off", "--generation-database=none", "--request-timeout=20"])
        .arg(format!("--max-time={BUDGET_SECONDS}"))
        // What is refused may be refused for more reasons than the description names.
        .arg(format!("--checks={}", CHECKS.join(",")))
        // Streams have no end that could be waited for; they are tried in events.rs.
        .args(["--include-path-regex=^/api/v1/", "--exclude-path-regex=events$|console"])
        .arg(format!("{url}/api/v1/openapi.json"))
        .current_dir(room.path())
        .stdin(Stdio::null());
    if with_key {
        command.arg(format!("--header=Authorization: Bearer {}", world.keys.admin));
    }
    let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let told = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{told}\n{}", String::from_utf8_lossy(&done.stderr));
    // One that tried nothing would find nothing.
    assert!(told.contains("generated"), "{told}");
    stop.cancel();
    running.await.unwrap().unwrap();
    world.stop().await;
}
