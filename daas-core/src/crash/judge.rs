//! The judges of a life: what the platform, the directory and the store have in the end.

use std::collections::BTreeMap;

use super::world::World;
use crate::event::What;
use crate::fake::PlatformAct;
use crate::ids::{Cursor, SessionId};
use crate::session::{Phase, Session};
use crate::store::{EventFilter, Filter, Page, SessionStore};

/// More of anything than any story leaves.
const ALL: usize = 10_000;

impl World {
    /// Judges that nothing is left, whatever was there meanwhile, and that the store tells of it.
    pub(super) async fn judge_left(&self) {
        let left = self.platform.machines();
        assert!(left.is_empty(), "machines are left: {left:?}");
        let accounts = self.guests.accounts();
        assert!(accounts.is_empty(), "accounts are left: {accounts:?}");
        let store = self.store().await;
        let all = store.list(&Filter::default(), &Page::first(ALL)).await.expect("listed").sessions;
        for session in &all {
            assert_eq!(session.phase, Phase::Ended, "{}", session.reason);
            assert!(session.ledger.is_empty(), "{:?}", session.ledger);
            judge_log(store.as_ref(), session).await;
        }
        let tally = store.tally().await.expect("tallied");
        assert_eq!((tally.created, tally.ended), (all.len() as u64, all.len() as u64));
        assert_eq!(tally.live(), 0, "{tally:?}");
    }

    /// Judges from the platform's own log that nothing was made twice.
    pub(super) fn judge_made_once(&self) {
        let mut made: BTreeMap<SessionId, usize> = BTreeMap::new();
        for act in self.platform.log() {
            if let PlatformAct::Made(_, session) = act {
                *made.entry(session).or_default() += 1;
            }
        }
        assert!(made.values().all(|times| *times == 1), "made more than once: {made:?}");
    }
}

/// The log tells of each phase of `session` once, each from where the one before led to.
async fn judge_log(store: &dyn SessionStore, session: &Session) {
    let filter = EventFilter { session: Some(session.id.clone()), ..EventFilter::default() };
    let events = store.events(Cursor(0), &filter, ALL).await.expect("read");
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
