//! States that are kept elsewhere: real terraform against a server of states of our own, by the
//! protocol of its `http` backend.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use daas_core::Kind;
use daas_core::machine::{Destroyed, MachineSpec, Observation, Reservation};
use daas_core::provisioner::Provisioner;
use daas_terraform::{TerraformConfig, TerraformProvisioner};
use rustix::process::Signal;
use serde_json::Value;
use tokio::task::AbortHandle;
use world::trials::{always, run, trial};
use world::{
    Cluster, Files, group, left, make, remove, reserve, run_of, spec, stands_still, take_away,
};

fn main() {
    run(vec![
        trial(
            "another_orchestrator_goes_on_where_one_has_ended",
            another_orchestrator_goes_on_where_one_has_ended(),
        ),
        trial(
            "the_lock_of_a_run_that_was_killed_is_ended_by_its_successor",
            the_lock_of_a_run_that_was_killed_is_ended_by_its_successor(),
        ),
        trial(
            "the_lock_of_another_orchestrator_is_left_to_people",
            the_lock_of_another_orchestrator_is_left_to_people(),
        ),
        trial("without_its_server_nothing_is_made", without_its_server_nothing_is_made()),
        always("without_a_platform_states_stay_here", without_a_platform_states_stay_here()),
    ]);
}

/// States and locks by path, as the server has them.
#[derive(Debug, Default)]
struct Kept {
    states: HashMap<String, Bytes>,
    locks: HashMap<String, Value>,
}

type Shared = Arc<Mutex<Kept>>;

/// A server of states, until it is dropped.
struct StateServer {
    address: SocketAddr,
    kept: Shared,
    task: AbortHandle,
}

impl Drop for StateServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StateServer {
    async fn new() -> Self {
        let kept = Shared::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = axum::Router::new().fallback(answer).with_state(Arc::clone(&kept));
        let task = tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, kept, task: task.abort_handle() }
    }

    /// Settings of an orchestrator with a directory of its own, whose states are here.
    fn config(&self, cluster: &Cluster, name: &str) -> TerraformConfig {
        let file = cluster.temp.path().join("backend.tf");
        let url = format!("http://{}/states/@RUN@", self.address);
        let text = format!(
            "terraform {{\n  backend \"http\" {{\n    address        = \"{url}\"\n    lock_address   \
             = \"{url}\"\n    unlock_address = \"{url}\"\n    retry_max      = 0\n  }}\n}}\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut config = cluster.config();
        config.directory = cluster.temp.path().join(name);
        config.backend_file = Some(file);
        config
    }

    /// The addresses of the resources in all states.
    fn resources(&self) -> Vec<String> {
        let kept = self.kept.lock().unwrap();
        let states = kept.states.values().map(|s| serde_json::from_slice::<Value>(s).unwrap());
        states
            .flat_map(|state| state["resources"].as_array().cloned().unwrap_or_default())
            .map(|resource| resource["name"].as_str().unwrap().to_owned())
            .collect()
    }

    fn locks(&self) -> usize {
        self.kept.lock().unwrap().locks.len()
    }
}

