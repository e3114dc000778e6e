//! API keys in the file.

use std::sync::Arc;

use async_trait::async_trait;
use daas_core::access::{ApiKey, KeyStore};
use daas_core::owner::Owner;
use daas_core::{Error, Kind, Operation, Result};
use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection, SqlitePool};

use crate::error::Failure;
use crate::rows::{count, decode, encode, millisecond, timestamp};
use crate::sql;
use crate::writer::{Write, Writer};

#[derive(Debug)]
pub(crate) struct SqliteKeys {
    readers: SqlitePool,
    writer: Arc<Writer>,
}

impl SqliteKeys {
    pub(crate) fn new(readers: SqlitePool, writer: Arc<Writer>) -> Self {
        Self { readers, writer }
    }
}

fn read(row: &SqliteRow) -> Result<ApiKey, Failure> {
    let key: ApiKey = decode("API key", row.try_get(0)?)?;
    let used_at: Option<i64> = row.try_get(1)?;
    Ok(ApiKey { used_at: used_at.map(timestamp).transpose()?, ..key })
}

fn all(rows: &[SqliteRow]) -> Result<Vec<ApiKey>> {
    Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
}

#[async_trait]
impl KeyStore for SqliteKeys {
    async fn add_key(&self, key: &ApiKey) -> Result<()> {
        self.writer.run(Add { key: key.clone(), most: None }).await
    }

    async fn key_by_hash(&self, hash: &str) -> Result<Option<ApiKey>> {
        let get = sql::KEY_BY_HASH.query().bind(hash.to_owned());
        let row = get.fetch_optional(&self.readers).await.map_err(Failure::from)?;
        Ok(row.as_ref().map(read).transpose()?)
    }

    async fn keys(&self) -> Result<Vec<ApiKey>> {
        all(&sql::KEYS_ALL.query().fetch_all(&self.readers).await.map_err(Failure::from)?)
    }

    async fn revoke_key(&self, name: &str) -> Result<bool> {
        self.writer.run(Revoke { name: name.to_owned(), of: None }).await
    }

    async fn add_key_within(&self, key: &ApiKey, most: u32) -> Result<()> {
        self.writer.run(Add { key: key.clone(), most: Some(most) }).await
    }

    async fn keys_of(&self, owner: &Owner) -> Result<Vec<ApiKey>> {
        let get = sql::KEYS_OF.query().bind(owner.realm.clone()).bind(owner.name.clone());
        all(&get.fetch_all(&self.readers).await.map_err(Failure::from)?)
    }

    async fn revoke_key_of(&self, owner: &Owner, name: &str) -> Result<bool> {
        self.writer.run(Revoke { name: name.to_owned(), of: Some(owner.clone()) }).await
    }

    async fn see_key(&self, name: &str, at: Timestamp) -> Result<()> {
        self.writer.run(See { name: name.to_owned(), at }).await
    }
}

struct Add {
    key: ApiKey,
    /// How many its owner may have.
    most: Option<u32>,
}

#[async_trait]
impl Write for Add {
    type Answer = ();

    async fn write(&self, db: &mut SqliteConnection) -> Result<()> {
        let ApiKey { name, hash, owner, .. } = &self.key;
        let there = sql::KEY_THERE.query().bind(name.clone()).bind(hash.clone());
        if there.fetch_optional(&mut *db).await.map_err(Failure::from)?.is_some() {
            let why = "there is a key of that name";
            return Err(Error::new(Kind::Conflict, Operation::Store, name, why));
        }
        if let Some(most) = self.most {
            let has = sql::KEY_COUNT.query().bind(owner.realm.clone()).bind(owner.name.clone());
            let has = has.fetch_one(&mut *db).await.map_err(Failure::from)?;
            if count(has.try_get(0).map_err(Failure::from)?) >= u64::from(most) {
                let why = format!("has {most} API keys already; revoke one first");
                return Err(Error::new(Kind::Exhausted, Operation::Store, owner, why));
            }
        }
        let add = sql::KEY_INSERT.query().bind(name.clone()).bind(hash.clone());
        let add = add.bind(owner.realm.clone()).bind(owner.name.clone());
        let add = add.bind(encode("API key", &self.key)?);
        add.execute(db).await.map_err(Failure::from)?;
        Ok(())
    }
}

struct Revoke {
    name: String,
    /// For whom it must speak; absent: for anybody.
    of: Option<Owner>,
}

#[async_trait]
impl Write for Revoke {
    type Answer = bool;

    async fn write(&self, db: &mut SqliteConnection) -> Result<bool> {
        let delete = match &self.of {
            None => sql::KEY_DELETE.query().bind(self.name.clone()),
            Some(Owner { realm, name }) => {
                let delete = sql::KEY_DELETE_OF.query().bind(self.name.clone());
                delete.bind(realm.clone()).bind(name.clone())
            }
        };
        Ok(delete.execute(db).await.map_err(Failure::from)?.rows_affected() == 1)
    }
}

struct See {
    name: String,
    at: Timestamp,
}

#[async_trait]
impl Write for See {
    type Answer = ();

    async fn write(&self, db: &mut SqliteConnection) -> Result<()> {
        let see = sql::KEY_SEEN.query().bind(self.name.clone()).bind(millisecond(self.at));
        see.execute(db).await.map_err(Failure::from)?;
        Ok(())
    }
}
