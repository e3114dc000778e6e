//! Sign-ins that wait for a second factor: the password was right, and nothing is open yet.
//!
//! They are kept in memory, for minutes, and few: they are no sign-ins, and a restart forgets them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use daas_core::access::Role;
use daas_core::identity::Person;
use daas_core::secret::{Secret, random_token, sha256_hex};
use tokio::time::Instant;

/// How long one waits.
pub(crate) const WAITS: Duration = Duration::from_mins(10);
/// How many wait at once; then the oldest is forgotten.
const ALL_MAX: usize = 10_000;
/// How many of one person, who may have several browsers.
const OF_ONE_MAX: usize = 5;

/// Somebody whose password was right.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) person: Person,
    pub(crate) role: Role,
    /// Where to go afterwards: a path of ours.
    pub(crate) next: String,
}

/// Those who wait, by the hash of the token in their browser.
#[derive(Debug, Default)]
pub(crate) struct WaitingRoom(Mutex<HashMap<String, (Instant, Waiting)>>);

impl WaitingRoom {
    /// Somebody waits; the token that their browser keeps.
    pub(crate) fn enter(&self, waiting: Waiting) -> Secret<String> {
        let now = Instant::now();
        let mut all = self.all();
        all.retain(|_, (since, _)| since.elapsed() < WAITS);
        let owner = waiting.person.owner.clone();
        forget_oldest(&mut all, OF_ONE_MAX, |waiting| waiting.person.owner == owner);
        forget_oldest(&mut all, ALL_MAX, |_| true);
        let token = random_token();
        all.insert(sha256_hex(token.expose()), (now, waiting));
        token
    }

    /// Who waits with `token`.
    pub(crate) fn of(&self, token: &str) -> Option<Waiting> {
        let all = self.all();
        let (since, waiting) = all.get(&sha256_hex(token))?;
        (since.elapsed() < WAITS).then(|| waiting.clone())
    }

    /// Nobody waits with `token` any more; whether somebody did.
    pub(crate) fn leave(&self, token: &str) -> bool {
        self.all().remove(&sha256_hex(token)).is_some()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, (Instant, Waiting)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room for one more of those that are `counted`.
fn forget_oldest(
    all: &mut HashMap<String, (Instant, Waiting)>,
    most: usize,
    counted: impl Fn(&Waiting) -> bool,
) {
    let those = all.iter().filter(|(_, (_, waiting))| counted(waiting));
    let mut those: Vec<(Instant, String)> =
        those.map(|(hash, (since, _))| (*since, hash.clone())).collect();
    those.sort();
    let too_many = (those.len() + 1).saturating_sub(most);
    for (_, hash) in those.into_iter().take(too_many) {
        all.remove(&hash);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]
    use daas_core::owner::Owner;

    use super::*;

    fn waiting(name: &str) -> Waiting {
        let owner = Owner { realm: "lab".to_owned(), name: name.to_owned() };
        let person = Person { owner, display_name: None, groups: [].into() };
        Waiting { person, role: Role::User, next: "/".to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_does_so_for_a_while_and_leaves_once() {
        let room = WaitingRoom::default();
        let token = room.enter(waiting("alice"));
        tokio::time::advance(WAITS - Duration::from_secs(1)).await;
        assert_eq!(room.of(token.expose()).unwrap().person.owner.name, "alice");
        assert!(room.of("another").is_none());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(room.of(token.expose()).is_none());
        let token = room.enter(waiting("alice"));
        assert!(room.leave(token.expose()));
        assert!(!room.leave(token.expose()));
        assert!(room.of(token.expose()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn few_wait_and_nobody_drives_the_others_out() {
        let room = WaitingRoom::default();
        let bob = room.enter(waiting("bob"));
        let mut alices = Vec::new();
        for _ in 0..50 {
            tokio::time::advance(Duration::from_secs(1)).await;
            alices.push(room.enter(waiting("alice")));
        }
        assert_eq!(room.all().len(), OF_ONE_MAX + 1);
        assert!(room.of(bob.expose()).is_some());
        assert!(room.of(alices[49].expose()).is_some() && room.of(alices[44].expose()).is_none());
    }
}
