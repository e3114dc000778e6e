//! The activity reporter of drawn guests, against a small HTTP server.

#![allow(clippy::unwrap_used)]

mod drawn_support;

use std::sync::Arc;
use std::time::Duration;

use daas_sim::guest::GuestMaker;
use daas_sim::guest::drawn::{DrawnConfig, DrawnGuest, UnitHook};
use drawn_support::reports::{UNIT, collect, install, next};
use drawn_support::{PATIENCE, booted, own_network, until};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// Three periods of the quickest reporter here.
const QUIET: Duration = Duration::from_millis(600);

#[tokio::test]
async fn it_reports_at_once_every_period_and_again_after_the_server_was_away() {
    let (maker, guest) = booted(own_network(), &[]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (server, mut reports) = collect(listener, None);
    install(&guest, &format!("http://{address}/report"), "0.2", "").await;
    let (head, body) = next(&mut reports).await;
    assert!(head.starts_with("POST /report HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("authorization: bearer tok-123\r\n"), "{head}");
    assert_eq!(body["sessions"], serde_json::json!([]));
    assert!(body["uptime_seconds"].is_u64() && body["boot_id"].is_string(), "{body}");
    assert_eq!(next(&mut reports).await.1["boot_id"], body["boot_id"], "the same boot");

    server.abort();
    let _ = server.await;
    until("a failure is noted", || {
        guest.with_disk(|disk| disk.log().any(|entry| entry.text.contains("report failed")))
    })
    .await;
    let (server, mut reports) = collect(TcpListener::bind(address).await.unwrap(), None);
    next(&mut reports).await;

    let stop = guest.run("root", "systemctl disable --now daas-activity", "").await.unwrap();
    assert_eq!(stop.status, 0, "{stop:?}");
    let silence = async { while timeout(QUIET, reports.recv()).await.is_ok() {} };
    timeout(PATIENCE, silence).await.expect("a stopped reporter is silent");
    server.abort();
    maker.close().await;
}

#[tokio::test]
async fn an_enabled_reporter_starts_with_the_guest_and_a_bad_one_fails() {
    let (maker, guest) = booted(own_network(), &[]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (server, mut reports) = collect(listener, None);
    install(&guest, &format!("http://{address}/"), "3600", "").await;
    let before = next(&mut reports).await.1;
    guest.run("root", "reboot", "").await.unwrap();
    let after = next(&mut reports).await.1;
    assert_ne!(before["boot_id"], after["boot_id"], "another boot");
    let spoil = "echo > /etc/daas/activity.env; systemctl restart daas-activity";
    guest.run("root", spoil, "").await.unwrap();
    until("the unit has failed", || {
        guest.with_disk(|disk| disk.units["daas-activity.service"].failed)
    })
    .await;
    let asked = guest.run("root", "systemctl is-failed daas-activity", "").await.unwrap();
    assert_eq!((asked.stdout.as_str(), asked.status), ("failed\n", 0));
    server.abort();
    maker.close().await;
}

#[tokio::test]
async fn over_https_it_trusts_the_given_authority_only() {
    let (maker, guest) = booted(own_network(), &[]).await;
    let made = |name: &str| rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let (own, other) = (made("127.0.0.1"), made("127.0.0.1"));
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let (server, mut reports) = collect(listener, Some(TlsAcceptor::from(Arc::new(config))));
    let trust = "DAAS_ACTIVITY_CA_FILE=/etc/daas/ca.pem";
    guest.run("root", "mkdir -p /etc/daas; cat > /etc/daas/ca.pem", &other.cert.pem()).await;
    install(&guest, &url, "3600", trust).await;
    until("another authority is not trusted", || {
        guest.with_disk(|disk| disk.log().any(|entry| entry.text.contains("report failed")))
    })
    .await;
    assert!(reports.try_recv().is_err(), "nothing was told to a stranger");
    let renew = "cat > /etc/daas/ca.pem; systemctl restart daas-activity";
    guest.run("root", renew, &own.cert.pem()).await.unwrap();
    assert!(next(&mut reports).await.1["boot_id"].is_string());
    server.abort();
    maker.close().await;
}

/// Remembers what it was told.
#[derive(Debug, Default)]
struct Remember(std::sync::Mutex<Vec<String>>);

impl UnitHook for Remember {
    fn started(&self, guest: &Arc<DrawnGuest>, unit: &str, text: &str) {
        let lines = text.lines().count();
        self.0.lock().unwrap().push(format!("{} started {unit} {lines}", guest.vmid()));
    }

    fn stopped(&self, guest: &Arc<DrawnGuest>, unit: &str) {
        self.0.lock().unwrap().push(format!("{} stopped {unit}", guest.vmid()));
    }
}

#[tokio::test]
async fn a_hook_hears_of_units() {
    let hook = Arc::new(Remember::default());
    let config = DrawnConfig { unit_hook: Some(hook.clone()), ..own_network() };
    let (maker, guest) = booted(config, &[]).await;
    let script = "cat > /etc/systemd/system/x.service; systemctl start x; systemctl restart x";
    assert_eq!(guest.run("root", script, UNIT).await.unwrap().status, 0);
    maker.close().await;
    let told = hook.0.lock().unwrap().clone();
    let mine: Vec<&String> = told.iter().filter(|line| line.contains(" x.service")).collect();
    let expected = [
        "101 started x.service 6",
        "101 stopped x.service",
        "101 started x.service 6",
        "101 stopped x.service",
    ];
    assert_eq!(mine, expected);
}
