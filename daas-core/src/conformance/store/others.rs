//! Claims and activity.

use super::*;
use crate::activity::{Activity, Report};
use crate::conformance::clauses;
use crate::store::Claim;
use crate::store::quota::Quota;

pub(super) fn clauses() -> Vec<Clause<Store>> {
    clauses![
        claim_gives_the_longest_ready_one_and_makes_it_due,
        claim_gives_each_to_one,
        claim_of_an_empty_pool_is_none,
        claim_refuses_what_passes_a_quota,
        activity_is_replaced_and_never_touches_the_record,
        activity_of_nothing_is_not_found_or_default,
    ]
}

/// Adds a pooled session of template `lab`, ready at `second`.
async fn pool(store: &Store, second: i64) -> Session {
    let mut pooled = Session { owner: None, ..session(0) };
    add(store, &pooled).await;
    enter(store, &mut pooled, Phase::Pooled, second).await;
    pooled
}

fn claim(quotas: Quotas) -> Claim {
    Claim {
        template: "lab".parse().expect("a name"),
        owner: owner("alice"),
        organisation: Organisation::new("school").expect("a name"),
        quotas,
        now: at(100),
    }
}

async fn claim_gives_the_longest_ready_one_and_makes_it_due(store: Store) {
    let young = pool(&store, 20).await;
    let old = pool(&store, 10).await;
    for (id, fence) in take(&store, "a", 50, 60).await {
        store.release(&id, fence, Some(at(5_000))).await.expect("released");
    }
    let claimed = store.claim(claim(Quotas::default())).await.expect("claimed").expect("one");
    assert_eq!(claimed.id, old.id);
    assert_eq!(claimed.owner, Some(owner("alice")));
    assert_eq!(claimed.organisation.as_str(), "school");
    assert!(claimed.version > old.version);
    assert_eq!(get(&store, &old.id).await, claimed);
    assert_eq!(get(&store, &young.id).await, young);
    assert_eq!(take(&store, "a", 100, 200).await.len(), 1, "it is due, the other is not");
}

async fn claim_gives_each_to_one(store: Store) {
    for second in 0..5 {
        pool(&store, second).await;
    }
    let claims = (0..9).map(|_| store.claim(claim(Quotas::default())));
    let mut ids = Vec::new();
    for answer in futures::future::join_all(claims).await {
        ids.extend(answer.expect("answered").map(|session| session.id));
    }
    assert_eq!(ids.len(), 5, "nine asked for five");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5, "one was given twice");
}

async fn claim_of_an_empty_pool_is_none(store: Store) {
    add(&store, &Session { owner: None, ..session(0) }).await;
    let mut other = Session { owner: None, ..session_of("windows", 1) };
    add(&store, &other).await;
    enter(&store, &mut other, Phase::Pooled, 5).await;
    let claimed = store.claim(claim(Quotas::default())).await.expect("answered");
    assert_eq!(claimed, None);
}

async fn claim_refuses_what_passes_a_quota(store: Store) {
    add(&store, &session(0)).await;
    pool(&store, 5).await;
    let sessions = |n| Quota { sessions: Some(n), ..Quota::default() };
    let full = Quotas { owner: sessions(1), ..Quotas::default() };
    refused(store.claim(claim(full)).await, Kind::Exhausted);
    // A pooled session is counted already: claiming it makes none more.
    let room = Quotas {
        owner: sessions(2),
        organisation: sessions(1),
        template: sessions(2),
        all: sessions(2),
    };
    store.claim(claim(room)).await.expect("there is room").expect("one");
}

async fn activity_is_replaced_and_never_touches_the_record(store: Store) {
    let record = session(0);
    add(&store, &record).await;
    let report =
        |uptime_seconds| Report { sessions: Vec::new(), uptime_seconds, boot_id: "b".to_owned() };
    for second in [10_i64, 20] {
        let activity = Activity::default().after(report(second.unsigned_abs()), at(second));
        store.put_activity(&record.id, &activity).await.expect("written");
        assert_eq!(store.activity(&record.id).await.expect("read"), activity);
    }
    assert_eq!(get(&store, &record.id).await, record);
}

async fn activity_of_nothing_is_not_found_or_default(store: Store) {
    let nobody = session(0);
    refused(store.put_activity(&nobody.id, &Activity::default()).await, Kind::NotFound);
    assert_eq!(store.activity(&nobody.id).await.expect("read"), Activity::default());
}
