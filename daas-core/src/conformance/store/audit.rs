//! The audit log.

use super::*;
use crate::audit::{
    Act, AuditFilter, AuditKey, AuditPage, Digest, Entry, Head, Note, SignedHead, Stage, Writer,
};
use crate::conformance::clauses;
use crate::ids::DeploymentId;

pub(super) fn clauses() -> Vec<Clause<Store>> {
    clauses![
        audit_keeps_entries_as_they_are_and_in_their_order,
        audit_refuses_what_does_not_follow_and_all_that_came_with_it,
        audit_tells_the_chains_and_who_vouches_for_them,
        audit_filters_and_pages_in_both_directions,
        audit_keeps_signatures_in_their_order,
        audit_tells_what_is_old_and_never_beyond_what_is_young,
        audit_forgets_what_is_named_and_nothing_else,
    ]
}

fn start(writer: &str) -> Head {
    let nothing: Digest = "0".repeat(64).parse().expect("a hash");
    Head { writer: Writer(writer.to_owned()), number: 0, hash: nothing }
}

/// The entry after `head`, which it becomes.
fn next(head: &mut Head, second: i64, note: Note) -> Entry {
    let entry = Entry::after(head, &note, at(second));
    *head = entry.head();
    entry
}

fn note_of(act: Act, who: &str, session: Option<&Session>) -> Note {
    Note {
        owner: Some(owner(who)),
        session: session.map(|s| s.id.clone()),
        subject: Some("a \"subject\"".to_owned()),
        status: Some(202),
        ..Note::of(act, Stage::Noted)
    }
}

/// `count` entries of one chain, one a second from `second` on.
async fn chain(store: &Store, writer: &str, second: i64, count: i64) -> Vec<Entry> {
    let mut head = start(writer);
    let entry = |n| next(&mut head, second + n, note_of(Act::SessionStop, "alice", None));
    let entries: Vec<Entry> = (0..count).map(entry).collect();
    store.audit().append(&entries).await.expect("added");
    entries
}

async fn all(store: &Store) -> Vec<Entry> {
    found(store, &AuditFilter::default(), AuditPage::onwards(0, 100)).await
}

async fn found(store: &Store, filter: &AuditFilter, page: AuditPage) -> Vec<Entry> {
    let found = store.audit().entries(filter, &page).await.expect("read");
    found.into_iter().map(|placed| placed.entry).collect()
}

async fn audit_keeps_entries_as_they_are_and_in_their_order(store: Store) {
    assert_eq!(all(&store).await, []);
    let mut expected = chain(&store, "a", 0, 2).await;
    expected.extend(chain(&store, "b", 0, 1).await);
    let mut head = expected[1].head();
    let more = next(&mut head, 9, Note::of(Act::KeyCreate, Stage::Asked));
    store.audit().append(std::slice::from_ref(&more)).await.expect("added");
    expected.push(more);
    assert_eq!(all(&store).await, expected);
    assert!(all(&store).await.iter().all(|entry| entry.digest() == entry.hash));
}

async fn audit_refuses_what_does_not_follow_and_all_that_came_with_it(store: Store) {
    let before = chain(&store, "a", 0, 2).await;
    let note = || note_of(Act::SessionStop, "bob", None);
    let mut other = before[0].head();
    let twice = next(&mut other, 5, note());
    let mut ahead = Head { number: 3, ..before[1].head() };
    let gap = next(&mut ahead, 5, note());
    let mut elsewhere = Head { number: 2, ..before[0].head() };
    let grafted = next(&mut elsewhere, 5, note());
    let mut late = Head { number: 4, ..start("new") };
    let no_first = next(&mut late, 5, note());
    for bad in [twice, gap, grafted, no_first] {
        let mut head = before[1].head();
        let good = next(&mut head, 5, note());
        refused(store.audit().append(&[good, bad]).await, Kind::Conflict);
        assert_eq!(all(&store).await, before);
    }
    store.audit().append(&[]).await.expect("nothing to add");
}

async fn audit_tells_the_chains_and_who_vouches_for_them(store: Store) {
    let first = chain(&store, "a", 0, 3).await;
    let mut head = start("b");
    let links = vec![first[1].head()];
    let opened = next(&mut head, 5, Note { links, ..Note::of(Act::LogOpened, Stage::Noted) });
    store.audit().append(std::slice::from_ref(&opened)).await.expect("added");
    let chains = store.audit().chains().await.expect("read");
    let told: Vec<_> = chains.iter().map(|c| (c.first, c.head.clone(), c.linked)).collect();
    assert_eq!(told, [(1, first[2].head(), 2), (1, opened.head(), 0)]);
}

