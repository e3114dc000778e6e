//! The guest agent's calls. One that is made too early waits a little, as in a real channel.

use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use super::check::Check;
use super::schema::{Kind, Param};
use super::{Call, NODE, Route, VM_PATH, VMID, handler};
use crate::guest::{AgentError, GuestState};
use crate::http::reply::{Answer, ApiError, Reply};

/// How long Proxmox waits for the answer to its `guest-ping`; a call waits no longer for the agent.
const PING_MAX: Duration = Duration::from_secs(3);
/// How long a call may take once the agent is there, in real time.
const CALL_MAX: Duration = Duration::from_secs(30);
/// The most of a file that is read.
const FILE_MAX: i64 = 16 << 20;

const EXEC: &[Param] = &[
    NODE,
    VMID,
    Param::must("command", Kind::Array),
    Param::may("input-data", Kind::Text { max: 65_536 }),
];
const EXEC_STATUS: &[Param] = &[NODE, VMID, Param::must("pid", Kind::at_least(i64::MIN))];
const FILE_READ: &[Param] = &[
    NODE,
    VMID,
    Param::must("file", Kind::text()),
    Param::may("count", Kind::Int { min: 1, max: FILE_MAX }),
    Param::may("decode", Kind::Bool),
    Param::may("offset", Kind::at_least(0)),
];

const MONITOR: Check = Check::All("/vms/{vmid}", &["VM.Monitor"]);
const AUDIT: Check = Check::Since9 {
    before: &MONITOR,
    since: &Check::Any("/vms/{vmid}", &["VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted"]),
};
const UNRESTRICTED: Check = Check::Since9 {
    before: &MONITOR,
    since: &Check::All("/vms/{vmid}", &["VM.GuestAgent.Unrestricted"]),
};
const READ: Check = Check::Since9 {
    before: &MONITOR,
    since: &Check::Any("/vms/{vmid}", &["VM.GuestAgent.FileRead", "VM.GuestAgent.Unrestricted"]),
};

macro_rules! at {
    ($last:literal) => {
        concat!("/nodes/{node}/qemu/{vmid}/agent/", $last)
    };
}

pub(crate) const ROUTES: &[Route] = &[
    Route::on_node("POST", at!("ping"), VM_PATH, AUDIT, handler!(ping)),
    Route::on_node("GET", at!("info"), VM_PATH, AUDIT, handler!(info)),
    Route::on_node("GET", at!("get-osinfo"), VM_PATH, AUDIT, handler!(os_info)),
    Route::on_node("GET", at!("get-host-name"), VM_PATH, AUDIT, handler!(host_name)),
    Route::on_node("GET", at!("network-get-interfaces"), VM_PATH, AUDIT, handler!(interfaces)),
    Route::on_node("POST", at!("exec"), EXEC, UNRESTRICTED, handler!(exec)),
    Route::on_node("GET", at!("exec-status"), EXEC_STATUS, UNRESTRICTED, handler!(exec_status)),
    Route::on_node("GET", at!("file-read"), FILE_READ, READ, handler!(file_read)),
];

async fn ping(call: Call) -> Answer {
    plain(call, "guest-ping").await
}

async fn info(call: Call) -> Answer {
    plain(call, "guest-info").await
}

async fn os_info(call: Call) -> Answer {
    plain(call, "guest-get-osinfo").await
}

async fn host_name(call: Call) -> Answer {
    plain(call, "guest-get-host-name").await
}

async fn interfaces(call: Call) -> Answer {
    plain(call, "guest-network-get-interfaces").await
}

/// A command without arguments, whose value is handed on.
async fn plain(call: Call, command: &str) -> Answer {
    let value = ask(&call, command, json!({})).await?;
    Reply::data(json!({"result": value}))
}

async fn exec(call: Call) -> Answer {
    let Some((path, rest)) = call.args.list("command").split_first() else {
        return Err(ApiError::parameter("command", "no command given"));
    };
    let mut arguments = json!({"path": path, "arg": rest, "capture-output": true});
    if let Some(input) = call.args.text("input-data") {
        arguments["input-data"] = json!(base64::engine::general_purpose::STANDARD.encode(input));
    }
    let value = ask(&call, "guest-exec", arguments).await?;
    Reply::data(json!({"pid": value["pid"]}))
}

async fn exec_status(call: Call) -> Answer {
    let pid = call.args.int("pid").unwrap_or_default();
    let mut value = ask(&call, "guest-exec-status", json!({"pid": pid})).await?;
    // The agent speaks booleans and base64, Proxmox 0/1 and text.
    if let Some(exited) = value["exited"].as_bool() {
        value["exited"] = json!(u8::from(exited));
    }
    for stream in ["out-data", "err-data"] {
        if let Some(text) = value[stream].as_str().and_then(decoded) {
            value[stream] = json!(text);
        }
    }
    for flag in ["out-truncated", "err-truncated"] {
        if let Some(set) = value[flag].as_bool() {
            value[flag] = json!(u8::from(set));
        }
    }
    Reply::data(value)
}

async fn file_read(call: Call) -> Answer {
    let file = call.args.text("file").unwrap_or_default();
    let value = ask(&call, "guest-file-read", json!({"path": file})).await?;
    let encoded = value["buf-b64"].as_str().unwrap_or_default();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(encoded)
        .map_err(|_| ApiError::died("the guest agent gave no base64"))?;
    let number = |name: &str| call.args.int(name).and_then(|n| usize::try_from(n).ok());
    let offset = number("offset").unwrap_or(0).min(bytes.len());
    let end = offset.saturating_add(number("count").unwrap_or(usize::MAX)).min(bytes.len());
    let part = &bytes[offset..end];
    let content = match call.args.flag("decode").unwrap_or(true) {
        true => String::from_utf8_lossy(part).into_owned(),
        false => base64::engine::general_purpose::STANDARD.encode(part),
    };
    let mut reply = json!({"content": content, "bytes-read": part.len()});
    if end < bytes.len() {
        reply["truncated"] = json!(1);
    }
    Reply::data(reply)
}

fn decoded(text: &str) -> Option<String> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// One call of the agent, once it runs; a call waits as long for it as Proxmox's ping does.
async fn ask(call: &Call, command: &str, arguments: Value) -> Result<Value, ApiError> {
    let vmid = call.vmid();
    let powered = {
        let state = call.cluster.state();
        let vm = state.vm(&call.node, vmid)?;
        if !vm.agent() {
            return Err(ApiError::died("No QEMU guest agent configured"));
        }
        if !vm.running() {
            return Err(ApiError::died(format!("VM {vmid} is not running")));
        }
        vm.guest.clone()
    };
    let silent = || ApiError::died("QEMU guest agent is not running");
    let powered = powered.ok_or_else(silent)?;
    let up = *powered.state.borrow() == GuestState::AgentUp;
    if !up {
        let limit = call.cluster.clock.scaled(PING_MAX);
        let ping = powered.guest.agent("guest-ping", json!({}));
        match tokio::time::timeout(limit, ping).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return Err(silent()),
        }
    }
    let asked = tokio::time::timeout(CALL_MAX, powered.guest.agent(command, arguments)).await;
    match asked {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(AgentError::NotRunning)) => Err(silent()),
        Ok(Err(AgentError::Refused(why))) => Err(ApiError::died(format!("Agent error: {why}"))),
        Err(_) => {
            let why = format!("VM {vmid} qmp command '{command}' failed - got timeout");
            Err(ApiError::died(why))
        }
    }
}
