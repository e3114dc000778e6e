//! The clauses of [`SessionStore`], and the sessions they are judged with.

mod audit;
mod keys;
mod leases;
mod others;
mod prunes;
mod queries;
mod records;
mod second_factors;
mod sign_ins;

use std::sync::Arc;

use jiff::Timestamp;

use super::Clause;
use crate::error::{Kind, Result};
use crate::event::{Event, NewEvent, What};
use crate::ids::{Cursor, Fence, Holder, MachineId, Organisation, SessionId, SessionPrefix};
use crate::machine::Reservation;
use crate::owner::Owner;
use crate::session::{Phase, Session};
use crate::store::quota::Quotas;
use crate::store::{Change, EventFilter, Inserted, NewSession, Next, SessionStore};
use crate::template::Template;

/// The store under judgement.
type Store = Arc<dyn SessionStore>;

/// Every clause of [`SessionStore`] and of the stores in it.
pub fn store_clauses() -> Vec<Clause<Store>> {
    let mut all = records::clauses();
    all.extend(leases::clauses());
    all.extend(queries::clauses());
    all.extend(others::clauses());
    all.extend(keys::clauses());
    all.extend(sign_ins::clauses());
    all.extend(second_factors::clauses());
    all.extend(prunes::clauses());
    all.extend(audit::clauses());
    all
}

/// A second of the time in which the clauses play.
fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("in range")
}

fn owner(name: &str) -> Owner {
    Owner { realm: "lab".to_owned(), name: name.to_owned() }
}

/// A session of alice, asked for at `second`.
fn session(second: i64) -> Session {
    session_of("lab", second)
}

fn session_of(template: &str, second: i64) -> Session {
    let backend = "fake".parse().expect("a name");
    let template = Template::new(template.parse().expect("a name"), backend, "image");
    let id = SessionId::mint(&SessionPrefix::default());
    Session::new(id, template, Some(owner("alice")), Organisation::default(), at(second))
}

fn reservation(session: &Session, machine: &str) -> Reservation {
    Reservation {
        session: session.id.clone(),
        provisioner: session.template.provisioner.clone(),
        machine: MachineId::new(machine).expect("an id"),
        place: "here".to_owned(),
        memory_mib: session.template.memory_mib,
        cores: session.template.cores,
        uuid: None,
    }
}

fn note(text: &str, second: i64) -> NewEvent {
    NewEvent { at: at(second), what: What::Note { text: text.to_owned() } }
}

fn adding(session: &Session) -> NewSession {
    NewSession {
        session: session.clone(),
        quotas: Quotas::default(),
        events: vec![note("added", 0)],
        idempotency_key: None,
    }
}

/// Adds `session`, which must be new.
async fn add(store: &Store, session: &Session) {
    let inserted = store.insert(adding(session)).await.expect("added");
    assert_eq!(inserted, Inserted::New(Box::new(session.clone())));
}

fn changing(session: &Session) -> Change {
    Change { session: session.clone(), fence: None, events: Vec::new(), next: Next::DueNow }
}

/// Replaces the record by `session`, which takes the new version.
async fn put(store: &Store, session: &mut Session) {
    session.version = store.update(changing(session)).await.expect("written");
}

/// Puts the session in `phase` as the engine would, and writes it.
async fn enter(store: &Store, session: &mut Session, phase: Phase, second: i64) {
    let path: &[Phase] = match phase {
        Phase::Pooled => &[Phase::Creating, Phase::Preparing, Phase::Pooled],
        Phase::Ready => &[Phase::Creating, Phase::Ready],
        Phase::Ended => &[Phase::Destroying, Phase::Ended],
        Phase::Creating => &[Phase::Creating],
        other => panic!("no way to {other} is known here"),
    };
    for phase in path {
        session.enter(*phase, "test", at(second)).expect("allowed");
    }
    session.ready_at = session.ready_at.or((phase == Phase::Pooled).then(|| at(second)));
    session.updated_at = at(second);
    put(store, session).await;
}

async fn get(store: &Store, id: &SessionId) -> Session {
    store.get(id).await.expect("read").expect("there")
}

async fn events(store: &Store) -> Vec<Event> {
    store.events(Cursor(0), &EventFilter::default(), 10_000).await.expect("read")
}

fn holder(name: &str) -> Holder {
    Holder(name.to_owned())
}

/// Takes what is due at `now` for `holder` until `until`; ids and fences.
async fn take(store: &Store, who: &str, now: i64, until: i64) -> Vec<(SessionId, Fence)> {
    let taken = store.take_due(&holder(who), at(now), at(until), 100).await.expect("taken");
    taken.into_iter().map(|leased| (leased.session.id, leased.fence)).collect()
}

/// The answer must be a failure of this kind.
fn refused<T: std::fmt::Debug>(answer: Result<T>, kind: Kind) {
    match answer {
        Err(error) => assert_eq!(error.kind(), kind, "{}", error.chain()),
        Ok(answer) => panic!("answered {answer:?} instead of refusing it as {kind:?}"),
    }
}
