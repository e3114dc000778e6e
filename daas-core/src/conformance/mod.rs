//! Conformance suites: each clause of a trait's contract is one test that every backend runs.
//!
//! A backend's author calls a suite from an ordinary test, with a closure that makes a fresh
//! backend for each clause:
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use std::sync::Arc;
//! use daas_core::store::{SessionStore, memory::MemoryStore};
//!
//! let make = || async { Arc::new(MemoryStore::new()) as Arc<dyn SessionStore> };
//! daas_core::conformance::store(make).await;
//! # });
//! ```
//!
//! A suite runs all its clauses and then panics, naming each that failed and why.

mod configurator;
mod idle;
mod provisioner;
mod store;

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

pub use self::configurator::{ConfiguratorBench, configurator_clauses};
pub use self::idle::idle_clauses;
pub use self::provisioner::{ProvisionerBench, provisioner_clauses};
pub use self::store::store_clauses;
use crate::idle::IdlePolicy;
use crate::store::SessionStore;

/// How long one clause may take, on tokio's clock; a platform that takes longer is stuck.
const CLAUSE_DEADLINE: Duration = Duration::from_secs(30 * 60);

/// One clause of a contract, judged on a fresh `B`.
pub struct Clause<B> {
    /// The clause's name: the method, then what it promises.
    pub name: &'static str,
    /// Judges; panics when the clause is broken.
    pub run: fn(B) -> BoxFuture<'static, ()>,
}

/// A clause that a backend breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The clause's name.
    pub clause: &'static str,
    /// What was seen.
    pub why: String,
}

/// Runs every clause of [`SessionStore`] on stores that `make` makes, empty ones.
///
/// # Panics
///
/// When a clause is broken, naming each.
pub async fn store<F, M>(make: F)
where
    F: Fn() -> M,
    M: Future<Output = Arc<dyn SessionStore>>,
{
    judge("store", broken(&store_clauses(), make).await);
}

/// Runs every clause of [`crate::provisioner::Provisioner`] on benches that `make` makes.
///
/// # Panics
///
/// When a clause is broken, naming each.
pub async fn provisioner<F, M>(make: F)
where
    F: Fn() -> M,
    M: Future<Output = Arc<dyn ProvisionerBench>>,
{
    judge("provisioner", broken(&provisioner_clauses(), make).await);
}

/// Runs every clause of [`crate::configurator::Configurator`] on benches that `make` makes.
///
/// # Panics
///
/// When a clause is broken, naming each.
pub async fn configurator<F, M>(make: F)
where
    F: Fn() -> M,
    M: Future<Output = Arc<dyn ConfiguratorBench>>,
{
    judge("configurator", broken(&configurator_clauses(), make).await);
}

/// Runs every clause of [`IdlePolicy`] on policies that `make` makes.
///
/// # Panics
///
/// When a clause is broken, naming each.
pub async fn idle<F, M>(make: F)
where
    F: Fn() -> M,
    M: Future<Output = Arc<dyn IdlePolicy>>,
{
    judge("idle policy", broken(&idle_clauses(), make).await);
}

/// Runs `clauses`, each on a fresh backend; those that are broken.
pub async fn broken<B, F, M>(clauses: &[Clause<B>], make: F) -> Vec<Broken>
where
    F: Fn() -> M,
    M: Future<Output = B>,
{
    let mut found = Vec::new();
    for clause in clauses {
        let judged = AssertUnwindSafe((clause.run)(make().await)).catch_unwind();
        let why = match tokio::time::timeout(CLAUSE_DEADLINE, judged).await {
            Ok(Ok(())) => continue,
            Ok(Err(panic)) => said(panic),
            Err(_) => format!("not done within {} s", CLAUSE_DEADLINE.as_secs()),
        };
        found.push(Broken { clause: clause.name, why });
    }
    found
}

fn judge(what: &str, broken: Vec<Broken>) {
    let lines: Vec<_> = broken.iter().map(|b| format!("{}: {}", b.clause, b.why)).collect();
    assert!(
        lines.is_empty(),
        "{} clauses of {what} are broken:\n{}",
        lines.len(),
        lines.join("\n")
    );
}

fn said(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().map_or("it panicked", |text| text).to_owned(),
    }
}

/// A list of clauses from async functions, named as they are.
macro_rules! clauses {
    ($($clause:ident),* $(,)?) => {
        vec![$(crate::conformance::Clause {
            name: stringify!($clause),
            run: |backend| Box::pin($clause(backend)),
        }),*]
    };
}
use clauses;
