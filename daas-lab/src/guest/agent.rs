//! The guest agent's protocol, answered from outside the guest: what a QEMU guest agent would find
//! out inside is found out by entering the guest's namespaces.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use daas_sim::guest::AgentError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::inside::{self, Output};
use crate::process::Process;

/// Programs known at a time; the oldest that has ended makes room.
const JOBS_MAX: usize = 64;

/// What the agent reports as its version: the one of Debian 12.
const VERSION: &str = "7.2.0";

const COMMANDS: &[&str] = &[
    "guest-exec",
    "guest-exec-status",
    "guest-file-read",
    "guest-get-host-name",
    "guest-get-osinfo",
    "guest-info",
    "guest-network-get-interfaces",
    "guest-ping",
];

/// One guest's agent.
#[derive(Debug, Default)]
pub(super) struct Agent {
    jobs: Arc<Mutex<Jobs>>,
}

#[derive(Debug, Default)]
struct Jobs {
    last: u64,
    /// `None` while it runs.
    known: BTreeMap<u64, Option<Result<Output, String>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ExecArguments {
    path: String,
    #[serde(default)]
    arg: Vec<String>,
    #[serde(default)]
    env: Vec<String>,
    #[serde(default)]
    input_data: String,
}

impl Agent {
    /// One call, in the guest whose init is `leader`.
    pub(super) async fn call(
        &self,
        leader: Process,
        command: &str,
        arguments: &Value,
    ) -> Result<Value, AgentError> {
        match command {
            "guest-ping" => Ok(json!({})),
            "guest-info" => Ok(info()),
            "guest-get-host-name" => host_name(leader).await,
            "guest-get-osinfo" => os_info(leader).await,
            "guest-network-get-interfaces" => interfaces(leader).await,
            "guest-exec" => self.exec(leader, arguments),
            "guest-exec-status" => self.exec_status(arguments),
            "guest-file-read" => file_read(leader, arguments).await,
            _ => Err(refused(format!("The command {command} has not been found"))),
        }
    }

    fn exec(&self, leader: Process, arguments: &Value) -> Result<Value, AgentError> {
        let wanted: ExecArguments = serde_json::from_value(arguments.clone()).map_err(refused)?;
        let input = BASE64_STANDARD.decode(&wanted.input_data).map_err(refused)?;
        let job = self.lock()?.begin()?;
        let jobs = Arc::clone(&self.jobs);
        tokio::spawn(async move {
            let argv = [vec![wanted.path], wanted.arg].concat();
            let output = inside::exec(leader, &argv, &wanted.env, &input).await;
            if let Ok(mut jobs) = jobs.lock() {
                jobs.known.insert(job, Some(output.map_err(|error| error.to_string())));
            }
        });
        Ok(json!({ "pid": job }))
    }

    fn exec_status(&self, arguments: &Value) -> Result<Value, AgentError> {
        let job = arguments.get("pid").and_then(Value::as_u64);
        let job = job.ok_or_else(|| refused("Parameter 'pid' is missing"))?;
        let mut jobs = self.lock()?;
        match jobs.known.get(&job) {
            None => Err(refused("Invalid parameter 'pid'")),
            Some(None) => Ok(json!({ "exited": false })),
            // As with the real agent, the answer is given once.
            Some(Some(_)) => match jobs.known.remove(&job).flatten() {
                Some(Ok(output)) => Ok(status(&output)),
                Some(Err(error)) => Err(refused(error)),
                None => Err(refused("Invalid parameter 'pid'")),
            },
        }
    }

    fn lock(&self) -> Result<std::sync::MutexGuard<'_, Jobs>, AgentError> {
        self.jobs.lock().map_err(|_| refused("a call before this one ended in a panic"))
    }
}

impl Jobs {
    fn begin(&mut self) -> Result<u64, AgentError> {
        if self.known.len() >= JOBS_MAX {
            let ended = self.known.iter().find(|(_, output)| output.is_some());
            let ended = ended.map(|(&job, _)| job);
            let ended = ended.ok_or_else(|| refused(format!("{JOBS_MAX} programs run already")))?;
            self.known.remove(&ended);
        }
        self.last += 1;
        self.known.insert(self.last, None);
        Ok(self.last)
    }
}

fn refused(error: impl ToString) -> AgentError {
    AgentError::Refused(error.to_string())
}

fn info() -> Value {
    let command = |name: &&str| json!({"name": name, "enabled": true, "success-response": true});
    let commands: Vec<Value> = COMMANDS.iter().map(command).collect();
    json!({ "version": VERSION, "supported_commands": commands })
}

fn status(output: &Output) -> Value {
    let mut answer = json!({ "exited": true });
    let mut set = |name: &str, value: Value| answer[name] = value;
    if let Some(code) = output.code {
        set("exitcode", json!(code));
    }
    if let Some(signal) = output.signal {
        set("signal", json!(signal));
    }
    for (name, bytes) in [("out-data", &output.stdout), ("err-data", &output.stderr)] {
        if !bytes.is_empty() {
            set(name, json!(BASE64_STANDARD.encode(bytes)));
        }
    }
    if output.truncated {
        set("out-truncated", json!(true));
    }
    answer
}