/// The protocol of terraform's http backend: GET, POST, LOCK and UNLOCK of one address.
async fn answer(State(kept): State<Shared>, method: Method, uri: Uri, body: Bytes) -> Response {
    let mut kept = kept.lock().unwrap();
    let path = uri.path().to_owned();
    let locked = kept.locks.get(&path).cloned();
    match method.as_str() {
        "GET" => match kept.states.get(&path) {
            Some(state) => state.clone().into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        },
        "POST" => {
            let by = uri.query().and_then(|q| q.strip_prefix("ID=")).unwrap_or_default();
            if locked.is_none_or(|lock| lock["ID"] != *by) {
                return StatusCode::CONFLICT.into_response();
            }
            kept.states.insert(path, body);
            StatusCode::OK.into_response()
        }
        "LOCK" => match locked {
            Some(lock) => (StatusCode::LOCKED, lock.to_string()).into_response(),
            None => {
                kept.locks.insert(path, serde_json::from_slice(&body).unwrap());
                StatusCode::OK.into_response()
            }
        },
        "UNLOCK" => {
            // `force-unlock` tells no id.
            let told = serde_json::from_slice::<Value>(&body).unwrap_or_default();
            let is_other = locked.is_some_and(|lock| lock["ID"] != told["ID"]);
            if !told.is_null() && is_other {
                return StatusCode::CONFLICT.into_response();
            }
            kept.locks.remove(&path);
            StatusCode::OK.into_response()
        }
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

async fn another_orchestrator_goes_on_where_one_has_ended() {
    let (cluster, server) = (Cluster::new().await, StateServer::new().await);
    let first = cluster.provisioner(server.config(&cluster, "first"));
    let (one, other) = (spec(&cluster.deployment), spec(&cluster.deployment));
    let held = reserve(&first, &one).await;
    let machine = make(&first, &held, &one).await.expect("made");
    let held = Reservation { uuid: machine.uuid, ..held };
    let beside = reserve(&first, &other).await;
    make(&first, &beside, &other).await.expect("made");
    assert_eq!(server.kept.lock().unwrap().states.len(), 2, "a state for each machine");
    assert_eq!((server.resources().len(), server.locks()), (2, 0));
    let first_runs = cluster.temp.path().join("first");
    assert!(!run_of(&first_runs, &held).join("work/terraform.tfstate").exists(), "none here");
    // Its disk is lost with it.
    drop(first);
    std::fs::remove_dir_all(first_runs).unwrap();
    let second = cluster.provisioner(server.config(&cluster, "second"));
    let machine = make(&second, &held, &one).await.expect("is there");
    assert_eq!(machine.uuid, held.uuid);
    assert_eq!(cluster.sim.cluster().vms().len(), 2);
    assert_eq!(remove(&second, &held).await.expect("removed"), Destroyed::Gone);
    assert_eq!(cluster.sim.cluster().vms().len(), 1, "the other's is not touched");
    assert_eq!((server.resources().len(), server.locks()), (1, 0));
    assert_eq!(second.observe(&held).await, Observation::Absent);
    assert_eq!(left(&cluster.temp.path().join("second")), Vec::<PathBuf>::new());
}

/// An apply that was killed, with us, while it held its lock on the server.
async fn killed(cluster: &Cluster, server: &StateServer) -> (Reservation, TerraformConfig) {
    let config = server.config(cluster, "runs");
    let (provisioner, held, _) = stands_still(cluster, config.clone()).await;
    let run = run_of(&config.directory, &held);
    rustix::process::kill_process_group(group(&run), Signal::KILL).unwrap();
    drop(provisioner);
    take_away(&cluster.temp.path().join("gate"));
    assert_eq!(server.locks(), 1, "it left its lock");
    (held, config)
}

async fn the_lock_of_a_run_that_was_killed_is_ended_by_its_successor() {
    let (cluster, server) = (Cluster::new().await, StateServer::new().await);
    let (held, config) = killed(&cluster, &server).await;
    let spec = MachineSpec { session: held.session.clone(), ..spec(&cluster.deployment) };
    let successor = cluster.provisioner(config);
    let machine = make(&successor, &held, &spec).await.expect("made");
    assert_eq!(cluster.sim.cluster().vms().len(), 1);
    assert_eq!((server.resources().len(), server.locks()), (1, 0));
    let held = Reservation { uuid: machine.uuid, ..held };
    assert_eq!(remove(&successor, &held).await.expect("removed"), Destroyed::Gone);
    assert_eq!(cluster.sim.cluster().vms().len(), 0);
    assert_eq!((server.resources().len(), server.locks()), (0, 0));
}

async fn the_lock_of_another_orchestrator_is_left_to_people() {
    let (cluster, server) = (Cluster::new().await, StateServer::new().await);
    let (held, _) = killed(&cluster, &server).await;
    let other = cluster.provisioner(server.config(&cluster, "other"));
    let error = remove(&other, &held).await.expect_err("it is locked");
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    let lock = server.kept.lock().unwrap().locks.values().next().unwrap()["ID"].clone();
    let says = format!("terraform force-unlock {}", lock.as_str().unwrap());
    assert!(error.to_string().contains(&says), "{says}: {error}");
    assert_eq!(cluster.sim.cluster().vms().len(), 1, "somebody may be at work on it");
    assert_eq!(server.locks(), 1);
    // Somebody has looked, and ends it as the error says.
    server.kept.lock().unwrap().locks.clear();
    let Observation::Present(seen) = other.observe(&held).await else { panic!("it is there") };
    assert_eq!((seen.session, seen.uuid), (None, None), "what is half made is not recorded");
    let spec = MachineSpec { session: held.session.clone(), ..spec(&cluster.deployment) };
    let before = cluster.sim.cluster().vms();
    make(&other, &held, &spec).await.expect("made");
    assert_eq!((before.len(), cluster.sim.cluster().vms().len()), (1, 1));
    assert_eq!((server.resources().len(), server.locks()), (1, 0));
}

async fn without_its_server_nothing_is_made() {
    let (cluster, server) = (Cluster::new().await, StateServer::new().await);
    let config = server.config(&cluster, "runs");
    let provisioner = cluster.provisioner(config);
    let spec = spec(&cluster.deployment);
    let held = reserve(&provisioner, &spec).await;
    drop(server);
    let error = make(&provisioner, &held, &spec).await.expect_err("no state can be kept");
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("connection refused"), "{error}");
    assert_eq!(cluster.sim.cluster().vms().len(), 0);
}

async fn without_a_platform_states_stay_here() {
    let files = Files::new();
    let file = files.temp.path().join("backend.tf");
    let text = "terraform {\n  backend \"http\" {\n    address = \"http://x/@RUN@\"\n  }\n}\n";
    std::fs::write(&file, text).unwrap();
    let config = TerraformConfig { backend_file: Some(file), ..files.config() };
    let refused = TerraformProvisioner::new(config, files.deployment.clone(), None);
    let error = refused.expect_err("refused");
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    assert!(error.to_string().contains("no platform is named"), "{error}");
}
