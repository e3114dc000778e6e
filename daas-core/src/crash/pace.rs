//! How time passes in a world, and where the tasks of a process run.
//!
//! A world in memory lives on tokio's paused clock, which leaps to the next timer whenever everybody
//! waits. Real backends cannot: they are at work also between two calls (a program that runs, a
//! task of the platform), nobody but they know when nothing is under way, and every leap would be
//! taken for their deadline. So their worlds live in real time, with the engine's own waits cut
//! short instead: periods, graces and leases are only bounds to it, and deadlines of work stay long.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::engine::Limits;

/// How long the tasks of a process that has ended may take to be dropped.
const END: Duration = Duration::from_secs(20);

/// How time passes in a world.
#[derive(Debug, Clone)]
pub struct Pace {
    pub(super) paused: bool,
    /// The engine's bounds.
    pub(super) limits: Limits,
    /// How long anything may take until the world counts as stuck.
    pub(super) stuck_after: Duration,
    /// How long an engine may take to stop; one that hangs in a call is then killed.
    pub(super) stop_deadline: Duration,
    /// The wait before a process that could not start, or a wish, is tried again.
    pub(super) again_after: Duration,
    /// After the end: long enough for every sweep, grace and lease to have had its turn.
    pub(super) aftermath: Duration,
}

impl Pace {
    /// On tokio's paused clock, with the engine's own bounds.
    pub fn paused() -> Self {
        Self {
            paused: true,
            limits: Limits::default(),
            stuck_after: Duration::from_secs(20 * 60),
            stop_deadline: Duration::from_secs(30),
            again_after: Duration::from_secs(1),
            aftermath: Duration::from_secs(5 * 60),
        }
    }

    /// In real time, with the engine's waits cut short.
    pub fn real() -> Self {
        let limits = Limits {
            lease: Duration::from_secs(3),
            backoff_first: Duration::from_millis(50),
            backoff_max: Duration::from_millis(500),
            observe_period: Duration::from_secs(1),
            sweep_period: Duration::from_secs(1),
            power_off_grace: Duration::from_secs(2),
            lost_grace: Duration::from_secs(5),
            orphan_grace: Duration::from_millis(500),
            ..Limits::default()
        };
        Self {
            paused: false,
            limits,
            stuck_after: Duration::from_secs(10 * 60),
            stop_deadline: Duration::from_secs(30),
            again_after: Duration::from_millis(200),
            aftermath: Duration::from_secs(4),
        }
    }

    /// The runtime of a world.
    pub(super) fn runtime(&self) -> Runtime {
        let mut builder = match self.paused {
            true => Builder::new_current_thread(),
            false => Builder::new_multi_thread(),
        };
        let builder = builder.enable_all();
        let builder = if self.paused { builder.start_paused(true) } else { builder };
        builder.worker_threads(2).build().expect("a runtime")
    }

    /// Where the tasks of the next process run.
    pub(super) fn home(&self) -> Home {
        if self.paused {
            return Home(None);
        }
        let mut builder = Builder::new_multi_thread();
        Home(Some(builder.worker_threads(1).enable_all().build().expect("a runtime")))
    }
}

/// Where the tasks of a process run: a runtime of its own, which ends with it; on paused time the
/// world's, for a clock cannot be shared: then a dead process' tasks hang at its gate.
#[derive(Debug)]
pub(super) struct Home(Option<Runtime>);

impl Home {
    /// Does `work`, and what it spawns is at home here.
    pub(super) async fn at<T>(&self, work: impl Future<Output = T>) -> T {
        let Some(runtime) = &self.0 else { return work.await };
        let mut work = pin!(work);
        poll_fn(|context| {
            let _inside = runtime.enter();
            work.as_mut().poll(context)
        })
        .await
    }

    /// Ends every task, as the end of a process does, and waits for that.
    pub(super) async fn end(mut self) {
        if let Some(runtime) = self.0.take() {
            let ended = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(END));
            ended.await.expect("a runtime ends");
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_process_spawned_ends_with_it() {
        let home = Pace::real().home();
        let held = Arc::new(());
        home.at(async {
            for _ in 0..2 {
                let (held, begun) = (Arc::clone(&held), Arc::new(tokio::sync::Notify::new()));
                let told = Arc::clone(&begun);
                tokio::spawn(async move {
                    told.notify_one();
                    std::future::pending::<()>().await;
                    drop(held);
                });
                begun.notified().await;
            }
        })
        .await;
        assert_eq!(Arc::strong_count(&held), 3);
        home.end().await;
        assert_eq!(Arc::strong_count(&held), 1, "its tasks were dropped when it had ended");
    }
}
