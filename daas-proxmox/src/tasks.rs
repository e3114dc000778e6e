//! Following tasks: one reader per node for all that wait there, as quick as they are expected to
//! end, instead of a poll per task.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use daas_core::machine::Wake;
use tokio::time::Instant;
use tracing::debug;

use crate::client::Client;
use crate::error::ProxmoxError;
use crate::slots::Slot;

/// The longest pause between two readings.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The pauses around the usual end of a task: one reading serves all that wait on a node.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_NEAR: Duration = Duration::from_millis(60);
/// The shortest pause before anything is known of its kind.
const PAUSE_FIRST: Duration = Duration::from_millis(5);
/// How long a task's node may be away before the task counts as lost.
const AWAY_MAX: Duration = Duration::from_secs(60);
/// How many past durations of a kind count.
const RECENT_MAX: usize = 16;

/// How a task ended: its exit status (`OK`, `WARNINGS: 1`), or why it is not known.
pub(crate) type End = Result<String, String>;

/// A task that is being followed.
#[derive(Debug, Clone)]
pub(crate) struct Followed {
    end: Arc<Mutex<Option<End>>>,
    /// Rings when the task has ended.
    pub(crate) wake: Wake,
    /// What kind of task it is, for people.
    pub(crate) kind: &'static str,
}

impl Followed {
    /// How it ended, once it has.
    pub(crate) fn end(&self) -> Option<End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// All tasks that are being followed.
#[derive(Debug, Clone)]
pub(crate) struct Tasks {
    client: Client,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Waiting tasks by node; a node is here as long as its reader runs.
    nodes: HashMap<String, Vec<Waiting>>,
    /// What tasks of a kind usually take.
    usual: HashMap<&'static str, Recent>,
}

#[derive(Debug)]
struct Waiting {
    upid: String,
    followed: Followed,
    begun: Instant,
    away_since: Option<Instant>,
    /// The room it takes, given back when it ends.
    _slot: Slot,
}

impl Tasks {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, shared: Arc::default() }
    }

    /// Follows a task; `slot` is given back when it ends.
    pub(crate) fn follow(&self, upid: String, kind: &'static str, slot: Slot) -> Followed {
        let followed = Followed { end: Arc::default(), wake: Wake::default(), kind };
        let node = upid.split(':').nth(1).unwrap_or_default().to_owned();
        let waiting = Waiting {
            upid,
            followed: followed.clone(),
            begun: Instant::now(),
            away_since: None,
            _slot: slot,
        };
        let mut shared = self.shared();
        let read_already = shared.nodes.contains_key(&node);
        shared.nodes.entry(node.clone()).or_default().push(waiting);
        drop(shared);
        if !read_already {
            tokio::spawn(self.clone().read(node));
        }
        followed
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a node's tasks until nobody waits there.
    async fn read(self, node: String) {
        while let Some(pause) = self.pause(&node) {
            tokio::time::sleep(pause).await;
            let waiting: Vec<String> = {
                let shared = self.shared();
                shared.nodes.get(&node).into_iter().flatten().map(|w| w.upid.clone()).collect()
            };
            // One waiting task is asked for itself; several are read from the node's list.
            let running = if waiting.len() > 1 { self.running(&node).await } else { None };
            for upid in waiting {
                if running.as_ref().is_some_and(|running| running.contains(&upid)) {
                    continue;
                }
                self.ask(&node, &upid).await;
            }
        }
    }

    /// The tasks that the node's list shows running; `None` when it cannot be read.
    async fn running(&self, node: &str) -> Option<HashSet<String>> {
        let lines = self.client.active_tasks(node).await.ok()?;
        let running = lines.into_iter().filter(|line| {
            line.status.as_deref().is_none_or(|s| s.is_empty() || s.eq_ignore_ascii_case("running"))
        });
        Some(running.map(|line| line.upid).collect())
    }

    async fn ask(&self, node: &str, upid: &str) {
        let answer = self.client.task_status(upid).await;
        let mut shared = self.shared();
        let Some(all) = shared.nodes.get_mut(node) else { return };
        let Some(at) = all.iter().position(|w| w.upid == upid) else { return };
        let end = match answer {
            Ok(status) if status.status == "stopped" => {
                Ok(status.exitstatus.unwrap_or_else(|| "unexpected status".to_owned()))
            }
            Ok(_) => {
                all[at].away_since = None;
                return;
            }
            Err(error) => {
                // Also "no such task": right after its start a task may not be known yet.
                let since = *all[at].away_since.get_or_insert_with(Instant::now);
                if since.elapsed() < AWAY_MAX && retryable(&error) {
                    debug!(upid, error = %error, "a task cannot be read for now");
                    return;
                }
                Err(error.to_string())
            }
        };
        let waiting = all.swap_remove(at);
        let took = waiting.begun.elapsed();
        let kind = waiting.followed.kind;
        if end.is_ok() {
            shared.usual.entry(kind).or_default().learn(took);
        }
        *waiting.followed.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        waiting.followed.wake.ring();
    }

    /// How long to wait before the next reading of `node`; `None` when nobody waits there, and its
    /// reader ends.
    fn pause(&self, node: &str) -> Option<Duration> {
        let mut shared = self.shared();
        let waiting = shared.nodes.get(node)?;
        if waiting.is_empty() {
            shared.nodes.remove(node);
            return None;
        }
        let usual = |waiting: &Waiting| shared.usual.get(waiting.followed.kind);
        let pause = waiting.iter().map(|w| pause(w.begun.elapsed(), usual(w))).min();
        Some(pause.unwrap_or(PAUSE_MAX))
    }
}

