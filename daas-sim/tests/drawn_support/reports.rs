//! A small HTTP server that collects activity reports, and the reporter's installation.

use daas_sim::guest::drawn::DrawnGuest;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::PATIENCE;

/// Heads and bodies as they came in.
pub(crate) type Reports = mpsc::UnboundedReceiver<(String, Value)>;

/// Answers every report with 204 and passes it on.
pub(crate) fn collect(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
) -> (JoinHandle<()>, Reports) {
    let (sender, reports) = mpsc::unbounded_channel();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let report = match &tls {
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => answer(stream).await,
                    // A client that does not trust us; the next one may.
                    Err(_) => continue,
                },
                None => answer(stream).await,
            };
            // Nobody reads any more at the end of a test.
            let _ = sender.send(report);
        }
    });
    (task, reports)
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin) -> (String, Value) {
    let mut stream = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let start = head.len();
        if stream.read_line(&mut head).await.unwrap() == 0 {
            break;
        }
        let line = head[start..].to_ascii_lowercase();
        if let Some(text) = line.strip_prefix("content-length:") {
            length = text.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    (head, serde_json::from_slice(&body).unwrap())
}

/// The next report, in time.
pub(crate) async fn next(reports: &mut Reports) -> (String, Value) {
    timeout(PATIENCE, reports.recv()).await.expect("a report in time").expect("the server runs")
}

/// A unit file as a configurator would write it.
pub(crate) const UNIT: &str = "[Unit]\nDescription=Activity reporter\n[Service]\n\
ExecStart=/usr/local/sbin/daas-activity\n[Install]\nWantedBy=multi-user.target\n";

/// Installs and starts the reporter; `more` are further lines of its settings.
pub(crate) async fn install(guest: &DrawnGuest, url: &str, period: &str, more: &str) {
    let script = format!(
        "set -e; mkdir -p /etc/daas; printf 'tok-123\\n' > /etc/daas/token\n\
         cat > /etc/daas/activity.env <<EOF\nDAAS_ACTIVITY_URL={url}\n\
         DAAS_ACTIVITY_TOKEN_FILE=/etc/daas/token\nDAAS_ACTIVITY_PERIOD_SECONDS={period}\n\
         {more}\nEOF\n\
         cat > /etc/systemd/system/daas-activity.service\n\
         systemctl daemon-reload; systemctl enable --now daas-activity.service"
    );
    let ran = guest.run("root", &script, UNIT).await.unwrap();
    assert_eq!(ran.status, 0, "{ran:?}");
}
