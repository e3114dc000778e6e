//! A virtual screen in a lab's network, and pictures of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::error::LabError;
use crate::lab::Lab;
use crate::process::{self, Process};
use crate::run::Made;
use crate::tools::{DESKTOP_TOOLS, Missing};

/// How long the screen, a picture or an ending may take.
const STEP_DEADLINE: Duration = Duration::from_secs(15);
pub(crate) const SIZE: &str = "1280x800";

/// An X server of its own, ended when it is dropped.
#[derive(Debug)]
pub struct Screen {
    lab: Arc<Lab>,
    dir: PathBuf,
    display: u32,
    server: Child,
}

impl Screen {
    /// Starts a screen, which programs of this lab alone can reach.
    ///
    /// # Errors
    /// A program is missing, or the screen does not come up.
    pub async fn open(lab: &Arc<Lab>) -> Result<Screen, LabError> {
        if let Some(missing) = Missing::of(DESKTOP_TOOLS) {
            return Err(missing.into());
        }
        let dir = lab.base().join(format!("screen{}", lab.next_number()));
        fs::create_dir(&dir).map_err(LabError::io("make the screen's directory"))?;
        let (server, display) = start(lab, &dir).await?;
        Ok(Screen { lab: Arc::clone(lab), dir, display, server })
    }

    /// Its number, as in `DISPLAY`.
    pub fn display(&self) -> u32 {
        self.display
    }

    /// Where files of the screen and of its clients are.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A program that shows itself on this screen.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = self.lab.command(program);
        command.env("DISPLAY", format!(":{}", self.display));
        command
    }

    /// Takes a picture of the screen.
    ///
    /// # Errors
    /// ImageMagick fails or takes too long.
    pub async fn screenshot(&self, file: &Path) -> Result<(), LabError> {
        let mut import = self.command("import");
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

    /// Ends it.
    ///
    /// # Errors
    /// It does not end in time; dropping the lab ends it.
    pub async fn close(mut self) -> Result<(), LabError> {
        end(&mut self.server, "Xvfb").await
    }
}

async fn start(lab: &Lab, dir: &Path) -> Result<(Child, u32), LabError> {
    let log = log_file(dir, "screen.log")?;
    let mut command = lab.command("Xvfb");
    // The server takes a free number and says which, once it is ready. It listens on an abstract
    // socket alone, which belongs to the lab's network namespace: by files in /tmp two labs would
    // share a number, and steal it from each other. Without -noreset it resets itself whenever its
    // last client goes, be it a screenshot's, and who connects just then is thrown out.
    command
        .args(["-displayfd", "1", "-screen", "0", &format!("{SIZE}x24"), "-noreset"])
        .args(["-nolisten", "tcp", "-nolisten", "unix"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log);
    let mut server = command.spawn().map_err(LabError::io("start Xvfb"))?;
    record(lab, &server)?;
    let mut line = String::new();
    if let Some(stdout) = server.stdout.take() {
        let mut lines = BufReader::new(stdout);
        let read = timeout(STEP_DEADLINE, lines.read_line(&mut line)).await;
        read.map_err(|_| late("start Xvfb"))?.map_err(LabError::io("start Xvfb"))?;
    }
    let display = line.trim().parse().map_err(|_| LabError::Failed {
        doing: "start Xvfb".to_owned(),
        status: "no display number".to_owned(),
        stderr: fs::read_to_string(dir.join("screen.log")).unwrap_or_default(),
    })?;
    Ok((server, display))
}

/// Ends a program in order.
pub(crate) async fn end(child: &mut Child, name: &str) -> Result<(), LabError> {
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

pub(crate) fn log_file(dir: &Path, name: &str) -> Result<fs::File, LabError> {
    fs::File::create(dir.join(name)).map_err(LabError::io("make a log"))
}

pub(crate) fn record(lab: &Lab, child: &Child) -> Result<(), LabError> {
    process_of(child).map_or(Ok(()), |process| lab.record(&Made::Process(process)))
}

fn process_of(child: &Child) -> Option<Process> {
    child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Process::of)
}
