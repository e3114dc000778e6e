//! Adding and replacing records.

use super::*;
use crate::conformance::clauses;
use crate::ids::{Label, Version};
use crate::store::quota::Quota;

pub(super) fn clauses() -> Vec<Clause<Store>> {
    clauses![
        deployment_is_always_the_same,
        insert_writes_the_record_and_its_events,
        insert_makes_it_due_at_once,
        insert_with_a_used_key_answers_the_first_and_writes_nothing,
        insert_with_anothers_key_is_another_session,
        insert_refuses_a_used_id,
        insert_refuses_a_label_that_is_live,
        insert_refuses_a_machine_that_is_held,
        insert_refuses_what_passes_a_quota,
        insert_that_is_refused_writes_nothing,
        get_of_nothing_is_none,
        update_replaces_the_record_under_the_next_version,
        update_keeps_every_field,
        update_writes_its_events,
        update_of_nothing_is_not_found,
        update_refuses_another_version,
        update_refuses_another_fence,
        update_refuses_a_lease_given_back,
        update_refuses_a_machine_that_is_held,
        update_that_is_refused_writes_nothing,
        update_of_the_same_version_succeeds_once,
        the_end_frees_label_machine_and_quota,
    ]
}

async fn deployment_is_always_the_same(store: Store) {
    let first = store.deployment().await.expect("read");
    assert_eq!(store.deployment().await.expect("read"), first);
}

async fn insert_writes_the_record_and_its_events(store: Store) {
    let new = session(0);
    add(&store, &new).await;
    assert_eq!(get(&store, &new.id).await, new);
    let log = events(&store).await;
    assert_eq!(log.len(), 1);
    assert_eq!((&log[0].session, &log[0].owner), (&new.id, &new.owner));
    assert_eq!(log[0].what, What::Note { text: "added".to_owned() });
}

async fn insert_makes_it_due_at_once(store: Store) {
    let new = session(5);
    add(&store, &new).await;
    assert_eq!(store.next_due().await.expect("read"), Some(at(5)));
    assert_eq!(take(&store, "a", 5, 60).await.len(), 1);
}

async fn insert_with_a_used_key_answers_the_first_and_writes_nothing(store: Store) {
    let key = |session: &Session| NewSession {
        idempotency_key: Some("once".to_owned()),
        ..adding(session)
    };
    let (mut first, second) = (session(0), session(1));
    store.insert(key(&first)).await.expect("added");
    first.reason = "meanwhile".to_owned();
    put(&store, &mut first).await;
    let again = store.insert(key(&second)).await.expect("answered");
    assert_eq!(again, Inserted::Before(Box::new(first)));
    assert_eq!(store.get(&second.id).await.expect("read"), None);
    assert_eq!(events(&store).await.len(), 1);
}

async fn insert_with_anothers_key_is_another_session(store: Store) {
    let (first, mut second) = (session(0), session(1));
    second.owner = Some(owner("bob"));
    for new in [&first, &second] {
        let new = NewSession { idempotency_key: Some("once".to_owned()), ..adding(new) };
        assert!(matches!(store.insert(new).await.expect("added"), Inserted::New(_)));
    }
}

async fn insert_refuses_a_used_id(store: Store) {
    let first = session(0);
    add(&store, &first).await;
    let mut second = session(1);
    second.id = first.id.clone();
    refused(store.insert(adding(&second)).await, Kind::Conflict);
    assert_eq!(get(&store, &first.id).await, first);
}

async fn insert_refuses_a_label_that_is_live(store: Store) {
    let label = Some(Label::new("maths").expect("a label"));
    let first = Session { label: label.clone(), ..session(0) };
    add(&store, &first).await;
    refused(
        store.insert(adding(&Session { label: label.clone(), ..session(1) })).await,
        Kind::Conflict,
    );
    let bobs = Session { label, owner: Some(owner("bob")), ..session(2) };
    add(&store, &bobs).await;
}

async fn insert_refuses_a_machine_that_is_held(store: Store) {
    let mut first = session(0);
    first.reservation = Some(reservation(&first, "100"));
    add(&store, &first).await;
    let mut second = session(1);
    second.reservation = Some(reservation(&second, "100"));
    refused(store.insert(adding(&second)).await, Kind::Conflict);
}

async fn insert_refuses_what_passes_a_quota(store: Store) {
    add(&store, &session(0)).await;
    let two = |quota: Quota| {
        [
            Quotas { owner: quota, ..Quotas::default() },
            Quotas { organisation: quota, ..Quotas::default() },
            Quotas { template: quota, ..Quotas::default() },
            Quotas { all: quota, ..Quotas::default() },
        ]
    };
    // One session of two cores and 2048 MiB is live: of each, one less than two need.
    for quota in [
        Quota { sessions: Some(1), ..Quota::default() },
        Quota { cores: Some(3), ..Quota::default() },
        Quota { memory_mib: Some(4_095), ..Quota::default() },
    ] {
        for quotas in two(quota) {
            let new = NewSession { quotas, ..adding(&session(1)) };
            refused(store.insert(new).await, Kind::Exhausted);
        }
    }
    let enough = Quota { sessions: Some(2), cores: Some(4), memory_mib: Some(4_096) };
    let quotas = Quotas { owner: enough, organisation: enough, template: enough, all: enough };
    store.insert(NewSession { quotas, ..adding(&session(1)) }).await.expect("there is room");
}

