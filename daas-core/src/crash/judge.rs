//! The judges of a life: what the platform, the directory and the store have in the end.

use super::world::World;
use crate::error::Result;
use crate::event::{Event, What};
use crate::ids::Cursor;
use crate::session::{Phase, Session};
use crate::store::{EventFilter, Filter, Page, SessionStore, Tally};

/// More of anything than any story leaves.
const ALL: usize = 10_000;

/// What a store tells in the end.
struct Told {
    sessions: Vec<Session>,
    events: Vec<Event>,
    tally: Tally,
}

impl Told {
    async fn by(store: &dyn SessionStore) -> Result<Self> {
        Ok(Self {
            sessions: store.list(&Filter::default(), &Page::first(ALL)).await?.sessions,
            events: store.events(Cursor(0), &EventFilter::default(), ALL).await?,
            tally: store.tally().await?,
        })
    }
}

impl World {
    /// Judges that nothing is left, whatever was there meanwhile, and that the store tells of it.
    pub(super) async fn judge_left(&self) {
        let left = self.backends.machines().await;
        assert!(left.is_empty(), "machines are left: {left:?}");
        let accounts = self.backends.effects().await;
        assert!(accounts.is_empty(), "accounts are left: {accounts:?}");
        let told = self.read(async |store| Told::by(store.as_ref()).await).await;
        for session in &told.sessions {
            assert_eq!(session.phase, Phase::Ended, "{}", session.reason);
            assert!(session.ledger.is_empty(), "{:?}", session.ledger);
            judge_log(&told.events, session);
        }
        let count = told.sessions.len() as u64;
        assert_eq!((told.tally.created, told.tally.ended), (count, count));
        assert_eq!(told.tally.live(), 0, "{:?}", told.tally);
    }

    /// Judges that runs have left nothing on this machine, now that all has come to rest.
    pub(super) async fn judge_traces(&self) {
        let traces = self.backends.traces().await;
        assert!(traces.is_empty(), "traces are left: {traces:#?}");
    }

    /// Judges from the platform's own log that nothing was made twice.
    pub(super) async fn judge_made_once(&self) {
        let doubled = self.backends.doubled().await;
        assert!(doubled.is_empty(), "made more than once: {doubled:?}");
    }
}

/// The log tells of each phase of `session` once, each from where the one before led to.
fn judge_log(all: &[Event], session: &Session) {
    let events: Vec<_> = all.iter().filter(|event| event.session == session.id).collect();
    let asked = events.iter().filter(|event| matches!(event.what, What::Requested { .. })).count();
    assert_eq!(asked, 1, "{} was asked for once: {events:#?}", session.id);
    let mut phase = Phase::Queued;
    for event in &events {
        if let What::Phase { from, to, .. } = &event.what {
            assert_eq!(*from, phase, "{}: a phase is missing before {event:?}", session.id);
            phase = *to;
        }
    }
    assert_eq!(phase, session.phase, "{}: the log ends too early: {events:#?}", session.id);
}