async fn audit_filters_and_pages_in_both_directions(store: Store) {
    let (mine, other) = (session(0), session(1));
    let mut head = start("a");
    let entries = vec![
        next(&mut head, 0, note_of(Act::SessionStop, "alice", Some(&mine))),
        next(&mut head, 1, note_of(Act::SessionStart, "bob", Some(&mine))),
        next(&mut head, 2, note_of(Act::SessionStop, "bob", Some(&other))),
        next(&mut head, 3, note_of(Act::SessionStop, "alice", None)),
    ];
    store.audit().append(&entries).await.expect("added");
    let text = |text: &str| Some(text.to_owned());
    let any = AuditFilter::default;
    let by_session = AuditFilter { session: text(mine.id.as_str()), ..any() };
    let checks = [
        (any(), vec![0, 1, 2, 3]),
        (by_session.clone(), vec![0, 1]),
        (AuditFilter { owner: text("bob@lab"), ..any() }, vec![1, 2]),
        (AuditFilter { act: text("session-stop"), ..any() }, vec![0, 2, 3]),
        (AuditFilter { since: Some(at(1)), until: Some(at(3)), ..any() }, vec![1, 2]),
        (AuditFilter { owner: text("bob@lab"), act: text("session-start"), ..by_session }, vec![1]),
        (AuditFilter { owner: text("alice@lab"), act: text("session-stop"), ..any() }, vec![0, 3]),
        (AuditFilter { owner: text("nobody@lab"), ..any() }, vec![]),
    ];
    for (filter, expected) in checks {
        for newest_first in [false, true] {
            let mut expected: Vec<&Entry> = expected.iter().map(|i| &entries[*i]).collect();
            if newest_first {
                expected.reverse();
            }
            // Page by page, two at a time.
            let (mut after, mut seen) = (None, Vec::new());
            for _ in 0..4 {
                let page = AuditPage { after, newest_first, limit: 2 };
                let found = store.audit().entries(&filter, &page).await.expect("read");
                assert!(found.len() <= 2, "{found:?}");
                after = found.last().map(|placed| placed.place).or(after);
                seen.extend(found.into_iter().map(|placed| placed.entry));
            }
            assert_eq!(seen.iter().collect::<Vec<_>>(), expected, "{filter:?} {newest_first}");
        }
    }
}

async fn audit_keeps_signatures_in_their_order(store: Store) {
    let key = AuditKey::mint().expect("a key");
    let deployment = DeploymentId::mint();
    let entries = chain(&store, "a", 0, 3).await;
    let heads = entries.iter().map(|e| SignedHead::new(&key, &deployment, e.head(), at(9)));
    let heads: Vec<SignedHead> = heads.collect();
    for head in &heads {
        store.audit().sign(head).await.expect("kept");
    }
    let first = store.audit().heads(0, 2).await.expect("read");
    let rest = store.audit().heads(first[1].0, 2).await.expect("read");
    let told: Vec<_> = first.into_iter().chain(rest).map(|(_, head)| head).collect();
    assert_eq!(told, heads);
    assert!(told.iter().all(|head| head.is_genuine(&deployment)));
}

async fn audit_tells_what_is_old_and_never_beyond_what_is_young(store: Store) {
    let old = chain(&store, "a", 0, 3).await;
    let young = chain(&store, "b", 100, 1).await;
    // A clock that was set back: the third is older than the second and stays with it.
    let mut head = start("c");
    let mixed: Vec<Entry> = [0, 60, 1]
        .map(|second| next(&mut head, second, Note::of(Act::LogOpened, Stage::Noted)))
        .into();
    store.audit().append(&mixed).await.expect("added");
    let aged = async |second, limit| store.audit().aged(at(second), limit).await.expect("read");
    assert_eq!(aged(0, 10).await, []);
    assert_eq!(aged(2, 10).await, [old[1].head(), mixed[0].head()]);
    assert_eq!(aged(50, 10).await, [old[2].head(), mixed[0].head()]);
    assert_eq!(aged(50, 2).await, [old[1].head(), mixed[0].head()]);
    assert_eq!(aged(101, 10).await, [old[2].head(), young[0].head(), mixed[2].head()]);
}

async fn audit_forgets_what_is_named_and_nothing_else(store: Store) {
    let key = AuditKey::mint().expect("a key");
    let deployment = DeploymentId::mint();
    let (one, two) = (chain(&store, "a", 0, 3).await, chain(&store, "b", 0, 2).await);
    for entry in [&one[1], &one[2], &two[1]] {
        let head = SignedHead::new(&key, &deployment, entry.head(), at(9));
        store.audit().sign(&head).await.expect("kept");
    }
    let marks = [one[1].head(), two[1].head()];
    assert_eq!(store.audit().forget(&marks).await.expect("forgotten"), 4);
    assert_eq!(store.audit().forget(&marks).await.expect("nothing left"), 0);
    assert_eq!(all(&store).await, one[2..]);
    let heads = store.audit().heads(0, 10).await.expect("read");
    assert_eq!(heads.into_iter().map(|(_, h)| h.head).collect::<Vec<_>>(), [one[2].head()]);
    let chains = store.audit().chains().await.expect("read");
    assert_eq!(
        chains.iter().map(|c| (c.first, c.head.clone())).collect::<Vec<_>>(),
        [(3, one[2].head())]
    );
    // The chain goes on.
    let mut head = one[2].head();
    let more = next(&mut head, 10, note_of(Act::SessionStop, "alice", None));
    store.audit().append(&[more]).await.expect("added");
}
