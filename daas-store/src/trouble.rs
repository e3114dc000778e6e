//! The writer in trouble: a full disk, an operation that panics.

use async_trait::async_trait;
use daas_core::event::{NewEvent, What};
use daas_core::ids::{Cursor, Organisation, SessionId, SessionPrefix};
use daas_core::session::Session;
use daas_core::store::NewSession;
use daas_core::store::quota::Quotas;
use daas_core::template::Template;
use daas_core::{Kind, Result};
use jiff::Timestamp;
use sqlx::{Executor, Row, SqliteConnection};
use tempfile::TempDir;

use crate::write::insert::Insert;
use crate::writer::{Write, Writer};
use crate::{open, sql};

fn insert() -> Insert {
    let name = |text: &str| text.parse().expect("a name");
    let template = Template::new(name("lab"), "fake".parse().expect("a name"), "image");
    let id = SessionId::mint(&SessionPrefix::default());
    let now = Timestamp::UNIX_EPOCH;
    let session = Session::new(id, template, None, Organisation::default(), now);
    let events = vec![NewEvent { at: now, what: What::Note { text: "added".to_owned() } }];
    Insert(NewSession { session, quotas: Quotas::default(), events, idempotency_key: None })
}

async fn connect(directory: &TempDir) -> SqliteConnection {
    let path = directory.path().join("s.db");
    open::writer(&path, Timestamp::UNIX_EPOCH).await.expect("opens")
}

fn start(directory: &TempDir, db: SqliteConnection) -> Writer {
    let lock = open::lock(&directory.path().join("s.db")).expect("locked");
    Writer::start(db, lock, Cursor(0))
}

/// How many sessions and events there are.
async fn counted(directory: &TempDir) -> (i64, i64) {
    let mut db = connect(directory).await;
    let total = sql::TOTAL.query().fetch_one(&mut db).await.expect("read");
    let events = db.fetch_one("SELECT COUNT(*) FROM event").await.expect("read");
    (total.get(0), events.get(0))
}

#[tokio::test]
async fn a_full_disk_is_named_and_loses_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut db = connect(&directory).await;
    let pages: i64 = db.fetch_one("PRAGMA page_count").await.expect("read").get(0);
    // SQLite's own bound fails as a full disk does.
    let bound = format!("PRAGMA max_page_count = {}", pages + 20);
    db.execute(sqlx::AssertSqlSafe(bound)).await.expect("bounded");
    let writer = start(&directory, db);
    let (mut acknowledged, mut refused) = (0, 0);
    for _ in 0..20 {
        let together = (0..20).map(|_| writer.run(insert()));
        for answer in futures::future::join_all(together).await {
            match answer {
                Ok(_) => acknowledged += 1,
                Err(error) => {
                    refused += 1;
                    assert_eq!(error.kind(), Kind::Exhausted, "{}", error.chain());
                    assert!(error.to_string().contains("disk is full"), "{error}");
                }
            }
        }
    }
    assert!(acknowledged > 0 && refused > 0, "{acknowledged} and {refused}");
    writer.close().await;
    assert_eq!(counted(&directory).await, (acknowledged, acknowledged));
}

#[derive(Debug)]
struct Panics;

#[async_trait]
impl Write for Panics {
    type Answer = ();

    async fn write(&self, db: &mut SqliteConnection) -> Result<()> {
        let insert = insert();
        insert.write(db).await?;
        panic!("a bug");
    }
}

#[tokio::test]
async fn an_operation_that_panics_is_undone_and_ends_nobody_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let writer = start(&directory, connect(&directory).await);
    let (before, broken, after) =
        tokio::join!(writer.run(insert()), writer.run(Panics), writer.run(insert()));
    assert!(before.is_ok() && after.is_ok(), "{before:?} {after:?}");
    assert_eq!(broken.expect_err("broke off").kind(), Kind::Internal);
    writer.run(insert()).await.expect("the writer goes on");
    writer.close().await;
    assert_eq!(counted(&directory).await, (3, 3));
}
