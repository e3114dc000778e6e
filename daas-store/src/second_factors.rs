//! Second factors in the file.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use daas_core::access::{SecondFactor, SecondFactorStore};
use daas_core::owner::Owner;
use daas_core::{Error, Kind, Operation, Result};
use sqlx::{Row, SqliteConnection, SqlitePool};

use crate::error::Failure;
use crate::rows::{count, decode, millisecond, number, timestamp};
use crate::sql::{self, Sql};
use crate::writer::{Write, Writer};

#[derive(Debug)]
pub(crate) struct SqliteSecondFactors {
    readers: SqlitePool,
    writer: Arc<Writer>,
}

impl SqliteSecondFactors {
    pub(crate) fn new(readers: SqlitePool, writer: Arc<Writer>) -> Self {
        Self { readers, writer }
    }
}

/// A statement about `owner`, whose realm and name are its first values.
fn of<'q>(
    statement: &Sql,
    owner: &Owner,
) -> sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments> {
    statement.query().bind(owner.realm.clone()).bind(owner.name.clone())
}

#[async_trait]
impl SecondFactorStore for SqliteSecondFactors {
    async fn add_second_factor(&self, factor: &SecondFactor) -> Result<()> {
        self.writer.run(Add(factor.clone())).await
    }

    async fn second_factor_of(&self, owner: &Owner) -> Result<Option<SecondFactor>> {
        let row = of(&sql::FACTOR_OF, owner).fetch_optional(&self.readers).await;
        let Some(row) = row.map_err(Failure::from)? else { return Ok(None) };
        let read = || -> Result<SecondFactor, Failure> {
            Ok(SecondFactor {
                owner: owner.clone(),
                sealed: row.try_get(0)?,
                last_step: count(row.try_get(1)?),
                created_at: timestamp(row.try_get(2)?)?,
                recovery_codes: decode("recovery codes", row.try_get(3)?)?,
            })
        };
        Ok(Some(read()?))
    }

    async fn use_step(&self, owner: &Owner, step: u64) -> Result<bool> {
        self.writer.run(UseStep { owner: owner.clone(), step }).await
    }

    async fn use_recovery_code(&self, owner: &Owner, hash: &str) -> Result<bool> {
        self.writer.run(UseCode { owner: owner.clone(), hash: hash.to_owned() }).await
    }

    async fn replace_recovery_codes(
        &self,
        owner: &Owner,
        hashes: &BTreeSet<String>,
    ) -> Result<bool> {
        self.writer.run(Replace { owner: owner.clone(), hashes: hashes.clone() }).await
    }

    async fn remove_second_factor(&self, owner: &Owner) -> Result<bool> {
        self.writer.run(Remove(owner.clone())).await
    }
}

struct Add(SecondFactor);

#[async_trait]
impl Write for Add {
    type Answer = ();

    async fn write(&self, db: &mut SqliteConnection) -> Result<()> {
        let SecondFactor { owner, sealed, last_step, recovery_codes, created_at } = &self.0;
        let add = of(&sql::FACTOR_INSERT, owner).bind(sealed.clone()).bind(number(*last_step));
        let add = add.bind(millisecond(*created_at)).execute(&mut *db).await;
        if add.map_err(Failure::from)?.rows_affected() == 0 {
            let why = "has a second factor already";
            return Err(Error::new(Kind::Conflict, Operation::Store, owner, why));
        }
        insert_codes(db, owner, recovery_codes).await
    }
}

async fn insert_codes(
    db: &mut SqliteConnection,
    owner: &Owner,
    hashes: &BTreeSet<String>,
) -> Result<()> {
    for hash in hashes {
        let insert = of(&sql::RECOVERY_INSERT, owner).bind(hash.clone());
        insert.execute(&mut *db).await.map_err(Failure::from)?;
    }
    Ok(())
}

struct UseStep {
    owner: Owner,
    step: u64,
}

#[async_trait]
impl Write for UseStep {
    type Answer = bool;

    async fn write(&self, db: &mut SqliteConnection) -> Result<bool> {
        let used = of(&sql::FACTOR_STEP, &self.owner).bind(number(self.step)).execute(db).await;
        Ok(used.map_err(Failure::from)?.rows_affected() == 1)
    }
}

struct UseCode {
    owner: Owner,
    hash: String,
}

#[async_trait]
impl Write for UseCode {
    type Answer = bool;

    async fn write(&self, db: &mut SqliteConnection) -> Result<bool> {
        let used = of(&sql::RECOVERY_DELETE, &self.owner).bind(self.hash.clone()).execute(db).await;
        Ok(used.map_err(Failure::from)?.rows_affected() == 1)
    }
}

struct Replace {
    owner: Owner,
    hashes: BTreeSet<String>,
}

#[async_trait]
impl Write for Replace {
    type Answer = bool;

    async fn write(&self, db: &mut SqliteConnection) -> Result<bool> {
        let there = of(&sql::FACTOR_THERE, &self.owner).fetch_optional(&mut *db).await;
        if there.map_err(Failure::from)?.is_none() {
            return Ok(false);
        }
        let delete = of(&sql::RECOVERY_DELETE_OF, &self.owner).execute(&mut *db).await;
        delete.map_err(Failure::from)?;
        insert_codes(db, &self.owner, &self.hashes).await?;
        Ok(true)
    }
}

struct Remove(Owner);

#[async_trait]
impl Write for Remove {
    type Answer = bool;

    async fn write(&self, db: &mut SqliteConnection) -> Result<bool> {
        // Its recovery codes go with it.
        let removed = of(&sql::FACTOR_DELETE, &self.0).execute(db).await;
        Ok(removed.map_err(Failure::from)?.rows_affected() == 1)
    }
}