/// The last durations of one kind of task. The same kind takes seconds when it is alone and a minute
/// behind a herd that queues for a storage: what counts is the span, not the middle.
#[derive(Debug, Default)]
struct Recent(VecDeque<Duration>);

impl Recent {
    fn learn(&mut self, took: Duration) {
        self.0.push_back(took);
        if self.0.len() > RECENT_MAX {
            self.0.pop_front();
        }
    }

    /// The shortest and the longest; absent while nothing is known.
    fn span(&self) -> Option<(Duration, Duration)> {
        Some((*self.0.iter().min()?, *self.0.iter().max()?))
    }
}

/// Before the soonest end that is usual a task is left alone; from then on it is asked often; one
/// that takes unusually long, or of which nothing is known, ever more seldom.
fn pause(elapsed: Duration, usual: Option<&Recent>) -> Duration {
    let Some((soonest, latest)) = usual.and_then(Recent::span) else {
        return (elapsed / 8).clamp(PAUSE_FIRST, PAUSE_NEAR * 2);
    };
    let window_opens = soonest.mul_f64(0.7);
    if elapsed < window_opens {
        (window_opens - elapsed).clamp(Duration::from_millis(1), PAUSE_MAX)
    } else if elapsed < latest.mul_f64(1.5) {
        soonest.mul_f64(0.03).clamp(PAUSE_MIN, PAUSE_NEAR)
    } else {
        (elapsed / 8).clamp(PAUSE_FIRST, PAUSE_NEAR * 2)
    }
}

fn retryable(error: &ProxmoxError) -> bool {
    error.outcome_unknown()
        || matches!(error, ProxmoxError::Unreachable { .. } | ProxmoxError::Said { .. })
        || matches!(error, ProxmoxError::Parameters { errors, .. }
            if errors.get("upid").is_some_and(|m| m.contains("no such task")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_herd_that_took_long_does_not_make_the_next_one_wait() {
        let mut recent = Recent::default();
        let seconds = Duration::from_secs;
        for took in [3, 20, 40, 60] {
            recent.learn(seconds(took));
        }
        // Asked often from the soonest end on, and as long as any took.
        for elapsed in [3, 10, 50, 80] {
            assert!(pause(seconds(elapsed), Some(&recent)) <= PAUSE_NEAR, "after {elapsed} s");
        }
        assert!(pause(Duration::ZERO, Some(&recent)) > PAUSE_NEAR, "left alone at first");
        assert!(pause(seconds(200), Some(&recent)) > PAUSE_NEAR, "it takes unusually long");
        assert_eq!(pause(Duration::ZERO, None), PAUSE_FIRST);
    }
}
