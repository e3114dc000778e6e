//! A whole world on loopback, for the demo and the benchmarks: a simulated cluster, guests, the
//! real server with its real store, and a client with a key.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use daas_compose::{Deployment, Settings};
use daas_core::access::Role;
use daas_core::ids::Organisation;
use daas_core::owner::Owner;
use daas_core::secret::Secret;
use daas_http::identity::{LOCAL_REALM, hash_password};
use daas_sim::guest::GuestMaker;
use daas_sim::guest::drawn::{DrawnConfig, DrawnGuests};
use daas_sim::{Durations, NullGuests, SimConfig, Simulator, TemplateConfig};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::args::BenchConfigurator;
use crate::client::Client;
use crate::exit::{Code, Failure, Outcome};
use crate::wire::Session;

/// The template that the world offers.
pub(crate) const TEMPLATE: &str = "debian-xfce";
/// Its machine id in the simulated cluster.
const TEMPLATE_ID: u32 = 9000;
const VNC_PASSWORD: &str = "demo";
/// Who can sign in to the pages, and the password: everything listens on this machine only.
pub(crate) const PERSON: &str = "demo";

/// What sort of world.
#[derive(Debug, Clone)]
pub(crate) struct WorldArgs {
    pub(crate) port: u16,
    pub(crate) scale: f64,
    pub(crate) nodes: usize,
    pub(crate) seed: u64,
    pub(crate) configurator: BenchConfigurator,
    /// Room for this many machines.
    pub(crate) machines: usize,
}

impl Default for WorldArgs {
    fn default() -> Self {
        Self {
            port: 0,
            scale: 1.0,
            nodes: 3,
            seed: 1,
            configurator: BenchConfigurator::Ssh,
            machines: 200,
        }
    }
}

/// A running world.
pub(crate) struct World {
    directory: tempfile::TempDir,
    sim: Simulator,
    guests: Arc<dyn GuestMaker>,
    drawn: DrawnConfig,
    url: String,
    key: String,
    key_file: PathBuf,
    stop: CancellationToken,
    server: JoinHandle<Result<(), daas_compose::ComposeError>>,
    engine: daas_core::engine::Engine,
}

impl World {
    pub(crate) async fn start(args: WorldArgs) -> Outcome<Self> {
        let failed = |e: &dyn std::fmt::Display| Failure::new(Code::Failed, e.to_string());
        let directory = tempfile::Builder::new()
            .prefix("daas-")
            .tempdir()
            .map_err(|e| failed(&format!("temporary directory: {e}")))?;
        let drawn =
            DrawnConfig { vnc_password: Some(VNC_PASSWORD.to_owned()), ..DrawnConfig::default() };
        let guests: Arc<dyn GuestMaker> = match args.configurator {
            BenchConfigurator::Ssh => Arc::new(DrawnGuests::new(drawn.clone())),
            BenchConfigurator::Fake => Arc::new(NullGuests::default()),
        };
        let sim = Simulator::start(sim_config(&args), Arc::clone(&guests))
            .await
            .map_err(|e| failed(&e))?;
        let settings = settings(&args, &sim, directory.path(), &drawn)?;
        let deployment = Deployment::open(settings).await.map_err(super::commands::serve::compose);
        let deployment = match deployment {
            Ok(deployment) => deployment,
            Err(failure) => {
                sim.stop().await;
                return Err(failure.hint("`--port 0` takes a free port"));
            }
        };
        let engine = deployment.engine().clone();
        let url = deployment.addresses().url();
        let key = make_key(&engine).await?;
        let key_file = directory.path().join("key");
        write_key(&key_file, &key)?;
        let stop = CancellationToken::new();
        let server = tokio::spawn(deployment.run(stop.clone()));
        Ok(Self { directory, sim, guests, drawn, url, key, key_file, stop, server, engine })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn sim_url(&self) -> String {
        self.sim.url()
    }

    pub(crate) fn sim(&self) -> &Simulator {
        &self.sim
    }

    pub(crate) fn engine(&self) -> &daas_core::engine::Engine {
        &self.engine
    }

    pub(crate) fn key_file(&self) -> &Path {
        &self.key_file
    }

    pub(crate) fn vnc_port(&self) -> u16 {
        self.drawn.vnc_port
    }

    pub(crate) fn vnc_password(&self) -> &'static str {
        VNC_PASSWORD
    }

    /// A client with a key.
    pub(crate) fn client(&self) -> Outcome<Client> {
        Client::connect(self.url.clone(), Some(self.key.clone()), None)
    }

    /// Destroys every session and waits for the proof.
    pub(crate) async fn clear(&self, deadline: Duration) -> Outcome {
        let client = self.client()?;
        let live = vec![("live", "true".to_owned()), ("limit", "1000".to_owned())];
        for session in client.sessions(&live).await? {
            client.destroy(&session.id).await?;
            client.until(&session.id, deadline, |_| {}, Session::has_ended).await?;
        }
        Ok(())
    }

