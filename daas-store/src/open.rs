//! Opening the file: proved ours and sound before a byte of it is changed.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Executor, Row, SqliteConnection};
use tracing::warn;

use crate::error::{CORRUPT, Failure, NOT_A_DATABASE, code};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// How long the check of a large file may take; what was not looked at by then is trusted.
const CHECK_DEADLINE: Duration = Duration::from_secs(20);
/// How long to wait for a lock inside SQLite, which only a backup tool can hold.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How every connection to `path` is made.
pub(crate) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .disable_statement_logging()
}

/// The lock that proves that this process alone has the store open.
pub(crate) fn lock(path: &Path) -> Result<File, Failure> {
    if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty())
        && !directory.is_dir()
    {
        return Err(Failure::NoDirectory(directory.to_owned()));
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.open(lock_path(path)).map_err(Failure::NotWritable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::Locked),
        Err(TryLockError::Error(error)) => Err(Failure::NotWritable(error)),
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Looks at what is there without changing it. An absent or empty file is a store to be made.
pub(crate) async fn examine(path: &Path) -> Result<(), Failure> {
    match std::fs::metadata(path) {
        Ok(there) if there.len() == 0 => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Failure::NotWritable(error)),
        Ok(_) => {}
    }
    OpenOptions::new().read(true).write(true).open(path).map_err(Failure::NotWritable)?;
    let mut db = options(path).read_only(true).connect().await.map_err(unreadable)?;
    let examined = examine_schema(&mut db).await;
    let closed = db.close().await;
    examined?;
    closed.map_err(Failure::Open)
}

async fn examine_schema(db: &mut SqliteConnection) -> Result<(), Failure> {
    let tables = db.fetch_all("SELECT name FROM sqlite_schema WHERE type = 'table'").await;
    let tables = tables.map_err(unreadable)?;
    let has = |name: &str| {
        tables.iter().any(|row| row.try_get::<&str, _>(0).is_ok_and(|table| table == name))
    };
    // Migrations are noted in a table that is made before the first of them: a start cut short there
    // has left a store to be made.
    if tables.is_empty() || (tables.len() == 1 && has("_sqlx_migrations")) {
        return Ok(());
    }
    if !has("_sqlx_migrations") || !has("session") {
        return Err(Failure::Foreign);
    }
    let newest = db.fetch_one("SELECT MAX(version) FROM _sqlx_migrations").await;
    let found: i64 = newest.and_then(|row| row.try_get(0)).map_err(unreadable)?;
    let known = MIGRATIONS.iter().map(|m| m.version).max().unwrap_or(0);
    if found > known {
        return Err(Failure::Newer { found, known });
    }
    quick_check(db).await
}

async fn quick_check(db: &mut SqliteConnection) -> Result<(), Failure> {
    let deadline = Instant::now() + CHECK_DEADLINE;
    let mut handle = db.lock_handle().await.map_err(Failure::Open)?;
    handle.set_progress_handler(100_000, move || Instant::now() < deadline);
    drop(handle);
    let checked = db.fetch_all("PRAGMA quick_check(1)").await;
    db.lock_handle().await.map_err(Failure::Open)?.remove_progress_handler();
    match checked {
        Ok(rows) => {
            let said: Vec<String> = rows.iter().filter_map(|row| row.try_get(0).ok()).collect();
            if said == ["ok"] { Ok(()) } else { Err(Failure::Damaged(said.join("; "))) }
        }
        Err(_) if Instant::now() >= deadline => {
            warn!("the store is too large to be checked within {} s", CHECK_DEADLINE.as_secs());
            Ok(())
        }
        Err(error) => Err(unreadable(error)),
    }
}

/// Tells "not a database" and "damaged" from other failures, by SQLite's own codes.
fn unreadable(error: sqlx::Error) -> Failure {
    match code(&error) {
        Some(NOT_A_DATABASE) => Failure::NotADatabase(error),
        Some(CORRUPT) => Failure::Damaged(error.to_string()),
        _ => Failure::Open(error),
    }
}

/// The writer's connection, the schema brought up to date, every lease void: its holder is dead,
/// since the lock is ours.
pub(crate) async fn writer(path: &Path, now: Timestamp) -> Result<SqliteConnection, Failure> {
    let mut db = options(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        // Else each savepoint copies the pages it may have to undo to a file.
        .pragma("temp_store", "MEMORY")
        .connect()
        .await
        .map_err(unreadable)?;
    MIGRATIONS.run(&mut db).await.map_err(Failure::Migration)?;
    let mint = crate::sql::DEPLOYMENT_MINT.query();
    mint.bind(daas_core::ids::DeploymentId::mint().as_str().to_owned()).execute(&mut db).await?;
    crate::sql::LEASES_VOID.query().bind(now.as_millisecond()).execute(&mut db).await?;
    Ok(db)
}
