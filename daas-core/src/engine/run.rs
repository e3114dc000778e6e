//! The loop: takes what is due, hands each session to a worker, keeps the leases alive.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::worker::Worker;
use super::{Engine, Inner, effects, orphans, retention};
use crate::clock::{between, later};
use crate::ids::{Fence, SessionId};
use crate::store::Leased;

/// The longest sleep of the loop: what somebody else's process made due is seen by then.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// How long workers may take to let go when the engine stops.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// A running engine.
#[derive(Debug)]
pub struct Running {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    heartbeat: tokio::sync::watch::Receiver<u64>,
}

impl Engine {
    /// Starts the engine's loops on the current runtime.
    pub fn start(&self) -> Running {
        let stop = CancellationToken::new();
        let (beat, heartbeat) = tokio::sync::watch::channel(0);
        let held = Arc::new(Held::default());
        let mut tasks = vec![
            tokio::spawn(take(Arc::clone(&self.0), Arc::clone(&held), stop.clone(), beat)),
            tokio::spawn(renew(Arc::clone(&self.0), held, stop.clone())),
            tokio::spawn(orphans::sweep(Arc::clone(&self.0), stop.clone())),
            tokio::spawn(retention::retain(Arc::clone(&self.0), stop.clone())),
        ];
        if self.0.configurators.values().any(|c| c.extras().effects.is_some()) {
            tasks.push(tokio::spawn(effects::sweep(Arc::clone(&self.0), stop.clone())));
        }
        Running { stop, tasks, heartbeat }
    }
}

impl Running {
    /// Counts the loop's turns: a watchdog is fed only while it moves.
    pub fn heartbeat(&self) -> tokio::sync::watch::Receiver<u64> {
        self.heartbeat.clone()
    }

    /// Stops: no new work is taken, what is in hand is let go at its next await and its lease given
    /// back. Steps cut short are completed after the next start.
    pub async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            if let Err(failure) = task.await {
                error!(error = %failure, "a loop of the engine ended badly");
            }
        }
    }
}

/// The leases in hand.
#[derive(Debug, Default)]
struct Held(std::sync::Mutex<Vec<(SessionId, Fence, CancellationToken)>>);

impl Held {
    fn all(&self) -> std::sync::MutexGuard<'_, Vec<(SessionId, Fence, CancellationToken)>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn remove(&self, id: &SessionId, fence: Fence) {
        self.all().retain(|(held, with, _)| (held, *with) != (id, fence));
    }
}

async fn take(
    inner: Arc<Inner>,
    held: Arc<Held>,
    stop: CancellationToken,
    beat: tokio::sync::watch::Sender<u64>,
) {
    let workers = TaskTracker::new();
    let ended = Arc::new(Notify::new());
    loop {
        beat.send_modify(|turns| *turns += 1);
        let limits = inner.limits();
        let free = limits.driven_max.saturating_sub(workers.len()).min(limits.take_max);
        // A store that does not answer must not keep us from stopping; what it may have leased to
        // nobody's knowledge is due again when the lease ends.
        let taking = async { if free == 0 { Vec::new() } else { take_once(&inner, free).await } };
        let Some(taken) = stop.run_until_cancelled(taking).await else { break };
        let full = taken.len() == free;
        for leased in taken {
            hand_out(&inner, &held, &workers, &ended, &stop, leased);
        }
        if full && free > 0 {
            continue;
        }
        let next = async { if free == 0 { LOOK_PERIOD } else { until_next(&inner).await } };
        let Some(sleep) = stop.run_until_cancelled(next).await else { break };
        tokio::select! {
            () = stop.cancelled() => break,
            () = inner.wake.notified() => {}
            () = ended.notified(), if free == 0 => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }
    workers.close();
    if tokio::time::timeout(STOP_DEADLINE, workers.wait()).await.is_err() {
        warn!("some sessions were not let go in time; their leases will expire");
    }
}

async fn take_once(inner: &Arc<Inner>, limit: usize) -> Vec<Leased> {
    let now = inner.now();
    let until = later(now, inner.limits().lease);
    match inner.store().take_due(&inner.holder, now, until, limit).await {
        Ok(taken) => taken,
        Err(failure) => {
            error!(error = failure.chain(), "cannot take due sessions");
            Vec::new()
        }
    }
}

async fn until_next(inner: &Arc<Inner>) -> Duration {
    match inner.store().next_due().await {
        Ok(Some(due)) => between(inner.now(), due).clamp(Duration::from_millis(1), LOOK_PERIOD),
        Ok(None) | Err(_) => LOOK_PERIOD,
    }
}

fn hand_out(
    inner: &Arc<Inner>,
    held: &Arc<Held>,
    workers: &TaskTracker,
    ended: &Arc<Notify>,
    stop: &CancellationToken,
    leased: Leased,
) {
    let id = leased.session.id.clone();
    let fence = leased.fence;
    let signal = Arc::new(Notify::new());
    inner.workers().insert(id.clone(), Arc::clone(&signal));
    let cancel = stop.child_token();
    held.all().push((id.clone(), fence, cancel.clone()));
    let worker = Worker::new(Arc::clone(inner), leased, signal);
    let (inner, held, ended) = (Arc::clone(inner), Arc::clone(held), Arc::clone(ended));
    workers.spawn(async move {
        let finished = cancel.run_until_cancelled(worker.run()).await.is_some();
        held.remove(&id, fence);
        inner.workers().remove(&id);
        if !finished {
            // Given back at once, so that a successor need not wait for the lease to expire.
            let due = Some(inner.now());
            if let Err(failure) = inner.store().release(&id, fence, due).await {
                warn!(session = %id, error = failure.chain(), "cannot give back the lease");
            }
        }
        ended.notify_one();
        inner.wake.notify_one();
    });
}

async fn renew(inner: Arc<Inner>, held: Arc<Held>, stop: CancellationToken) {
    let period = inner.limits().lease / 3;
    while stop.run_until_cancelled(tokio::time::sleep(period)).await.is_some() {
        let leases: Vec<(SessionId, Fence)> =
            held.all().iter().map(|(id, fence, _)| (id.clone(), *fence)).collect();
        if leases.is_empty() {
            continue;
        }
        let until = later(inner.now(), inner.limits().lease);
        match inner.store().renew(&inner.holder, &leases, until).await {
            Ok(kept) => {
                let kept: std::collections::HashSet<_> = kept.into_iter().collect();
                for (id, fence, cancel) in held.all().iter() {
                    if leases.contains(&(id.clone(), *fence)) && !kept.contains(id) {
                        info!(session = %id, "the lease was lost; its step is cancelled");
                        cancel.cancel();
                    }
                }
            }
            Err(failure) => warn!(error = failure.chain(), "cannot renew the leases"),
        }
    }
}
