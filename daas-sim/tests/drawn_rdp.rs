//! The RDP server of drawn guests, seen by FreeRDP's client on a virtual X display.
//!
//! Needs `xfreerdp`, `Xvfb` and ImageMagick's `import` and `identify`.

#![allow(clippy::unwrap_used)]

mod drawn_support;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use daas_sim::guest::GuestMaker;
use daas_sim::guest::drawn::{DrawnGuest, LogKind};
use drawn_support::{PATIENCE, booted, own_network, until};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// A display of its own; it ends with the test.
struct Display {
    _server: Child,
    name: String,
}

impl Display {
    async fn start() -> Self {
        // Xvfb takes a free number and tells it on the descriptor. It leaves no file in /tmp, and does
        // not reset itself, throwing out who connects just then, whenever its last client goes.
        let mut server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "1280x800x24", "-noreset"])
            .args(["-nolisten", "tcp", "-nolisten", "unix"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("Xvfb starts");
        let mut line = String::new();
        let mut output = BufReader::new(server.stdout.take().unwrap());
        timeout(PATIENCE, output.read_line(&mut line)).await.expect("Xvfb is up").unwrap();
        Self { _server: server, name: format!(":{}", line.trim()) }
    }

    fn client(&self, guest: &DrawnGuest, password: &str, more: &[&str]) -> Child {
        Command::new("xfreerdp")
            .arg(format!("/v:{}:{}", guest.address(), guest.ports().rdp))
            .args(["/u:alice", "/cert:ignore", "/size:1280x800", "/log-level:WARN"])
            .arg(format!("/p:{password}"))
            .args(more)
            .env("DISPLAY", &self.name)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("xfreerdp starts")
    }

    /// Takes a picture of the display; how many colours it has.
    async fn colours(&self, file: &Path) -> usize {
        let taken = Command::new("import")
            .args(["-window", "root"])
            .arg(file)
            .env("DISPLAY", &self.name)
            .status();
        assert!(timeout(PATIENCE, taken).await.unwrap().unwrap().success());
        let counted = Command::new("identify").args(["-format", "%k"]).arg(file).output();
        let counted = timeout(PATIENCE, counted).await.unwrap().unwrap();
        String::from_utf8(counted.stdout).unwrap().trim().parse().unwrap()
    }
}

#[tokio::test]
#[ignore = "needs xfreerdp, Xvfb, ImageMagick: cargo xtask test --install"]
async fn freerdp_shows_the_desktop() {
    let (maker, guest) = booted(own_network(), &[]).await;
    let display = Display::start().await;
    let folder = std::env::var_os("DAAS_TEST_SCREENSHOTS").map(std::path::PathBuf::from);
    let scratch = tempfile::tempdir().unwrap();
    let folder = folder.as_deref().unwrap_or(scratch.path());
    for depth in ["/bpp:32", "/bpp:16"] {
        let mut client = display.client(&guest, "s3cret pass", &[depth]);
        until("a session", || guest.activity_now().iter().any(|session| session.connected)).await;
        let shot = folder.join(format!("desktop-{}.png", &depth[5..]));
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let (mut before, mut colours) = (0, 0);
        // The picture is whole once it stays the same.
        while (colours <= 100 || colours != before) && tokio::time::Instant::now() < deadline {
            before = std::mem::replace(&mut colours, display.colours(&shot).await);
        }
        assert!(colours > 100, "{depth}: {colours} colours");
        let seen = guest.run("root", "ss -Htn state established '( sport = :3389 )' | wc -l", "");
        assert_eq!(seen.await.unwrap().stdout, "1\n");
        client.kill().await.unwrap();
        until("the cut is seen", || guest.activity_now().iter().all(|s| !s.connected)).await;
    }
    maker.close().await;
}

#[tokio::test]
#[ignore = "needs xfreerdp, Xvfb, ImageMagick: cargo xtask test --install"]
async fn freerdp_is_refused_with_a_wrong_password_and_with_nla() {
    let (maker, guest) = booted(own_network(), &[]).await;
    let display = Display::start().await;
    let mut wrong = display.client(&guest, "another", &[]);
    let status = timeout(PATIENCE, wrong.wait()).await.expect("it gives up").unwrap();
    assert!(!status.success());
    let refused = guest.with_disk(|disk| {
        let mut log = disk.log().filter(|entry| entry.kind == LogKind::Refused);
        log.any(|entry| entry.text.contains("wrong password"))
    });
    assert!(refused, "the refusal is in the log");
    assert!(guest.activity_now().is_empty());
    let mut nla = display.client(&guest, "s3cret pass", &["/sec:nla"]);
    let status = timeout(Duration::from_secs(10), nla.wait()).await.expect("it gives up").unwrap();
    assert!(!status.success());
    maker.close().await;
}