async fn read(leader: Process, path: &str) -> Result<(Vec<u8>, bool), AgentError> {
    let (owned, shown) = (path.to_owned(), path.to_owned());
    let read = tokio::task::spawn_blocking(move || inside::read_file(leader, &owned));
    let read = read.await.map_err(refused)?;
    read.map_err(|error| refused(format!("failed to open file '{shown}': {error}")))
}

async fn file_read(leader: Process, arguments: &Value) -> Result<Value, AgentError> {
    let path = arguments.get("path").and_then(Value::as_str);
    let path = path.ok_or_else(|| refused("Parameter 'path' is missing"))?;
    let (bytes, eof) = read(leader, path).await?;
    Ok(json!({ "count": bytes.len(), "buf-b64": BASE64_STANDARD.encode(&bytes), "eof": eof }))
}

async fn host_name(leader: Process) -> Result<Value, AgentError> {
    let output = run(leader, &["cat", "/proc/sys/kernel/hostname"]).await?;
    Ok(json!({ "host-name": String::from_utf8_lossy(&output).trim() }))
}

async fn os_info(leader: Process) -> Result<Value, AgentError> {
    let (bytes, _) = read(leader, "/etc/os-release").await?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let kernel = run(leader, &["uname", "-r", "-v", "-m"]).await?;
    let kernel = String::from_utf8_lossy(&kernel).trim().to_owned();
    let mut words = kernel.split(' ');
    let release = words.next().unwrap_or_default();
    let machine = words.next_back().unwrap_or_default();
    let version = words.collect::<Vec<_>>().join(" ");
    let mut answer = json!({
        "kernel-release": release, "kernel-version": version, "machine": machine,
    });
    let names = [("ID", "id"), ("NAME", "name"), ("PRETTY_NAME", "pretty-name")];
    for (key, name) in
        names.into_iter().chain([("VERSION", "version"), ("VERSION_ID", "version-id")])
    {
        if let Some(value) = os_release(&text, key) {
            answer[name] = json!(value);
        }
    }
    Ok(answer)
}

async fn interfaces(leader: Process) -> Result<Value, AgentError> {
    let output = run(leader, &["ip", "-json", "address"]).await?;
    let links: Vec<Value> = serde_json::from_slice(&output).map_err(refused)?;
    Ok(links.iter().map(interface).collect())
}

/// From `ip -json address` to the agent's shape.
fn interface(link: &Value) -> Value {
    let address = |entry: &Value| {
        let kind = if entry["family"] == "inet6" { "ipv6" } else { "ipv4" };
        json!({
            "ip-address": entry["local"], "ip-address-type": kind, "prefix": entry["prefixlen"],
        })
    };
    let addresses: Vec<Value> =
        link["addr_info"].as_array().into_iter().flatten().map(address).collect();
    json!({
        "name": link["ifname"], "hardware-address": link["address"], "ip-addresses": addresses,
    })
}

async fn run(leader: Process, argv: &[&str]) -> Result<Vec<u8>, AgentError> {
    let argv: Vec<String> = argv.iter().map(|&word| word.to_owned()).collect();
    let output = inside::exec(leader, &argv, &[], b"").await.map_err(refused)?;
    if output.code != Some(0) {
        return Err(refused(String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(output.stdout)
}

/// One value of `os-release(5)`.
fn os_release(text: &str, key: &str) -> Option<String> {
    let values = text.lines().filter_map(|line| line.split_once('='));
    let (_, value) = values.into_iter().find(|(name, _)| *name == key)?;
    Some(value.trim_matches('"').to_owned())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn an_interface_has_the_agents_shape() {
        let link = json!({
            "ifname": "eth0", "address": "bc:24:11:00:00:07",
            "addr_info": [{"family": "inet", "local": "10.77.0.99", "prefixlen": 24}],
        });
        let wanted = json!({
            "name": "eth0", "hardware-address": "bc:24:11:00:00:07",
            "ip-addresses": [
                {"ip-address": "10.77.0.99", "ip-address-type": "ipv4", "prefix": 24}
            ],
        });
        assert_eq!(interface(&link), wanted);
    }

    #[test]
    fn the_table_of_programs_is_bounded() {
        let mut jobs = Jobs::default();
        for _ in 0..JOBS_MAX {
            jobs.begin().unwrap();
        }
        assert!(jobs.begin().is_err());
        jobs.known.insert(7, Some(Err("ended".to_owned())));
        jobs.begin().unwrap();
        assert!(!jobs.known.contains_key(&7));
        assert_eq!(jobs.known.len(), JOBS_MAX);
    }
}
