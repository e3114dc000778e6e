//! The audit log in a file: a kill leaves one that verifies, and who edits the file is found.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use daas_core::audit::{
    Act, AuditKey, AuditLog, AuditSettings, Note, Stage, Verdict, Verifier, file,
};
use daas_core::clock::SystemClock;
use daas_core::store::SessionStore;
use daas_store::SqliteStore;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Executor};

/// Names the directory in which the child writes; set only for the child.
const CHILD: &str = "DAAS_STORE_TEST_AUDIT_CHILD";
/// How many acknowledgements are awaited before the child is killed.
const ACKNOWLEDGED_MIN: usize = 200;

fn key(directory: &Path) -> AuditKey {
    AuditKey::from_pkcs8(std::fs::read(directory.join("audit.key")).unwrap()).unwrap()
}

async fn open(directory: &Path) -> (Arc<SqliteStore>, AuditLog) {
    let store = SqliteStore::open(directory.join("sessions.db")).await.unwrap();
    let deployment = store.deployment().await.unwrap();
    let settings = AuditSettings { sign_entries: 16, ..AuditSettings::default() };
    let (key, clock) = (key(directory), Arc::new(SystemClock));
    let log = AuditLog::open(store.audit(), deployment, key, clock, settings).await.unwrap();
    (store, log)
}

async fn verdict(directory: &Path) -> Verdict {
    let store = SqliteStore::open(directory.join("sessions.db")).await.unwrap();
    let keys = vec![key(directory).public()];
    let mut verifier = Verifier::new(store.deployment().await.unwrap(), keys);
    file::read_store(store.audit().as_ref(), &mut verifier).await.unwrap();
    store.close().await;
    verifier.finish(&[])
}

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("audit.key"), AuditKey::mint().unwrap().pkcs8()).unwrap();
    directory
}

/// What the child does until it is killed: writes notes without end and prints each one's number
/// once it is acknowledged.
async fn write_for_ever(directory: &Path) {
    let (_store, log) = open(directory).await;
    loop {
        let writing = (0..16).map(|_| async {
            let asked = log.write(Note::of(Act::SessionStop, Stage::Asked)).await.unwrap();
            eprintln!("acknowledged {asked}");
            let done = Note::of(Act::SessionStop, Stage::Done);
            log.leave(Note { answers: Some(asked), ..done }).await;
        });
        futures::future::join_all(writing).await;
    }
}

#[tokio::test]
async fn a_kill_while_it_is_written_leaves_a_log_that_verifies() {
    if let Some(path) = std::env::var_os(CHILD) {
        // This is the child, which the parent kills.
        return write_for_ever(Path::new(&path)).await;
    }
    let directory = directory();
    for round in 1..=4_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_kill_while_it_is_written_leaves_a_log_that_verifies"])
            .arg("--nocapture")
            .env(CHILD, directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut acknowledged = Vec::new();
        for line in lines.map_while(std::result::Result::ok) {
            let Some((_, number)) = line.split_once("acknowledged ") else { continue };
            let Ok(number) = number.trim().parse::<u64>() else { continue };
            acknowledged.push(number);
            if acknowledged.len() == ACKNOWLEDGED_MIN {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(acknowledged.len() >= ACKNOWLEDGED_MIN, "{}", acknowledged.len());
        let verdict = verdict(directory.path()).await;
        assert_eq!(verdict.breaks, []);
        assert_eq!(verdict.chains.len(), round);
        assert!(verdict.chains.iter().all(|chain| !chain.closed && chain.signed > 0));
        let newest = verdict.newest.unwrap().number;
        assert!(newest >= *acknowledged.iter().max().unwrap(), "what was acknowledged is there");
    }
}

#[tokio::test]
async fn who_edits_the_file_is_found() {
    let said = async |edit: &'static str| {
        let directory = directory();
        let (store, log) = open(directory.path()).await;
        for _ in 0..5 {
            log.write(Note::of(Act::SessionStop, Stage::Noted)).await.unwrap();
        }
        log.close().await;
        store.close().await;
        assert!(verdict(directory.path()).await.is_sound());
        let url = format!("sqlite://{}", directory.path().join("sessions.db").display());
        let mut db = SqliteConnection::connect(&url).await.unwrap();
        let edited = db.execute(edit).await;
        db.close().await.unwrap();
        edited.map_err(|error| error.to_string())?;
        let breaks = verdict(directory.path()).await.breaks;
        Ok::<_, String>(breaks.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    };
    let change = "UPDATE audit_entry SET body = replace(body, 'session-stop', 'session-start') \
                  WHERE number = 3";
    let refused = said(change).await.unwrap_err();
    assert!(refused.contains("never changed"), "{refused}");
    let by_force = "DROP TRIGGER audit_entry_kept; UPDATE audit_entry SET body = \
                    replace(body, 'session-stop', 'session-start') WHERE number = 3";
    assert!(said(by_force).await.unwrap().contains("entry 3 was changed"));
    let gone = said("DELETE FROM audit_entry WHERE number = 4").await.unwrap();
    assert!(gone.contains("entry 4 is missing"), "{gone}");
    let cut = said("DELETE FROM audit_entry WHERE number > 4").await.unwrap();
    assert!(cut.contains("its end was cut"), "{cut}");
    let begun = said("DELETE FROM audit_entry WHERE number < 3").await.unwrap();
    assert!(begun.contains("begins with entry 3"), "{begun}");
    let swapped = "DROP TRIGGER audit_entry_kept; UPDATE audit_entry SET place = -1 WHERE place = 3; \
                   UPDATE audit_entry SET place = 3 WHERE place = 4; \
                   UPDATE audit_entry SET place = 4 WHERE place = -1";
    let swapped = said(swapped).await.unwrap();
    assert!(swapped.contains("entry 3 comes after later ones"), "{swapped}");
}
