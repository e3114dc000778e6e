//! How many wrong passwords and codes are taken: a bucket for each account and each address, that fills again
//! with time. A try takes one of each before the password is looked at, so that many at once gain
//! nothing, and a right one gives them back.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use daas_core::owner::Owner;
use tokio::time::Instant;

use super::config::Tries;

/// How many buckets are kept; then those that hold least in memory go first: the fullest.
const BUCKETS_MAX: usize = 50_000;

/// What is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Counted {
    /// An account, by realm and name as they were written, folded.
    Account(String, String),
    /// The second factor of an owner, by realm and name.
    Code(String, String),
    /// An address; of IPv6 the network of one site.
    Address(IpAddr),
}

impl Counted {
    /// However the name is spelt: `LAB\alice` and `alice@lab.test` are tries of one.
    pub(crate) fn account(realm: &str, name: &str) -> Self {
        let name = name.rsplit_once('\\').map_or(name, |(_, name)| name);
        let name = name.split_once('@').map_or(name, |(name, _)| name);
        Self::Account(realm.trim().to_lowercase(), name.trim().to_lowercase())
    }

    pub(crate) fn code(owner: &Owner) -> Self {
        Self::Code(owner.realm.clone(), owner.name.clone())
    }

    pub(crate) fn address(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => {
                let site = u128::from(v6) >> 64 << 64;
                Self::Address(IpAddr::V6(site.into()))
            }
            v4 => Self::Address(v4),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// The buckets.
#[derive(Debug)]
pub(crate) struct Attempts {
    rules: Tries,
    buckets: Mutex<HashMap<Counted, Bucket>>,
}

impl Attempts {
    pub(crate) fn new(rules: Tries) -> Self {
        Self { rules, buckets: Mutex::default() }
    }

    /// Takes a try of each; or, from none, says after how long there is one.
    pub(crate) fn take(&self, of: &[Counted]) -> Result<(), Duration> {
        let now = Instant::now();
        let mut buckets = self.buckets();
        let left: Vec<f64> = of.iter().map(|one| self.left(&buckets, one, now)).collect();
        for (one, left) in of.iter().zip(&left) {
            if *left < 1.0 {
                let each = self.rules.period.as_secs_f64() / self.most(one);
                return Err(Duration::from_secs_f64((1.0 - left) * each));
            }
        }
        for (one, left) in of.iter().zip(left) {
            buckets.insert(one.clone(), Bucket { left: left - 1.0, at: now });
        }
        if buckets.len() > BUCKETS_MAX {
            self.shrink(&mut buckets, now);
        }
        Ok(())
    }

    /// Gives back what a right password took.
    pub(crate) fn give_back(&self, of: &[Counted]) {
        let now = Instant::now();
        let mut buckets = self.buckets();
        for one in of {
            let left = (self.left(&buckets, one, now) + 1.0).min(self.most(one));
            buckets.insert(one.clone(), Bucket { left, at: now });
        }
    }

    fn most(&self, of: &Counted) -> f64 {
        f64::from(match of {
            Counted::Account(..) | Counted::Code(..) => self.rules.account,
            Counted::Address(_) => self.rules.address,
        })
    }

    fn left(&self, buckets: &HashMap<Counted, Bucket>, of: &Counted, now: Instant) -> f64 {
        let most = self.most(of);
        let Some(bucket) = buckets.get(of) else { return most };
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.left + passed / self.rules.period.as_secs_f64() * most).min(most)
    }

    /// Forgets those that are full, and then the fullest half: what they hold back is least.
    fn shrink(&self, buckets: &mut HashMap<Counted, Bucket>, now: Instant) {
        let share = |one: &Counted| self.left(buckets, one, now) / self.most(one);
        let mut kept: Vec<(Counted, f64)> =
            buckets.keys().map(|one| (one.clone(), share(one))).collect();
        kept.sort_by(|a, b| b.1.total_cmp(&a.1));
        for (one, share) in kept.into_iter().take(buckets.len()) {
            if share < 1.0 && buckets.len() <= BUCKETS_MAX / 2 {
                break;
            }
            buckets.remove(&one);
        }
    }

    fn buckets(&self) -> MutexGuard<'_, HashMap<Counted, Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps an error has failed")]
    use super::*;

    fn attempts() -> Attempts {
        Attempts::new(Tries { account: 3, address: 5, period: Duration::from_secs(30) })
    }

    fn of(name: &str, address: &str) -> [Counted; 2] {
        [Counted::account("lab", name), Counted::address(address.parse().unwrap())]
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_and_an_address_run_out_and_fill_again() {
        let attempts = attempts();
        for spelling in ["alice@lab.test", "LAB\\ALICE", " alice"] {
            attempts.take(&of(spelling, "192.0.2.1")).unwrap();
        }
        assert_eq!(attempts.take(&of("alice", "192.0.2.2")), Err(Duration::from_secs(10)));
        attempts.take(&of("bob", "192.0.2.1")).unwrap();
        attempts.take(&of("carol", "::ffff:192.0.2.1")).unwrap();
        assert_eq!(attempts.take(&of("dora", "192.0.2.1")), Err(Duration::from_secs(6)));
        tokio::time::advance(Duration::from_secs(10)).await;
        attempts.take(&of("alice", "192.0.2.1")).unwrap();
        assert!(attempts.take(&of("alice", "192.0.2.1")).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_right_password_costs_nothing_and_a_refused_try_neither() {
        let attempts = attempts();
        for _ in 0..100 {
            attempts.take(&of("alice", "2001:db8::1")).unwrap();
            attempts.give_back(&of("alice", "2001:db8::1"));
        }
        for last in ["1", "2", "3"] {
            attempts.take(&of("alice", &format!("2001:db8::{last}"))).unwrap();
        }
        for _ in 0..100 {
            assert!(attempts.take(&of("alice", "2001:db8::9")).is_err());
        }
        // The address of one site has two left.
        attempts.take(&of("bob", "2001:db8::ffff")).unwrap();
        attempts.take(&of("bob", "2001:db8::fffe")).unwrap();
        assert!(attempts.take(&of("bob", "2001:db8::fffd")).is_err());
        attempts.take(&of("bob", "2001:db8:0:1::1")).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_bounded_and_the_emptiest_stay() {
        let attempts = attempts();
        for _ in 0..3 {
            attempts.take(&of("alice", "192.0.2.1")).unwrap();
        }
        for n in 0..BUCKETS_MAX {
            let address = IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
            let _ = attempts
                .take(&[Counted::account("lab", &n.to_string()), Counted::address(address)]);
        }
        assert!(attempts.buckets().len() <= BUCKETS_MAX + 2);
        assert!(attempts.take(&of("alice", "192.0.2.2")).is_err(), "forgotten");
    }
}
