//! Runs a simulated Proxmox VE cluster until Ctrl-C, and says how to reach it.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use daas_sim::guest::GuestMaker;
use daas_sim::guest::drawn::{DrawnConfig, DrawnGuests};
use daas_sim::{Durations, NullGuests, SimConfig, Simulator};

/// A simulated Proxmox VE cluster, for trying and testing clients.
#[derive(Debug, Parser)]
#[command(name = "daas-sim", version)]
struct Options {
    /// Where the first node listens; further nodes take the ports after it
    #[arg(long, default_value = "127.0.0.1:8006")]
    listen: SocketAddr,
    /// The cluster as a TOML file; what it leaves out has a default
    #[arg(long)]
    config: Option<PathBuf>,
    /// How many nodes to simulate, when no file says so
    #[arg(long, default_value_t = 1, conflicts_with = "config")]
    nodes: usize,
    /// What durations are multiplied with: 1 is a real cluster's pace, 0 is at once
    #[arg(long)]
    scale: Option<f64>,
    /// What random choices are drawn from
    #[arg(long)]
    seed: Option<u64>,
    /// What stands behind the machines
    #[arg(long, default_value = "drawn")]
    guests: GuestKind,
    /// Where to write the certificate authority; by default a temporary file, removed at the end
    #[arg(long)]
    ca_file: Option<PathBuf>,
}

/// Sorts of guests.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum GuestKind {
    /// With SSH, RDP and a desktop, on addresses of 127.77.0.0/16; a template's image is
    /// `debian-xfce` or `debian-base`.
    Drawn,
    /// Without any network; a template's image may be anything.
    Null,
}

/// The VNC password of drawn guests. It is no secret: they listen on this machine only.
const VNC_PASSWORD: &str = "simulated";

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let options = Options::parse();
    let config = configure(&options)?;
    let guests: Arc<dyn GuestMaker> = match options.guests {
        GuestKind::Null => Arc::new(NullGuests::default()),
        GuestKind::Drawn => {
            let vnc_password = Some(VNC_PASSWORD.to_owned());
            Arc::new(DrawnGuests::new(DrawnConfig { vnc_password, ..DrawnConfig::default() }))
        }
    };
    let sim = Simulator::start(config, Arc::clone(&guests)).await?;
    let (ca_file, temporary) = write_ca(&options, &sim)?;
    let told = tell(&sim, &ca_file);
    let ended = match told {
        Ok(()) => ended().await,
        Err(error) => Err(error),
    };
    sim.stop().await;
    guests.close().await;
    drop(temporary);
    ended
}

fn configure(options: &Options) -> Result<SimConfig> {
    let mut config = match &options.config {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("read {}", path.display()))?;
            toml::from_str(&text).with_context(|| format!("read {}", path.display()))?
        }
        None => {
            let base = match options.nodes {
                0 | 1 => SimConfig::default(),
                count => SimConfig::nodes(count),
            };
            SimConfig { durations: Durations::realistic(), ..base }
        }
    };
    for (nth, node) in config.nodes.iter_mut().enumerate() {
        let offset = u16::try_from(nth).context("too many nodes")?;
        let port = match options.listen.port() {
            0 => 0,
            first => first.checked_add(offset).context("no port left for every node")?,
        };
        node.listen.get_or_insert(SocketAddr::new(options.listen.ip(), port));
    }
    config.scale = options.scale.unwrap_or(config.scale);
    config.seed = options.seed.unwrap_or(config.seed);
    Ok(config)
}

/// The file's path, and the directory that is removed with its owner.
fn write_ca(options: &Options, sim: &Simulator) -> Result<(PathBuf, Option<Directory>)> {
    let (path, temporary) = match &options.ca_file {
        Some(path) => (path.clone(), None),
        None => {
            let directory = Directory::new()?;
            (directory.0.join("ca.pem"), Some(directory))
        }
    };
    std::fs::write(&path, sim.ca_pem()).with_context(|| format!("write {}", path.display()))?;
    Ok((path, temporary))
}

/// A directory of our own that does not outlive us.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("daas-sim-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "not removed");
        }
    }
}

fn tell(sim: &Simulator, ca_file: &Path) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for (node, url) in sim.urls() {
        writeln!(out, "node         {node} {url}")?;
    }
    writeln!(out, "ca file      {}", ca_file.display())?;
    writeln!(out, "fingerprint  {}", sim.fingerprint())?;
    for user in &sim.config().users {
        if let Some(password) = &user.password {
            writeln!(out, "user         {} {password}", user.id)?;
        }
    }
    for token in &sim.config().tokens {
        writeln!(out, "token        {}!{}={}", token.user, token.name, token.secret)?;
    }
    for template in sim.cluster().templates() {
        let name = template.name().unwrap_or_default();
        writeln!(out, "template     {} {name} on {}", template.vmid, template.node)?;
    }
    writeln!(out, "ready        Ctrl-C ends it")?;
    out.flush()?;
    Ok(())
}

async fn ended() -> Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.context("wait for Ctrl-C"),
        _ = terminate.recv() => Ok(()),
    }
}