    /// Stops everything; an error names what was left.
    pub(crate) async fn stop(self) -> Outcome {
        match self.close().await? {
            0 => Ok(()),
            machines => Err(Failure::new(
                Code::LeftBehind,
                format!("{machines} machines were left on the simulated cluster"),
            )),
        }
    }

    /// Stops everything, whatever is going on in it: the machines are gone with their cluster.
    pub(crate) async fn end(self) -> Outcome {
        self.close().await.map(drop)
    }

    /// Stops everything; how many machines the cluster had when the server was gone.
    async fn close(self) -> Outcome<usize> {
        self.stop.cancel();
        let served = self.server.await;
        let machines = self.sim.cluster().vms().len();
        self.sim.stop().await;
        self.guests.close().await;
        drop(self.directory);
        match served {
            Ok(Ok(())) => Ok(machines),
            Ok(Err(error)) => Err(super::commands::serve::compose(error)),
            Err(error) => Err(Failure::new(Code::Failed, format!("the server: {error}"))),
        }
    }
}

fn sim_config(args: &WorldArgs) -> SimConfig {
    let mut config = SimConfig::nodes(args.nodes.max(1));
    config.durations = if args.scale > 0.0 { Durations::realistic() } else { Durations::zero() };
    config.scale = args.scale;
    config.seed = args.seed;
    config.log_requests = false;
    for node in &mut config.nodes {
        // Room for all of them: the benchmark measures us, not a queue for memory.
        node.memory_mib = (args.machines as u64 * 2048).max(64 * 1024);
    }
    config.templates = vec![TemplateConfig {
        storage: "shared".to_owned(),
        image: TEMPLATE.to_owned(),
        ..TemplateConfig::new(TEMPLATE_ID, TEMPLATE, "pve1")
    }];
    config
}

/// The same configuration that an administrator writes, only for loopback.
fn settings(
    args: &WorldArgs,
    sim: &Simulator,
    directory: &Path,
    drawn: &DrawnConfig,
) -> Outcome<Settings> {
    let failed = |e: daas_core::Error| Failure::new(Code::Failed, e.to_string());
    let (configurator, ready_when, section) = match args.configurator {
        BenchConfigurator::Ssh => ("ssh", "rdp", "[ssh]"),
        BenchConfigurator::Fake => ("fake", "agent", "[fake]"),
    };
    let text = format!(
        r#"
data_dir = {data:?}
{section}
[http]
listen = "127.0.0.1:{port}"
guest_listen = "127.0.0.1:0"
[http.limits]
calls_of_caller = {{ per_second = 0, burst = 0 }}
[proxmox]
url = "{url}"
token = "{token}"
fingerprint = "{fingerprint}"
ids = {{ first = 100000, last = 199999 }}
linked_clones_per_node = {machines}
clones_per_storage = {machines}
agent_calls_per_node = {machines}
[brakes]
machines_max = {machines}
creations_per_minute = 1000000
destructions_per_minute = 1000000
[[templates]]
name = "{TEMPLATE}"
title = "Debian with XFCE"
provisioner = "proxmox"
source = "{TEMPLATE_ID}"
configurator = "{configurator}"
ready_when = "{ready_when}"
ports = {{ rdp = {rdp}, ssh = {ssh} }}
[identity.roles]
"admins@{LOCAL_REALM}" = "admin"
[identity.users.{PERSON}]
password_hash = {hash:?}
groups = ["admins"]
"#,
        hash = hash_password(&Secret::from(PERSON)).map_err(failed)?,
        data = directory.join("data"),
        port = args.port,
        url = sim.url(),
        token = sim.token("daas@pve", "daas").unwrap_or_default(),
        fingerprint = sim.fingerprint(),
        machines = args.machines.max(200),
        rdp = drawn.rdp_port,
        ssh = drawn.ssh_port,
    );
    Settings::parse(&text).map_err(super::commands::serve::compose)
}

async fn make_key(engine: &daas_core::engine::Engine) -> Outcome<String> {
    let failed = |e: daas_core::Error| Failure::new(Code::Failed, e.to_string());
    let owner = Owner { realm: LOCAL_REALM.to_owned(), name: PERSON.to_owned() };
    let now = jiff::Timestamp::now();
    let minted = daas_http::mint_key("demo", owner, Organisation::default(), Role::Admin, now);
    let (key, at_rest) = minted.map_err(failed)?;
    engine.store().keys().add_key(&at_rest).await.map_err(failed)?;
    Ok(key.expose().clone())
}

fn write_key(path: &Path, key: &str) -> Outcome {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let written = options.open(path).and_then(|mut file| writeln!(file, "{key}"));
    written.map_err(|e| Failure::new(Code::Failed, format!("{}: {e}", path.display())))
}
