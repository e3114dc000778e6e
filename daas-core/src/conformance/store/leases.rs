//! Due times and leases.

use super::*;
use crate::conformance::clauses;

pub(super) fn clauses() -> Vec<Clause<Store>> {
    clauses![
        take_due_leases_the_longest_due_first,
        take_due_leaves_what_is_not_due,
        take_due_never_gives_one_to_two,
        take_due_leaves_a_running_lease_also_to_its_holder,
        take_due_takes_a_lease_that_ran_out_under_a_greater_fence,
        take_due_clears_the_due_time_but_not_a_later_wish,
        next_due_is_the_earliest_wake_up,
        renew_prolongs_what_is_held_and_names_it,
        renew_of_a_lost_lease_is_not_answered,
        release_ends_the_lease_and_sets_the_due_time,
        release_leaves_what_is_not_held_under_that_fence,
        hasten_sets_an_earlier_due_time_only,
        hasten_of_nothing_is_harmless,
        update_holds_releases_or_makes_due,
    ]
}

async fn take_due_leases_the_longest_due_first(store: Store) {
    let all = [session(2), session(0), session(1)];
    for session in &all {
        add(&store, session).await;
    }
    let taken = store.take_due(&holder("a"), at(5), at(60), 2).await.expect("taken");
    let ids: Vec<_> = taken.iter().map(|leased| &leased.session).collect();
    assert_eq!(ids, [&all[1], &all[2]]);
    assert_eq!(take(&store, "a", 5, 60).await[0].0, all[0].id);
}

async fn take_due_leaves_what_is_not_due(store: Store) {
    assert_eq!(take(&store, "a", 0, 60).await, []);
    add(&store, &session(10)).await;
    assert_eq!(take(&store, "a", 9, 60).await, []);
    assert_eq!(take(&store, "a", 10, 60).await.len(), 1);
}

async fn take_due_never_gives_one_to_two(store: Store) {
    for second in 0..20 {
        add(&store, &session(second)).await;
    }
    let names: Vec<_> = (0..8).map(|n| holder(&format!("taker-{n}"))).collect();
    let takes = names.iter().map(|name| store.take_due(name, at(30), at(60), 5));
    let mut ids = Vec::new();
    for taken in futures::future::join_all(takes).await {
        ids.extend(taken.expect("taken").into_iter().map(|leased| leased.session.id));
    }
    ids.sort();
    let all = ids.len();
    ids.dedup();
    assert_eq!((all, ids.len()), (20, 20), "each is taken by one");
}

async fn take_due_leaves_a_running_lease_also_to_its_holder(store: Store) {
    let record = session(0);
    add(&store, &record).await;
    assert_eq!(take(&store, "a", 0, 60).await.len(), 1);
    store.hasten(&record.id, at(1)).await.expect("hastened");
    assert_eq!(take(&store, "b", 10, 70).await, []);
    assert_eq!(take(&store, "a", 10, 70).await, []);
}

async fn take_due_takes_a_lease_that_ran_out_under_a_greater_fence(store: Store) {
    add(&store, &session(0)).await;
    let first = take(&store, "a", 0, 30).await.remove(0);
    let second = take(&store, "b", 30, 60).await.remove(0);
    assert!(second.1 > first.1, "{second:?} after {first:?}");
    store.release(&second.0, second.1, Some(at(40))).await.expect("released");
    let third = take(&store, "a", 40, 60).await.remove(0);
    assert!(third.1 > second.1, "{third:?} after {second:?}");
}

async fn take_due_clears_the_due_time_but_not_a_later_wish(store: Store) {
    let record = session(0);
    add(&store, &record).await;
    let (id, fence) = take(&store, "a", 0, 30).await.remove(0);
    store.release(&id, fence, None).await.expect("released");
    assert_eq!(store.next_due().await.expect("read"), None, "nobody wished anything");
    store.hasten(&id, at(5)).await.expect("hastened");
    let (id, fence) = take(&store, "a", 5, 30).await.remove(0);
    store.hasten(&id, at(7)).await.expect("hastened under the lease");
    store.release(&id, fence, Some(at(1_000))).await.expect("released");
    assert_eq!(store.next_due().await.expect("read"), Some(at(7)), "the wish outlives the lease");
}

