//! Room for clones and for questions: how much may be under way at one place at once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use daas_core::machine::Wake;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What room is counted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Room {
    /// Linked clones made from a node.
    Linked(String),
    /// Full clones made from a node.
    Full(String),
    /// Clones onto a storage.
    Storage(String),
}

/// Places taken in rooms. Given back when dropped, and somebody who waits is told.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    permits: Vec<OwnedSemaphorePermit>,
    left: Option<Wake>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.permits.clear();
        if let Some(left) = &self.left {
            left.ring();
        }
    }
}

/// Rooms with their sizes, made as they are named.
#[derive(Debug)]
pub(crate) struct Slots<K> {
    rooms: Mutex<HashMap<K, Arc<Semaphore>>>,
    /// Rings when somebody leaves.
    pub(crate) left: Wake,
}

impl<K> Default for Slots<K> {
    fn default() -> Self {
        Self { rooms: Mutex::default(), left: Wake::default() }
    }
}

impl<K: Eq + Hash + Clone> Slots<K> {
    /// The room's semaphore.
    pub(crate) fn room(&self, key: &K, size: usize) -> Arc<Semaphore> {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let room = rooms.entry(key.clone());
        Arc::clone(room.or_insert_with(|| Arc::new(Semaphore::new(size.max(1)))))
    }

    /// A place in each of these rooms, or none at all.
    pub(crate) fn enter(&self, wished: &[(K, usize)]) -> Option<Slot> {
        let places = wished.iter().map(|(key, size)| self.room(key, *size).try_acquire_owned());
        let permits = places.collect::<Result<_, _>>().ok()?;
        Some(Slot { permits, left: Some(self.left.clone()) })
    }
}