async fn insert_that_is_refused_writes_nothing(store: Store) {
    let mut first = session(0);
    first.reservation = Some(reservation(&first, "100"));
    add(&store, &first).await;
    let mut second = session(1);
    second.reservation = Some(reservation(&second, "100"));
    let new = NewSession { idempotency_key: Some("key".to_owned()), ..adding(&second) };
    refused(store.insert(new.clone()).await, Kind::Conflict);
    assert_eq!(store.get(&second.id).await.expect("read"), None);
    assert_eq!(events(&store).await.len(), 1);
    // The key is not used up by what was refused.
    let mut session = second;
    session.reservation = None;
    let again = store.insert(NewSession { session, ..new }).await.expect("added");
    assert!(matches!(again, Inserted::New(_)), "{again:?}");
}

async fn get_of_nothing_is_none(store: Store) {
    assert_eq!(store.get(&session(0).id).await.expect("read"), None);
}

async fn update_replaces_the_record_under_the_next_version(store: Store) {
    let mut record = session(0);
    add(&store, &record).await;
    record.reason = "changed".to_owned();
    let version = store.update(changing(&record)).await.expect("written");
    assert_eq!(version, Version(2));
    record.version = version;
    assert_eq!(get(&store, &record.id).await, record);
}

async fn update_keeps_every_field(store: Store) {
    let mut record = session(0);
    add(&store, &record).await;
    record.label = Some(Label::new("maths").expect("a label"));
    record.reservation = Some(reservation(&record, "100"));
    record.past_reservations = vec![reservation(&record, "99")];
    record.address = Some([10, 0, 0, 1].into());
    record.not_after = Some(at(1_000));
    record.extension = std::time::Duration::from_secs(90);
    record.snapshots = vec!["before".to_owned()];
    put(&store, &mut record).await;
    enter(&store, &mut record, Phase::Ready, 10).await;
    assert_eq!(get(&store, &record.id).await, record);
}

async fn update_writes_its_events(store: Store) {
    let record = session(0);
    add(&store, &record).await;
    let change = Change { events: vec![note("one", 1), note("two", 2)], ..changing(&record) };
    store.update(change).await.expect("written");
    let log = events(&store).await;
    let texts: Vec<_> = log.iter().map(|event| (event.at, event.what.clone())).collect();
    let expected = [note("added", 0), note("one", 1), note("two", 2)];
    assert_eq!(texts, expected.map(|event| (event.at, event.what)));
}

async fn update_of_nothing_is_not_found(store: Store) {
    refused(store.update(changing(&session(0))).await, Kind::NotFound);
}

async fn update_refuses_another_version(store: Store) {
    let mut record = session(0);
    add(&store, &record).await;
    let stale = record.clone();
    put(&store, &mut record).await;
    refused(store.update(changing(&stale)).await, Kind::Conflict);
    let ahead = Session { version: Version(99), ..record };
    refused(store.update(changing(&ahead)).await, Kind::Conflict);
}

async fn update_refuses_another_fence(store: Store) {
    let record = session(0);
    add(&store, &record).await;
    let (_, old) = take(&store, "a", 1, 10).await.remove(0);
    let (_, new) = take(&store, "b", 20, 60).await.remove(0);
    let under = |fence| Change { fence: Some(fence), next: Next::Hold, ..changing(&record) };
    refused(store.update(under(old)).await, Kind::Conflict);
    store.update(under(new)).await.expect("the lease is held");
}

async fn update_refuses_a_lease_given_back(store: Store) {
    let record = session(0);
    add(&store, &record).await;
    let (id, fence) = take(&store, "a", 1, 10).await.remove(0);
    store.release(&id, fence, None).await.expect("given back");
    let change = Change { fence: Some(fence), next: Next::Hold, ..changing(&record) };
    refused(store.update(change).await, Kind::Conflict);
}

async fn update_refuses_a_machine_that_is_held(store: Store) {
    let (mut first, mut second) = (session(0), session(1));
    add(&store, &first).await;
    add(&store, &second).await;
    first.past_reservations = vec![reservation(&first, "100")];
    put(&store, &mut first).await;
    second.reservation = Some(reservation(&second, "100"));
    refused(store.update(changing(&second)).await, Kind::Conflict);
    // The same id on another platform is another machine.
    let mut elsewhere = reservation(&second, "100");
    elsewhere.provisioner = "other".parse().expect("a name");
    second.reservation = Some(elsewhere);
    put(&store, &mut second).await;
}

async fn update_that_is_refused_writes_nothing(store: Store) {
    let mut record = session(0);
    add(&store, &record).await;
    let stale = record.clone();
    put(&store, &mut record).await;
    let change = Change { events: vec![note("never", 1)], ..changing(&stale) };
    refused(store.update(change).await, Kind::Conflict);
    assert_eq!(events(&store).await.len(), 1);
    assert_eq!(get(&store, &record.id).await, record);
}

async fn update_of_the_same_version_succeeds_once(store: Store) {
    let record = session(0);
    add(&store, &record).await;
    let writes = (0..8).map(|_| store.update(changing(&record)));
    let done = futures::future::join_all(writes).await;
    assert_eq!(done.iter().filter(|answer| answer.is_ok()).count(), 1, "{done:?}");
}

async fn the_end_frees_label_machine_and_quota(store: Store) {
    let label = Some(Label::new("maths").expect("a label"));
    let mut first = Session { label: label.clone(), ..session(0) };
    first.reservation = Some(reservation(&first, "100"));
    add(&store, &first).await;
    enter(&store, &mut first, Phase::Ended, 5).await;
    let mut second = Session { label, ..session(10) };
    second.reservation = Some(reservation(&second, "100"));
    let one = Quota { sessions: Some(1), ..Quota::default() };
    let quotas = Quotas { owner: one, organisation: one, template: one, all: one };
    store.insert(NewSession { quotas, ..adding(&second) }).await.expect("all is free again");
    assert_eq!(get(&store, &first.id).await, first, "the tombstone stays");
}
