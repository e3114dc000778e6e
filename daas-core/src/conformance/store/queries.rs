//! Pages, filters, the event log, counts.

use super::*;
use crate::conformance::clauses;
use crate::ids::Label;
use crate::store::{Filter, Page};

pub(super) fn clauses() -> Vec<Clause<Store>> {
    clauses![
        list_of_nothing_is_empty,
        list_tells_the_youngest_first_in_pages_without_gap_or_repeat,
        list_passes_what_each_filter_names,
        list_passes_what_several_filters_name,
        list_refuses_a_token_that_is_not_ours,
        events_come_in_order_after_a_cursor,
        events_pass_what_the_filter_names,
        events_are_never_skipped_by_a_reader_that_follows,
        watch_wakes_when_an_event_was_written,
        reserved_tells_live_holders_only,
        tally_counts_phases_and_ends,
    ]
}

async fn page(store: &Store, filter: &Filter) -> Vec<SessionId> {
    let page = store.list(filter, &Page::first(100)).await.expect("read");
    assert_eq!(page.next, None);
    page.sessions.into_iter().map(|session| session.id).collect()
}

async fn list_of_nothing_is_empty(store: Store) {
    assert_eq!(page(&store, &Filter::default()).await, []);
}

async fn list_tells_the_youngest_first_in_pages_without_gap_or_repeat(store: Store) {
    let mut all = Vec::new();
    for n in 0..25 {
        // Five at a time share their second: the order must hold among them, too.
        let new = session(n / 5);
        add(&store, &new).await;
        all.push(new);
    }
    all.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
    let mut found = Vec::new();
    let mut page = Page::first(7);
    loop {
        let answer = store.list(&Filter::default(), &page).await.expect("read");
        assert!(answer.sessions.len() <= 7);
        found.extend(answer.sessions);
        assert!(found.len() <= all.len(), "a page repeats another");
        match answer.next {
            Some(next) => page.after = Some(next),
            None => break,
        }
    }
    assert_eq!(found, all);
}

async fn list_passes_what_each_filter_names(store: Store) {
    let plain = session(0);
    let mut ready = session_of("windows", 1);
    let mut ended = session(2);
    let mut bobs = session(3);
    bobs.owner = Some(owner("bob"));
    bobs.organisation = Organisation::new("school").expect("a name");
    bobs.label = Some(Label::new("maths").expect("a label"));
    for new in [&plain, &ready, &ended, &bobs] {
        add(&store, new).await;
    }
    enter(&store, &mut ready, Phase::Ready, 10).await;
    enter(&store, &mut ended, Phase::Ended, 20).await;
    let none = Filter::default();
    let check = async |filter: Filter, expected: &[&Session]| {
        let expected: Vec<_> = expected.iter().map(|session| session.id.clone()).collect();
        assert_eq!(page(&store, &filter).await, expected, "{filter:?}");
    };
    check(none.clone(), &[&bobs, &ended, &ready, &plain]).await;
    check(Filter { owner: bobs.owner.clone(), ..none.clone() }, &[&bobs]).await;
    let organisation = Some(bobs.organisation.clone());
    check(Filter { organisation, ..none.clone() }, &[&bobs]).await;
    check(Filter { phase: Some(Phase::Ready), ..none.clone() }, &[&ready]).await;
    check(Filter { template: Some(ready.template.name.clone()), ..none.clone() }, &[&ready]).await;
    check(Filter { label: bobs.label.clone(), ..none.clone() }, &[&bobs]).await;
    check(Filter { live: Some(true), ..none.clone() }, &[&bobs, &ready, &plain]).await;
    check(Filter { live: Some(false), ..none.clone() }, &[&ended]).await;
    check(Filter { ended_since: Some(at(20)), ..none.clone() }, &[&ended]).await;
    check(Filter { ended_since: Some(at(21)), ..none }, &[]).await;
}

async fn list_passes_what_several_filters_name(store: Store) {
    let (first, mut second, mut third) = (session(0), session(1), session_of("windows", 2));
    for new in [&first, &second, &third] {
        add(&store, new).await;
    }
    enter(&store, &mut second, Phase::Ended, 5).await;
    enter(&store, &mut third, Phase::Creating, 5).await;
    let all = Filter {
        owner: first.owner.clone(),
        organisation: Some(first.organisation.clone()),
        phase: Some(Phase::Queued),
        template: Some(first.template.name.clone()),
        label: None,
        live: Some(true),
        ended_since: None,
    };
    assert_eq!(page(&store, &all).await, [first.id]);
    let ended = Filter { phase: None, live: Some(false), ended_since: Some(at(0)), ..all };
    assert_eq!(page(&store, &ended).await, [second.id]);
}

async fn list_refuses_a_token_that_is_not_ours(store: Store) {
    add(&store, &session(0)).await;
    for token in ["", "x", "12", "-", "1-", "99999999999999999999-desktop-aaaaaaa"] {
        let page = Page { limit: 10, after: Some(token.to_owned()) };
        refused(store.list(&Filter::default(), &page).await, Kind::Invalid);
    }
}

