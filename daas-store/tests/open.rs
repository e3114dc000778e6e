//! Opening: what is wrong is named with its way out, and the file stays as it was.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod common;

use std::path::Path;

use daas_core::store::{Filter, Page, SessionStore};
use daas_core::{Error, Kind};
use daas_store::SqliteStore;
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

async fn refused(path: &Path) -> Error {
    SqliteStore::open(path).await.expect_err("must not open")
}

/// Opening `path` fails as said, names the file, and changes no byte of it.
async fn check(path: &Path, kind: Kind, says: &str) {
    let before = std::fs::read(path).unwrap();
    let error = refused(path).await;
    assert_eq!(error.kind(), kind, "{}", error.chain());
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    assert!(error.to_string().contains(says), "{error}");
    assert!(before == std::fs::read(path).unwrap(), "the file was changed");
}

async fn execute(path: &Path, statement: &'static str) {
    let url = format!("sqlite://{}", path.display());
    let mut db = SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(statement).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
}

#[tokio::test]
async fn a_second_opener_is_told_and_the_first_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions.db");
    let store = SqliteStore::open(&path).await.unwrap();
    check(&path, Kind::Conflict, "another process").await;
    let new = common::new_session();
    store.insert(common::adding(&new)).await.unwrap();
    assert_eq!(store.get(&new.id).await.unwrap().unwrap(), new);
    store.close().await;
    let again = SqliteStore::open(&path).await.unwrap();
    assert_eq!(again.get(&new.id).await.unwrap().unwrap(), new);
    assert_eq!(again.deployment().await.unwrap(), store.deployment().await.unwrap());
    again.close().await;
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path().join("sessions.db")).await.unwrap();
    store.close().await;
    let error = store.insert(common::adding(&common::new_session())).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(store.list(&Filter::default(), &Page::first(1)).await.is_err());
}

#[tokio::test]
async fn what_is_no_store_of_ours_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("notes.txt");
    std::fs::write(&text, "my notes, which are no database at all\n".repeat(200)).unwrap();
    check(&text, Kind::Invalid, "not an SQLite database").await;

    let foreign = directory.path().join("foreign.db");
    let url = format!("sqlite://{}?mode=rwc", foreign.display());
    let mut db = SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("CREATE TABLE bookmark (url TEXT)").execute(&mut db).await.unwrap();
    db.close().await.unwrap();
    check(&foreign, Kind::Invalid, "another program").await;
}

#[tokio::test]
async fn a_first_start_that_was_cut_short_is_gone_on_with() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions.db");
    // What the first start leaves where the power fails before the first migration.
    let url = format!("sqlite://{}?mode=rwc", path.display());
    let mut db = SqliteConnection::connect(&url).await.unwrap();
    let noted =
        "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL,
        installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL,
        checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)";
    sqlx::raw_sql(noted).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
    let store = SqliteStore::open(&path).await.unwrap();
    store.insert(common::adding(&common::new_session())).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn a_newer_schema_is_left_to_the_newer_program() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions.db");
    SqliteStore::open(&path).await.unwrap().close().await;
    execute(
        &path,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (999, 'from the future', 1, x'00', 0)",
    )
    .await;
    check(&path, Kind::Invalid, "newer version").await;
}

#[tokio::test]
async fn an_edited_migration_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions.db");
    SqliteStore::open(&path).await.unwrap().close().await;
    execute(&path, "UPDATE _sqlx_migrations SET checksum = x'00'").await;
    check(&path, Kind::Internal, "schema").await;
}

#[tokio::test]
async fn a_damaged_file_is_left_for_its_backup() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions.db");
    let store = SqliteStore::open(&path).await.unwrap();
    for _ in 0..50 {
        store.insert(common::adding(&common::new_session())).await.unwrap();
    }
    store.close().await;
    let mut bytes = std::fs::read(&path).unwrap();
    // All pages but the first two, which hold the header and the schema's root.
    for byte in bytes.iter_mut().skip(2 * 4096) {
        *byte ^= 0x5a;
    }
    std::fs::write(&path, bytes).unwrap();
    let error = refused(&path).await;
    assert!(error.to_string().contains("damaged"), "{}", error.chain());
    check(&path, Kind::Internal, "backup").await;
}

#[tokio::test]
async fn a_missing_directory_is_named_and_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("nowhere");
    let error = refused(&missing.join("sessions.db")).await;
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    assert!(error.to_string().contains(&missing.display().to_string()), "{error}");
    assert!(!missing.exists());
}
