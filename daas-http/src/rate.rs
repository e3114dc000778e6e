//! How many calls are taken: a bucket for each address and each caller, that fills again with time.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use daas_core::Kind;
use daas_core::owner::Owner;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::problem::Problem;
use crate::routes::{Listener, Route};

/// How many buckets of one sort are kept; then the fullest go first, which hold least in memory.
const BUCKETS_MAX: usize = 50_000;

/// How many calls somebody may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallRate {
    /// In the long run; 0: as many as they like.
    pub per_second: u32,
    /// At once, after a pause.
    pub burst: u32,
}

/// The buckets of all.
#[derive(Debug)]
pub(crate) struct Rates {
    of_address: Buckets<IpAddr>,
    of_caller: Buckets<Owner>,
}

impl Rates {
    pub(crate) fn new(of_address: CallRate, of_caller: CallRate) -> Self {
        Self { of_address: Buckets::new(of_address), of_caller: Buckets::new(of_caller) }
    }

    /// Counts a call from `address`. This machine's own are not counted: a proxy's perhaps, or
    /// everybody's behind a tunnel.
    pub(crate) fn from(&self, address: IpAddr, route: &Route) -> Result<(), Problem> {
        let address = address.to_canonical();
        if address.is_loopback() {
            return Ok(());
        }
        let site = match address {
            // Of IPv6 somebody has a whole network.
            IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
            v4 => v4,
        };
        self.of_address.take(site).map_err(|wait| refusal("address", wait, route))
    }

    /// Counts a call of `owner`.
    pub(crate) fn by(&self, owner: &Owner, route: &Route) -> Result<(), Problem> {
        self.of_caller.take(owner.clone()).map_err(|wait| refusal("caller", wait, route))
    }
}

fn refusal(of: &'static str, wait: Duration, route: &Route) -> Problem {
    metrics::counter!("daas_http_limited_total", "of" => of).increment(1);
    let status = match route.listener {
        // It promises no other.
        Listener::Compat => StatusCode::INTERNAL_SERVER_ERROR,
        Listener::Main | Listener::Guests => StatusCode::TOO_MANY_REQUESTS,
    };
    let why = format!("too many calls of this {of}; wait a moment");
    let seconds = wait.as_secs_f64().ceil().max(1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few seconds")]
    Problem::new(status, Kind::Exhausted, &*why).because(&*why).retry_after(seconds as u64)
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

#[derive(Debug)]
struct Buckets<K> {
    rate: CallRate,
    buckets: Mutex<HashMap<K, Bucket>>,
}

impl<K: Hash + Eq> Buckets<K> {
    fn new(rate: CallRate) -> Self {
        Self { rate, buckets: Mutex::default() }
    }

    /// Takes one of `key`'s; or says after how long there is one.
    fn take(&self, key: K) -> Result<(), Duration> {
        let CallRate { per_second, burst } = self.rate;
        if per_second == 0 {
            return Ok(());
        }
        let (rate, most) = (f64::from(per_second), f64::from(burst.max(1)));
        let now = Instant::now();
        let mut buckets = self.locked();
        if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(&key) {
            shrink(&mut buckets, rate, most, now);
        }
        let bucket = buckets.entry(key).or_insert(Bucket { left: most, at: now });
        bucket.left = filled(*bucket, rate, most, now);
        bucket.at = now;
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.left) / rate));
        }
        bucket.left -= 1.0;
        Ok(())
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<K, Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn filled(bucket: Bucket, rate: f64, most: f64, now: Instant) -> f64 {
    (bucket.left + (now - bucket.at).as_secs_f64() * rate).min(most)
}

/// Forgets the half that has been used least.
fn shrink<K: Hash + Eq>(buckets: &mut HashMap<K, Bucket>, rate: f64, most: f64, now: Instant) {
    let mut left: Vec<f64> = buckets.values().map(|b| filled(*b, rate, most, now)).collect();
    left.sort_by(f64::total_cmp);
    let middle = left.get(left.len() / 2).copied().unwrap_or(most);
    buckets.retain(|_, bucket| filled(*bucket, rate, most, now) < middle);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_taken_and_then_so_many_a_second() {
        let buckets = Buckets::new(CallRate { per_second: 2, burst: 5 });
        for _ in 0..5 {
            buckets.take("a").expect("of the burst");
        }
        let wait = buckets.take("a").expect_err("the burst is over");
        assert_eq!(wait, Duration::from_millis(500));
        buckets.take("b").expect("another's is its own");
        tokio::time::advance(Duration::from_millis(1_000)).await;
        let taken = (0..5).filter(|_| buckets.take("a").is_ok()).count();
        assert_eq!(taken, 2);
        tokio::time::advance(Duration::from_secs(3_600)).await;
        let taken = (0..9).filter(|_| buckets.take("a").is_ok()).count();
        assert_eq!(taken, 5, "it fills no further than the burst");
    }

    #[tokio::test(start_paused = true)]
    async fn many_addresses_fill_no_memory_and_free_nobody_who_is_held() {
        let buckets = Buckets::new(CallRate { per_second: 1, burst: 2 });
        for _ in 0..2 {
            buckets.take(0).expect("of the burst");
        }
        for address in 1..=BUCKETS_MAX + 10 {
            buckets.take(address).expect("the first");
        }
        assert!(buckets.locked().len() <= BUCKETS_MAX);
        assert!(buckets.take(0).is_err(), "it is still held");
    }

    #[test]
    fn none_is_none() {
        let buckets = Buckets::new(CallRate { per_second: 0, burst: 0 });
        assert!((0..10_000).all(|_| buckets.take(()).is_ok()));
    }
}
