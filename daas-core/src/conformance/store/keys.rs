//! API keys.

use super::*;
use crate::access::{ApiKey, Role};
use crate::conformance::clauses;

pub(super) fn clauses() -> Vec<Clause<Store>> {
    clauses![
        keys_are_found_by_hash_and_listed_by_name,
        keys_refuse_a_used_name_or_hash,
        keys_are_revoked_by_name,
        keys_are_listed_and_revoked_by_their_owner_alone,
        keys_within_a_bound_are_no_more,
        keys_are_seen_and_never_earlier,
    ]
}

fn key(name: &str, hash: &str) -> ApiKey {
    ApiKey {
        name: name.to_owned(),
        hash: hash.to_owned(),
        owner: owner("alice"),
        organisation: Organisation::default(),
        role: Role::Operator,
        groups: ["staff".to_owned()].into(),
        created_at: at(0),
        ends_at: Some(at(9_000)),
        used_at: None,
    }
}

async fn keys_are_found_by_hash_and_listed_by_name(store: Store) {
    let (first, second) = (key("zoe", "aa"), key("ann", "bb"));
    store.keys().add_key(&first).await.expect("added");
    store.keys().add_key(&second).await.expect("added");
    let keys = store.keys();
    assert_eq!(keys.key_by_hash("aa").await.expect("read"), Some(first.clone()));
    assert_eq!(keys.key_by_hash("cc").await.expect("read"), None);
    assert_eq!(keys.key_by_hash("zoe").await.expect("read"), None, "a name opens nothing");
    assert_eq!(keys.keys().await.expect("read"), [second, first]);
}

async fn keys_refuse_a_used_name_or_hash(store: Store) {
    let keys = store.keys();
    keys.add_key(&key("ann", "aa")).await.expect("added");
    refused(keys.add_key(&key("ann", "bb")).await, Kind::Conflict);
    refused(keys.add_key(&key("zoe", "aa")).await, Kind::Conflict);
    assert_eq!(keys.keys().await.expect("read").len(), 1);
}

async fn keys_are_revoked_by_name(store: Store) {
    let keys = store.keys();
    keys.add_key(&key("ann", "aa")).await.expect("added");
    assert!(keys.revoke_key("ann").await.expect("revoked"));
    assert!(!keys.revoke_key("ann").await.expect("answered"));
    assert_eq!(keys.key_by_hash("aa").await.expect("read"), None);
    keys.add_key(&key("ann", "aa")).await.expect("free again");
}

fn key_of(of: &str, name: &str) -> ApiKey {
    ApiKey { owner: owner(of), ..key(name, &format!("hash of {name}")) }
}

async fn keys_are_listed_and_revoked_by_their_owner_alone(store: Store) {
    let keys = store.keys();
    let (zoe, ann, other) = (key_of("alice", "zoe"), key_of("alice", "ann"), key_of("bob", "eve"));
    for key in [&zoe, &ann, &other] {
        keys.add_key(key).await.expect("added");
    }
    let of = async |of: &str| keys.keys_of(&owner(of)).await.expect("read");
    assert_eq!(of("alice").await, [ann, zoe.clone()]);
    assert_eq!(of("carol").await, []);
    assert!(!keys.revoke_key_of(&owner("bob"), "ann").await.expect("answered"));
    assert_eq!(of("alice").await.len(), 2);
    assert!(keys.revoke_key_of(&owner("alice"), "ann").await.expect("revoked"));
    assert!(!keys.revoke_key_of(&owner("alice"), "ann").await.expect("answered"));
    assert_eq!(of("alice").await, [zoe]);
    assert_eq!(keys.key_by_hash("hash of ann").await.expect("read"), None);
}

async fn keys_within_a_bound_are_no_more(store: Store) {
    let keys = store.keys();
    keys.add_key(&key_of("bob", "eve")).await.expect("added");
    let adding = ["a", "b", "c", "d"].map(|name| {
        let keys = store.keys();
        async move { keys.add_key_within(&key_of("alice", name), 2).await }
    });
    let answers = futures::future::join_all(adding).await;
    let refusals = answers.into_iter().filter_map(Result::err).map(|error| error.kind());
    assert_eq!(refusals.collect::<Vec<_>>(), [Kind::Exhausted; 2]);
    assert_eq!(keys.keys_of(&owner("alice")).await.expect("read").len(), 2);
    let twin = ApiKey { hash: "another".to_owned(), ..key_of("alice", "eve") };
    refused(keys.add_key_within(&twin, 9).await, Kind::Conflict);
    keys.add_key_within(&key_of("alice", "e"), 3).await.expect("there is room");
}

async fn keys_are_seen_and_never_earlier(store: Store) {
    let keys = store.keys();
    keys.add_key(&key("ann", "aa")).await.expect("added");
    for second in [30, 20] {
        keys.see_key("ann", at(second)).await.expect("noted");
    }
    keys.see_key("nobody's", at(30)).await.expect("nothing to note");
    let seen = ApiKey { used_at: Some(at(30)), ..key("ann", "aa") };
    assert_eq!(keys.key_by_hash("aa").await.expect("read"), Some(seen.clone()));
    assert_eq!(keys.keys().await.expect("read"), std::slice::from_ref(&seen));
    assert_eq!(keys.keys_of(&owner("alice")).await.expect("read"), [seen]);
}
