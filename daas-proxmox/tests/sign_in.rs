//! Sign-in by a realm of a simulated cluster.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod bench;

use std::time::{Duration, Instant};

use bench::{Administrator, Bench};
use daas_core::Kind;
use daas_core::identity::{PasswordSource, Refusal, Verdict};
use daas_core::secret::Secret;
use daas_proxmox::{SignIn, SignInConfig};
use daas_sim::{Effect, Event, Fault, Grant, SimConfig, UserConfig, Version};
use reqwest::Method;

fn cluster() -> SimConfig {
    let user = |name: &str| UserConfig::new(&format!("{name}@school"), Some("p ä+&=%:\"word"));
    let mut config = SimConfig::default();
    config.users.extend([
        UserConfig {
            groups: vec!["Pupils".to_owned(), "4a-school".to_owned()],
            firstname: Some("Alice".to_owned()),
            lastname: Some("Martin".to_owned()),
            ..user("alice")
        },
        UserConfig { enabled: false, ..user("off") },
        UserConfig { expire: 1, ..user("old") },
        UserConfig { second_factor: true, ..user("careful") },
        UserConfig::new("alice@pve", Some("another")),
    ]);
    config.acl.push(Grant::new("/access/groups", "daas@pve", "PVEAuditor"));
    config
}

fn source(bench: &Bench) -> SignIn {
    SignIn::new(SignInConfig::new("school"), &bench.config()).unwrap()
}

async fn says(source: &SignIn, name: &str, password: &str) -> Verdict {
    source.sign_in(name, &Secret::from(password)).await.unwrap()
}

const GOOD: &str = "p ä+&=%:\"word";

#[tokio::test]
async fn somebody_is_known_with_their_groups() {
    for version in [Version::V8_4, Version::V9_2] {
        let bench = Bench::with(SimConfig { version, ..cluster() }).await;
        let source = source(&bench);
        source.check().await.unwrap();
        for name in ["alice", "alice@school", "SCHOOL\\alice", " alice@School "] {
            let Verdict::Known(person) = says(&source, name, GOOD).await else {
                panic!("{name:?} is known")
            };
            assert_eq!(person.owner.to_string(), "alice@school");
            assert_eq!(person.display_name.as_deref(), Some("Alice Martin"));
            let groups: Vec<&str> = person.groups.iter().map(String::as_str).collect();
            assert_eq!(groups, ["4a-school", "pupils"]);
        }
        // Another realm's alice is another.
        assert_eq!(says(&source, "alice", "another").await, Verdict::Refused(Refusal::Password));
        assert_eq!(says(&source, "alice@pve", "another").await, Verdict::Refused(Refusal::Unknown));
        bench.sim.stop().await;
    }
}

#[tokio::test]
async fn every_refusal_of_proxmox_is_one() {
    let bench = Bench::with(cluster()).await;
    let source = source(&bench);
    for (name, password) in
        [("alice", "wrong"), ("nobody", GOOD), ("off", GOOD), ("old", GOOD), ("careful", "wrong")]
    {
        let verdict = says(&source, name, password).await;
        assert_eq!(verdict, Verdict::Refused(Refusal::Password), "{name}");
    }
    bench.sim.stop().await;
}

#[tokio::test]
async fn what_cannot_be_right_is_not_asked_about() {
    let bench = Bench::with(cluster()).await;
    let source = source(&bench);
    let long = "x".repeat(1025);
    // A ticket of root would make its holder anybody, and one's own a password that never changes.
    let form = [("username", "root@pam"), ("password", "simulated")];
    let root = Administrator::of(&bench).ask(&bench, Method::POST, "/access/ticket", &form).await;
    let ticket = root["ticket"].as_str().unwrap().to_owned();
    assert!(ticket.starts_with("PVE:"), "{ticket}");
    let before = requests(&bench);
    for password in ["", "\0", "p\0", &long, &ticket, &format!(" {ticket}")] {
        let verdict = says(&source, "alice", password).await;
        assert_eq!(verdict, Verdict::Refused(Refusal::Password), "{password:?}");
    }
    for name in ["", "root@pam", "alice@school@pam", "x\\alice", "a b", "a/b", "a:b", "a\0", &long]
    {
        let verdict = says(&source, name, GOOD).await;
        assert_eq!(verdict, Verdict::Refused(Refusal::Unknown), "{name:?}");
    }
    assert_eq!(requests(&bench), before);
    bench.sim.stop().await;
}

