//! A simulated cluster whose machines are real guests, and a deployment on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use daas_compose::{Deployment, Settings};
use daas_core::access::Role;
use daas_lab::{NspawnGuests, Recipe, tools};
use daas_sim::guest::GuestMaker;
use daas_sim::{SimConfig, Simulator, TemplateConfig};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::Api;

/// How long anything here may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(300);
/// A picture with more is a desktop.
pub(crate) const COLOURS: u64 = 1000;

/// A cluster of two nodes with one template, 9000, of this recipe.
pub(crate) async fn cluster(guests: &Arc<NspawnGuests>, recipe: &Recipe) -> Simulator {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = SimConfig::nodes(2);
    config.templates = vec![TemplateConfig {
        storage: "shared".to_owned(),
        image: recipe.name.to_owned(),
        ..TemplateConfig::new(9000, recipe.name, "pve1")
    }];
    Simulator::start(config, Arc::clone(guests) as Arc<dyn GuestMaker>).await.unwrap()
}

/// The section of the configuration that names the cluster.
pub(crate) fn proxmox(sim: &Simulator) -> String {
    format!(
        "[proxmox]\nurl = \"{}\"\ntoken = \"{}\"\nfingerprint = \"{}\"\n",
        sim.url(),
        sim.token("daas@pve", "daas").unwrap(),
        sim.fingerprint(),
    )
}

/// The section for Terraform on that cluster, by the module that needs no provider's download; its
/// files go to `data`.
pub(crate) fn terraform(sim: &Simulator, data: &Path) -> String {
    let (ca, token) = (data.join("pve.pem"), data.join("token"));
    std::fs::write(&ca, sim.ca_pem()).unwrap();
    std::fs::write(&token, sim.token("daas@pve", "daas").unwrap()).unwrap();
    let module = concat!(env!("CARGO_MANIFEST_DIR"), "/../daas-terraform/modules/proxmox-curl");
    format!(
        "[terraform]\nmodule = {module:?}\nplatform = \"proxmox\"\n\
         variables = {{ proxmox_url = {:?}, proxmox_ca = {ca:?} }}\n\
         secret_files = {{ proxmox_token = {token:?} }}\n",
        sim.url(),
    )
}

/// The program, where `cargo xtask test --install` puts it.
pub(crate) fn ansible() -> PathBuf {
    tools::ansible_playbook(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap()
}

/// A deployment that runs.
pub(crate) struct Running {
    pub(crate) data: TempDir,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl Running {
    /// Starts one whose data directory is in `data`.
    pub(crate) async fn start(data: TempDir, settings: &str, role: Role) -> (Self, Api) {
        let mut settings = Settings::parse(settings).unwrap();
        settings.data_dir = data.path().to_owned();
        let deployment = Deployment::open(settings).await.unwrap();
        let api = Api::of(&deployment, role).await;
        let stop = CancellationToken::new();
        let running = deployment.run(stop.clone());
        let server = tokio::spawn(async move { running.await.unwrap() });
        (Self { data, stop, server }, api)
    }

    /// Stops it.
    pub(crate) async fn stop(self) -> TempDir {
        self.stop.cancel();
        self.server.await.unwrap();
        self.data
    }
}
