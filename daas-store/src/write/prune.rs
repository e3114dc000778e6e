//! Removing what is over and old, a portion at a time.

use async_trait::async_trait;
use daas_core::Result;
use daas_core::store::{self, Pruned};
use jiff::Timestamp;
use sqlx::{Row, SqliteConnection};

use super::batch::Batch;
use crate::error::Failure;
use crate::rows::{millisecond, number};
use crate::sql;
use crate::writer::Write;

/// [`daas_core::store::SessionStore::prune`].
pub(crate) struct Prune(pub(crate) store::Prune);

#[async_trait]
impl Write for Prune {
    type Answer = Pruned;

    async fn write(&self, db: &mut SqliteConnection) -> Result<Pruned> {
        let store::Prune { ended_before, keys_before, limit } = &self.0;
        let events = prune_events(db, *limit).await?;
        let keys = prune_keys(db, *keys_before, limit - events).await?;
        let sessions = prune_sessions(db, *ended_before, limit - events - keys).await?;
        Ok(Pruned { sessions, events, keys })
    }
}

/// Removes events of sessions whose record is gone. The record goes first, so that nobody who is
/// shown a session reads a part of its events.
async fn prune_events(db: &mut SqliteConnection, limit: usize) -> Result<usize, Failure> {
    let mut pruned = 0;
    while pruned < limit {
        let Some(row) = sql::RETIRED_WITH_EVENTS.query().fetch_optional(&mut *db).await? else {
            break;
        };
        let session: String = row.try_get(0)?;
        let oldest = sql::EVENTS_OLDEST.query().bind(session.clone());
        let oldest = oldest.bind(number((limit - pruned) as u64)).fetch_all(&mut *db).await?;
        if let Some(newest) = oldest.last() {
            let newest: i64 = newest.try_get(0)?;
            let delete = sql::EVENTS_DELETE.query().bind(session.clone()).bind(newest);
            delete.execute(&mut *db).await?;
            sql::CURSOR_PRUNED.query().bind(newest).execute(&mut *db).await?;
            pruned += oldest.len();
        }
        if pruned < limit {
            sql::RETIRED_WITHOUT_EVENTS.query().bind(session).execute(&mut *db).await?;
        }
    }
    Ok(pruned)
}

async fn prune_keys(
    db: &mut SqliteConnection,
    before: Timestamp,
    limit: usize,
) -> Result<usize, Failure> {
    let old = sql::IDEMPOTENCY_OLD.query().bind(millisecond(before)).bind(number(limit as u64));
    let old = old.fetch_all(&mut *db).await?;
    for row in &old {
        let (realm, name, key): (String, String, String) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let delete = sql::IDEMPOTENCY_DELETE.query().bind(realm).bind(name).bind(key);
        delete.execute(&mut *db).await?;
    }
    Ok(old.len())
}

async fn prune_sessions(
    db: &mut SqliteConnection,
    before: Timestamp,
    limit: usize,
) -> Result<usize, Failure> {
    let old = sql::SESSIONS_ENDED.query().bind(millisecond(before)).bind(number(limit as u64));
    let old = old.fetch_all(&mut *db).await?;
    for row in &old {
        let id: String = row.try_get(0)?;
        let steps = [
            sql::ACTIVITY_DELETE,
            sql::IDEMPOTENCY_DELETE_OF,
            sql::DUE_DELETE,
            // The schema refuses it for a live one, and while a machine is held.
            sql::SESSION_DELETE,
            sql::RETIRED_INSERT,
        ];
        let mut batch = Batch::default();
        for step in steps {
            batch.add(&step).bind(id.clone());
        }
        batch.run(db).await?;
    }
    Ok(old.len())
}
