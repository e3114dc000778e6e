//! What is kept of people is there after the file was closed, and older files are read.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

use std::path::Path;

use daas_core::access::{ApiKey, Role, SecondFactor};
use daas_core::owner::Owner;
use daas_core::store::SessionStore;
use daas_store::SqliteStore;
use jiff::Timestamp;
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

/// The schema of the first release.
const FIRST_SCHEMA: &str = include_str!("golden/schema-1.sql");

fn alice() -> Owner {
    Owner { realm: "lab".to_owned(), name: "alice".to_owned() }
}

async fn connect(path: &Path) -> SqliteConnection {
    let url = format!("sqlite://{}?mode=rwc", path.display());
    SqliteConnection::connect(&url).await.unwrap()
}

#[tokio::test]
async fn a_code_that_was_used_is_used_after_a_restart_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let factor = SecondFactor {
        owner: alice(),
        sealed: "sealed".to_owned(),
        last_step: 1,
        recovery_codes: ["a", "b"].map(str::to_owned).into(),
        created_at: Timestamp::UNIX_EPOCH,
    };
    store.second_factors().add_second_factor(&factor).await.unwrap();
    assert!(store.second_factors().use_step(&alice(), 5).await.unwrap());
    assert!(store.second_factors().use_recovery_code(&alice(), "a").await.unwrap());
    store.close().await;
    let store = SqliteStore::open(&path).await.unwrap();
    let factors = store.second_factors();
    assert!(!factors.use_step(&alice(), 5).await.unwrap());
    assert!(!factors.use_recovery_code(&alice(), "a").await.unwrap());
    assert!(factors.use_recovery_code(&alice(), "b").await.unwrap());
    assert!(factors.use_step(&alice(), 6).await.unwrap());
    store.close().await;
}

#[tokio::test]
async fn keys_of_an_older_file_are_their_owners() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions.db");
    let mut db = connect(&path).await;
    sqlx::raw_sql(FIRST_SCHEMA).execute(&mut db).await.unwrap();
    let body = r#"{"name":"old","hash":"aa","owner":{"realm":"lab","name":"alice"},
        "organisation":"default","role":"operator","created_at":"2026-01-01T00:00:00Z"}"#;
    let insert = sqlx::query("INSERT INTO api_key (name, hash, body) VALUES ('old', 'aa', ?)");
    insert.bind(body).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
    let store = SqliteStore::open(&path).await.unwrap();
    let old = ApiKey {
        name: "old".to_owned(),
        hash: "aa".to_owned(),
        owner: alice(),
        organisation: daas_core::ids::Organisation::default(),
        role: Role::Operator,
        groups: [].into(),
        created_at: "2026-01-01T00:00:00Z".parse().unwrap(),
        ends_at: None,
        used_at: None,
    };
    let theirs = store.keys().keys_of(&alice()).await.unwrap();
    assert_eq!(theirs, std::slice::from_ref(&old));
    assert_eq!(store.keys().key_by_hash("aa").await.unwrap(), Some(old));
    assert!(store.keys().revoke_key_of(&alice(), "old").await.unwrap());
    store.close().await;
}
