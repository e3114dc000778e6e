//! The real program, serving on a simulated cluster that the test owns and can ask what happened.

#![allow(clippy::unwrap_used, dead_code, reason = "shared by several test programs")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use daas_sim::{Durations, Event, NullGuests, SimConfig, Simulator};
use serde_json::{Value, json};

/// How long anything here may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Served {
    pub(crate) sim: Arc<Simulator>,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) key: String,
    server: Option<Server>,
    extra: String,
}

struct Server {
    child: Child,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    /// A server on a cluster of its own, whose durations are those of a real one times `scale`.
    pub(crate) async fn start(scale: f64, seed: u64) -> Self {
        let mut config = SimConfig::nodes(3);
        config.durations = Durations::realistic();
        config.scale = scale;
        config.seed = seed;
        let sim = Simulator::start(config, Arc::new(NullGuests::default())).await.unwrap();
        Self::on(Arc::new(sim), "").await
    }

    /// A server on this cluster, with more lines of configuration.
    pub(crate) async fn on(sim: Arc<Simulator>, extra: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let mut served =
            Self { sim, directory, key: String::new(), server: None, extra: extra.to_owned() };
        served.configure();
        served.key = served.make_key();
        served.serve();
        served
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.directory.path().join("daas.toml")
    }

    pub(crate) fn store_file(&self) -> PathBuf {
        self.directory.path().join("data/daas.db")
    }

    fn configure(&self) {
        let text = format!(
            r#"
data_dir = {data:?}
{extra}
[log]
level = "warn"
[http]
listen = "127.0.0.1:0"
[fake]
[proxmox]
url = "{url}"
token = "{token}"
fingerprint = "{fingerprint}"
ids = {{ first = 7000, last = 7999 }}
[limits]
observe_period = "2s"
sweep_period = "1s"
orphan_grace = "2s"
[brakes]
sweep_removals_free = 100
[[templates]]
name = "lab"
provisioner = "proxmox"
source = "9000"
configurator = "fake"
ready_when = "agent"
"#,
            data = self.directory.path().join("data"),
            extra = self.extra,
            url = self.sim.url(),
            token = self.sim.token("daas@pve", "daas").unwrap(),
            fingerprint = self.sim.fingerprint(),
        );
        std::fs::write(self.config_file(), text).unwrap();
    }

    fn make_key(&self) -> String {
        let arguments = ["key", "add", "test", "--owner", "alice@lab", "--role", "admin"];
        let output = program(&self.config_file()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Starts the program and waits until it says where it listens.
    pub(crate) fn serve(&mut self) {
        let mut child = program(&self.config_file())
            .arg("serve")
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut heard = Vec::new();
        let url = loop {
            let Some(Ok(line)) = lines.next() else { panic!("it did not start: {heard:#?}") };
            if let Some((_, url)) = line.split_once(" listens on ") {
                break url.to_owned();
            }
            heard.push(line);
        };
        // Somebody must read what it goes on to say, or it would stop at a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        self.server = Some(Server { child, url });
    }

    /// Kills the program without a warning.
    pub(crate) fn kill(&mut self) {
        drop(self.server.take());
    }

    /// Lets the next server listen where this one does, as a real one's restart.
    pub(crate) fn keep_address(&self) {
        let text = std::fs::read_to_string(self.config_file()).unwrap();
        let address = self.url().strip_prefix("http://").unwrap();
        std::fs::write(self.config_file(), text.replace("127.0.0.1:0", address)).unwrap();
    }

    pub(crate) fn url(&self) -> &str {
        &self.server.as_ref().unwrap().url
    }

    /// Sends a request; `None` when the server did not answer.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> Option<(u16, Value)> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
        let url = format!("{}{path}", self.url());
        let mut request = client.request(method.parse().unwrap(), url).bearer_auth(&self.key);
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        Some((status, response.json().await.unwrap_or(Value::Null)))
    }

    /// Asks for a session; the key makes a second asking harmless.
    pub(crate) async fn ask(&self, idempotency_key: &str) -> Option<String> {
        self.ask_for("lab", idempotency_key).await
    }

    /// The same, from this template.
    pub(crate) async fn ask_for(&self, template: &str, idempotency_key: &str) -> Option<String> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
        let request = client
            .post(format!("{}/api/v1/sessions", self.url()))
            .bearer_auth(&self.key)
            .header("Idempotency-Key", idempotency_key)
            .json(&json!({"template": template}));
        let answer: Value = request.send().await.ok()?.json().await.ok()?;
        answer["id"].as_str().map(str::to_owned)
    }

