//! Faults at chosen calls: every call of every backend is counted, and the chosen ones go wrong.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use daas_core::{Error, Kind, Operation};
use futures::future::BoxFuture;
use tokio::sync::watch;

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails, and has had no effect.
    FailBefore,
    /// It fails, though it has had its effect.
    FailAfter,
    /// It is done twice, as by a network that repeats; the second answer is told.
    Twice,
    /// Its future is dropped before the effect: the engine is stopped meanwhile.
    DropBefore,
    /// Its future is dropped after the effect: the engine is stopped meanwhile.
    DropAfter,
    /// The process dies before the effect.
    KillBefore,
    /// The process dies after the effect.
    KillAfter,
    /// It fails, and has its effect this much later: an order that was still on its way. For orders
    /// of machines only; elsewhere it is as [`Fault::FailBefore`].
    Late(Duration),
}

impl Fault {
    pub(crate) const ALL: [Self; 7] = [
        Self::FailBefore,
        Self::FailAfter,
        Self::Twice,
        Self::DropBefore,
        Self::DropAfter,
        Self::KillBefore,
        Self::KillAfter,
    ];
}

/// What has become of an engine and its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// It works.
    Up,
    /// It is to be stopped, properly.
    Stopping,
    /// It does nothing any more: its calls never come back and have no effect.
    Dead,
}

/// Which calls go wrong how; and all calls that were made.
#[derive(Debug)]
pub(crate) struct Plan {
    faults: Vec<(usize, Fault)>,
    calls: Mutex<Vec<&'static str>>,
    fired: AtomicUsize,
}

impl Plan {
    pub(crate) fn new(faults: Vec<(usize, Fault)>) -> Arc<Self> {
        Arc::new(Self { faults, calls: Mutex::default(), fired: AtomicUsize::new(0) })
    }

    /// The calls so far, by name.
    pub(crate) fn calls(&self) -> Vec<&'static str> {
        self.calls.lock().unwrap().clone()
    }

    /// How many faults have happened.
    pub(crate) fn fired(&self) -> usize {
        self.fired.load(Ordering::SeqCst)
    }

    /// Counts a call; how it is to go wrong.
    fn count(&self, name: &'static str) -> Option<Fault> {
        let mut calls = self.calls.lock().unwrap();
        calls.push(name);
        let at = calls.len() - 1;
        let fault = self.faults.iter().find(|(when, _)| *when == at).map(|(_, fault)| *fault);
        self.fired.fetch_add(usize::from(fault.is_some()), Ordering::SeqCst);
        fault
    }
}

/// The way of one process to the world: all its calls pass here.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    plan: Arc<Plan>,
    life: Arc<watch::Sender<Life>>,
}

impl Gate {
    pub(crate) fn new(plan: &Arc<Plan>) -> Self {
        Self { plan: Arc::clone(plan), life: Arc::new(watch::Sender::new(Life::Up)) }
    }

    pub(crate) fn life(&self) -> watch::Receiver<Life> {
        self.life.subscribe()
    }

    /// From now on this process has no effect on the world.
    pub(crate) fn kill(&self) {
        self.life.send_replace(Life::Dead);
    }

    /// Passes a call, or does to it what the plan says. `failed` is its failure.
    pub(crate) async fn pass<'a, T>(
        &self,
        name: &'static str,
        effect: impl Fn() -> BoxFuture<'a, T>,
        failed: impl Fn() -> T,
    ) -> T {
        self.pass_or_late(name, effect, failed, |_| ()).await
    }

    /// As [`Gate::pass`]; `later` sends the call on its way, to arrive after a delay.
    pub(crate) async fn pass_or_late<'a, T>(
        &self,
        name: &'static str,
        effect: impl Fn() -> BoxFuture<'a, T>,
        failed: impl Fn() -> T,
        later: impl Fn(Duration),
    ) -> T {
        if *self.life.borrow() == Life::Dead {
            return std::future::pending().await;
        }
        match self.plan.count(name) {
            None => effect().await,
            Some(Fault::FailBefore) => failed(),
            Some(Fault::Late(delay)) => {
                later(delay);
                failed()
            }
            Some(Fault::FailAfter) => {
                effect().await;
                failed()
            }
            Some(Fault::Twice) => {
                effect().await;
                effect().await
            }
            Some(Fault::DropBefore) => self.hang(Life::Stopping).await,
            Some(Fault::DropAfter) => {
                effect().await;
                self.hang(Life::Stopping).await
            }
            Some(Fault::KillBefore) => self.hang(Life::Dead).await,
            Some(Fault::KillAfter) => {
                effect().await;
                self.hang(Life::Dead).await
            }
        }
    }

    async fn hang<T>(&self, life: Life) -> T {
        self.life.send_replace(life);
        std::future::pending().await
    }
}

/// The failure of a call that did not come back.
pub(crate) fn cut_off(operation: Operation) -> Error {
    Error::new(Kind::Unavailable, operation, "crash point", "the connection broke")
}