async fn next_due_is_the_earliest_wake_up(store: Store) {
    assert_eq!(store.next_due().await.expect("read"), None);
    add(&store, &session(20)).await;
    add(&store, &session(10)).await;
    assert_eq!(store.next_due().await.expect("read"), Some(at(10)));
    take(&store, "a", 10, 15).await;
    assert_eq!(store.next_due().await.expect("read"), Some(at(15)), "when the lease ends");
    take(&store, "a", 15, 90).await;
    assert_eq!(store.next_due().await.expect("read"), Some(at(20)));
}

async fn renew_prolongs_what_is_held_and_names_it(store: Store) {
    add(&store, &session(0)).await;
    add(&store, &session(1)).await;
    let held = take(&store, "a", 1, 30).await;
    let mut kept = store.renew(&holder("a"), &held, at(90)).await.expect("renewed");
    kept.sort();
    let mut ids: Vec<_> = held.iter().map(|(id, _)| id.clone()).collect();
    ids.sort();
    assert_eq!(kept, ids);
    assert_eq!(take(&store, "b", 60, 120).await, []);
    assert_eq!(take(&store, "b", 90, 120).await.len(), 2);
}

async fn renew_of_a_lost_lease_is_not_answered(store: Store) {
    add(&store, &session(0)).await;
    let old = take(&store, "a", 0, 10).await;
    let new = take(&store, "b", 10, 40).await;
    let renew = async |who: &str, held: &[(SessionId, Fence)]| {
        store.renew(&holder(who), held, at(500)).await.expect("answered")
    };
    assert_eq!(renew("a", &old).await, []);
    assert_eq!(renew("a", &new).await, [], "another's lease");
    let nobody = [(session(9).id, Fence(1))];
    assert_eq!(renew("b", &nobody).await, []);
    assert_eq!(take(&store, "c", 40, 60).await.len(), 1, "none of these prolonged it");
}

async fn release_ends_the_lease_and_sets_the_due_time(store: Store) {
    add(&store, &session(0)).await;
    let (id, fence) = take(&store, "a", 0, 500).await.remove(0);
    store.release(&id, fence, Some(at(50))).await.expect("released");
    assert_eq!(take(&store, "b", 49, 90).await, []);
    assert_eq!(take(&store, "b", 50, 90).await.len(), 1);
}

async fn release_leaves_what_is_not_held_under_that_fence(store: Store) {
    add(&store, &session(0)).await;
    let (id, old) = take(&store, "a", 0, 10).await.remove(0);
    take(&store, "b", 10, 60).await;
    store.release(&id, old, Some(at(20))).await.expect("left alone");
    assert_eq!(take(&store, "c", 30, 90).await, [], "the other's lease goes on");
    let nobody = session(9).id;
    store.release(&nobody, Fence(1), Some(at(20))).await.expect("left alone");
}

async fn hasten_sets_an_earlier_due_time_only(store: Store) {
    let record = session(100);
    add(&store, &record).await;
    store.hasten(&record.id, at(200)).await.expect("hastened");
    assert_eq!(store.next_due().await.expect("read"), Some(at(100)));
    store.hasten(&record.id, at(50)).await.expect("hastened");
    assert_eq!(store.next_due().await.expect("read"), Some(at(50)));
    assert_eq!(get(&store, &record.id).await, record, "the record is not touched");
}

async fn hasten_of_nothing_is_harmless(store: Store) {
    store.hasten(&session(0).id, at(0)).await.expect("harmless");
    assert_eq!(store.next_due().await.expect("read"), None);
}

async fn update_holds_releases_or_makes_due(store: Store) {
    let mut record = session(0);
    add(&store, &record).await;
    let (_, fence) = take(&store, "a", 0, 60).await.remove(0);
    let mut write = async |next, fence: Option<Fence>, second| {
        record.updated_at = at(second);
        let change = Change { fence, next, ..changing(&record) };
        record.version = store.update(change).await.expect("written");
    };
    write(Next::Hold, Some(fence), 5).await;
    assert_eq!(take(&store, "b", 10, 60).await, [], "the lease is kept");
    write(Next::DueNow, None, 6).await;
    assert_eq!(take(&store, "b", 10, 60).await, [], "another's lease is left as it is");
    write(Next::Release(Some(at(900))), Some(fence), 7).await;
    let taken = take(&store, "b", 10, 60).await;
    assert_eq!(taken.len(), 1, "the wish of second 6 outlived the lease");
    write(Next::Release(Some(at(900))), Some(taken[0].1), 11).await;
    assert_eq!(store.next_due().await.expect("read"), Some(at(900)));
    write(Next::DueNow, None, 12).await;
    assert_eq!(store.next_due().await.expect("read"), Some(at(12)));
}
