//! The VNC console: `vncproxy` gives a ticket and a port, `vncwebsocket` takes both.

use std::time::Duration;

use serde_json::json;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::check::Check;
use super::schema::{Kind, Param};
use super::{Call, NODE, Route, VMID, handler};
use crate::config::Version;
use crate::console::session;
use crate::http::reply::{Answer, ApiError, Reply, Switch};

/// How long a console waits for its viewer. A limit of the client's network: not scaled.
const VIEWER_WAIT: Duration = Duration::from_secs(10);
/// Letters and digits a console's password is made of.
const ALPHABET: &[u8] = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";

const PROXY: &[Param] =
    &[NODE, VMID, Param::may("generate-password", Kind::Bool), Param::may("websocket", Kind::Bool)];
const SOCKET: &[Param] = &[
    NODE,
    VMID,
    Param::must("port", Kind::Int { min: 5900, max: 5999 }),
    Param::must("vncticket", Kind::Text { max: 512 }),
];
const CONSOLE: Check = Check::All("/vms/{vmid}", &["VM.Console"]);

pub(crate) const ROUTES: &[Route] = &[
    Route::new("POST", "/nodes/{node}/qemu/{vmid}/vncproxy", PROXY, CONSOLE, handler!(proxy)),
    Route::new("GET", "/nodes/{node}/qemu/{vmid}/vncwebsocket", SOCKET, CONSOLE, handler!(socket)),
];

async fn proxy(mut call: Call) -> Answer {
    let vmid = call.vmid();
    let guest = {
        let state = call.cluster.state();
        let vm = state.vm(&call.node, vmid)?;
        let away = call.cluster.faults.is_away(&vm.node);
        vm.guest.clone().filter(|_| vm.running() && !away)
    };
    // The worker runs on the contacted node, wherever the machine is.
    call.node = call.contacted.clone();
    let Some((port, viewer)) = call.cluster.consoles.open(&call.contacted, vmid) else {
        return Err(ApiError::died("unable to find free port (5900-5999)"));
    };
    let (who, now) = (call.who.to_string(), call.cluster.clock.unix());
    let path = format!("/vms/{vmid}");
    let bound = bound_port(&call, port);
    let plain = call.cluster.tickets.console(&who, &path, &bound, now);
    let generate = call.args.flag("generate-password").unwrap_or(false);
    let (password, ticket) = match call.cluster.config.version {
        Version::V9_2 => {
            let password = random_password();
            let ticket = format!("{password}:{plain}");
            (password, ticket)
        }
        Version::V8_4 | Version::V9_0 | Version::V9_1 if generate => (random_password(), plain),
        Version::V8_4 | Version::V9_0 | Version::V9_1 => (plain.chars().take(8).collect(), plain),
    };
    let (node, secret) = (call.contacted.clone(), password.clone());
    let upid = call.start("vncproxy", vmid, |run| async move {
        let work = async {
            let guest = guest.ok_or_else(|| format!("VM {vmid} is not running"))?;
            let viewer = tokio::time::timeout(VIEWER_WAIT, viewer).await;
            let viewer = viewer.ok().and_then(Result::ok).ok_or("connection timed out")?;
            session::serve(viewer, guest.guest, &secret).await
        };
        let end = tokio::select! {
            end = work => end,
            () = run.task.cancel.cancelled() => Err("interrupted by signal".to_owned()),
        };
        run.cluster.consoles.close(&node, port);
        end
    });
    let mut reply = json!({
        "user": who,
        "ticket": ticket,
        "port": port.to_string(),
        "upid": &*upid,
        "cert": call.cluster.certificate_pem,
    });
    if generate || call.cluster.config.version == Version::V9_2 {
        reply["password"] = json!(password);
    }
    Reply::data(reply)
}

async fn socket(call: Call) -> Answer {
    let port = call.args.int("port").and_then(|p| u16::try_from(p).ok()).unwrap_or(0);
    let ticket = call.args.text("vncticket").unwrap_or_default();
    let plain = match call.cluster.config.version {
        Version::V9_2 => ticket.split_once(':').map_or("", |(_, plain)| plain),
        Version::V8_4 | Version::V9_0 | Version::V9_1 => ticket,
    };
    let (who, now) = (call.who.to_string(), call.cluster.clock.unix());
    let (path, bound) = (format!("/vms/{}", call.vmid()), bound_port(&call, port));
    if !call.cluster.tickets.console_good(plain, &who, &path, &bound, now) {
        return Err(ApiError::unauthorized("permission denied - invalid PVEVNC ticket"));
    }
    let vmid = call.vmid();
    let Some(socket) = call.socket else {
        return Reply::data(json!({"port": port.to_string()}));
    };
    let accept = derive_accept_key(socket.key.as_bytes());
    if !call.cluster.consoles.view(&call.contacted, port, vmid, socket.upgrade) {
        return Err(ApiError::died(format!("connection to 127.0.0.1:{port} failed: refused")));
    }
    let switch = Some(Switch { accept, protocol: socket.protocol });
    Ok(Reply { switch, ..Reply::default() })
}

/// What else a ticket is bound to: from 9.2 on, its port.
fn bound_port(call: &Call, port: u16) -> String {
    match call.cluster.config.version {
        Version::V9_2 => port.to_string(),
        Version::V8_4 | Version::V9_0 | Version::V9_1 => String::new(),
    }
}

fn random_password() -> String {
    let random: [u8; 8] = rand::random();
    random.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
}
