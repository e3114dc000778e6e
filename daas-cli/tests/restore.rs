//! A store restored from an old backup, and two deployments on one cluster: no live desktop of
//! anybody is touched.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod served;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use daas_sim::Event;
use serde_json::Value;
use served::Served;

async fn ready(served: &Served, count: usize, prefix: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(served.ask(&format!("{prefix}-{number}")).await.unwrap());
    }
    for id in &ids {
        served.until_phase(id, "ready").await;
    }
    ids
}

async fn destroy(served: &Served, ids: &[String]) {
    for id in ids {
        served.call("DELETE", &format!("/api/v1/sessions/{id}"), Value::Null).await.unwrap();
    }
    for id in ids {
        served.until_phase(id, "ended").await;
    }
}

/// Waits until the server has compared the cluster with its store some times more.
async fn some_sweeps(served: &Served) {
    let listings = || {
        served
            .sim
            .log()
            .count(|e| matches!(e, Event::Request { path, .. } if &**path == "/cluster/resources"))
    };
    let before = listings();
    served.until("sweeping", async || listings() >= before + 8).await;
}

fn copy(from: &Path, to: &Path) {
    for end in ["", "-wal", "-shm"] {
        let (from, to) = (format!("{}{end}", from.display()), format!("{}{end}", to.display()));
        let _ = std::fs::remove_file(&to);
        if Path::new(&from).exists() {
            std::fs::copy(&from, &to).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_store_touches_no_desktop_it_does_not_know() {
    let mut served = Served::start(0.02, 7).await;
    let old = ready(&served, 3, "old").await;
    served.kill();
    let backup = served.directory.path().join("backup.db");
    copy(&served.store_file(), &backup);
    served.serve();
    destroy(&served, &old[..1]).await;
    let young = ready(&served, 3, "young").await;
    let before: BTreeSet<String> = served.machines().into_iter().collect();

    served.kill();
    copy(&backup, &served.store_file());
    served.serve();
    some_sweeps(&served).await;

    let after: BTreeSet<String> = served.machines().into_iter().collect();
    assert_eq!(after, before, "machines of before the restoration");
    for id in &old[1..] {
        assert_eq!(served.phase(id).await, "ready");
    }
    assert_eq!(served.phase(&old[0]).await, "lost", "its machine was destroyed after the backup");
    let (_, quarantine) = served.call("GET", "/api/v1/quarantine", Value::Null).await.unwrap();
    for id in &young {
        assert!(quarantine.to_string().contains(id.as_str()), "{id} is not in {quarantine}");
    }
    // New desktops are made beside the quarantined ones, under ids of their own.
    let new = ready(&served, 3, "new").await;
    served.never_two_machines();
    destroy(&served, &new).await;
    destroy(&served, &old[1..]).await;
    let left: BTreeSet<String> = served.machines().into_iter().collect();
    assert_eq!(left, young.iter().cloned().collect());

    // What nobody knows, an operator ends: one by one, and nothing else.
    let listed = served.run(&["quarantine", "list"]).await;
    let listed = String::from_utf8(listed.stdout).unwrap();
    for id in &young {
        assert!(listed.contains(id.as_str()), "{id} is not in {listed}");
        let ended = served.run(&["quarantine", "destroy", id, "--wait"]).await;
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        assert!(!served.machines().contains(id));
    }
    let nobody = served.run(&["quarantine", "destroy", "desktop-2222222"]).await;
    assert_eq!(nobody.status.code(), Some(3), "{}", String::from_utf8_lossy(&nobody.stderr));
    assert_eq!(served.machines(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_deployments_share_a_cluster_and_an_id_range_in_peace() {
    let first = Served::start(0.02, 8).await;
    let second = Served::on(Arc::clone(&first.sim), "").await;
    let (ours, theirs) = tokio::join!(ready(&first, 6, "a"), ready(&second, 6, "b"));
    assert_eq!(first.machines().len(), 12);
    destroy(&first, &ours).await;
    some_sweeps(&first).await;
    let left: BTreeSet<String> = first.machines().into_iter().collect();
    assert_eq!(left, theirs.iter().cloned().collect());
    for id in &theirs {
        assert_eq!(second.phase(id).await, "ready");
    }
    first.never_two_machines();
    destroy(&second, &theirs).await;
    assert!(first.machines().is_empty());
}
