//! A whole deployment inside a program of yours, asked through HTTP as any client does.
//!
//! The hypervisor is a simulated Proxmox VE cluster that speaks the real protocol; with the address
//! and the token of a real one in the settings, the same lines make real machines.
//!
//! `cargo run -p daas-examples --bin deployment`

#![expect(clippy::print_stdout, reason = "an example tells what it does")]

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use daas_compose::{Deployment, Settings};
use daas_core::access::Role;
use daas_core::ids::Organisation;
use daas_core::owner::Realms;
use daas_http::mint_key;
use daas_sim::{NullGuests, SimConfig, Simulator};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Two nodes; machine 9000 is a template there, its guests have an agent and no network.
    let sim = Simulator::start(SimConfig::nodes(2), Arc::new(NullGuests::default())).await?;

    // The same text that an administrator writes into daas.toml.
    let directory = tempfile::tempdir()?;
    let settings = Settings::parse(&format!(
        r#"
data_dir = {data:?}
[http]
listen = "127.0.0.1:0"
[proxmox]
url = "{url}"
token = "{token}"
fingerprint = "{fingerprint}"
[[templates]]
name = "lab"
provisioner = "proxmox"
source = "9000"
ready_when = "agent"
"#,
        data = directory.path(),
        url = sim.url(),
        token = sim.token("daas@pve", "daas").context("the simulator's own token")?,
        fingerprint = sim.fingerprint(),
    ))?;
    let deployment = Deployment::open(settings).await?;
    let url = deployment.addresses().url();

    // A key for Alice; it is shown once, the store keeps its hash.
    let alice = Realms::default().owner("Alice")?;
    let now = jiff::Timestamp::now();
    let (key, kept) = mint_key("laptop", alice, Organisation::default(), Role::User, now)?;
    deployment.engine().store().keys().add_key(&kept).await?;

    let stop = CancellationToken::new();
    let server = tokio::spawn(deployment.run(stop.clone()));

    let api = Api { client: reqwest::Client::new(), url, key: key.expose().clone() };
    let asked = api.call("POST", "", Some(json!({"template": "lab"}))).await?;
    let id = asked["id"].as_str().context("a session has an id")?;
    println!("{id} is asked for");
    let ready = api.until(id, "ready").await?;
    println!("{id} is ready on {}", ready["machine"]["place"].as_str().unwrap_or("?"));
    api.call("DELETE", &format!("/{id}"), None).await?;
    let ended = api.until(id, "ended").await?;
    println!("{id} is {}; {} machines are left", ended["outcome"], sim.cluster().vms().len());

    stop.cancel();
    server.await??;
    sim.stop().await;
    Ok(())
}

/// The REST API, as far as it is used here.
struct Api {
    client: reqwest::Client,
    url: String,
    key: String,
}

impl Api {
    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value> {
        let url = format!("{}/api/v1/sessions{path}", self.url);
        let mut request = self.client.request(method.parse()?, url).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    /// Looks until a session is in `phase`. The stream of events would tell without looking.
    async fn until(&self, id: &str, phase: &str) -> Result<Value> {
        let mut pause = tokio::time::interval(Duration::from_millis(100));
        let looking = async {
            loop {
                let session = self.call("GET", &format!("/{id}"), None).await?;
                if session["phase"] == phase {
                    return Ok(session);
                }
                pause.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), looking).await?
    }
}
