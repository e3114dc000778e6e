//! Seats for what stays open: so many at once, and so many for one owner, so that nobody takes them
//! all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use daas_core::owner::Owner;

/// The seats. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Seats(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// What is open, for the refusals' words.
    what: &'static str,
    most: usize,
    most_of_one: usize,
    taken: Mutex<HashMap<Owner, usize>>,
}

/// A seat, free again when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    owner: Owner,
    seats: Seats,
}

impl Seats {
    /// `most` seats for `what`, of which one owner may have `most_of_one`.
    pub(crate) fn new(what: &'static str, most: usize, most_of_one: usize) -> Self {
        Self(Arc::new(Shared { what, most, most_of_one, taken: Mutex::default() }))
    }

    /// A seat for `owner`, or why there is none.
    pub(crate) fn take(&self, owner: &Owner) -> Result<Seat, String> {
        let mut taken = self.taken();
        if taken.get(owner).is_some_and(|count| *count >= self.0.most_of_one) {
            return Err(format!("too many {} of this owner are open; close one", self.0.what));
        }
        if taken.values().sum::<usize>() >= self.0.most {
            return Err(format!("too many {} are open", self.0.what));
        }
        *taken.entry(owner.clone()).or_default() += 1;
        Ok(Seat { owner: owner.clone(), seats: self.clone() })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<Owner, usize>> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        if let Some(count) = taken.get_mut(&self.owner) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(name: &str) -> Owner {
        Owner { realm: "api".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn nobody_takes_the_places_of_others() {
        let seats = Seats::new("event streams", 3, 2);
        let (alice, bob) = (owner("alice"), owner("bob"));
        let hers: Vec<_> = (0..2).map(|_| seats.take(&alice).expect("room")).collect();
        assert!(seats.take(&alice).expect_err("her share").contains("of this owner"));
        let his = seats.take(&bob).expect("room");
        assert!(seats.take(&bob).expect_err("all are taken").contains("are open"));
        drop(his);
        assert!(seats.take(&bob).is_ok());
        drop(hers);
        assert!(seats.taken().is_empty(), "nothing is kept of those who left");
    }
}
