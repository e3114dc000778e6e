//! The activity reporter of drawn guests, against a small HTTP server.

#![allow(clippy::unwrap_used)]

mod drawn_support;

use std::sync::Arc;
use std::time::Duration;

use daas_sim::guest::GuestMaker;
use daas_sim::guest::drawn::{DrawnConfig, DrawnGuest, UnitHook};
use drawn_support::{PATIENCE, booted, until};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Answers every report with 204 and passes its head and body on.
fn collect(listener: TcpListener) -> (JoinHandle<()>, mpsc::UnboundedReceiver<(String, Value)>) {
    let (sender, reports) = mpsc::unbounded_channel();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            let (mut head, mut length) = (String::new(), 0);
            while !head.ends_with("\r\n\r\n") {
                let start = head.len();
                if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
                    break;
                }
                let line = head[start..].to_ascii_lowercase();
                if let Some(text) = line.strip_prefix("content-length:") {
                    length = text.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.unwrap();
            let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            let _ = sender.send((head, serde_json::from_slice(&body).unwrap()));
        }
    });
    (task, reports)
}

async fn next(reports: &mut mpsc::UnboundedReceiver<(String, Value)>) -> (String, Value) {
    timeout(PATIENCE, reports.recv()).await.expect("a report in time").expect("the server runs")
}

const UNIT: &str = "[Unit]\nDescription=Activity reporter\n[Service]\n\
ExecStart=/usr/local/sbin/daas-activity\n[Install]\nWantedBy=multi-user.target\n";

async fn install(guest: &DrawnGuest, url: &str, period: &str) {
    let script = format!(
        "set -e; mkdir -p /etc/daas; printf 'tok-123\\n' > /etc/daas/token\n\
         cat > /etc/daas/activity.env <<EOF\nDAAS_ACTIVITY_URL={url}\n\
         DAAS_ACTIVITY_TOKEN_FILE=/etc/daas/token\nDAAS_ACTIVITY_PERIOD_SECONDS={period}\nEOF\n\
         cat > /etc/systemd/system/daas-activity.service\n\
         systemctl daemon-reload; systemctl enable --now daas-activity.service"
    );
    let ran = guest.run("root", &script, UNIT).await.unwrap();
    assert_eq!(ran.status, 0, "{ran:?}");
}

#[tokio::test]
async fn it_reports_at_once_every_period_and_again_after_the_server_was_away() {
    let (maker, guest) = booted(DrawnConfig::default(), &[]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (server, mut reports) = collect(listener);
    install(&guest, &format!("http://{address}/report"), "0.2").await;
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
    let (server, mut reports) = collect(TcpListener::bind(address).await.unwrap());
    next(&mut reports).await;

    let stop = guest.run("root", "systemctl disable --now daas-activity", "").await.unwrap();
    assert_eq!(stop.status, 0, "{stop:?}");
    while timeout(Duration::from_millis(600), reports.recv()).await.is_ok() {}
    server.abort();
    maker.close().await;
}

#[tokio::test]
async fn an_enabled_reporter_starts_with_the_guest_and_a_bad_one_fails() {
    let (maker, guest) = booted(DrawnConfig::default(), &[]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (server, mut reports) = collect(listener);
    install(&guest, &format!("http://{address}/"), "3600").await;
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
    let config = DrawnConfig { unit_hook: Some(hook.clone()), ..DrawnConfig::default() };
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
