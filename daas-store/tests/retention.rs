//! Forgetting in a file: a store of the first schema is brought up to date, what is forgotten stays
//! forgotten after the next start, and the schema itself keeps what lives.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod common;

use std::path::Path;

use daas_core::Kind;
use daas_core::ids::{Cursor, SessionId};
use daas_core::store::{EventFilter, Inserted, NewSession, Prune, Pruned, SessionStore};
use daas_store::SqliteStore;
use jiff::Timestamp;
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

/// Written by the program that had the first schema only: two ended sessions and a live one, asked
/// for at 0, 100 and 200 seconds, each with an idempotency key.
const FIRST_SCHEMA: &str = include_str!("golden/schema-1.sql");

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn old(ended: i64, keys: i64) -> Prune {
    Prune { ended_before: at(ended), keys_before: at(keys), limit: 100 }
}

async fn prune(store: &SqliteStore, old: &Prune) -> Pruned {
    let mut all = Pruned::default();
    loop {
        let portion = store.prune(old).await.unwrap();
        if portion.rows() == 0 {
            return all;
        }
        all += portion;
    }
}

async fn connect(path: &Path) -> SqliteConnection {
    let url = format!("sqlite://{}?mode=rwc", path.display());
    SqliteConnection::connect(&url).await.unwrap()
}

#[tokio::test]
async fn a_store_of_the_first_schema_is_brought_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions.db");
    let mut db = connect(&path).await;
    sqlx::raw_sql(FIRST_SCHEMA).execute(&mut db).await.unwrap();
    db.close().await.unwrap();

    let store = SqliteStore::open(&path).await.unwrap();
    let ids = ["desktop-aaaaaaa", "desktop-bbbbbbb", "desktop-ccccccc"];
    let ids = ids.map(|id| id.parse::<SessionId>().unwrap());
    let tally = store.tally().await.unwrap();
    assert_eq!((tally.created, tally.ended, tally.live()), (3, 2, 1));
    let log = store.events(Cursor(0), &EventFilter::default(), 100).await.unwrap();
    assert_eq!(log.len(), 5);
    assert_eq!(*store.watch().borrow(), Cursor(5));

    // The keys are as old as their sessions.
    let with_key = |key: &str| NewSession {
        idempotency_key: Some(key.to_owned()),
        ..common::adding(&common::new_session())
    };
    assert_eq!(prune(&store, &old(-100, 150)).await, Pruned { keys: 2, ..Pruned::default() });
    let before = store.insert(with_key("key-2")).await.unwrap();
    let live = store.get(&ids[2]).await.unwrap().unwrap();
    assert_eq!(before, Inserted::Before(Box::new(live.clone())));

    let pruned = prune(&store, &old(1_000, 0)).await;
    assert_eq!(pruned, Pruned { sessions: 2, events: 4, keys: 0 });
    for gone in &ids[..2] {
        assert_eq!(store.get(gone).await.unwrap(), None);
        assert!(store.retired(gone).await.unwrap());
    }
    assert_eq!(store.get(&ids[2]).await.unwrap(), Some(live));
    assert_eq!(store.tally().await.unwrap(), tally);
    store.close().await;
}

#[tokio::test]
async fn what_was_forgotten_stays_so_after_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let mut session = common::new_session();
    store.insert(common::adding(&session)).await.unwrap();
    common::end(store.as_ref(), &mut session).await;
    let newest = *store.watch().borrow();
    let everything =
        Prune { ended_before: Timestamp::MAX, keys_before: Timestamp::MAX, limit: 100 };
    prune(&store, &everything).await;
    store.close().await;

    let store = SqliteStore::open(&path).await.unwrap();
    // The log is empty now; still nobody's cursor, old or new, is out of order.
    assert_eq!(*store.watch().borrow(), newest);
    let missed = store.events(Cursor(0), &EventFilter::default(), 1).await.unwrap_err();
    assert_eq!(missed.kind(), Kind::NotFound, "{missed}");
    assert_eq!(store.events(newest, &EventFilter::default(), 1).await.unwrap(), []);
    let again = common::adding(&session);
    assert_eq!(store.insert(again).await.unwrap_err().kind(), Kind::Conflict);
    store.insert(common::adding(&common::new_session())).await.unwrap();
    let next = store.events(newest, &EventFilter::default(), 9).await.unwrap();
    assert!(next.len() == 1 && next[0].cursor > newest, "{next:?}");
    store.close().await;
}

#[tokio::test]
async fn the_schema_itself_keeps_what_lives() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let session = common::new_session();
    store.insert(common::adding(&session)).await.unwrap();
    store.close().await;
    let mut db = connect(&path).await;
    sqlx::raw_sql("PRAGMA foreign_keys = OFF").execute(&mut db).await.unwrap();
    let refused = sqlx::raw_sql("DELETE FROM session").execute(&mut db).await.unwrap_err();
    assert!(refused.to_string().contains("live session"), "{refused}");
    db.close().await.unwrap();
}

#[tokio::test]
async fn readers_who_follow_miss_nothing_while_it_is_pruned_under_them() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path().join("sessions.db")).await.unwrap();
    const SESSIONS: usize = 60;
    let write = async {
        for _ in 0..SESSIONS {
            let mut session = common::new_session();
            store.insert(common::adding(&session)).await.unwrap();
            common::end(store.as_ref(), &mut session).await;
            let everything =
                Prune { ended_before: Timestamp::MAX, keys_before: Timestamp::MAX, limit: 3 };
            store.prune(&everything).await.unwrap();
        }
    };
    // Either every event in order, or the clear answer: never a gap in silence.
    let read = async {
        let (mut after, mut told) = (Cursor(0), 0);
        let mut news = store.watch();
        while after.0 < 2 * SESSIONS as u64 {
            match store.events(after, &EventFilter::default(), 5).await {
                Ok(events) if events.is_empty() => news.changed().await.unwrap(),
                Ok(events) => {
                    for event in events {
                        assert_eq!(event.cursor.0, after.0 + 1, "skipped in silence");
                        after = event.cursor;
                    }
                }
                Err(error) => {
                    assert_eq!(error.kind(), Kind::NotFound, "{error}");
                    told += 1;
                    after = *news.borrow_and_update();
                }
            }
        }
        told
    };
    let ((), told) = tokio::join!(write, read);
    assert!(told <= SESSIONS, "{told}");
    store.close().await;
}