#[tokio::test]
async fn a_second_factor_is_told_with_the_way_out() {
    let bench = Bench::with(cluster()).await;
    let source = source(&bench);
    let error = source.sign_in("careful", &Secret::from(GOOD)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().contains("careful@school has a second factor"), "{error}");
    assert!(!error.chain().contains("PVE:") && !error.chain().contains(GOOD), "{error}");
    bench.sim.stop().await;
}

#[tokio::test]
async fn without_the_right_to_read_users_nobody_has_groups() {
    let mut config = cluster();
    config.acl.pop();
    let bench = Bench::with(config).await;
    let Verdict::Known(person) = says(&source(&bench), "alice", GOOD).await else {
        panic!("alice is known")
    };
    assert_eq!(person.owner.to_string(), "alice@school");
    assert!(person.groups.is_empty() && person.display_name.is_none(), "{person:?}");
    bench.sim.stop().await;

    // The right on one group shows who is in that.
    let mut config = cluster();
    config.acl.pop();
    config.acl.push(Grant::new("/access/groups/Pupils", "daas@pve", "PVEAuditor"));
    let bench = Bench::with(config).await;
    let Verdict::Known(person) = says(&source(&bench), "alice", GOOD).await else {
        panic!("alice is known")
    };
    assert_eq!(person.groups.len(), 2, "{person:?}");
    bench.sim.stop().await;
}

#[tokio::test]
async fn a_failure_is_no_refusal() {
    let bench = Bench::with(cluster()).await;
    let ticket = |effect| Fault::once("POST", "/access/ticket", effect);
    for (effect, kind) in [
        (Effect::ErrorBefore { status: 500, reason: "no memory".into() }, Kind::Unavailable),
        (Effect::ErrorBefore { status: 596, reason: "tls_process".into() }, Kind::Unavailable),
        (Effect::DropBefore, Kind::Unavailable),
    ] {
        let shown = format!("{effect:?}");
        bench.sim.faults().add(ticket(effect));
        let error = source(&bench).sign_in("alice", &Secret::from(GOOD)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{shown}: {error}");
    }
    // Who they are is known, but not what they may: they are not let in with less than they have.
    let no_quorum = Effect::ErrorBefore { status: 500, reason: "no quorum".into() };
    bench.sim.faults().add(Fault::always("GET", "/access/users/*", no_quorum));
    source(&bench).sign_in("alice", &Secret::from(GOOD)).await.unwrap_err();
    bench.sim.faults().clear();

    bench.sim.faults().add(ticket(Effect::HangBefore));
    let deadline = Duration::from_millis(300);
    let config = SignInConfig { deadline, ..SignInConfig::new("school") };
    let source = SignIn::new(config, &bench.config()).unwrap();
    let started = Instant::now();
    let error = source.sign_in("alice", &Secret::from(GOOD)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("within 300ms"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
    bench.sim.stop().await;
}

#[tokio::test]
async fn whom_we_do_not_trust_gets_no_password() {
    let bench = Bench::with(cluster()).await;
    let mut proxmox = bench.config();
    proxmox.fingerprint = Some(["AB"; 32].join(":"));
    let before = requests(&bench);
    let source = SignIn::new(SignInConfig::new("school"), &proxmox).unwrap();
    let error = source.sign_in("alice", &Secret::from(GOOD)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.to_string().contains("proxmox.fingerprint"), "{error}");
    assert_eq!(requests(&bench), before);
    bench.sim.stop().await;
}

#[tokio::test]
async fn a_realm_that_is_not_there_is_told_by_the_check() {
    let bench = Bench::with(cluster()).await;
    let source = SignIn::new(SignInConfig::new("scool"), &bench.config()).unwrap();
    let error = source.check().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("there are: pam, pve, school"), "{error}");
    bench.sim.stop().await;
}

fn requests(bench: &Bench) -> usize {
    bench.sim.log().count(|event| matches!(event, Event::Request { .. }))
}
