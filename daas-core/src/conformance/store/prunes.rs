//! Forgetting what is over and old.

use super::*;
use crate::activity::{Activity, Report};
use crate::conformance::clauses;
use crate::store::{Filter, Page, Prune, Pruned, Tally};

pub(super) fn clauses() -> Vec<Clause<Store>> {
    clauses![
        prune_removes_what_ended_long_ago,
        prune_never_touches_the_live,
        prune_keeps_the_id_alone_for_ever,
        prune_goes_on_portion_by_portion,
        prune_of_nothing_old_is_zeros,
        prune_of_a_session_frees_its_key,
        prune_removes_old_keys_and_leaves_their_sessions,
        events_that_were_pruned_are_told_from_none,
        events_of_the_live_stay_whole,
        watch_never_goes_back,
        tally_counts_what_was_pruned,
    ]
}

/// What ended before `ended` is old, and no key is.
fn old(ended: i64) -> Prune {
    Prune { ended_before: at(ended), keys_before: at(-1_000), limit: 100 }
}

/// Prunes until nothing is left to prune; all that went.
async fn prune(store: &Store, old: &Prune) -> Pruned {
    let mut all = Pruned::default();
    for _ in 0..100 {
        let portion = store.prune(old).await.expect("pruned");
        if portion.rows() == 0 {
            return all;
        }
        all += portion;
    }
    panic!("it never comes to an end: {all:?}");
}

/// A session that was asked for at second 0 and ended at `second`, with two events.
async fn ended(store: &Store, second: i64) -> Session {
    let mut record = session(0);
    add(store, &record).await;
    enter(store, &mut record, Phase::Ended, second).await;
    let last = Change { events: vec![note("the end", second)], ..changing(&record) };
    record.version = store.update(last).await.expect("written");
    record
}

async fn events_of(store: &Store, id: &SessionId) -> Result<Vec<Event>> {
    let filter = EventFilter { session: Some(id.clone()), ..EventFilter::default() };
    store.events(Cursor(0), &filter, 100).await
}

async fn newest(store: &Store) -> Cursor {
    *store.watch().borrow()
}

fn report() -> Activity {
    let report = Report { sessions: Vec::new(), uptime_seconds: 1, boot_id: "b".to_owned() };
    Activity::default().after(report, at(1))
}

async fn prune_removes_what_ended_long_ago(store: Store) {
    let gone = ended(&store, 10).await;
    store.put_activity(&gone.id, &report()).await.expect("written");
    let kept = ended(&store, 20).await;
    let pruned = prune(&store, &old(20)).await;
    assert_eq!(pruned, Pruned { sessions: 1, events: 2, keys: 0 });
    assert_eq!(store.get(&gone.id).await.expect("read"), None);
    assert_eq!(store.activity(&gone.id).await.expect("read"), Activity::default());
    refused(store.update(changing(&gone)).await, Kind::NotFound);
    refused(store.put_activity(&gone.id, &report()).await, Kind::NotFound);
    assert_eq!(get(&store, &kept.id).await, kept);
    assert_eq!(events_of(&store, &kept.id).await.expect("read").len(), 2);
    let page = store.list(&Filter::default(), &Page::first(10)).await.expect("read");
    assert_eq!(page.sessions, [kept]);
    assert!(take(&store, "a", 9_000, 9_001).await.iter().all(|(id, _)| id != &gone.id));
}

async fn prune_never_touches_the_live(store: Store) {
    let mut live = Session { label: "maths".parse().ok(), ..session(0) };
    live.reservation = Some(reservation(&live, "100"));
    add(&store, &live).await;
    enter(&store, &mut live, Phase::Ready, 1).await;
    store.put_activity(&live.id, &report()).await.expect("written");
    let live = get(&store, &live.id).await;
    let (_, fence) = take(&store, "a", 5, 9_000_000).await.remove(0);
    prune(&store, &Prune { keys_before: at(8_000_000), ..old(8_000_000) }).await;
    assert_eq!(get(&store, &live.id).await, live);
    assert_eq!(store.activity(&live.id).await.expect("read"), report());
    assert_eq!(events_of(&store, &live.id).await.expect("read").len(), 1);
    let held = store.reserved(&live.template.provisioner).await.expect("read");
    assert_eq!(held, std::slice::from_ref(&live));
    assert!(!store.retired(&live.id).await.expect("read"));
    let under = Change { fence: Some(fence), next: Next::Hold, ..changing(&live) };
    store.update(under).await.expect("the lease goes on");
}

async fn prune_keeps_the_id_alone_for_ever(store: Store) {
    let gone = ended(&store, 10).await;
    let kept = ended(&store, 20).await;
    for _ in 0..3 {
        prune(&store, &old(20)).await;
        assert!(store.retired(&gone.id).await.expect("read"));
        let again = Session { id: gone.id.clone(), ..session(100) };
        refused(store.insert(adding(&again)).await, Kind::Conflict);
        assert_eq!(store.get(&gone.id).await.expect("read"), None);
    }
    assert!(!store.retired(&kept.id).await.expect("read"), "its record is there");
    assert!(!store.retired(&session(0).id).await.expect("read"), "never heard of it");
}

