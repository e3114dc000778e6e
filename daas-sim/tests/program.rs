//! The program: says how to reach the cluster, serves it, and leaves nothing on Ctrl-C.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Ends the program when a test fails midway.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended in good order when the test passed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn it_tells_serves_and_cleans_up() {
    let config = tempfile::NamedTempFile::new().unwrap();
    let text = r#"
        version = "9.0"
        seed = 7
        statd_period = "1s"
        [durations.boot]
        base = "12s"
        spread = 0.2
        [[nodes]]
        name = "pve"
        memory_mib = 4096
    "#;
    std::fs::write(config.path(), text).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_daas-sim"))
        .args(["--listen", "127.0.0.1:0", "--scale", "0", "--config"])
        .arg(config.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    let out = BufReader::new(running.0.stdout.take().unwrap());
    let mut told = Vec::new();
    for line in out.lines().map(Result::unwrap) {
        let done = line.starts_with("ready");
        told.push(line);
        if done {
            break;
        }
    }
    let value = |key: &str| {
        let line = told.iter().find(|l| l.starts_with(key)).unwrap_or_else(|| panic!("{told:?}"));
        line.split_whitespace().next_back().unwrap().to_owned()
    };
    let ca_file = value("ca file");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ca = std::fs::read(&ca_file).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&ca).unwrap()])
        .build()
        .unwrap();
    let version = client
        .get(format!("{}/api2/json/version", value("node")))
        .header("Authorization", format!("PVEAPIToken={}", value("token")))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(version.contains(r#""release":"9.0""#), "{version}");
    let pid = running.0.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert!(running.0.wait().unwrap().success());
    assert!(!Path::new(&ca_file).exists(), "{ca_file} is left");
    assert!(!Path::new(&ca_file).parent().unwrap().exists());
}
