//! The QEMU guest agent of a drawn guest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::DrawnGuest;
use super::disk::Who;
use super::live::Live;
use super::shell::{Input, Output, Process, Shell, taken};
use crate::guest::{AgentError, GuestState};

/// Programs whose end nobody has asked for yet; the oldest are forgotten beyond that.
const PROCESSES_MAX: usize = 256;

/// The largest file `guest-file-read` gives, as Proxmox limits it.
const FILE_BYTES_MAX: usize = 16 << 20;

/// What `guest-exec` has started since boot.
#[derive(Debug, Default)]
pub(super) struct Processes(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    last: u32,
    processes: HashMap<u32, Option<Ended>>,
}

#[derive(Debug)]
struct Ended {
    status: i32,
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Processes {
    pub(super) fn clear(&self) {
        self.lock().processes.clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) -> u32 {
        let mut table = self.lock();
        if table.processes.len() >= PROCESSES_MAX {
            let oldest = table.processes.keys().min().copied();
            oldest.map(|pid| table.processes.remove(&pid));
        }
        table.last = table.last.max(1000) + 1;
        let pid = table.last;
        table.processes.insert(pid, None);
        pid
    }

    fn end(&self, pid: u32, ended: Ended) {
        if let Some(process) = self.lock().processes.get_mut(&pid) {
            *process = Some(ended);
        }
    }
}

impl DrawnGuest {
    /// One call; waits for the agent while the guest boots.
    pub(super) async fn agent_call(
        &self,
        command: &str,
        arguments: Value,
    ) -> Result<Value, AgentError> {
        let live = self.live().ok_or(AgentError::NotRunning)?;
        if !live.seed.agent {
            return Err(AgentError::NotRunning);
        }
        let mut state = crate::guest::Guest::state(self);
        tokio::select! {
            biased;
            () = live.off.cancelled() => return Err(AgentError::NotRunning),
            up = state.wait_for(|state| *state == GuestState::AgentUp) => {
                up.map_err(|_| AgentError::NotRunning)?;
            }
        }
        match command {
            "guest-ping" | "guest-sync" => Ok(json!({})),
            "guest-info" => Ok(info()),
            "guest-get-osinfo" => Ok(json!({
                "id": "debian", "name": "Debian GNU/Linux",
                "pretty-name": "Debian GNU/Linux 12 (bookworm)",
                "version": "12 (bookworm)", "version-id": "12",
                "machine": "x86_64", "kernel-release": "6.1.0-drawn",
                "kernel-version": "#1 SMP drawn",
            })),
            "guest-get-host-name" => Ok(json!({
                "host-name": self.with_disk(|disk| disk.hostname.clone()),
            })),
            "guest-network-get-interfaces" => Ok(self.interfaces()),
            "guest-exec" => self.start_program(&live, &arguments),
            "guest-exec-status" => self.program_status(&arguments),
            "guest-file-read" => self.file_read(&arguments),
            other => {
                let text = format!("The command {other} has not been found");
                Err(AgentError::Refused(text))
            }
        }
    }

    fn interfaces(&self) -> Value {
        let address = self.address();
        let lo = json!({
            "name": "lo",
            "hardware-address": "00:00:00:00:00:00",
            "ip-addresses": [
                {"ip-address": "127.0.0.1", "ip-address-type": "ipv4", "prefix": 8},
                {"ip-address": "::1", "ip-address-type": "ipv6", "prefix": 128},
            ],
        });
        let eth0 = json!({
            "name": "eth0",
            "hardware-address": self.mac().to_lowercase(),
            "ip-addresses": [{
                "ip-address": address.to_string(),
                "ip-address-type": if address.is_ipv4() { "ipv4" } else { "ipv6" },
                "prefix": self.config().prefix,
            }],
        });
        json!([lo, eth0])
    }

    fn start_program(&self, live: &Arc<Live>, arguments: &Value) -> Result<Value, AgentError> {
        let path = text(arguments, "path")?;
        let more = arguments["arg"].as_array().into_iter().flatten();
        let more = more.map(|word| word.as_str().map(String::from));
        let words: Option<Vec<String>> = [Some(path.to_owned())].into_iter().chain(more).collect();
        let words = words.ok_or_else(|| refused("arg is not an array of strings"))?;
        let input = match arguments["input-data"].as_str() {
            Some(data) => BASE64.decode(data).map_err(|_| refused("input-data is no base64"))?,
            None => Vec::new(),
        };
        let me = self.me().ok_or(AgentError::NotRunning)?;
        let process = Process::login(self, "root").ok_or_else(|| refused("there is no root"))?;
        let pid = self.processes.begin();
        let shell = Shell::new(me.clone());
        live.spawn(async move {
            let ((out, out_bytes), (err, err_bytes)) = (Output::memory(), Output::memory());
            let status = shell.program(process, words, Input::bytes(input.into()), out, err).await;
            let ended = Ended { status, out: taken(&out_bytes), err: taken(&err_bytes) };
            me.processes.end(pid, ended);
        });
        Ok(json!({ "pid": pid }))
    }

    /// Tells how a program ended, once; as in QEMU, its record is gone after that.
    fn program_status(&self, arguments: &Value) -> Result<Value, AgentError> {
        let pid = arguments["pid"].as_u64().ok_or_else(|| refused("pid is missing"))? as u32;
        let mut table = self.processes.lock();
        match table.processes.get(&pid) {
            None => Err(AgentError::Refused(format!("PID {pid} does not exist"))),
            Some(None) => Ok(json!({ "exited": false })),
            Some(Some(_)) => {
                let ended = table.processes.remove(&pid).flatten();
                let Some(Ended { status, out, err }) = ended else { return Ok(json!({})) };
                let mut answer = json!({ "exited": true, "exitcode": status });
                for (name, bytes) in [("out-data", out), ("err-data", err)] {
                    if !bytes.is_empty() {
                        answer[name] = BASE64.encode(bytes).into();
                    }
                }
                Ok(answer)
            }
        }
    }

    fn file_read(&self, arguments: &Value) -> Result<Value, AgentError> {
        let path = text(arguments, "path")?;
        let bytes = self.with_disk(|disk| disk.read(&Who::root(), path)).map_err(|error| {
            AgentError::Refused(format!("failed to open file '{path}': {error}"))
        })?;
        if bytes.len() > FILE_BYTES_MAX {
            return Err(AgentError::Refused(format!("file '{path}' is larger than 16 MiB")));
        }
        Ok(json!({ "count": bytes.len(), "buf-b64": BASE64.encode(&bytes), "eof": true }))
    }
}

fn text<'a>(arguments: &'a Value, name: &str) -> Result<&'a str, AgentError> {
    arguments[name].as_str().ok_or_else(|| refused(&format!("{name} is missing")))
}

fn refused(reason: &str) -> AgentError {
    AgentError::Refused(format!("Invalid parameter: {reason}"))
}

fn info() -> Value {
    let commands = [
        "guest-ping",
        "guest-sync",
        "guest-info",
        "guest-get-osinfo",
        "guest-get-host-name",
        "guest-network-get-interfaces",
        "guest-exec",
        "guest-exec-status",
        "guest-file-read",
    ];
    let commands: Vec<Value> = commands
        .iter()
        .map(|name| json!({ "name": name, "enabled": true, "success-response": true }))
        .collect();
    json!({ "version": "7.2.0", "supported_commands": commands })
}
