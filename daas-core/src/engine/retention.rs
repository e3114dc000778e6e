//! Forgetting: what ended long ago is removed, a portion at a time.
//!
//! INVARIANT: the id of a removed session stays known to the store, so that it is never used again
//! and a machine that bears it is an orphan.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Inner;
use crate::clock::earlier;
use crate::error::{Error, Operation, Result};
use crate::store::{Prune, Pruned};

/// The earlier API shows what ended in the last day.
const ENDED_KEPT_MIN: Duration = Duration::from_secs(24 * 3_600);
/// A caller may repeat a request for so long.
const KEYS_KEPT_MIN: Duration = Duration::from_secs(3_600);
/// More in one transaction would keep other writers waiting.
const PORTION_MAX: usize = 10_000;

/// How long what is over is kept, and how fast it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Ended sessions with their events and their use; 24 h at least. Default 90 days.
    #[serde(with = "humantime_serde")]
    pub ended_kept: Duration,
    /// Idempotency keys, from the request on: the same key is a new request afterwards, also where
    /// its session still lives; 1 h at least. Default 24 h.
    #[serde(with = "humantime_serde")]
    pub keys_kept: Duration,
    /// Rows removed in one transaction, between 1 and 10,000. Default 256.
    pub portion: usize,
    /// Transactions in one turn, of which there is one per `sweep_period`. Default 20.
    pub portions_max: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            ended_kept: Duration::from_secs(90 * 24 * 3_600),
            keys_kept: Duration::from_secs(24 * 3_600),
            portion: 256,
            portions_max: 20,
        }
    }
}

impl Retention {
    /// Refuses what would break a promise, naming the field.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |field: &str, why: &str| {
            Err(Error::invalid(Operation::Check, format!("limits.retention.{field}"), why))
        };
        if self.ended_kept < ENDED_KEPT_MIN {
            return refuse("ended_kept", "must be 24 h at least: ended sessions are shown so long");
        }
        if self.keys_kept < KEYS_KEPT_MIN {
            return refuse("keys_kept", "must be 1 h at least: requests are repeated so long");
        }
        if !(1..=PORTION_MAX).contains(&self.portion) {
            return refuse("portion", "must be between 1 and 10000 rows");
        }
        if self.portions_max == 0 {
            return refuse("portions_max", "must be 1 at least, or nothing is ever removed");
        }
        Ok(())
    }
}

pub(super) async fn retain(inner: Arc<Inner>, stop: CancellationToken) {
    loop {
        // First the pause: a start has better things to do.
        let pause = tokio::time::sleep(inner.limits().sweep_period);
        if stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
        match stop.run_until_cancelled(turn(&inner)).await {
            None => return,
            Some(Ok(pruned)) if pruned.rows() > 0 => {
                let Pruned { sessions, events, keys } = pruned;
                info!(sessions, events, keys, "what is old was removed from the store");
            }
            Some(Ok(_)) => {}
            Some(Err(failure)) => {
                warn!(error = failure.chain(), "cannot remove what is old; tried again later");
            }
        }
    }
}

async fn turn(inner: &Inner) -> Result<Pruned> {
    let retention = &inner.limits().retention;
    let now = inner.now();
    let old = Prune {
        ended_before: earlier(now, retention.ended_kept),
        keys_before: earlier(now, retention.keys_kept),
        limit: retention.portion,
    };
    let mut all = Pruned::default();
    for _ in 0..retention.portions_max {
        let portion = inner.store().prune(&old).await?;
        if portion.rows() == 0 {
            break;
        }
        all += portion;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl Fn(&mut Retention), refused: Option<&str>) {
        let mut retention = Retention::default();
        change(&mut retention);
        let answer = retention.check().err().map(|error| error.to_string());
        match refused {
            Some(field) => {
                assert!(answer.as_ref().is_some_and(|a| a.contains(field)), "{answer:?}")
            }
            None => assert_eq!(answer, None),
        }
    }

    #[test]
    fn what_would_break_a_promise_is_refused() {
        let second = Duration::from_secs(1);
        check(|_| {}, None);
        check(|r| r.ended_kept = ENDED_KEPT_MIN, None);
        check(|r| r.ended_kept = ENDED_KEPT_MIN - second, Some("retention.ended_kept"));
        check(|r| r.keys_kept = KEYS_KEPT_MIN - second, Some("retention.keys_kept"));
        check(|r| r.portion = 0, Some("retention.portion"));
        check(|r| r.portion = PORTION_MAX + 1, Some("retention.portion"));
        check(|r| r.portions_max = 0, Some("retention.portions_max"));
    }
}
