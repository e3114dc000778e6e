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
use daas_core::store::{Filter, NewSession, Page, SessionStore};
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
        "settings: sqlite, WAL, synchronous=FULL, {ROUNDS} rounds, medians, pages of {PAGE}, \
         {OWNERS} owners, {TAKE_MAX} due"
    );
    let mut results = Vec::new();
    for size in SIZES {
        let path = directory.path().join(format!("{size}.db"));
        let timings = runtime.block_on(async {
            let store = SqliteStore::open(path).await.unwrap();
            let started = Instant::now();
            fill(&store, size).await;
            let filled = started.elapsed();
            println!("{size} sessions added in {:.1} s", filled.as_secs_f64());
            let timings = measure(&store).await;
            store.close().await;
            timings
        });
        results.push(timings);
    }
    for ((name, small), (_, large)) in results[0].iter().zip(&results[1]) {
        let ratio = large.as_secs_f64() / small.as_secs_f64();
        let verdict = if ratio <= 2.0 { "good" } else { "MISSED" };
        println!("{name}: {small:?} and {large:?}, ratio {ratio:.2} ({verdict}, goal 2)");
    }
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

async fn measure(store: &Arc<SqliteStore>) -> Vec<(&'static str, Duration)> {
    let mine = Filter {
        owner: Some(Owner { realm: "lab".into(), name: "user-1".into() }),
        live: Some(true),
        ..Filter::default()
    };
    let live = Filter { live: Some(true), ..Filter::default() };
    let mut timings = Vec::new();
    for (name, filter) in
        [("page of all", Filter::default()), ("page of live", live), ("2 of one owner", mine)]
    {
        let limit = if name == "2 of one owner" { 2 } else { PAGE };
        let mut took = Vec::new();
        for _ in 0..ROUNDS {
            let started = Instant::now();
            let page = store.list(&filter, &Page::first(limit)).await.unwrap();
            took.push(started.elapsed());
            assert_eq!(page.sessions.len(), limit);
        }
        timings.push((name, median(took)));
    }
    timings.push(("sweep, nothing due", sweep_idle(store).await));
    timings.push(("sweep, 128 due", sweep_due(store).await));
    timings
}

async fn sweep_idle(store: &Arc<SqliteStore>) -> Duration {
    let before = SystemClock.now() - Duration::from_secs(3600);
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let taken = store.take_due(&Holder::mint(), before, before, TAKE_MAX).await.unwrap();
        took.push(started.elapsed());
        assert!(taken.is_empty());
    }
    median(took)
}

async fn sweep_due(store: &Arc<SqliteStore>) -> Duration {
    let holder = Holder::mint();
    let mut took = Vec::new();
    for _ in 0..20 {
        let now = SystemClock.now();
        let until = now + Duration::from_secs(60);
        let started = Instant::now();
        let taken = store.take_due(&holder, now, until, TAKE_MAX).await.unwrap();
        took.push(started.elapsed());
        assert_eq!(taken.len(), TAKE_MAX);
        for leased in taken {
            store.release(&leased.session.id, leased.fence, Some(now)).await.unwrap();
        }
    }
    median(took)
}

fn median(mut took: Vec<Duration>) -> Duration {
    took.sort();
    took[took.len() / 2]
}
