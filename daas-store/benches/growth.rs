//! How the store's reads grow: a page of a list and a sweep for due work, with 1,000 and with
//! 100,000 sessions. `cargo bench -p daas-store`; the goal is a ratio of two at most.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark tells its numbers")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use daas_core::clock::{Clock, SystemClock};
use daas_core::event::{NewEvent, What};
use daas_core::ids::{Holder, Organisation, SessionId};
use daas_core::owner::Owner;
use daas_core::session::Session;
use daas_core::store::quota::Quotas;
use daas_core::store::{Filter, Leased, NewSession, Page, SessionStore};
use daas_core::template::Template;
use daas_store::SqliteStore;
use jiff::Timestamp;

const SIZES: [usize; 2] = [1_000, 100_000];
const ROUNDS: usize = 200;
const PAGE: usize = 50;
const OWNERS: usize = 500;
const TAKE_MAX: usize = 128;

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    println!(
        "settings: sqlite, WAL, synchronous=FULL, {ROUNDS} rounds in turns, medians (middle half), \
         pages of {PAGE}, {OWNERS} owners, {TAKE_MAX} due"
    );
    runtime.block_on(async {
        let mut stores = Vec::new();
        for size in SIZES {
            let store = SqliteStore::open(directory.path().join(format!("{size}.db"))).await;
            let store = store.unwrap();
            let started = Instant::now();
            fill(&store, size).await;
            println!("{size} sessions added in {:.1} s", started.elapsed().as_secs_f64());
            stores.push(store);
        }
        measure(&stores).await;
        for store in stores {
            store.close().await;
        }
    });
}

fn session(number: usize, now: Timestamp) -> Session {
    let template = Template::new("lab".parse().unwrap(), "fake".parse().unwrap(), "image");
    // Counted, not minted: among 100,000 random ids two are alike once in six runs.
    let id = SessionId::new(format!("bench-{number:07}")).unwrap();
    let owner = Owner { realm: "lab".into(), name: format!("user-{}", number % OWNERS) };
    Session::new(id, template, Some(owner), Organisation::default(), now)
}

/// Adds `size` sessions; all but the last [`TAKE_MAX`] are due much later.
async fn fill(store: &Arc<SqliteStore>, size: usize) {
    let now = SystemClock.now();
    let later = now + Duration::from_secs(24 * 3600);
    let all: Vec<_> =
        (0..size).map(|n| session(n, if n + TAKE_MAX < size { later } else { now })).collect();
    for some in all.chunks(512) {
        let adding = some.iter().map(|session| {
            let what = What::Requested { template: "lab".into() };
            store.insert(NewSession {
                session: session.clone(),
                quotas: Quotas::default(),
                events: vec![NewEvent { at: now, what }],
                idempotency_key: None,
            })
        });
        for answer in futures::future::join_all(adding).await {
            answer.unwrap();
        }
    }
}

/// One measure, taken in turns of both stores: whatever else the machine and its disk do meanwhile
/// falls on both alike.
async fn alternate<F: Future<Output = Duration>>(
    stores: &[Arc<SqliteStore>],
    rounds: usize,
    one: impl Fn(Arc<SqliteStore>) -> F,
) -> Vec<Vec<Duration>> {
    let mut took = vec![Vec::with_capacity(rounds); stores.len()];
    for round in 0..rounds {
        for turn in 0..stores.len() {
            // Who goes first changes, so that neither always finds what the other left behind.
            let which = (round + turn) % stores.len();
            took[which].push(one(Arc::clone(&stores[which])).await);
        }
    }
    took
}

async fn measure(stores: &[Arc<SqliteStore>]) {
    let mine = Filter {
        owner: Some(Owner { realm: "lab".into(), name: "user-1".into() }),
        live: Some(true),
        ..Filter::default()
    };
    let live = Filter { live: Some(true), ..Filter::default() };
    for (name, filter, limit) in [
        ("page of all", Filter::default(), PAGE),
        ("page of live", live, PAGE),
        ("2 of one owner", mine, 2),
    ] {
        let one = |store| page(store, filter.clone(), limit);
        tell(name, alternate(stores, ROUNDS, one).await);
    }
    tell("sweep, nothing due", alternate(stores, ROUNDS, sweep_idle).await);
    let holder = Holder::mint();
    let due = |store| sweep_due(store, holder.clone());
    tell("sweep, 128 due", alternate(stores, ROUNDS, due).await);
    // What the disk alone takes: a transaction of one small write, whatever the store's size.
    tell("one durable write, for comparison", alternate(stores, ROUNDS, one_write).await);
}

async fn page(store: Arc<SqliteStore>, filter: Filter, limit: usize) -> Duration {
    let started = Instant::now();
    let page = store.list(&filter, &Page::first(limit)).await.unwrap();
    let took = started.elapsed();
    assert_eq!(page.sessions.len(), limit);
    took
}

async fn sweep_idle(store: Arc<SqliteStore>) -> Duration {
    let before = SystemClock.now() - Duration::from_secs(3600);
    let started = Instant::now();
    let taken = store.take_due(&Holder::mint(), before, before, TAKE_MAX).await.unwrap();
    let took = started.elapsed();
    assert!(taken.is_empty());
    took
}

async fn sweep_due(store: Arc<SqliteStore>, holder: Holder) -> Duration {
    let now = SystemClock.now();
    let until = now + Duration::from_secs(60);
    let started = Instant::now();
    let taken = store.take_due(&holder, now, until, TAKE_MAX).await.unwrap();
    let took = started.elapsed();
    assert_eq!(taken.len(), TAKE_MAX);
    // As workers give back: many at once.
    let release = |leased: &Leased| {
        let (store, id, fence) = (Arc::clone(&store), leased.session.id.clone(), leased.fence);
        async move { store.release(&id, fence, Some(now)).await }
    };
    for answer in futures::future::join_all(taken.iter().map(release)).await {
        answer.unwrap();
    }
    took
}

async fn one_write(store: Arc<SqliteStore>) -> Duration {
    let id = SessionId::new("bench-0000000").unwrap();
    let started = Instant::now();
    store.hasten(&id, SystemClock.now() + Duration::from_secs(3_600)).await.unwrap();
    started.elapsed()
}

/// Tells medians and middle halves of the small and the large store, and the medians' ratio.
fn tell(name: &str, mut took: Vec<Vec<Duration>>) {
    let mut medians = Vec::new();
    let mut text = Vec::new();
    for took in &mut took {
        took.sort();
        let part = |quarters: usize| took[took.len() * quarters / 4];
        medians.push(part(2));
        text.push(format!("{:?} ({:?} to {:?})", part(2), part(1), part(3)));
    }
    let ratio = medians[1].as_secs_f64() / medians[0].as_secs_f64();
    let verdict = if ratio <= 2.0 { "good" } else { "MISSED" };
    println!("{name}: {}, ratio {ratio:.2} ({verdict}, goal 2)", text.join(" and "));
}
