//! What the tests of drawn guests share: a guest that has booted, and bounded waiting.

#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod reports;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use daas_sim::guest::drawn::{DrawnConfig, DrawnGuest, DrawnGuests};
use daas_sim::guest::{Guest, GuestSpec, GuestState, Seed};

/// No wait in these tests takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The crypt(3) string of "s3cret pass", made by `openssl passwd -6`.
const HASH: &str = concat!(
    "$6$saltysalt$kbt1/JmnLStRMstaWlls1v638rbfYcLbwxbsbagLGe6nmnP",
    "XCfIw7cm6JgPEtJ7UdOviA4wYFBVb.Ha93KvOR0",
);

/// Defaults, but with a network that no other test uses: an address given back here is not taken
/// by somebody else while the test looks whether anything still listens.
pub(crate) fn own_network() -> DrawnConfig {
    static TESTS: AtomicU8 = AtomicU8::new(0);
    let test = TESTS.fetch_add(1, Ordering::Relaxed) % 100;
    let process = (std::process::id() % 256) as u8;
    DrawnConfig {
        network: Ipv4Addr::new(127, 80 + test, process, 0),
        prefix: 24,
        ..DrawnConfig::default()
    }
}

/// A seed with user "alice", whose password is "s3cret pass", that boots at once.
pub(crate) fn seed(keys: &[String]) -> Seed {
    Seed {
        hostname: "desktop-7f3k2mq".into(),
        user: Some("alice".into()),
        password_hash: Some(HASH.into()),
        ssh_keys: keys.to_vec(),
        mac: "BC:24:11:00:00:01".into(),
        address: None,
        cores: 2,
        memory_mib: 2048,
        agent: true,
        boot: Duration::ZERO,
        agent_start: Duration::ZERO,
    }
}

/// A maker, and a guest of it that is up.
pub(crate) async fn booted(config: DrawnConfig, keys: &[String]) -> (DrawnGuests, Arc<DrawnGuest>) {
    let maker = DrawnGuests::new(config);
    let spec = GuestSpec { vmid: 101, image: "debian-xfce".into() };
    let guest = maker.make_drawn(&spec).expect("the image is known");
    guest.start(&seed(keys)).await.expect("the guest starts");
    reached(&guest, GuestState::AgentUp).await;
    (maker, guest)
}

/// Waits until the guest is in that state.
pub(crate) async fn reached(guest: &DrawnGuest, wanted: GuestState) {
    let mut state = guest.state();
    let wait = state.wait_for(|state| *state == wanted);
    tokio::time::timeout(PATIENCE, wait).await.expect("the state in time").expect("the guest");
}

/// Waits until something is true, looking every few milliseconds.
pub(crate) async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is() {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