    /// A command of the real program against this server.
    pub(crate) fn command(&self, arguments: &[&str]) -> tokio::process::Command {
        let key_file = self.directory.path().join("user.key");
        // Another command of the test may be reading it at this moment.
        if std::fs::read_to_string(&key_file).ok().as_ref() != Some(&self.key) {
            std::fs::write(&key_file, &self.key).unwrap();
        }
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_daas"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .args(["--server", self.url(), "--key-file"])
            .arg(key_file)
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs such a command to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output();
        tokio::time::timeout(DEADLINE, output).await.expect("it ends in time").unwrap()
    }

    pub(crate) async fn live(&self) -> Vec<String> {
        let page = "/api/v1/sessions?live=true&limit=1000";
        let Some((200, page)) = self.call("GET", page, Value::Null).await else {
            return vec!["?".into()];
        };
        let sessions = page["sessions"].as_array().cloned().unwrap_or_default();
        sessions.iter().map(|s| format!("{} {}: {}", s["id"], s["phase"], s["reason"])).collect()
    }

    pub(crate) async fn phase(&self, id: &str) -> String {
        let path = format!("/api/v1/sessions/{id}");
        let answer = self.call("GET", &path, Value::Null).await;
        answer.map(|(_, s)| s["phase"].as_str().unwrap_or("?").to_owned()).unwrap_or_default()
    }

    /// Waits for a session's phase, looking whenever the cluster has done something.
    pub(crate) async fn until_phase(&self, id: &str, phase: &str) {
        self.until(&format!("{id} {phase}"), async || self.phase(id).await == phase).await;
    }

    /// Waits for something that the API tells, within the deadline.
    pub(crate) async fn until(&self, what: &str, done: impl AsyncFn() -> bool) {
        self.until_in(DEADLINE, what, done).await;
    }

    /// The same, within a deadline of the caller's.
    pub(crate) async fn until_in(
        &self,
        deadline: Duration,
        what: &str,
        done: impl AsyncFn() -> bool,
    ) {
        let mut pause = tokio::time::interval(Duration::from_millis(50));
        let waited = tokio::time::timeout(deadline, async {
            while !done().await {
                pause.tick().await;
            }
        });
        assert!(waited.await.is_ok(), "not {what} in time; live: {:#?}", self.live().await);
    }

    /// Judges from the cluster's own log: no session id ever had two machines.
    pub(crate) fn never_two_machines(&self) {
        let mut machines: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
        let mut alive: BTreeMap<u32, u32> = BTreeMap::new();
        for entry in self.sim.log().entries() {
            match entry.event {
                Event::VmCreated { vmid, .. } => *alive.entry(vmid).or_default() += 1,
                Event::VmDeleted { vmid } => *alive.entry(vmid).or_default() -= 1,
                Event::VmNamed { vmid, name } => {
                    machines.entry(name.to_string()).or_default().insert(vmid);
                }
                _ => {}
            }
        }
        let doubled: Vec<_> = machines.iter().filter(|(_, ids)| ids.len() > 1).collect();
        assert!(doubled.is_empty(), "session ids with two machines: {doubled:?}");
        let odd: Vec<_> = alive.iter().filter(|(_, count)| **count > 1).collect();
        assert!(odd.is_empty(), "machine ids made twice over: {odd:?}");
    }

    pub(crate) fn machines(&self) -> Vec<String> {
        let vms = self.sim.cluster().vms();
        vms.iter().map(|vm| vm.options.get("name").cloned().unwrap_or_default()).collect()
    }
}

fn program(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_daas"));
    command.env_clear().env("DAAS_CONFIG", config);
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}
