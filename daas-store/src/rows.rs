//! Between rows and the library's types.

use daas_core::event::Event;
use daas_core::ids::{Cursor, Organisation, SessionId};
use daas_core::owner::Owner;
use daas_core::session::Session;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::error::Failure;

/// `at` as a column's value.
pub(crate) fn millisecond(at: Timestamp) -> i64 {
    at.as_millisecond()
}

/// The time of a column's value.
pub(crate) fn timestamp(value: i64) -> Result<Timestamp, Failure> {
    Timestamp::from_millisecond(value)
        .map_err(|_| Failure::Senseless { what: "time", value: value.to_string() })
}

/// A count as a column's value; the columns hold 63 bits.
pub(crate) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The count of a column's value.
pub(crate) fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A value as JSON.
pub(crate) fn encode<T: Serialize>(what: &'static str, value: &T) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|source| Failure::Unreadable { what, source })
}

/// The value of a JSON text.
pub(crate) fn decode<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|source| Failure::Unreadable { what, source })
}

/// Realm and name, empty for nobody.
pub(crate) fn owner_columns(owner: Option<&Owner>) -> (String, String) {
    owner.map(|o| (o.realm.clone(), o.name.clone())).unwrap_or_default()
}

/// An id that was written as text.
pub(crate) fn session_id(text: &str) -> Result<SessionId, Failure> {
    SessionId::new(text)
        .map_err(|_| Failure::Senseless { what: "session id", value: text.to_owned() })
}

/// An event's row: cursor, at, session, realm, name, organisation, body.
pub(crate) fn event(row: &SqliteRow) -> Result<Event, Failure> {
    let (realm, name): (String, String) = (row.try_get(3)?, row.try_get(4)?);
    let organisation: &str = row.try_get(5)?;
    let owner = !(realm.is_empty() && name.is_empty());
    Ok(Event {
        cursor: Cursor(count(row.try_get(0)?)),
        at: timestamp(row.try_get(1)?)?,
        session: session_id(row.try_get(2)?)?,
        owner: owner.then_some(Owner { realm, name }),
        organisation: Organisation::new(organisation).map_err(|_| Failure::Senseless {
            what: "organisation",
            value: organisation.to_owned(),
        })?,
        what: decode("event", row.try_get(6)?)?,
    })
}

/// The record in a row's first column.
pub(crate) fn session(row: &SqliteRow) -> Result<Session, Failure> {
    decode("session", row.try_get(0)?)
}
