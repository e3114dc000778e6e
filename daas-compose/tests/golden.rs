//! The golden path on a real guest: asked for through the real API, made by the native Proxmox
//! provisioner on the simulated cluster, a real Debian under it, configured over SSH, used over RDP
//! by a real client, and ended by the idle rules when that client is cut.

#![allow(clippy::unwrap_used, reason = "a trial may panic")]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use daas_compose::{Deployment, Settings};
use daas_core::access::Role;
use daas_core::ids::Organisation;
use daas_core::owner::Owner;
use daas_lab::trials::{self, Needs};
use daas_lab::{Lab, LabConfig, Leaks, NspawnGuests, RdpClient, RdpTarget, Recipe};
use daas_sim::guest::GuestMaker;
use daas_sim::{SimConfig, Simulator, TemplateConfig};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// How long anything here may take.
const DEADLINE: Duration = Duration::from_secs(120);
const ACCOUNT: (&str, &str) = ("alice", "it's $(a) pass\"word");

fn main() {
    trials::run(vec![trials::trial(
        "a_real_desktop_comes_is_used_and_goes",
        Needs::Desktop,
        || in_lab(a_real_desktop_comes_is_used_and_goes),
    )]);
}

fn in_lab<F: Future<Output = ()>>(trial: impl FnOnce(Arc<Lab>, Arc<NspawnGuests>) -> F) {
    let config = LabConfig::from_env();
    let lab = Arc::new(Lab::open(config.clone()).unwrap());
    let id = lab.id().to_owned();
    lab.enter().unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let desk = Recipe::desk();
        let images = [(desk.name, desk.clone())];
        let guests = Arc::new(NspawnGuests::prepare(Arc::clone(&lab), &images).await.unwrap());
        trial(Arc::clone(&lab), Arc::clone(&guests)).await;
        guests.close().await;
    });
    drop(runtime);
    lab.close().unwrap();
    assert_eq!(Leaks::of_absent(&config, &id).check(), Vec::<String>::new());
}

async fn a_real_desktop_comes_is_used_and_goes(lab: Arc<Lab>, guests: Arc<NspawnGuests>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = SimConfig::nodes(2);
    config.templates = vec![TemplateConfig {
        storage: "shared".to_owned(),
        image: Recipe::desk().name.to_owned(),
        ..TemplateConfig::new(9000, "desk", "pve1")
    }];
    let sim = Simulator::start(config, guests).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let deployment = Deployment::open(settings(&sim, directory.path())).await.unwrap();
    let api = Api::of(&deployment).await;
    let stop = CancellationToken::new();
    let server = tokio::spawn(deployment.run(stop.clone()));

    let (user, password) = ACCOUNT;
    let wish = json!({"template": "desk", "session_user": user, "session_password": password});
    let asked = api.call("POST", "/api/v1/sessions", Some(wish)).await;
    let id = asked["id"].as_str().unwrap().to_owned();
    let ready = api.until(&id, |s| s["phase"] == "ready" || s["goal"] == "gone").await;
    assert_eq!(ready["phase"], "ready", "{ready:#}");
    let address: IpAddr = ready["address"].as_str().unwrap().parse().unwrap();

    let address: SocketAddr = (address, 3389).into();
    let target = RdpTarget { address, user: user.to_owned(), password: password.to_owned() };
    let mut client = RdpClient::connect(&lab, &target).await.unwrap();
    let colours = client.wait_colours(1000, DEADLINE).await.unwrap();
    assert!(colours > 1000, "{colours} colours");
    // The idle rules know that somebody is there, by the guest's own report.
    let used = |s: &Value| s["progress"]["what"].as_str().unwrap_or_default().contains("touched");
    api.until(&id, used).await;
    client.cut().await.unwrap();
    client.close().await.unwrap();

    let ended = api.until(&id, |s| s["phase"] == "ended").await;
    assert_eq!(ended["outcome"], "destroyed", "{ended:#}");
    assert_eq!(ended["evidence"]["rule"], "disconnected", "{ended:#}");
    assert!(sim.cluster().vms().is_empty());
    stop.cancel();
    server.await.unwrap().unwrap();
    sim.stop().await;
}

fn settings(sim: &Simulator, directory: &std::path::Path) -> Settings {
    let text = format!(
        r#"
data_dir = {data:?}
[ssh]
[http]
listen = "127.0.0.1:0"
guest_listen = "10.77.0.1:0"
[proxmox]
url = "{url}"
token = "{token}"
fingerprint = "{fingerprint}"
[[templates]]
name = "desk"
provisioner = "proxmox"
source = "desk"
configurator = "ssh"
[templates.idle]
disconnected = "4s"
report_period = "2s"
"#,
        data = directory,
        url = sim.url(),
        token = sim.token("daas@pve", "daas").unwrap(),
        fingerprint = sim.fingerprint(),
    );
    Settings::parse(&text).unwrap()
}

/// The real API, as a program uses it.
struct Api {
    client: reqwest::Client,
    url: String,
    key: String,
}

impl Api {
    async fn of(deployment: &Deployment) -> Self {
        let owner = Owner { realm: "lab".to_owned(), name: "alice".to_owned() };
        let now = jiff::Timestamp::now();
        let organisation = Organisation::default();
        let (key, kept) =
            daas_http::mint_key("test", owner, organisation, Role::User, now).unwrap();
        deployment.engine().store().keys().add_key(&kept).await.unwrap();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
        Self { client, url: deployment.addresses().url(), key: key.expose().clone() }
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let url = format!("{}{path}", self.url);
        let mut request = self.client.request(method.parse().unwrap(), url).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.unwrap().json().await.unwrap()
    }

    /// Asks for a session until it is as wished.
    async fn until(&self, id: &str, wished: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/api/v1/sessions/{id}");
        let mut pause = tokio::time::interval(Duration::from_millis(100));
        let waiting = async {
            loop {
                let session = self.call("GET", &path, None).await;
                if wished(&session) {
                    return session;
                }
                pause.tick().await;
            }
        };
        match tokio::time::timeout(DEADLINE, waiting).await {
            Ok(session) => session,
            Err(_) => panic!("not as wished in time: {:#}", self.call("GET", &path, None).await),
        }
    }
}
