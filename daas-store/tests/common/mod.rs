//! Sessions for the store's tests.

#![allow(clippy::unwrap_used, dead_code, reason = "shared by several test programs")]

use daas_core::clock::{Clock, SystemClock};
use daas_core::event::{NewEvent, What};
use daas_core::ids::{Organisation, SessionId, SessionPrefix};
use daas_core::owner::Owner;
use daas_core::session::{Phase, Session};
use daas_core::store::quota::Quotas;
use daas_core::store::{Change, NewSession, Next, SessionStore};
use daas_core::template::Template;

/// A session of alice, just asked for.
pub(crate) fn new_session() -> Session {
    let template = Template::new("lab".parse().unwrap(), "fake".parse().unwrap(), "image");
    let id = SessionId::mint(&SessionPrefix::default());
    let owner = Owner { realm: "lab".into(), name: "alice".into() };
    Session::new(id, template, Some(owner), Organisation::default(), SystemClock.now())
}

/// The wish to add it, with one event.
pub(crate) fn adding(session: &Session) -> NewSession {
    let what = What::Requested { template: session.template.name.to_string() };
    NewSession {
        session: session.clone(),
        quotas: Quotas::default(),
        events: vec![NewEvent { at: session.created_at, what }],
        idempotency_key: None,
    }
}

/// Ends it as the engine would, with one event.
pub(crate) async fn end(store: &dyn SessionStore, session: &mut Session) {
    let now = SystemClock.now();
    for phase in [Phase::Destroying, Phase::Ended] {
        session.enter(phase, "test", now).unwrap();
    }
    let what = What::Note { text: "the end".into() };
    let events = vec![NewEvent { at: now, what }];
    let next = Next::Release(None);
    let change = Change { session: session.clone(), fence: None, events, next };
    session.version = store.update(change).await.unwrap();
}
