//! The one writer: takes what is queued, does it in one transaction, commits, then answers.
//!
//! Each operation has a savepoint of its own, so that one that fails undoes nothing of the others.
//! INVARIANT: nobody is answered before the commit that makes the answer true.

use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use daas_core::ids::Cursor;
use daas_core::{Error, Result};
use futures::FutureExt;
use sqlx::{Connection, Executor, SqliteConnection};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::error;

use crate::error::Failure;
use crate::sql;

/// How many operations may wait; then callers wait for a place.
const QUEUE_MAX: usize = 1_024;
/// How many operations share one transaction.
const BATCH_MAX: usize = 128;

/// One operation that writes.
#[async_trait]
pub(crate) trait Write: Send + Sync + 'static {
    /// What the caller is told.
    type Answer: Send + 'static;

    /// Does it, inside a transaction; an error undoes all of it.
    async fn write(&self, db: &mut SqliteConnection) -> Result<Self::Answer>;
}

/// What the writer has done so far.
#[derive(Debug, Default)]
pub(crate) struct Written {
    transactions: AtomicU64,
    operations: AtomicU64,
}

impl Written {
    /// Transactions committed, and the operations in them.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.transactions), read(&self.operations))
    }
}

/// Where operations are handed in.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Box<dyn Queued>>,
    task: std::sync::Mutex<Option<JoinHandle<()>>>,
    newest: watch::Sender<Cursor>,
    written: Arc<Written>,
}

impl Writer {
    /// Starts the writer on `db`, which it owns from now on, together with the `lock` that proves
    /// that nobody else writes.
    pub(crate) fn start(db: SqliteConnection, lock: File, newest: Cursor) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let newest = watch::Sender::new(newest);
        let written = Arc::new(Written::default());
        let task = tokio::spawn(serve(db, lock, jobs, newest.clone(), Arc::clone(&written)));
        Self { queue, task: std::sync::Mutex::new(Some(task)), newest, written }
    }

    /// Has `write` done; answers once it is durable.
    pub(crate) async fn run<W: Write>(&self, write: W) -> Result<W::Answer> {
        let (reply, answer) = oneshot::channel();
        let job = Job { write, done: None, reply };
        self.queue.send(Box::new(job)).await.map_err(|_| Failure::Closed)?;
        answer.await.map_err(|_| Failure::Closed)?
    }

    /// The newest event's cursor and its changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Cursor> {
        self.newest.subscribe()
    }

    /// What it has done so far.
    pub(crate) fn written(&self) -> &Written {
        &self.written
    }

    /// Waits for the end of the writer after `close` was queued.
    pub(crate) async fn close(&self) {
        // A send that fails means that it has ended already.
        let _ = self.queue.send(Box::new(Close)).await;
        let task = self.task.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(task) = task
            && let Err(failure) = task.await
        {
            error!(error = %failure, "the store's writer ended badly");
        }
    }
}

/// An operation in the queue, its types hidden.
#[async_trait]
trait Queued: Send + std::fmt::Debug {
    /// Does it and keeps the answer; whether it is to be committed.
    async fn run(&mut self, db: &mut SqliteConnection) -> bool;
    /// Answers: as kept, or with the failure of the commit.
    fn answer(self: Box<Self>, failed: Option<&Error>);
    /// Whether nothing may follow it.
    fn is_last(&self) -> bool {
        false
    }
}

struct Job<W: Write> {
    write: W,
    done: Option<Result<W::Answer>>,
    reply: oneshot::Sender<Result<W::Answer>>,
}

impl<W: Write> std::fmt::Debug for Job<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::any::type_name::<W>())
    }
}

#[async_trait]
impl<W: Write> Queued for Job<W> {
    async fn run(&mut self, db: &mut SqliteConnection) -> bool {
        let done = self.write.write(db).await;
        let good = done.is_ok();
        self.done = Some(done);
        good
    }

    fn answer(self: Box<Self>, failed: Option<&Error>) {
        let answer = match (self.done, failed) {
            (Some(Err(error)), _) => Err(error),
            (_, Some(error)) => Err(error.clone()),
            (Some(Ok(answer)), None) => Ok(answer),
            (None, None) => Err(Failure::BrokeOff.into()),
        };
        // The caller may have given up waiting; what was written stays.
        let _ = self.reply.send(answer);
    }
}

/// The last operation of all.
#[derive(Debug)]
struct Close;

#[async_trait]
impl Queued for Close {
    async fn run(&mut self, _: &mut SqliteConnection) -> bool {
        true
    }

    fn answer(self: Box<Self>, _: Option<&Error>) {}

    fn is_last(&self) -> bool {
        true
    }
}

async fn serve(
    mut db: SqliteConnection,
    lock: File,
    mut jobs: mpsc::Receiver<Box<dyn Queued>>,
    newest: watch::Sender<Cursor>,
    written: Arc<Written>,
) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while jobs.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let last = batch.iter().any(|job| job.is_last());
        let outcome = commit(&mut db, &mut batch, &newest).await.map_err(Error::from);
        match &outcome {
            Ok(operations) => {
                written.transactions.fetch_add(1, Ordering::Relaxed);
                written.operations.fetch_add(*operations, Ordering::Relaxed);
            }
            Err(failure) => error!(error = failure.chain(), "a transaction failed"),
        }
        for job in batch.drain(..) {
            job.answer(outcome.as_ref().err());
        }
        if last {
            break;
        }
    }
    if let Err(failure) = db.close().await {
        error!(error = %failure, "the store's database did not close cleanly");
    }
    drop(lock);
}

/// Does the whole batch in one transaction; how many operations are in it.
async fn commit(
    db: &mut SqliteConnection,
    batch: &mut [Box<dyn Queued>],
    newest: &watch::Sender<Cursor>,
) -> Result<u64, Failure> {
    let done = fill(db, batch).await;
    let committed = match done {
        Ok((operations, cursor)) => db.execute("COMMIT").await.map(|_| (operations, cursor)),
        Err(error) => Err(error),
    };
    match committed {
        Ok((operations, cursor)) => {
            newest.send_if_modified(|known| {
                let news = cursor > *known;
                *known = cursor.max(*known);
                news
            });
            Ok(operations)
        }
        Err(error) => {
            // An error here means that SQLite has rolled back by itself.
            let _ = db.execute("ROLLBACK").await;
            Err(error.into())
        }
    }
}

async fn fill(
    db: &mut SqliteConnection,
    batch: &mut [Box<dyn Queued>],
) -> Result<(u64, Cursor), sqlx::Error> {
    // Each operation has the savepoint that was set before it; COMMIT ends the last one.
    db.execute("BEGIN IMMEDIATE; SAVEPOINT operation").await?;
    let mut operations = 0;
    for job in batch {
        // A bug in one operation must not end the writer, and with it the store.
        let done = AssertUnwindSafe(job.run(db)).catch_unwind().await;
        if done.is_err() {
            error!(operation = ?job, "an operation of the store broke off");
        }
        if done.unwrap_or(false) {
            operations += 1;
            db.execute("RELEASE operation; SAVEPOINT operation").await?;
        } else {
            db.execute("ROLLBACK TO operation").await?;
        }
    }
    let cursor = newest_event(db).await?;
    Ok((operations, cursor))
}

/// The cursor of the newest event there ever was.
pub(crate) async fn newest_event(db: &mut SqliteConnection) -> Result<Cursor, sqlx::Error> {
    let row = sql::EVENT_NEWEST.query().fetch_one(db).await?;
    let cursor: i64 = sqlx::Row::try_get(&row, 0)?;
    Ok(Cursor(crate::rows::count(cursor)))
}
