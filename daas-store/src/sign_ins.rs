//! Sign-ins in the file.

use std::sync::Arc;

use async_trait::async_trait;
use daas_core::access::{SignIn, SignInStore};
use daas_core::owner::Owner;
use daas_core::{Error, Kind, Operation, Result};
use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection, SqlitePool};

use crate::error::Failure;
use crate::rows::{decode, encode, millisecond, timestamp};
use crate::sql;
use crate::writer::{Write, Writer};

#[derive(Debug)]
pub(crate) struct SqliteSignIns {
    readers: SqlitePool,
    writer: Arc<Writer>,
}

impl SqliteSignIns {
    pub(crate) fn new(readers: SqlitePool, writer: Arc<Writer>) -> Self {
        Self { readers, writer }
    }
}

fn read(row: &SqliteRow) -> Result<SignIn, Failure> {
    let sign_in: SignIn = decode("sign-in", row.try_get(0)?)?;
    Ok(SignIn { seen_at: timestamp(row.try_get(1)?)?, ..sign_in })
}

#[async_trait]
impl SignInStore for SqliteSignIns {
    async fn add_sign_in(&self, sign_in: &SignIn) -> Result<()> {
        self.writer.run(Add(sign_in.clone())).await
    }

    async fn sign_in_by_hash(&self, hash: &str) -> Result<Option<SignIn>> {
        let get = sql::SIGN_IN_BY_HASH.query().bind(hash.to_owned());
        let row = get.fetch_optional(&self.readers).await.map_err(Failure::from)?;
        Ok(row.as_ref().map(read).transpose()?)
    }

    async fn sign_ins_of(&self, owner: &Owner) -> Result<Vec<SignIn>> {
        let get = sql::SIGN_INS_OF.query().bind(owner.realm.clone()).bind(owner.name.clone());
        let rows = get.fetch_all(&self.readers).await.map_err(Failure::from)?;
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    async fn newest_sign_ins(&self, limit: usize) -> Result<Vec<SignIn>> {
        let get = sql::SIGN_INS_NEWEST.query().bind(crate::rows::number(limit as u64));
        let rows = get.fetch_all(&self.readers).await.map_err(Failure::from)?;
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    async fn see_sign_in(&self, id: &str, at: Timestamp) -> Result<()> {
        self.writer.run(See { id: id.to_owned(), at }).await
    }

    async fn end_sign_in(&self, owner: &Owner, id: &str) -> Result<bool> {
        self.writer.run(End { owner: owner.clone(), id: id.to_owned() }).await
    }

    async fn prune_sign_ins(
        &self,
        now: Timestamp,
        unused_since: Timestamp,
        limit: u32,
    ) -> Result<u64> {
        self.writer.run(Over { now, unused_since, limit }).await
    }
}

struct Add(SignIn);

#[async_trait]
impl Write for Add {
    type Answer = ();

    async fn write(&self, db: &mut SqliteConnection) -> Result<()> {
        let SignIn { id, hash, owner, created_at, seen_at, ends_at, .. } = &self.0;
        let there = sql::SIGN_IN_THERE.query().bind(id.clone()).bind(hash.clone());
        if there.fetch_optional(&mut *db).await.map_err(Failure::from)?.is_some() {
            let why = "there is a sign-in of that id or token";
            return Err(Error::new(Kind::Conflict, Operation::Store, id, why));
        }
        let add = sql::SIGN_IN_INSERT.query().bind(id.clone()).bind(hash.clone());
        let add = add.bind(owner.realm.clone()).bind(owner.name.clone());
        let add = add.bind(millisecond(*created_at)).bind(millisecond(*seen_at));
        let add = add.bind(millisecond(*ends_at)).bind(encode("sign-in", &self.0)?);
        add.execute(db).await.map_err(Failure::from)?;
        Ok(())
    }
}

struct See {
    id: String,
    at: Timestamp,
}

#[async_trait]
impl Write for See {
    type Answer = ();

    async fn write(&self, db: &mut SqliteConnection) -> Result<()> {
        let see = sql::SIGN_IN_SEEN.query().bind(self.id.clone()).bind(millisecond(self.at));
        see.execute(db).await.map_err(Failure::from)?;
        Ok(())
    }
}

struct End {
    owner: Owner,
    id: String,
}

#[async_trait]
impl Write for End {
    type Answer = bool;

    async fn write(&self, db: &mut SqliteConnection) -> Result<bool> {
        let Owner { realm, name } = self.owner.clone();
        let end = sql::SIGN_IN_DELETE.query().bind(self.id.clone()).bind(realm).bind(name);
        Ok(end.execute(db).await.map_err(Failure::from)?.rows_affected() == 1)
    }
}

struct Over {
    now: Timestamp,
    unused_since: Timestamp,
    limit: u32,
}

#[async_trait]
impl Write for Over {
    type Answer = u64;

    async fn write(&self, db: &mut SqliteConnection) -> Result<u64> {
        let over = sql::SIGN_INS_OVER.query().bind(millisecond(self.now));
        let over = over.bind(millisecond(self.unused_since)).bind(i64::from(self.limit));
        Ok(over.execute(db).await.map_err(Failure::from)?.rows_affected())
    }
}
