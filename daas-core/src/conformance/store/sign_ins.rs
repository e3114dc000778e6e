//! Sign-ins.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::access::{Role, SignIn};
use crate::conformance::clauses;

pub(super) fn clauses() -> Vec<Clause<Store>> {
    clauses![
        sign_ins_are_found_by_hash_and_listed_by_owner,
        sign_ins_of_everybody_are_listed_newest_first,
        sign_ins_refuse_a_used_id_or_hash,
        sign_ins_are_seen_and_never_earlier,
        sign_ins_are_ended_by_their_owner_alone,
        sign_ins_that_are_over_are_pruned,
    ]
}

fn sign_in(id: &str, of: &str, second: i64) -> SignIn {
    SignIn {
        id: id.to_owned(),
        hash: format!("hash of {id}"),
        owner: owner(of),
        display_name: Some("Älice".to_owned()),
        organisation: Organisation::default(),
        role: Role::Operator,
        groups: ["students".to_owned()].into(),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        agent: "a browser".to_owned(),
        created_at: at(second),
        seen_at: at(second),
        ends_at: at(second + 1_000),
    }
}

async fn put(store: &Store, sign_in: &SignIn) {
    store.sign_ins().add_sign_in(sign_in).await.expect("added");
}

async fn listed(store: &Store, of: &str) -> Vec<SignIn> {
    store.sign_ins().sign_ins_of(&owner(of)).await.expect("read")
}

async fn sign_ins_are_found_by_hash_and_listed_by_owner(store: Store) {
    let (old, new) = (sign_in("a", "alice", 1), sign_in("b", "alice", 2));
    let other = sign_in("c", "bob", 3);
    for one in [&old, &new, &other] {
        put(&store, one).await;
    }
    let found = async |hash: &str| store.sign_ins().sign_in_by_hash(hash).await.expect("read");
    assert_eq!(found(&new.hash).await, Some(new.clone()));
    assert_eq!(found("a").await, None, "an id opens nothing");
    assert_eq!(listed(&store, "alice").await, [new, old]);
}

async fn sign_ins_of_everybody_are_listed_newest_first(store: Store) {
    let all = [sign_in("a", "bob", 1), sign_in("b", "alice", 3), sign_in("c", "bob", 2)];
    for one in &all {
        put(&store, one).await;
    }
    let newest = async |limit| store.sign_ins().newest_sign_ins(limit).await.expect("read");
    let [first, second, third] = all;
    assert_eq!(newest(2).await, [second.clone(), third.clone()]);
    assert_eq!(newest(10).await, [second, third, first]);
}

async fn sign_ins_refuse_a_used_id_or_hash(store: Store) {
    let first = sign_in("a", "alice", 1);
    put(&store, &first).await;
    let same_id = SignIn { hash: "another".to_owned(), ..sign_in("a", "bob", 2) };
    let same_hash = SignIn { hash: first.hash.clone(), ..sign_in("b", "bob", 2) };
    for twin in [same_id, same_hash] {
        refused(store.sign_ins().add_sign_in(&twin).await, Kind::Conflict);
    }
    assert_eq!(listed(&store, "bob").await, []);
}

async fn sign_ins_are_seen_and_never_earlier(store: Store) {
    put(&store, &sign_in("a", "alice", 10)).await;
    for second in [30, 20] {
        store.sign_ins().see_sign_in("a", at(second)).await.expect("noted");
    }
    store.sign_ins().see_sign_in("nobody's", at(30)).await.expect("nothing to note");
    let seen = SignIn { seen_at: at(30), ..sign_in("a", "alice", 10) };
    assert_eq!(listed(&store, "alice").await, [seen]);
}

async fn sign_ins_are_ended_by_their_owner_alone(store: Store) {
    let mine = sign_in("a", "alice", 1);
    put(&store, &mine).await;
    let end = async |of: &str| store.sign_ins().end_sign_in(&owner(of), "a").await.expect("done");
    assert!(!end("bob").await);
    assert_eq!(listed(&store, "alice").await, std::slice::from_ref(&mine));
    assert!(end("alice").await);
    assert!(!end("alice").await);
    assert_eq!(store.sign_ins().sign_in_by_hash(&mine.hash).await.expect("read"), None);
}

async fn sign_ins_that_are_over_are_pruned(store: Store) {
    for (id, second) in [("over", 0), ("unused", 600), ("used", 700), ("young", 900)] {
        put(&store, &sign_in(id, "alice", second)).await;
    }
    store.sign_ins().see_sign_in("used", at(950)).await.expect("noted");
    let prune = async |limit| {
        let pruned = store.sign_ins().prune_sign_ins(at(1_000), at(800), limit).await;
        pruned.expect("pruned")
    };
    assert_eq!(prune(1).await, 1);
    assert_eq!(prune(10).await, 1);
    assert_eq!(prune(10).await, 0);
    let left: Vec<String> = listed(&store, "alice").await.into_iter().map(|s| s.id).collect();
    assert_eq!(left, ["young", "used"]);
}
