//! What can go wrong here, and the one way from it to the library's error.

use std::path::PathBuf;

use daas_core::{Error, Kind, Operation};

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("another process has it open; stop that one, or choose another file")]
    Locked,
    #[error("its directory {} does not exist; make it, or choose another file", .0.display())]
    NoDirectory(PathBuf),
    #[error("cannot be opened for writing; check its permissions and its directory's")]
    NotWritable(#[source] std::io::Error),
    #[error("is no session store of ours (not an SQLite database); choose another file")]
    NotADatabase(#[source] sqlx::Error),
    #[error("is an SQLite database of another program; choose another file")]
    Foreign,
    #[error("is damaged ({0}); restore it from a backup")]
    Damaged(String),
    #[error(
        "was written by a newer version of this program (schema {found}, this one knows {known}); \
         start the newer program"
    )]
    Newer { found: i64, known: i64 },
    #[error("cannot be brought to this program's schema; restore it from a backup")]
    Migration(#[source] sqlx::migrate::MigrateError),
    #[error("cannot be opened")]
    Open(#[source] sqlx::Error),
    #[error("its disk is full; make room")]
    Full(#[source] sqlx::Error),
    #[error("was damaged while in use; stop the program and restore the store from a backup")]
    DamagedInUse(#[source] sqlx::Error),
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
    #[error("a stored {what} cannot be read; restore the store from a backup")]
    Unreadable { what: &'static str, source: serde_json::Error },
    #[error("a stored {what} makes no sense: {value:?}; restore the store from a backup")]
    Senseless { what: &'static str, value: String },
    #[error("the store has been closed")]
    Closed,
    #[error("an operation broke off and was undone; the log tells where, report it")]
    BrokeOff,
}

/// SQLite's primary codes, <https://www.sqlite.org/rescode.html>.
pub(crate) const CORRUPT: u32 = 11;
const FULL: u32 = 13;
pub(crate) const NOT_A_DATABASE: u32 = 26;

/// SQLite's code of a failure: of an extended one the lower eight bits, which are the primary code.
pub(crate) fn code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?;
    Some(code.parse::<u32>().ok()? & 0xff)
}

/// What is met once the store is open.
impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        match code(&error) {
            Some(FULL) => Self::Full(error),
            Some(CORRUPT | NOT_A_DATABASE) => Self::DamagedInUse(error),
            _ => Self::Database(error),
        }
    }
}

impl Failure {
    fn kind(&self) -> Kind {
        match self {
            Self::Locked => Kind::Conflict,
            Self::NotWritable(_) => Kind::Denied,
            Self::NoDirectory(_) | Self::NotADatabase(_) | Self::Foreign | Self::Newer { .. } => {
                Kind::Invalid
            }
            Self::Full(_) => Kind::Exhausted,
            Self::Damaged(_)
            | Self::DamagedInUse(_)
            | Self::BrokeOff
            | Self::Migration(_)
            | Self::Unreadable { .. }
            | Self::Senseless { .. } => Kind::Internal,
            Self::Open(_) | Self::Database(_) | Self::Closed => Kind::Unavailable,
        }
    }

    /// The failure as met when opening the file `path`.
    pub(crate) fn opening(self, path: &std::path::Path) -> Error {
        wrap(self, Operation::Start, path.display())
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        wrap(failure, Operation::Store, "sessions")
    }
}

fn wrap(failure: Failure, operation: Operation, subject: impl std::fmt::Display) -> Error {
    let error = Error::new(failure.kind(), operation, subject, failure.to_string());
    match failure {
        Failure::NotADatabase(source)
        | Failure::Open(source)
        | Failure::Full(source)
        | Failure::DamagedInUse(source)
        | Failure::Database(source) => error.because(source),
        Failure::NotWritable(source) => error.because(source),
        Failure::Migration(source) => error.because(source),
        Failure::Unreadable { source, .. } => error.because(source),
        Failure::Locked
        | Failure::NoDirectory(_)
        | Failure::Foreign
        | Failure::Damaged(_)
        | Failure::Newer { .. }
        | Failure::Senseless { .. }
        | Failure::BrokeOff
        | Failure::Closed => error,
    }
}
