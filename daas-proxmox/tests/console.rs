//! The way to a machine's screen: a connection that speaks RFB, and clear words when there is none.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

mod bench;

use std::time::Duration;

use bench::{Bench, make, remove, reserve};
use daas_core::Kind;
use daas_core::ids::DeploymentId;
use daas_core::machine::{Power, Reservation};
use daas_core::provisioner::{ConsoleLine, Provisioner as _};
use daas_proxmox::ProxmoxProvisioner;
use daas_sim::{SimConfig, Version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);

async fn running(bench: &Bench) -> (ProxmoxProvisioner, Reservation) {
    let (p, spec) = (bench.provisioner(), bench.spec());
    let reservation = reserve(&p, &spec).await.unwrap();
    make(&p, &reservation, &spec, Power::Running).await.unwrap();
    (p, reservation)
}

async fn open(p: &ProxmoxProvisioner, of: &Reservation) -> daas_core::Result<ConsoleLine> {
    timeout(SOON, p.extras().console.unwrap().open(of)).await.unwrap()
}

/// Greets, and is asked for a VNC password (RFC 6143, 7.1.1 and 7.1.2).
async fn asks_for_a_password(line: &mut ConsoleLine) {
    let mut version = [0; 12];
    timeout(SOON, line.stream.read_exact(&mut version)).await.unwrap().unwrap();
    assert_eq!(&version, b"RFB 003.008\n");
    line.stream.write_all(&version).await.unwrap();
    line.stream.flush().await.unwrap();
    let mut offered = [0; 2];
    timeout(SOON, line.stream.read_exact(&mut offered)).await.unwrap().unwrap();
    assert_eq!(offered, [1, 2]);
}

#[tokio::test]
async fn the_screen_is_there_on_every_version() {
    for version in [Version::V8_4, Version::V9_0, Version::V9_1, Version::V9_2] {
        let bench = Bench::with(SimConfig { version, ..SimConfig::nodes(3) }).await;
        let (p, reservation) = running(&bench).await;
        let mut line = open(&p, &reservation).await.unwrap();
        assert_eq!(line.password.as_ref().map(|p| p.expose().len()), Some(8), "{version:?}");
        asks_for_a_password(&mut line).await;
        // Whoever looks beside it has a connection of their own.
        asks_for_a_password(&mut open(&p, &reservation).await.unwrap()).await;
        // Who goes lets the connection end: what waits there would wait for ever.
        drop(line);
        remove(&p, &reservation).await.unwrap();
    }
}

#[tokio::test]
async fn a_machine_without_power_and_one_that_is_gone_have_no_screen() {
    let bench = Bench::new().await;
    let (p, spec) = (bench.provisioner(), bench.spec());
    let reservation = reserve(&p, &spec).await.unwrap();
    assert_eq!(open(&p, &reservation).await.unwrap_err().kind(), Kind::NotFound);
    make(&p, &reservation, &spec, Power::Stopped).await.unwrap();
    let error = open(&p, &reservation).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    assert!(error.to_string().contains("has no power; start it"), "{error}");
    remove(&p, &reservation).await.unwrap();
    assert_eq!(open(&p, &reservation).await.unwrap_err().kind(), Kind::NotFound);
}

#[tokio::test]
async fn somebody_elses_machine_is_not_shown() {
    let bench = Bench::new().await;
    let (p, reservation) = running(&bench).await;
    let other = ProxmoxProvisioner::new(bench.config(), DeploymentId::mint()).unwrap();
    let error = open(&other, &reservation).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict, "{error}");
    remove(&p, &reservation).await.unwrap();
}