async fn prune_goes_on_portion_by_portion(store: Store) {
    for second in 0..5 {
        ended(&store, second).await;
    }
    let few = Prune { limit: 2, ..old(100) };
    let mut all = Pruned::default();
    for call in 0.. {
        let portion = store.prune(&few).await.expect("pruned");
        assert!(portion.rows() <= 2, "{portion:?}");
        all += portion;
        if portion.rows() == 0 {
            break;
        }
        if call == 0 {
            let left = store.list(&Filter::default(), &Page::first(10)).await.expect("read");
            let mut ends: Vec<_> = left.sessions.iter().map(|s| s.ended_at).collect();
            ends.sort();
            assert_eq!(ends, [2, 3, 4].map(|second| Some(at(second))), "the longest ended first");
        }
    }
    assert_eq!(all, Pruned { sessions: 5, events: 10, keys: 0 });
    let none = store.prune(&Prune { limit: 0, ..old(100) }).await.expect("answered");
    assert_eq!(none, Pruned::default());
}

async fn prune_of_nothing_old_is_zeros(store: Store) {
    assert_eq!(store.prune(&old(1_000)).await.expect("answered"), Pruned::default());
    ended(&store, 10).await;
    assert_eq!(store.prune(&old(10)).await.expect("answered"), Pruned::default());
}

fn with_key(session: &Session) -> NewSession {
    NewSession { idempotency_key: Some("once".to_owned()), ..adding(session) }
}

async fn prune_of_a_session_frees_its_key(store: Store) {
    let mut first = session(0);
    store.insert(with_key(&first)).await.expect("added");
    enter(&store, &mut first, Phase::Ended, 10).await;
    prune(&store, &old(10)).await;
    let before = store.insert(with_key(&session(20))).await.expect("answered");
    assert_eq!(before, Inserted::Before(Box::new(first)), "not old yet");
    prune(&store, &old(11)).await;
    let again = store.insert(with_key(&session(30))).await.expect("added");
    assert!(matches!(again, Inserted::New(_)), "{again:?}");
}

async fn prune_removes_old_keys_and_leaves_their_sessions(store: Store) {
    let first = session(10);
    store.insert(with_key(&first)).await.expect("added");
    let keys = |second| Prune { keys_before: at(second), ..old(0) };
    assert_eq!(prune(&store, &keys(10)).await, Pruned::default());
    let before = store.insert(with_key(&session(20))).await.expect("answered");
    assert_eq!(before, Inserted::Before(Box::new(first.clone())), "not old yet");
    let pruned = prune(&store, &keys(11)).await;
    assert_eq!(pruned, Pruned { keys: 1, ..Pruned::default() });
    let again = store.insert(with_key(&session(30))).await.expect("added");
    assert!(matches!(again, Inserted::New(_)), "{again:?}");
    // Ended before the end of time, but alive: it is not touched.
    prune(&store, &old(1_000)).await;
    assert_eq!(get(&store, &first.id).await, first);
}

async fn events_that_were_pruned_are_told_from_none(store: Store) {
    let all = EventFilter::default();
    let gone = ended(&store, 10).await;
    let newest_gone = newest(&store).await;
    let live = session(0);
    add(&store, &live).await;
    let of_alice = EventFilter { owner: live.owner.clone(), ..all.clone() };
    let before_last = Cursor(newest_gone.0 - 1);
    prune(&store, &old(20)).await;
    for filter in [&all, &of_alice] {
        for missed in [Cursor(0), before_last] {
            refused(store.events(missed, filter, 100).await, Kind::NotFound);
        }
        // Who had read them all goes on without a gap.
        let rest = store.events(newest_gone, filter, 100).await.expect("read");
        assert_eq!(rest.iter().map(|event| &event.session).collect::<Vec<_>>(), [&live.id]);
    }
    refused(events_of(&store, &gone.id).await, Kind::NotFound);
    let never = events_of(&store, &session(0).id).await.expect("answered");
    assert_eq!(never, [], "nothing was missed of what never was");
}

async fn events_of_the_live_stay_whole(store: Store) {
    let mut live = session(0);
    add(&store, &live).await;
    ended(&store, 10).await;
    let change = Change { events: vec![note("between", 11)], ..changing(&live) };
    live.version = store.update(change).await.expect("written");
    ended(&store, 12).await;
    let before = events_of(&store, &live.id).await.expect("read");
    assert_eq!(before.len(), 2);
    prune(&store, &old(1_000)).await;
    assert_eq!(events_of(&store, &live.id).await.expect("read"), before);
}

async fn watch_never_goes_back(store: Store) {
    ended(&store, 10).await;
    let before = newest(&store).await;
    prune(&store, &old(20)).await;
    assert_eq!(newest(&store).await, before);
    assert_eq!(store.events(before, &EventFilter::default(), 9).await.expect("read"), []);
    let next = session(30);
    add(&store, &next).await;
    let after = store.events(before, &EventFilter::default(), 9).await.expect("read");
    assert_eq!(after.len(), 1, "{after:?}");
    assert!(after[0].cursor > before, "{after:?}");
    assert_eq!(newest(&store).await, after[0].cursor);
}

async fn tally_counts_what_was_pruned(store: Store) {
    ended(&store, 10).await;
    ended(&store, 20).await;
    add(&store, &session(0)).await;
    let expected = store.tally().await.expect("read");
    assert_eq!((expected.created, expected.ended, expected.ended_seconds), (3, 2, 30.0));
    prune(&store, &old(15)).await;
    let tally: Tally = store.tally().await.expect("read");
    assert_eq!(tally, expected);
}
