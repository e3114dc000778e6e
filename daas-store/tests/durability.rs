//! What was acknowledged is there after the process is killed, and many writes share a transaction.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use daas_core::Kind;
use daas_core::ids::{Cursor, SessionId};
use daas_core::store::{Change, EventFilter, Next, SessionStore};
use daas_store::SqliteStore;
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

/// Names the file in which the child writes; set only for the child.
const CHILD: &str = "DAAS_STORE_TEST_CHILD";
/// How many acknowledgements are awaited before the child is killed.
const ACKNOWLEDGED_MIN: usize = 200;

/// What the child does until it is killed: adds sessions without end and prints the id of each once
/// it is acknowledged.
async fn write_for_ever(path: &Path) {
    let store = SqliteStore::open(path).await.unwrap();
    loop {
        let new: Vec<_> = (0..16).map(|_| common::new_session()).collect();
        let adding = new.iter().map(|session| async {
            store.insert(common::adding(session)).await.unwrap();
            eprintln!("acknowledged {}", session.id);
        });
        futures::future::join_all(adding).await;
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    if let Some(path) = std::env::var_os(CHILD) {
        // This is the child, which the parent kills.
        return write_for_ever(Path::new(&path)).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions.db");
    for round in 1..=3_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "what_was_acknowledged_survives_a_kill", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut acknowledged: Vec<SessionId> = Vec::new();
        for line in lines.map_while(std::result::Result::ok) {
            // The test harness's own words may stand before it on the line.
            let Some((_, id)) = line.split_once("acknowledged ") else { continue };
            let Ok(id) = id.parse() else { continue };
            acknowledged.push(id);
            if acknowledged.len() == ACKNOWLEDGED_MIN {
                // SIGKILL: nothing of the child runs any more. What it had printed is read on.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(acknowledged.len() >= ACKNOWLEDGED_MIN, "{} only", acknowledged.len());

        let store = SqliteStore::open(&path).await.unwrap();
        let log = store.events(Cursor(0), &EventFilter::default(), usize::MAX).await.unwrap();
        for id in &acknowledged {
            assert!(store.get(id).await.unwrap().is_some(), "{id} was acknowledged and is lost");
            assert!(log.iter().any(|event| &event.session == id), "{id} lost its event");
        }
        let tally = store.tally().await.unwrap();
        assert_eq!(tally.created, log.len() as u64, "records and events never part");
        assert!(tally.created >= (round * ACKNOWLEDGED_MIN) as u64);
        store.close().await;
    }
}

#[tokio::test]
async fn writes_that_wait_together_share_a_transaction() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path().join("sessions.db")).await.unwrap();
    let new: Vec<_> = (0..500).map(|_| common::new_session()).collect();
    let adding = new.iter().map(|session| store.insert(common::adding(session)));
    for answer in futures::future::join_all(adding).await {
        answer.unwrap();
    }
    let (transactions, operations) = store.written();
    assert_eq!(operations, 500);
    assert!(transactions <= 50, "{transactions} transactions for {operations} operations");
    store.close().await;
}

#[tokio::test]
async fn one_that_fails_undoes_nothing_of_those_it_shares_a_transaction_with() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path().join("sessions.db")).await.unwrap();
    let there = common::new_session();
    store.insert(common::adding(&there)).await.unwrap();
    let stale = Change { session: there.clone(), fence: None, events: vec![], next: Next::DueNow };
    store.update(stale.clone()).await.unwrap();
    let (before, _) = store.written();
    let new: Vec<_> = (0..20).map(|_| common::new_session()).collect();
    let good = futures::future::join_all(new.iter().map(|s| store.insert(common::adding(s))));
    let bad = futures::future::join_all((0..20).map(|_| store.update(stale.clone())));
    let (good, bad) = tokio::join!(good, bad);
    assert!(good.iter().all(Result::is_ok), "{good:?}");
    assert!(bad.iter().all(|answer| answer.as_ref().unwrap_err().kind() == Kind::Conflict));
    let (after, _) = store.written();
    assert!(after - before <= 10, "{} transactions: they did not meet", after - before);
    for session in &new {
        assert_eq!(store.get(&session.id).await.unwrap().as_ref(), Some(session));
    }
    store.close().await;
}

#[tokio::test]
async fn a_start_voids_the_leases_of_the_dead() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let session = common::new_session();
    store.insert(common::adding(&session)).await.unwrap();
    let dead = daas_core::ids::Holder::mint();
    let far = session.created_at + std::time::Duration::from_secs(24 * 3600);
    let taken = store.take_due(&dead, session.created_at, far, 10).await.unwrap().remove(0);
    store.close().await;

    let store = SqliteStore::open(&path).await.unwrap();
    let kept = store.renew(&dead, &[(session.id.clone(), taken.fence)], far).await.unwrap();
    assert!(kept.is_empty(), "the dead hold nothing");
    let now = far - std::time::Duration::from_secs(1);
    let next = daas_core::ids::Holder::mint();
    let again = store.take_due(&next, now, far, 10).await.unwrap().remove(0);
    assert!(again.fence > taken.fence, "{again:?}");
    store.close().await;
}

#[tokio::test]
async fn one_record_that_cannot_be_read_stops_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let (bad, good) = (common::new_session(), common::new_session());
    for session in [&bad, &good] {
        store.insert(common::adding(session)).await.unwrap();
    }
    store.close().await;
    let mut db = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    let spoil =
        sqlx::query("UPDATE session SET record = '{' WHERE id = ?").bind(bad.id.to_string());
    assert_eq!(spoil.execute(&mut db).await.unwrap().rows_affected(), 1);
    db.close().await.unwrap();

    let store = SqliteStore::open(&path).await.unwrap();
    let holder = daas_core::ids::Holder::mint();
    let now = good.created_at + std::time::Duration::from_secs(60);
    let until = now + std::time::Duration::from_secs(60);
    let taken = store.take_due(&holder, now, until, 10).await.unwrap();
    assert_eq!(taken.iter().map(|leased| &leased.session.id).collect::<Vec<_>>(), [&good.id]);
    assert_eq!(store.take_due(&holder, now, until, 10).await.unwrap(), []);
    assert_eq!(store.next_due().await.unwrap(), Some(until), "it is told of again");
    assert_eq!(store.get(&bad.id).await.unwrap_err().kind(), Kind::Internal);
    store.close().await;
}
