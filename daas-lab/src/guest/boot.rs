//! Watches one start of a guest: finds its init, gives it a network card, and says when its SSH
//! answers and when its boot is over.

use std::fs;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use daas_sim::guest::{GuestState, Seed};
use tokio::time::timeout;

use super::inside;
use super::power::Machine;
use crate::error::LabError;
use crate::lab::Lab;
use crate::process::{self, Process, poll_async};
use crate::run::Made;

/// A boot that takes longer is reported, and stays *booting*.
const BOOT_DEADLINE: Duration = Duration::from_secs(180);
const DIAL_DEADLINE: Duration = Duration::from_secs(2);
const SSH_PORT: u16 = 22;

/// Follows the start of the nspawn with this pid. Dropped when the guest ends.
pub(super) async fn watch(machine: Arc<Machine>, nspawn: Option<u32>, seed: Seed) {
    let Some(nspawn) = nspawn else { return };
    match timeout(BOOT_DEADLINE, follow(&machine, nspawn, &seed)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, guest = machine.number, "boot failed"),
        Err(_) => tracing::error!(guest = machine.number, after = ?BOOT_DEADLINE, "boot hangs"),
    }
}

/// The guest's init: the child that has pid 1 in its own pid namespace.
pub(super) fn leader_of(nspawn: u32) -> Option<Process> {
    process::children(nspawn).into_iter().find(|child| {
        let status = fs::read_to_string(format!("/proc/{}/status", child.pid));
        status.is_ok_and(|status| is_init(&status))
    })
}

async fn follow(machine: &Arc<Machine>, nspawn: u32, seed: &Seed) -> Result<(), LabError> {
    let leader = poll_async(Duration::from_millis(5), || leader_of(nspawn)).await;
    machine.lab.record(&Made::Process(leader))?;
    machine.leader.send_replace(Some(leader));
    // Until the guest's init has left the lab's network, the card would be plugged in there.
    let outside = fs::metadata(machine.lab.namespace_path()).map(|meta| meta.ino());
    let outside = outside.map_err(LabError::io("find the lab's network"))?;
    let inside = || network_of(leader).filter(|&inside| inside != outside);
    poll_async(Duration::from_millis(2), inside).await;
    plug(machine, leader, &seed.mac).await?;
    let often = Duration::from_millis(20);
    poll_async(often, || listens(leader, SSH_PORT).then_some(())).await;
    let address = match seed.address {
        Some(address) => address,
        None => poll_async(often, || machine.lab.lease(&seed.mac)).await,
    };
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    while !greets(&machine.lab, address).await {
        ticks.tick().await;
    }
    machine.state.send_replace(GuestState::Up);
    if seed.agent && finishes(leader).await? {
        machine.state.send_replace(GuestState::AgentUp);
    }
    Ok(())
}

/// Waits for the end of the boot; `false` when the guest ended instead. Whether a unit failed is the
/// guest's affair, but said aloud.
async fn finishes(leader: Process) -> Result<bool, LabError> {
    let wait = ["systemctl", "is-system-running", "--wait"].map(str::to_owned);
    let output = match inside::exec(leader, &wait, &[], b"").await {
        Ok(output) => output,
        Err(_) if ends(leader).await => return Ok(false),
        Err(error) => return Err(LabError::io("wait for the end of the boot")(error)),
    };
    let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match state.as_str() {
        "running" => Ok(true),
        "degraded" | "maintenance" => {
            let list = ["systemctl", "list-units", "--failed", "--plain", "--no-legend"];
            let failed = inside::exec(leader, &list.map(str::to_owned), &[], b"").await;
            let failed = failed.map(|output| output.stdout).unwrap_or_default();
            let failed = String::from_utf8_lossy(&failed).trim().to_owned();
            tracing::warn!(state, failed, "a guest is not in order");
            Ok(true)
        }
        // It is being shut down, or was.
        "stopping" => Ok(false),
        _ if ends(leader).await => Ok(false),
        _ => Err(LabError::Failed {
            doing: "wait for the end of the boot".to_owned(),
            status: format!("the guest is {state:?}"),
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }),
    }
}

/// Whether a process is gone, or about to be: one that exits loses its namespaces a moment before.
async fn ends(process: Process) -> bool {
    let gone = poll_async(Duration::from_millis(10), || (!process.is_alive()).then_some(()));
    timeout(Duration::from_secs(1), gone).await.is_ok()
}

/// The inode of a process's network namespace.
fn network_of(process: Process) -> Option<u64> {
    fs::metadata(format!("/proc/{}/ns/net", process.pid)).ok().map(|meta| meta.ino())
}

/// Makes a pair of network cards, one on the bridge and one, with the seed's MAC address, in the
/// guest. Both vanish with the guest's network namespace.
async fn plug(machine: &Arc<Machine>, leader: Process, mac: &str) -> Result<(), LabError> {
    let outside = format!("labv{}-{}", machine.number, machine.boots.load(Ordering::SeqCst));
    let (machine, mac) = (Arc::clone(machine), mac.to_owned());
    let plugged = tokio::task::spawn_blocking(move || {
        let pid = leader.pid.to_string();
        let pair = ["link", "add", &outside, "type", "veth", "peer", "name", "eth0"];
        machine.lab.ip(&[&pair[..], &["address", &mac, "netns", &pid]].concat())?;
        machine.lab.ip(&["link", "set", &outside, "master", "br0", "up"])
    });
    plugged.await.map_err(|error| LabError::Io {
        doing: "plug the network card".to_owned(),
        source: std::io::Error::other(error),
    })?
}

async fn greets(lab: &Lab, address: IpAddr) -> bool {
    let Ok(mut stream) = lab.dial(SocketAddr::new(address, SSH_PORT), DIAL_DEADLINE).await else {
        return false;
    };
    let greeting = tokio::task::spawn_blocking(move || {
        let mut start = [0; 4];
        stream.set_read_timeout(Some(DIAL_DEADLINE))?;
        stream.read_exact(&mut start).map(|()| start)
    });
    matches!(greeting.await, Ok(Ok(start)) if &start == b"SSH-")
}

/// Whether a TCP socket listens on `port` in the network namespace of a process.
fn listens(process: Process, port: u16) -> bool {
    ["tcp", "tcp6"].iter().any(|table| {
        let table = fs::read_to_string(format!("/proc/{}/net/{table}", process.pid));
        table.is_ok_and(|table| has_listener(&table, port))
    })
}

/// Lines of `/proc/net/tcp`: `sl local_address rem_address st …`, state 0A is LISTEN.
fn has_listener(table: &str, port: u16) -> bool {
    let local = format!(":{port:04X}");
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next().is_some_and(|address| address.ends_with(&local))
            && fields.nth(1) == Some("0A")
    })
}

fn is_init(status: &str) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    line.is_some_and(|pids| pids.split_whitespace().nth(1) == Some("1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_tables() {
        let table = "  sl  local_address rem_address   st\n\
                     0: 00000000:0016 00000000:0000 0A 0:0 0:0 0 0\n\
                     1: 0100007F:0D3D 00000000:0000 01 0:0 0:0 0 0\n";
        assert!(has_listener(table, 22));
        assert!(!has_listener(table, 3389), "connected is not listening");
        assert!(is_init("Name:\tsystemd\nNSpid:\t812\t1\n"));
        assert!(!is_init("Name:\tsh\nNSpid:\t1\n"));
    }
}
