//! Many drawn guests at once: addresses of their own, nothing shared, nothing left.

#![allow(clippy::unwrap_used)]

mod drawn_support;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use daas_sim::guest::drawn::{DrawnConfig, DrawnGuests};
use daas_sim::guest::{Guest, GuestError, GuestMaker, GuestSpec, GuestState, Seed};
use drawn_support::{PATIENCE, booted, own_network, reached, seed};
use tokio::net::TcpStream;
use tokio::time::timeout;

fn spec(vmid: u32, image: &str) -> GuestSpec {
    GuestSpec { vmid, image: image.into() }
}

#[tokio::test]
async fn a_hundred_guests_live_side_by_side_and_leave_nothing() {
    let maker = Arc::new(DrawnGuests::new(own_network()));
    let mut guests = Vec::new();
    for vmid in 100..200 {
        let guest = maker.make_drawn(&spec(vmid, "debian-xfce")).unwrap();
        guest.start(&seed(&[])).await.unwrap();
        guests.push(guest);
    }
    let addresses: BTreeSet<_> = guests.iter().map(|guest| guest.address()).collect();
    assert_eq!(addresses.len(), guests.len());
    for guest in &guests {
        reached(guest, GuestState::AgentUp).await;
        for port in [guest.ports().ssh, guest.ports().rdp] {
            TcpStream::connect((guest.address(), port)).await.unwrap();
        }
    }
    guests[0].run("root", "echo mine > /srv/file", "").await.unwrap();
    let other = guests[1].run("root", "[ -e /srv/file ]", "").await.unwrap();
    assert_eq!(other.status, 1, "disks are apart");
    timeout(PATIENCE, maker.close()).await.unwrap();
    for guest in &guests {
        assert_eq!(guest.tasks(), 0);
        assert!(TcpStream::connect((guest.address(), guest.ports().ssh)).await.is_err());
    }
}

#[tokio::test]
async fn an_address_is_free_again_after_erase_and_held_before() {
    let small = DrawnConfig { prefix: 30, ..own_network() };
    let (one, two) = (DrawnGuests::new(small.clone()), DrawnGuests::new(small));
    let first = one.make_drawn(&spec(1, "debian-base")).unwrap();
    let second = two.make_drawn(&spec(1, "debian-base")).unwrap();
    assert_ne!(first.address(), second.address(), "two makers do not share an address");
    let full = one.make(spec(2, "debian-base")).await;
    assert!(matches!(full, Err(GuestError::Io { .. })), "{full:?}");
    second.erase().await.unwrap();
    let third = one.make_drawn(&spec(3, "debian-base")).unwrap();
    assert_eq!(third.address(), second.address());
    let unknown = one.make(spec(4, "debian-none")).await;
    assert!(matches!(unknown, Err(GuestError::NoImage(_))), "{unknown:?}");
    one.close().await;
    two.close().await;
}

#[tokio::test]
async fn the_base_image_gets_its_desktop_by_installation() {
    let maker = DrawnGuests::new(own_network());
    let guest = maker.make_drawn(&spec(1, "debian-base")).unwrap();
    // Long enough that the reboot below cannot be missed.
    let boot = Duration::from_millis(50);
    guest.start(&Seed { boot, ..seed(&[]) }).await.unwrap();
    reached(&guest, GuestState::Up).await;
    let address = (guest.address(), guest.ports().rdp);
    assert!(TcpStream::connect(address).await.is_err(), "no XRDP yet");
    let script =
        "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y xrdp xfce4";
    assert_eq!(guest.run("root", script, "").await.unwrap().status, 0);
    TcpStream::connect(address).await.unwrap();
    guest.run("root", "reboot", "").await.unwrap();
    let mut state = guest.state();
    let booting = state.wait_for(|state| *state == GuestState::Booting);
    timeout(PATIENCE, booting).await.unwrap().unwrap();
    reached(&guest, GuestState::AgentUp).await;
    TcpStream::connect(address).await.unwrap();
    maker.close().await;
}

#[tokio::test]
async fn boot_agent_and_shutdown_take_the_time_they_are_given() {
    let config = DrawnConfig { shutdown: Duration::from_millis(150), ..own_network() };
    let maker = DrawnGuests::new(config);
    let guest = maker.make_drawn(&spec(1, "debian-xfce")).unwrap();
    let mut slow = seed(&[]);
    slow.boot = Duration::from_millis(200);
    slow.agent_start = Duration::from_millis(200);
    let began = tokio::time::Instant::now();
    guest.start(&slow).await.unwrap();
    assert_eq!(*guest.state().borrow(), GuestState::Booting);
    assert!(TcpStream::connect((guest.address(), guest.ports().ssh)).await.is_err());
    let ping = guest.agent("guest-ping", serde_json::json!({})).await;
    assert!(ping.is_ok() && began.elapsed() >= Duration::from_millis(400), "the call waited");
    let interfaces = guest.agent("guest-network-get-interfaces", serde_json::json!({})).await;
    let eth0 = &interfaces.unwrap()[1];
    assert_eq!(eth0["hardware-address"], "bc:24:11:00:00:01");
    let address: IpAddr = eth0["ip-addresses"][0]["ip-address"].as_str().unwrap().parse().unwrap();
    assert_eq!(address, guest.address());
    let early = guest.shutdown(Duration::from_millis(50)).await;
    assert!(matches!(early, Err(GuestError::Deadline(_))), "{early:?}");
    assert_eq!(*guest.state().borrow(), GuestState::AgentUp);
    guest.shutdown(PATIENCE).await.unwrap();
    assert_eq!(*guest.state().borrow(), GuestState::Off);
    assert!(guest.agent("guest-ping", serde_json::json!({})).await.is_err());
    maker.close().await;
}

#[tokio::test]
async fn the_agent_runs_programs_and_reads_files() {
    let (maker, guest) = booted(own_network(), &[]).await;
    let begun = guest
        .agent(
            "guest-exec",
            serde_json::json!({
                "path": "/bin/sh", "arg": ["-c", "cat; echo done >&2; exit 3"],
                "input-data": "aGVsbG8=", "capture-output": true,
            }),
        )
        .await
        .unwrap();
    let ask = serde_json::json!({ "pid": begun["pid"] });
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let ended = loop {
        let status = guest.agent("guest-exec-status", ask.clone()).await.unwrap();
        if status["exited"] == true {
            break status;
        }
        assert!(tokio::time::Instant::now() < deadline, "the program ends in time");
        tokio::task::yield_now().await;
    };
    let expected = serde_json::json!({
        "exited": true, "exitcode": 3, "out-data": "aGVsbG8=", "err-data": "ZG9uZQo=",
    });
    assert_eq!(ended, expected);
    assert!(guest.agent("guest-exec-status", ask).await.is_err(), "told once");
    let path = serde_json::json!({ "path": "/etc/ssh/ssh_host_ed25519_key.pub" });
    let read = guest.agent("guest-file-read", path).await.unwrap();
    assert!(read["count"].as_u64().unwrap() > 60, "{read}");
    for (command, arguments) in [
        ("guest-file-read", serde_json::json!({ "path": "/no/such" })),
        ("guest-exec", serde_json::json!({})),
        ("guest-suspend-ram", serde_json::json!({})),
    ] {
        assert!(guest.agent(command, arguments).await.is_err(), "{command}");
    }
    maker.close().await;
}
