//! Statements that are sent together.
//!
//! Each hand-over to SQLite's thread costs two switches between threads, which is more than most
//! statements cost themselves; what needs no answer in between goes in one.

use sqlx::error::BoxDynError;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe, Encode, Sqlite, SqliteConnection, Type};

use crate::error::Failure;
use crate::sql::Sql;

/// Statements and their values, in order. None has numbered parameters: those would count from the
/// first statement's first.
#[derive(Default)]
pub(crate) struct Batch {
    text: String,
    values: SqliteArguments,
    failed: Option<BoxDynError>,
}

impl Batch {
    /// One more statement; its values follow by [`Batch::bind`].
    pub(crate) fn add(&mut self, statement: &Sql) -> &mut Self {
        debug_assert!(!statement.text().contains("?1"), "{}", statement.text());
        if !self.text.is_empty() {
            self.text.push_str("; ");
        }
        self.text.push_str(statement.text());
        self
    }

    /// The next value of the statement added last.
    pub(crate) fn bind<'q, T: Encode<'q, Sqlite> + Type<Sqlite> + 'q>(
        &mut self,
        value: T,
    ) -> &mut Self {
        if let Err(error) = self.values.add(value) {
            self.failed.get_or_insert(error);
        }
        self
    }

    /// Does them, up to the first that fails.
    pub(crate) async fn run(self, db: &mut SqliteConnection) -> Result<(), Failure> {
        if let Some(error) = self.failed {
            return Err(sqlx::Error::Encode(error).into());
        }
        if !self.text.is_empty() {
            sqlx::query_with(AssertSqlSafe(self.text), self.values).execute(db).await?;
        }
        Ok(())
    }
}
