//! The audit log.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use daas_core::audit::{
    AuditFilter, AuditPage, AuditStore, Chain, Entry, Head, Placed, SignedHead, Writer,
};
use daas_core::{Error, Kind, Operation, Result};
use jiff::Timestamp;
use sqlx::{Row, SqliteConnection, SqlitePool};

use crate::error::Failure;
use crate::rows::{count, decode, encode, millisecond, number};
use crate::sql::{self, Sql};
use crate::write::batch::Batch;
use crate::writer::{Write, Writer as Queue};

/// How many entries go in one statement; SQLite takes 32,766 values.
const TOGETHER: usize = 500;

#[derive(Debug)]
pub(crate) struct SqliteAudit {
    readers: SqlitePool,
    writer: Arc<Queue>,
}

impl SqliteAudit {
    pub(crate) fn new(readers: SqlitePool, writer: Arc<Queue>) -> Self {
        Self { readers, writer }
    }

    async fn aged_of(
        &self,
        chain: &Chain,
        before: Timestamp,
        limit: u64,
    ) -> Result<Option<Head>, Failure> {
        let beyond = chain.first.saturating_add(limit);
        let young = sql::AUDIT_YOUNG.query().bind(chain.head.writer.0.clone());
        let young = young.bind(number(chain.first)).bind(number(beyond));
        let young = young.bind(millisecond(before)).fetch_optional(&self.readers).await?;
        let end = match young {
            Some(row) => count(row.try_get(0)?),
            None => beyond.min(chain.head.number + 1),
        };
        if end <= chain.first {
            return Ok(None);
        }
        let get = sql::AUDIT_GET.query().bind(chain.head.writer.0.clone()).bind(number(end - 1));
        let row = get.fetch_optional(&self.readers).await?;
        let entry: Option<Entry> =
            row.map(|row| decode("audit entry", row.try_get(0)?)).transpose()?;
        Ok(entry.map(|entry| entry.head()))
    }
}

#[async_trait]
impl AuditStore for SqliteAudit {
    async fn append(&self, entries: &[Entry]) -> Result<()> {
        self.writer.run(Append(entries.to_vec())).await
    }

    async fn sign(&self, head: &SignedHead) -> Result<()> {
        self.writer.run(Sign(head.clone())).await
    }

    async fn chains(&self) -> Result<Vec<Chain>> {
        let rows = sql::AUDIT_CHAINS.query().fetch_all(&self.readers).await;
        let rows = rows.map_err(Failure::from)?;
        Ok(rows.iter().map(chain).collect::<Result<_, Failure>>()?)
    }

    async fn entries(&self, filter: &AuditFilter, page: &AuditPage) -> Result<Vec<Placed>> {
        let sql = entries_sql(filter, page.newest_first);
        let beyond = page.after.map_or(if page.newest_first { i64::MAX } else { 0 }, number);
        let mut query = sql.query().bind(beyond);
        for text in [&filter.session, &filter.owner, &filter.act].into_iter().flatten() {
            query = query.bind(text.clone());
        }
        for time in [filter.since, filter.until].into_iter().flatten() {
            query = query.bind(millisecond(time));
        }
        let rows = query.bind(number(page.limit as u64)).fetch_all(&self.readers).await;
        let placed = |row: &sqlx::sqlite::SqliteRow| {
            let place = count(row.try_get(0)?);
            Ok::<_, Failure>(Placed { place, entry: decode("audit entry", row.try_get(1)?)? })
        };
        Ok(rows.map_err(Failure::from)?.iter().map(placed).collect::<Result<_, _>>()?)
    }

    async fn heads(&self, after: u64, limit: usize) -> Result<Vec<(u64, SignedHead)>> {
        let get = sql::AUDIT_HEADS.query().bind(number(after)).bind(number(limit as u64));
        let rows = get.fetch_all(&self.readers).await.map_err(Failure::from)?;
        let head = |row: &sqlx::sqlite::SqliteRow| {
            Ok::<_, Failure>((count(row.try_get(0)?), decode("audit head", row.try_get(1)?)?))
        };
        Ok(rows.iter().map(head).collect::<Result<_, _>>()?)
    }

    async fn aged(&self, before: Timestamp, limit: u64) -> Result<Vec<Head>> {
        let mut aged = Vec::new();
        for chain in self.chains().await? {
            aged.extend(self.aged_of(&chain, before, limit).await?);
        }
        Ok(aged)
    }

    async fn forget(&self, marks: &[Head]) -> Result<u64> {
        self.writer.run(Forget(marks.to_vec())).await
    }
}

/// Places, then the filter's texts and times in their order, then how many.
fn entries_sql(filter: &AuditFilter, newest_first: bool) -> Sql {
    let index = match filter {
        AuditFilter { session: Some(_), .. } => "INDEXED BY audit_session",
        AuditFilter { owner: Some(_), .. } => "INDEXED BY audit_owner",
        AuditFilter { act: Some(_), .. } => "INDEXED BY audit_act",
        _ => "NOT INDEXED",
    };
    let (beyond, order) = if newest_first { ("<", "DESC") } else { (">", "ASC") };
    let conditions = [
        (filter.session.is_some(), " AND session = ?"),
        (filter.owner.is_some(), " AND owner = ?"),
        (filter.act.is_some(), " AND act = ?"),
        (filter.since.is_some(), " AND at >= ?"),
        (filter.until.is_some(), " AND at < ?"),
    ];
    let wanted = conditions.iter().filter(|(wanted, _)| *wanted).map(|(_, text)| *text);
    Sql::composed(format!(
        "SELECT place, body FROM audit_entry {index} WHERE place {beyond} ?{} \
         ORDER BY place {order} LIMIT ?",
        wanted.collect::<String>()
    ))
}

