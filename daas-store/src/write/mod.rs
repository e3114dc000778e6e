//! The operations that write, each one a struct that the writer runs in its transaction.

pub(crate) mod batch;
pub(crate) mod claim;
pub(crate) mod insert;
pub(crate) mod leases;
pub(crate) mod prune;
pub(crate) mod small;
pub(crate) mod update;

use daas_core::event::NewEvent;
use daas_core::ids::SessionId;
use daas_core::session::Session;
use daas_core::store::quota::{Quotas, Scope, Usage};
use daas_core::{Error, Kind, Operation, Result};
use sqlx::{Row, SqliteConnection};

use self::batch::Batch;
use crate::error::Failure;
use crate::rows::{count, encode, millisecond, number, owner_columns};
use crate::sql::{self, Sql};

/// There is no session `id`.
fn not_found(id: &SessionId) -> Error {
    Error::new(Kind::NotFound, Operation::Store, id, "no such session")
}

fn conflict(id: &SessionId, why: impl Into<String>) -> Error {
    Error::new(Kind::Conflict, Operation::Store, id, why)
}

/// The record of `id`.
async fn read(db: &mut SqliteConnection, id: &SessionId) -> Result<Option<Session>, Failure> {
    let row = sql::SESSION_GET.query().bind(id.as_str().to_owned()).fetch_optional(db).await?;
    row.as_ref().map(crate::rows::session).transpose()
}

/// Whether a session of that id was pruned.
pub(crate) async fn retired(
    db: impl sqlx::SqliteExecutor<'_>,
    id: &SessionId,
) -> Result<bool, Failure> {
    let get = sql::RETIRED_GET.query().bind(id.as_str().to_owned());
    Ok(get.fetch_optional(db).await?.is_some())
}

/// Has the record's row written by `statement`, which is the insert or the update.
fn put(batch: &mut Batch, statement: &Sql, s: &Session) -> Result<(), Failure> {
    let (realm, name) = owner_columns(s.owner.as_ref());
    batch
        .add(statement)
        .bind(number(s.version.0))
        .bind(realm)
        .bind(name)
        .bind(s.organisation.as_str().to_owned())
        .bind(s.template.name.as_str().to_owned())
        .bind(s.label.as_ref().map(|label| label.as_str().to_owned()))
        .bind(s.phase.as_str())
        .bind(s.is_live())
        .bind(i64::from(s.template.cores))
        .bind(number(s.template.memory_mib))
        .bind(millisecond(s.created_at))
        .bind(s.ready_at.map(millisecond))
        .bind(s.ended_at.map(millisecond))
        .bind(encode("session", s)?)
        .bind(s.id.as_str().to_owned());
    Ok(())
}

/// Has `events` of `session` written to the log.
fn record(batch: &mut Batch, session: &Session, events: &[NewEvent]) -> Result<(), Failure> {
    for event in events {
        let (realm, name) = owner_columns(session.owner.as_ref());
        batch
            .add(&sql::EVENT_INSERT)
            .bind(millisecond(event.at))
            .bind(session.id.as_str().to_owned())
            .bind(realm)
            .bind(name)
            .bind(session.organisation.as_str().to_owned())
            .bind(encode("event", &event.what)?);
    }
    Ok(())
}

/// Refuses a label that is live for this owner.
async fn check_label(db: &mut SqliteConnection, session: &Session) -> Result<()> {
    let Some(label) = session.label.as_ref().filter(|_| session.is_live()) else { return Ok(()) };
    let (realm, name) = owner_columns(session.owner.as_ref());
    let found = sql::SESSION_BY_LABEL
        .query()
        .bind(realm)
        .bind(name)
        .bind(label.as_str().to_owned())
        .bind(session.id.as_str().to_owned())
        .fetch_optional(db)
        .await
        .map_err(Failure::from)?;
    let Some(row) = found else { return Ok(()) };
    let other: String = row.try_get(0).map_err(Failure::from)?;
    let why = format!("its owner has a live session with that label, {other}");
    Err(conflict(&session.id, why))
}

/// A machine that a session holds: its provisioner and its id there.
type Held = (String, String);

/// Has the table of held machines say what the record says: none once it has ended. `before` is
/// what it says now. Refuses a machine that another session holds.
async fn hold(
    db: &mut SqliteConnection,
    batch: &mut Batch,
    session: &Session,
    before: &[Held],
) -> Result<()> {
    let mut after: Vec<Held> = Vec::new();
    for held in session.reservations().filter(|_| session.is_live()) {
        let held = (held.provisioner.to_string(), held.machine.to_string());
        if !after.contains(&held) {
            after.push(held);
        }
    }
    for (provisioner, machine) in before.iter().filter(|held| !after.contains(held)) {
        batch.add(&sql::RESERVATION_DELETE).bind(provisioner.clone()).bind(machine.clone());
    }
    for (provisioner, machine) in after.into_iter().filter(|held| !before.contains(held)) {
        let holder = sql::RESERVATION_HOLDER.query().bind(provisioner.clone());
        let holder = holder.bind(machine.clone()).fetch_optional(&mut *db).await;
        if let Some(row) = holder.map_err(Failure::from)? {
            let other: String = row.try_get(0).map_err(Failure::from)?;
            return Err(conflict(&session.id, format!("machine {machine} is held by {other}")));
        }
        let id = session.id.as_str().to_owned();
        batch.add(&sql::RESERVATION_INSERT).bind(provisioner).bind(machine).bind(id);
    }
    Ok(())
}

/// Refuses `session` where it would pass a quota. `counted` is the record as it is counted now, if
/// it is: a session does not stand in its own way.
async fn check_quotas(
    db: &mut SqliteConnection,
    quotas: &Quotas,
    session: &Session,
    counted: Option<&Session>,
) -> Result<()> {
    for (scope, quota) in quotas.limited() {
        let key = scope_key(scope, session);
        let mut usage = usage(db, &key).await?;
        if let Some(counted) = counted.filter(|c| c.is_live() && scope_key(scope, c) == key) {
            usage.sessions = usage.sessions.saturating_sub(1);
            usage.cores = usage.cores.saturating_sub(u64::from(counted.template.cores));
            usage.memory_mib = usage.memory_mib.saturating_sub(counted.template.memory_mib);
        }
        quota.admit(scope, usage, session)?;
    }
    Ok(())
}

/// The key of the row in which `session` is counted for `scope`.
fn scope_key(scope: Scope, session: &Session) -> (&'static str, String, String) {
    match scope {
        Scope::Owner => {
            let (realm, name) = owner_columns(session.owner.as_ref());
            ("owner", realm, name)
        }
        Scope::Organisation => ("organisation", String::new(), session.organisation.to_string()),
        Scope::Template => ("template", String::new(), session.template.name.to_string()),
        Scope::All => ("all", String::new(), String::new()),
    }
}

async fn usage(
    db: &mut SqliteConnection,
    (scope, realm, name): &(&'static str, String, String),
) -> Result<Usage, Failure> {
    let query = sql::USAGE.query().bind(*scope).bind(realm.clone()).bind(name.clone());
    let Some(row) = query.fetch_optional(db).await? else { return Ok(Usage::default()) };
    Ok(Usage {
        sessions: count(row.try_get(0)?),
        cores: count(row.try_get(1)?),
        memory_mib: count(row.try_get(2)?),
    })
}