async fn events_come_in_order_after_a_cursor(store: Store) {
    let record = session(0);
    add(&store, &record).await;
    let change = Change { events: (1..6).map(|n| note("n", n)).collect(), ..changing(&record) };
    store.update(change).await.expect("written");
    let log = events(&store).await;
    assert_eq!(log.len(), 6);
    assert!(log.windows(2).all(|pair| pair[0].cursor < pair[1].cursor), "{log:?}");
    let rest = store.events(log[1].cursor, &EventFilter::default(), 2).await.expect("read");
    assert_eq!(rest, log[2..4]);
    let end = store.events(log[5].cursor, &EventFilter::default(), 10).await.expect("read");
    assert_eq!(end, []);
    assert_eq!(*store.watch().borrow(), log[5].cursor);
}

async fn events_pass_what_the_filter_names(store: Store) {
    let (alices, mut bobs) = (session(0), session(1));
    bobs.owner = Some(owner("bob"));
    bobs.organisation = Organisation::new("school").expect("a name");
    add(&store, &alices).await;
    add(&store, &bobs).await;
    let none = EventFilter::default();
    for filter in [
        EventFilter { session: Some(bobs.id.clone()), ..none.clone() },
        EventFilter { owner: bobs.owner.clone(), ..none.clone() },
        EventFilter { organisation: Some(bobs.organisation.clone()), ..none.clone() },
        EventFilter {
            session: Some(bobs.id.clone()),
            owner: bobs.owner.clone(),
            organisation: Some(bobs.organisation.clone()),
        },
    ] {
        let found = store.events(Cursor(0), &filter, 10).await.expect("read");
        let sessions: Vec<_> = found.iter().map(|event| &event.session).collect();
        assert_eq!(sessions, [&bobs.id], "{filter:?}");
    }
    let nobody = EventFilter { session: Some(bobs.id.clone()), owner: alices.owner, ..none };
    assert_eq!(store.events(Cursor(0), &nobody, 10).await.expect("read"), []);
}

async fn events_are_never_skipped_by_a_reader_that_follows(store: Store) {
    const WRITERS: usize = 40;
    let new: Vec<_> = (0..WRITERS).map(|n| session(n as i64)).collect();
    let writing = futures::future::join_all(new.iter().map(|session| add(&store, session)));
    let reading = async {
        let mut changes = store.watch();
        let (mut seen, mut cursor) = (Vec::new(), Cursor(0));
        while seen.len() < WRITERS {
            changes.borrow_and_update();
            let news = store.events(cursor, &EventFilter::default(), 3).await.expect("read");
            match news.last() {
                Some(last) => cursor = last.cursor,
                None => changes.changed().await.expect("the store is there"),
            }
            seen.extend(news.into_iter().map(|event| event.session));
        }
        seen
    };
    let (_, mut seen) = tokio::join!(writing, reading);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), WRITERS);
}

async fn watch_wakes_when_an_event_was_written(store: Store) {
    let mut changes = store.watch();
    changes.borrow_and_update();
    add(&store, &session(0)).await;
    let woken = tokio::time::timeout(std::time::Duration::from_secs(10), changes.changed()).await;
    woken.expect("woken in time").expect("the store is there");
    let newest = *changes.borrow();
    assert_eq!(events(&store).await.last().map(|event| event.cursor), Some(newest));
}

async fn reserved_tells_live_holders_only(store: Store) {
    let (mut present, mut past, mut ended, plain) =
        (session(0), session(1), session(2), session(3));
    present.reservation = Some(reservation(&present, "1"));
    past.past_reservations = vec![reservation(&past, "2"), reservation(&past, "3")];
    ended.reservation = Some(reservation(&ended, "4"));
    for new in [&present, &past, &ended, &plain] {
        add(&store, new).await;
    }
    enter(&store, &mut ended, Phase::Ended, 5).await;
    let mut found = store.reserved(&plain.template.provisioner).await.expect("read");
    found.sort_by_key(|session| session.created_at);
    assert_eq!(found, [present, past]);
    let other = "other".parse().expect("a name");
    assert_eq!(store.reserved(&other).await.expect("read"), []);
}

async fn tally_counts_phases_and_ends(store: Store) {
    assert_eq!(store.tally().await.expect("read"), crate::store::Tally::default());
    let (mut ready, mut ended, plain) = (session(0), session(10), session(20));
    for new in [&ready, &ended, &plain] {
        add(&store, new).await;
    }
    enter(&store, &mut ready, Phase::Ready, 30).await;
    enter(&store, &mut ended, Phase::Ended, 100).await;
    let tally = store.tally().await.expect("read");
    let by_phase: Vec<_> = tally.by_phase.iter().filter(|(_, n)| **n > 0).collect();
    assert_eq!(by_phase, [(&Phase::Queued, &1), (&Phase::Ready, &1)]);
    assert_eq!((tally.created, tally.ended, tally.live()), (3, 1, 2));
    assert!((tally.ended_seconds - 90.0).abs() < 0.001, "{}", tally.ended_seconds);
}