/// Every statement that [`entries_sql`] makes.
#[cfg(test)]
pub(crate) fn shapes() -> Vec<Sql> {
    let shape = |bits: u32, newest_first: bool| {
        let text = |bit: u32| (bits & bit != 0).then(String::new);
        let time = |bit: u32| (bits & bit != 0).then_some(Timestamp::UNIX_EPOCH);
        let filter = AuditFilter {
            session: text(1),
            owner: text(2),
            act: text(4),
            since: time(8),
            until: time(16),
        };
        entries_sql(&filter, newest_first)
    };
    (0..32).flat_map(|bits| [shape(bits, false), shape(bits, true)]).collect()
}

fn chain(row: &sqlx::sqlite::SqliteRow) -> Result<Chain, Failure> {
    let hash: String = row.try_get(3)?;
    let hash = hash.parse().map_err(|_| Failure::Senseless { what: "hash", value: hash })?;
    let head = Head { writer: Writer(row.try_get(0)?), number: count(row.try_get(2)?), hash };
    Ok(Chain { first: count(row.try_get(1)?), head, linked: count(row.try_get(4)?) })
}

struct Append(Vec<Entry>);

impl Append {
    /// The new heads; refuses what does not follow.
    async fn check(&self, db: &mut SqliteConnection) -> Result<BTreeMap<&Writer, Head>> {
        let mut heads: BTreeMap<&Writer, Head> = BTreeMap::new();
        for entry in &self.0 {
            let before = match heads.get(&entry.writer) {
                Some(head) => Some(head.clone()),
                None => {
                    let get = sql::AUDIT_CHAIN.query().bind(entry.writer.0.clone());
                    let row = get.fetch_optional(&mut *db).await.map_err(Failure::from)?;
                    row.as_ref().map(chain).transpose()?.map(|chain| chain.head)
                }
            };
            let follows = match &before {
                Some(head) => entry.number == head.number + 1 && entry.previous == head.hash,
                None => entry.number == 1,
            };
            if !follows {
                let why = "it does not follow the newest entry of its chain";
                let what = format!("audit entry {} of {}", entry.number, entry.writer);
                return Err(Error::new(Kind::Conflict, Operation::Store, what, why));
            }
            heads.insert(&entry.writer, entry.head());
        }
        Ok(heads)
    }
}

#[async_trait]
impl Write for Append {
    type Answer = ();

    async fn write(&self, db: &mut SqliteConnection) -> Result<()> {
        let heads = self.check(db).await?;
        for entries in self.0.chunks(TOGETHER) {
            let mut batch = Batch::default();
            for entry in entries {
                batch
                    .add(&sql::AUDIT_INSERT)
                    .bind(entry.writer.0.clone())
                    .bind(number(entry.number))
                    .bind(millisecond(entry.at))
                    .bind(entry.owner.clone())
                    .bind(entry.session.clone())
                    .bind(entry.act.clone())
                    .bind(encode("audit entry", entry)?);
                for link in entry.links.iter().filter(|link| link.writer != entry.writer) {
                    let linked = batch.add(&sql::AUDIT_LINKED).bind(number(link.number));
                    linked.bind(link.writer.0.clone());
                }
            }
            batch.run(db).await?;
        }
        let mut batch = Batch::default();
        for (writer, head) in heads {
            let first = self.0.iter().find(|entry| &entry.writer == writer);
            batch
                .add(&sql::AUDIT_CHAIN_PUT)
                .bind(writer.0.clone())
                .bind(number(first.map_or(1, |entry| entry.number)))
                .bind(number(head.number))
                .bind(head.hash.to_string());
        }
        Ok(batch.run(db).await?)
    }
}

struct Sign(SignedHead);

#[async_trait]
impl Write for Sign {
    type Answer = ();

    async fn write(&self, db: &mut SqliteConnection) -> Result<()> {
        let Head { writer, number: at, .. } = &self.0.head;
        let put = sql::AUDIT_HEAD_INSERT.query().bind(writer.0.clone()).bind(number(*at));
        let put = put.bind(encode("audit head", &self.0)?);
        put.execute(db).await.map_err(Failure::from)?;
        Ok(())
    }
}

struct Forget(Vec<Head>);

#[async_trait]
impl Write for Forget {
    type Answer = u64;

    async fn write(&self, db: &mut SqliteConnection) -> Result<u64> {
        let mut forgotten = 0;
        for mark in &self.0 {
            let (writer, last) = (mark.writer.0.clone(), number(mark.number));
            let entries = sql::AUDIT_DELETE.query().bind(writer.clone()).bind(last);
            let entries = entries.execute(&mut *db).await.map_err(Failure::from)?;
            forgotten += entries.rows_affected();
            for sql in [sql::AUDIT_HEADS_DELETE, sql::AUDIT_CHAIN_DELETE] {
                let delete = sql.query().bind(writer.clone()).bind(last);
                delete.execute(&mut *db).await.map_err(Failure::from)?;
            }
            let first = sql::AUDIT_CHAIN_FIRST.query().bind(last + 1).bind(writer);
            first.execute(&mut *db).await.map_err(Failure::from)?;
        }
        Ok(forgotten)
    }
}
