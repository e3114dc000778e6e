//! Looks at a desktop as a person would: an RDP client on a virtual screen, and a count of the colours
//! that can be seen.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Child;
use tokio::time::{Instant, timeout};

use crate::error::LabError;
use crate::lab::Lab;
use crate::process;
use crate::screen::{self, SIZE, Screen};

const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long the server may take to answer after the guest's boot is over.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// A connection request that offers TLS and NLA (MS-RDPBCGR 2.2.1.1).
const HELLO: [u8; 19] = [3, 0, 0, 19, 14, 0xe0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 3, 0, 0, 0];

/// The type of the answer's PDU: connection confirm.
const CONFIRM: u8 = 0xd0;

/// Which desktop, and as whom.
pub struct RdpTarget {
    /// Where it listens.
    pub address: SocketAddr,
    /// The user's name in the guest.
    pub user: String,
    /// The password; handed over on standard input, never on a command line.
    pub password: String,
}

/// A connected client on a screen of its own, both ended when it is dropped.
#[derive(Debug)]
pub struct RdpClient {
    screen: Screen,
    client: Child,
}

impl RdpClient {
    /// Waits for the server's answer, then starts a screen and a client that connects to `target`.
    /// Whether the desktop appears is for [`RdpClient::wait_colours`] to say.
    ///
    /// # Errors
    /// A program is missing, the server does not answer, or the screen does not come up.
    pub async fn connect(lab: &Arc<Lab>, target: &RdpTarget) -> Result<RdpClient, LabError> {
        let screen = Screen::open(lab).await?;
        wait_answer(lab, target.address).await?;
        let client = start_client(lab, &screen, target).await?;
        Ok(RdpClient { screen, client })
    }

    /// Looks until there are at least `wanted` colours, and gives their number.
    ///
    /// # Errors
    /// The client ended, or there were not as many in time; with the end of the client's log.
    pub async fn wait_colours(&mut self, wanted: u64, within: Duration) -> Result<u64, LabError> {
        let end = Instant::now() + within;
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        let mut last = 0;
        while Instant::now() < end {
            ticks.tick().await;
            if let Ok(Some(status)) = self.client.try_wait() {
                return Err(self.failed(status.to_string()));
            }
            last = self.screen.colours().await?;
            if last >= wanted {
                return Ok(last);
            }
        }
        Err(self.failed(format!("{last} colours after {within:?}, {wanted} wanted")))
    }

    /// Cuts the connection as a pulled cable would: no farewell to the server.
    ///
    /// # Errors
    /// The client cannot be waited for.
    pub async fn cut(&mut self) -> Result<(), LabError> {
        self.client.kill().await.map_err(LabError::io("end the RDP client"))
    }

    /// Ends client and screen.
    ///
    /// # Errors
    /// One of them does not end in time; dropping the lab ends it.
    pub async fn close(mut self) -> Result<(), LabError> {
        screen::end(&mut self.client, "xfreerdp").await?;
        self.screen.close().await
    }

    /// The screen that the client shows itself on.
    pub fn screen(&self) -> &Screen {
        &self.screen
    }

    /// What the client wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.screen.dir().join("client.log")).unwrap_or_default()
    }

    fn failed(&self, status: String) -> LabError {
        let stderr = process::tail(&self.log(), 2000);
        LabError::Failed { doing: "show a desktop by RDP".to_owned(), status, stderr }
    }
}

/// Waits until the server confirms a connection. That its port is open is not enough: xrdp opens it
/// for a trial while it starts, closes it, and opens it for good a second later.
async fn wait_answer(lab: &Arc<Lab>, address: SocketAddr) -> Result<(), LabError> {
    let answered = async {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            ticks.tick().await;
            if confirms(lab, address).await.is_ok_and(|kind| kind == CONFIRM) {
                return;
            }
        }
    };
    timeout(ANSWER_DEADLINE, answered).await.map_err(|_| LabError::Deadline {
        doing: format!("connect to {address} by RDP"),
        after: ANSWER_DEADLINE,
    })
}

/// The type of the PDU that answers a connection request.
async fn confirms(lab: &Arc<Lab>, address: SocketAddr) -> std::io::Result<u8> {
    let within = Duration::from_secs(2);
    let mut stream = lab.dial(address, within).await?;
    let asked = tokio::task::spawn_blocking(move || {
        stream.set_read_timeout(Some(within))?;
        stream.write_all(&HELLO)?;
        let mut start = [0; 6];
        stream.read_exact(&mut start)?;
        Ok(start[5])
    });
    asked.await.map_err(std::io::Error::other)?
}

async fn start_client(
    lab: &Arc<Lab>,
    screen: &Screen,
    target: &RdpTarget,
) -> Result<Child, LabError> {
    let log = screen::log_file(screen.dir(), "client.log")?;
    let errors = log.try_clone().map_err(LabError::io("make a log"))?;
    let mut command = screen.command("xfreerdp");
    command
        .arg(format!("/v:{}", target.address))
        .arg(format!("/u:{}", target.user))
        .args(["/from-stdin:force", "/cert:ignore", "/log-level:WARN"])
        .arg(format!("/size:{SIZE}"))
        .env("HOME", screen.dir())
        .stdin(Stdio::piped())
        .stdout(log)
        .stderr(errors);
    let mut client = command.spawn().map_err(LabError::io("start xfreerdp"))?;
    screen::record(lab, &client)?;
    // The pipe stays open: the client takes its end for an answer of its own.
    if let Some(stdin) = client.stdin.as_mut() {
        let line = format!("{}\n", target.password);
        stdin.write_all(line.as_bytes()).await.map_err(LabError::io("hand over the password"))?;
    }
    Ok(client)
}
