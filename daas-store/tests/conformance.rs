//! The store in a file keeps the contract of session stores.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use daas_core::conformance;
use daas_core::store::SessionStore;
use daas_store::SqliteStore;

#[tokio::test]
async fn the_store_in_a_file_keeps_its_contract() {
    let directory = tempfile::tempdir().unwrap();
    let made = AtomicUsize::new(0);
    conformance::store(|| {
        let number = made.fetch_add(1, Ordering::Relaxed);
        let path = directory.path().join(format!("sessions-{number}.db"));
        async move { SqliteStore::open(path).await.unwrap() as Arc<dyn SessionStore> }
    })
    .await;
}
