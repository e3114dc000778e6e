//! What the audit log costs a caller: desktops asked for one after the other, and many at once, over
//! HTTP, on a store in a file, with the log and without, turn by turn.
//!
//! `cargo bench -p daas-compose --bench audit`

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark for people")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use daas_core::access::Role;
use daas_core::audit::{AuditKey, AuditLog, AuditSettings};
use daas_core::clock::{Clock, SystemClock};
use daas_core::engine::{Engine, Parts, Settings};
use daas_core::fake::{FakePlatform, FakeProvisioner};
use daas_core::idle::TemplateRules;
use daas_core::ids::Organisation;
use daas_core::owner::Owner;
use daas_core::secret::DeploymentKey;
use daas_core::store::SessionStore;
use daas_core::template::Template;
use daas_http::{CallRate, Extra, HttpConfig, HttpLimits, Server, mint_key};
use daas_store::SqliteStore;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

/// How many are asked for in a turn.
const ASKED: usize = 300;
/// How many turns each has.
const TURNS: usize = 5;
/// How many ask at once, where many do.
const AT_ONCE: usize = 64;

fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut one, mut many) = ([Vec::new(), Vec::new()], [0.0_f64, 0.0]);
        for _ in 0..TURNS {
            for with in [0, 1] {
                let directory = tempfile::tempdir().unwrap();
                let (took, rate) = turn(directory.path(), with == 1).await;
                one[with].extend(took);
                many[with] = many[with].max(rate);
            }
        }
        for (with, name) in [(0, "without"), (1, "with")] {
            one[with].sort();
            let at = |part: usize| one[with][one[with].len() * part / 100].as_secs_f64() * 1e3;
            println!(
                "{name:8} one by one: median {:.2} ms, 95 % {:.2} ms; {AT_ONCE} at once: {:.0}/s",
                at(50),
                at(95),
                many[with]
            );
        }
        let medians = [0, 1].map(|with| one[with][one[with].len() / 2].as_secs_f64());
        println!(
            "ratio of the medians {:.2}, of the rates {:.2}",
            medians[1] / medians[0],
            many[0] / many[1]
        );
    });
}

/// How long each of those asked for one by one took, and how many a second many at once come to.
async fn turn(directory: &Path, with: bool) -> (Vec<Duration>, f64) {
    let store = SqliteStore::open(directory.join("s.db")).await.unwrap();
    let deployment = store.deployment().await.unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let fake = "fake".parse().unwrap();
    let provisioner = FakeProvisioner::new(fake, deployment.clone(), FakePlatform::new());
    let template = Template::new("lab".parse().unwrap(), "fake".parse().unwrap(), "image");
    // Its loops are not started: what is measured is the asking.
    let engine = Engine::new(Parts {
        store: Arc::clone(&store) as Arc<dyn SessionStore>,
        provisioners: vec![Arc::new(provisioner)],
        configurators: Vec::new(),
        policy: Arc::new(TemplateRules),
        templates: vec![template],
        clock: Arc::clone(&clock),
        key: DeploymentKey::mint(),
        settings: Settings::default(),
    });
    let engine = engine.await.unwrap();
    let owner = Owner { realm: "api".into(), name: "alice".into() };
    let (key, at_rest) =
        mint_key("bench", owner, Organisation::default(), Role::User, clock.now()).unwrap();
    store.keys().add_key(&at_rest).await.unwrap();
    let settings = AuditSettings::default();
    let open =
        AuditLog::open(store.audit(), deployment, AuditKey::mint().unwrap(), clock, settings);
    let audit = if with { Some(open.await.unwrap()) } else { None };
    let extra = Extra { audit: audit.clone(), ..Extra::default() };
    let without_bound = CallRate { per_second: 0, burst: 0 };
    let limits = HttpLimits { calls_of_caller: without_bound, ..HttpLimits::default() };
    let listen = "127.0.0.1:0".parse().unwrap();
    let config = HttpConfig { listen, limits, ..HttpConfig::default() };
    let server = Server::bind(config, engine, extra).await.unwrap();
    let url = format!("{}/api/v1/sessions", server.addresses().url());
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server.run(stop.clone()));

    let client = reqwest::Client::new();
    let ask = || async {
        let request = client.post(&url).bearer_auth(key.expose()).body(r#"{"template":"lab"}"#);
        let answer = request.header("content-type", "application/json").send().await.unwrap();
        assert_eq!(answer.status(), 202);
        answer.bytes().await.unwrap();
    };
    ask().await;
    let mut took = Vec::with_capacity(ASKED);
    for _ in 0..ASKED {
        let begun = Instant::now();
        ask().await;
        took.push(begun.elapsed());
    }
    let begun = Instant::now();
    let asks = futures::stream::iter((0..ASKED * 4).map(|_| ask())).buffer_unordered(AT_ONCE);
    asks.for_each(|()| async {}).await;
    let rate = (ASKED * 4) as f64 / begun.elapsed().as_secs_f64();
    stop.cancel();
    serving.await.unwrap().unwrap();
    if let Some(audit) = audit {
        audit.close().await;
    }
    store.close().await;
    (took, rate)
}
