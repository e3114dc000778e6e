//! Looks at a desktop as a person would: a virtual screen, an RDP client on it, and a count of the
//! colours that can be seen.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

use crate::error::LabError;
use crate::lab::Lab;
use crate::process::{self, Process};
use crate::run::Made;
use crate::sweep;
use crate::tools::{DESKTOP_TOOLS, Missing};

/// How long the virtual screen, a screenshot or an ending may take.
const STEP_DEADLINE: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(250);
const SIZE: &str = "1280x800";

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

/// A connected client on a screen of its own. Dropping it ends both.
#[derive(Debug)]
pub struct RdpClient {
    lab: Arc<Lab>,
    dir: PathBuf,
    display: u32,
    screen: Child,
    client: Child,
}

impl RdpClient {
    /// Waits for the server's answer, then starts a screen and a client that connects to `target`. Whether the desktop appears is for
    /// [`RdpClient::wait_colours`] to say.
    ///
    /// # Errors
    /// A program is missing, the server does not answer, or the screen does not come up.
    pub async fn connect(lab: &Arc<Lab>, target: &RdpTarget) -> Result<RdpClient, LabError> {
        if let Some(missing) = Missing::of(DESKTOP_TOOLS) {
            return Err(missing.into());
        }
        wait_answer(lab, target.address).await?;
        let dir = lab.base().join(format!("rdp{}", lab.next_number()));
        fs::create_dir(&dir).map_err(LabError::io("make the client's directory"))?;
        let (screen, display) = start_screen(lab, &dir).await?;
        let client = start_client(lab, &dir, display, target).await?;
        Ok(RdpClient { lab: Arc::clone(lab), dir, display, screen, client })
    }

    /// Takes a picture of the screen.
    ///
    /// # Errors
    /// ImageMagick fails or takes too long.
    pub async fn screenshot(&self, file: &Path) -> Result<(), LabError> {
        let mut import = self.on_screen("import");
        import.args(["-window", "root"]).arg(file);
        run(import, "take a screenshot").await.map(drop)
    }

    /// How many colours are on the screen: one means nothing yet, more than a thousand a desktop.
    ///
    /// # Errors
    /// ImageMagick fails or takes too long.
    pub async fn colours(&self) -> Result<u64, LabError> {
        let file = self.dir.join("screen.png");
        self.screenshot(&file).await?;
        let mut identify = Command::new("identify");
        identify.args(["-format", "%k"]).arg(&file).kill_on_drop(true);
        let output = run(identify, "count colours").await?;
        let text = String::from_utf8_lossy(&output).trim().to_owned();
        text.parse().map_err(|_| LabError::Failed {
            doing: "count colours".to_owned(),
            status: "no number".to_owned(),
            stderr: text,
        })
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
            last = self.colours().await?;
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
        end(&mut self.client, "xfreerdp").await?;
        // Ended in order, the X server takes its lock and its socket away.
        end(&mut self.screen, "Xvfb").await
    }

    /// What the client wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("client.log")).unwrap_or_default()
    }

    fn on_screen(&self, program: &str) -> Command {
        let mut command = self.lab.command(program);
        command.env("DISPLAY", format!(":{}", self.display));
        command
    }

    fn failed(&self, status: String) -> LabError {
        let stderr = process::tail(&self.log(), 2000);
        LabError::Failed { doing: "show a desktop by RDP".to_owned(), status, stderr }
    }
}

impl Drop for RdpClient {
    fn drop(&mut self) {
        for child in [&mut self.client, &mut self.screen] {
            // Refused when it has ended, which is what is wanted.
            let _ = child.start_kill();
        }
        let gone = process::poll(Duration::from_secs(1), Duration::from_millis(5), || {
            process_of(&self.screen).is_none().then_some(())
        });
        if gone.is_some()
            && let Err(error) = sweep::remove_display(self.display)
        {
            tracing::warn!(%error, display = self.display, "a display's lock is left");
        }
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

async fn start_screen(lab: &Arc<Lab>, dir: &Path) -> Result<(Child, u32), LabError> {
    let log = log_file(dir, "screen.log")?;
    let mut command = lab.command("Xvfb");
    // The server takes a free number and says which, once it is ready.
    command
        .args(["-displayfd", "1", "-screen", "0", &format!("{SIZE}x24"), "-nolisten", "tcp"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log);
    let mut screen = command.spawn().map_err(LabError::io("start Xvfb"))?;
    record(lab, &screen)?;
    let mut line = String::new();
    if let Some(stdout) = screen.stdout.take() {
        let mut lines = BufReader::new(stdout);
        let read = timeout(STEP_DEADLINE, lines.read_line(&mut line)).await;
        read.map_err(|_| late("start Xvfb"))?.map_err(LabError::io("start Xvfb"))?;
    }
    let display = line.trim().parse().map_err(|_| LabError::Failed {
        doing: "start Xvfb".to_owned(),
        status: "no display number".to_owned(),
        stderr: fs::read_to_string(dir.join("screen.log")).unwrap_or_default(),
    })?;
    lab.record(&Made::Display(display))?;
    Ok((screen, display))
}

async fn start_client(
    lab: &Arc<Lab>,
    dir: &Path,
    display: u32,
    target: &RdpTarget,
) -> Result<Child, LabError> {
    let log = log_file(dir, "client.log")?;
    let errors = log.try_clone().map_err(LabError::io("make a log"))?;
    let mut command = lab.command("xfreerdp");
    command
        .arg(format!("/v:{}", target.address))
        .arg(format!("/u:{}", target.user))
        .args(["/from-stdin:force", "/cert:ignore", "/log-level:WARN"])
        .arg(format!("/size:{SIZE}"))
        .env("DISPLAY", format!(":{display}"))
        .env("HOME", dir)
        .stdin(Stdio::piped())
        .stdout(log)
        .stderr(errors);
    let mut client = command.spawn().map_err(LabError::io("start xfreerdp"))?;
    record(lab, &client)?;
    // The pipe stays open: the client takes its end for an answer of its own.
    if let Some(stdin) = client.stdin.as_mut() {
        let line = format!("{}\n", target.password);
        stdin.write_all(line.as_bytes()).await.map_err(LabError::io("hand over the password"))?;
    }
    Ok(client)
}

async fn end(child: &mut Child, name: &str) -> Result<(), LabError> {
    if let Some(process) = process_of(child) {
        process.signal(rustix::process::Signal::TERM);
    }
    let doing = format!("end {name}");
    match timeout(STEP_DEADLINE, child.wait()).await {
        Ok(ended) => ended.map(drop).map_err(LabError::io(doing)),
        Err(_) => Err(late(&doing)),
    }
}

async fn run(mut command: Command, doing: &str) -> Result<Vec<u8>, LabError> {
    let output = timeout(STEP_DEADLINE, command.output()).await;
    let output = output.map_err(|_| late(doing))?.map_err(LabError::io(doing))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(LabError::Failed {
        doing: doing.to_owned(),
        status: output.status.to_string(),
        stderr: process::tail(&String::from_utf8_lossy(&output.stderr), 2000),
    })
}

fn late(doing: &str) -> LabError {
    LabError::Deadline { doing: doing.to_owned(), after: STEP_DEADLINE }
}

fn log_file(dir: &Path, name: &str) -> Result<fs::File, LabError> {
    fs::File::create(dir.join(name)).map_err(LabError::io("make a log"))
}

fn record(lab: &Lab, child: &Child) -> Result<(), LabError> {
    process_of(child).map_or(Ok(()), |process| lab.record(&Made::Process(process)))
}

fn process_of(child: &Child) -> Option<Process> {
    child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Process::of)
}
