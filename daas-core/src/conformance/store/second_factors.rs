//! Second factors.

use super::*;
use crate::access::SecondFactor;
use crate::conformance::clauses;

pub(super) fn clauses() -> Vec<Clause<Store>> {
    clauses![
        second_factors_are_one_for_each_owner,
        second_factors_use_each_step_once_and_none_earlier,
        second_factors_use_each_recovery_code_once,
        second_factors_take_other_recovery_codes,
        second_factors_are_removed_whole,
    ]
}

fn factor(of: &str) -> SecondFactor {
    SecondFactor {
        owner: owner(of),
        sealed: format!("sealed for {of}"),
        last_step: 10,
        recovery_codes: ["a", "b"].map(str::to_owned).into(),
        created_at: at(0),
    }
}

async fn add_factor(store: &Store, of: &str) {
    store.second_factors().add_second_factor(&factor(of)).await.expect("added");
}

async fn kept(store: &Store, of: &str) -> Option<SecondFactor> {
    store.second_factors().second_factor_of(&owner(of)).await.expect("read")
}

async fn step(store: &Store, of: &str, step: u64) -> bool {
    store.second_factors().use_step(&owner(of), step).await.expect("answered")
}

async fn code(store: &Store, of: &str, hash: &str) -> bool {
    store.second_factors().use_recovery_code(&owner(of), hash).await.expect("answered")
}

async fn second_factors_are_one_for_each_owner(store: Store) {
    assert_eq!(kept(&store, "alice").await, None);
    add_factor(&store, "alice").await;
    add_factor(&store, "bob").await;
    let other = SecondFactor { sealed: "other".to_owned(), last_step: 99, ..factor("alice") };
    refused(store.second_factors().add_second_factor(&other).await, Kind::Conflict);
    assert_eq!(kept(&store, "alice").await, Some(factor("alice")));
    assert_eq!(kept(&store, "bob").await, Some(factor("bob")));
}

async fn second_factors_use_each_step_once_and_none_earlier(store: Store) {
    add_factor(&store, "alice").await;
    add_factor(&store, "bob").await;
    assert!(!step(&store, "alice", 10).await, "it was used when it was enrolled");
    let all = (0..5).map(|_| step(&store, "alice", 12));
    let used = futures::future::join_all(all).await;
    assert_eq!(used.into_iter().filter(|used| *used).count(), 1, "five used one step");
    assert!(!step(&store, "alice", 11).await, "an earlier one");
    assert!(step(&store, "alice", 13).await);
    assert!(step(&store, "bob", 12).await, "somebody else's");
    assert!(!step(&store, "carol", 12).await, "nobody's");
    assert_eq!(kept(&store, "alice").await.map(|factor| factor.last_step), Some(13));
}

async fn second_factors_use_each_recovery_code_once(store: Store) {
    add_factor(&store, "alice").await;
    add_factor(&store, "bob").await;
    let all = (0..5).map(|_| code(&store, "alice", "a"));
    let used = futures::future::join_all(all).await;
    assert_eq!(used.into_iter().filter(|used| *used).count(), 1, "five used one code");
    assert!(!code(&store, "alice", "c").await);
    assert!(code(&store, "bob", "a").await, "somebody else's");
    let left = kept(&store, "alice").await.map(|factor| factor.recovery_codes);
    assert_eq!(left, Some(["b".to_owned()].into()));
}

async fn second_factors_take_other_recovery_codes(store: Store) {
    add_factor(&store, "alice").await;
    let others: std::collections::BTreeSet<String> = ["c", "d"].map(str::to_owned).into();
    let replace = async |of: &str| {
        let done = store.second_factors().replace_recovery_codes(&owner(of), &others).await;
        done.expect("answered")
    };
    assert!(replace("alice").await);
    assert!(!replace("bob").await);
    assert!(!code(&store, "alice", "a").await, "it was replaced");
    assert!(code(&store, "alice", "c").await);
    assert_eq!(kept(&store, "bob").await, None);
}

async fn second_factors_are_removed_whole(store: Store) {
    add_factor(&store, "alice").await;
    let remove = async |of: &str| {
        store.second_factors().remove_second_factor(&owner(of)).await.expect("answered")
    };
    assert!(!remove("bob").await);
    assert!(remove("alice").await);
    assert!(!remove("alice").await);
    assert_eq!(kept(&store, "alice").await, None);
    let bare = SecondFactor { recovery_codes: [].into(), ..factor("alice") };
    store.second_factors().add_second_factor(&bare).await.expect("added again");
    assert_eq!(kept(&store, "alice").await, Some(bare), "nothing is left of the one before");
}
