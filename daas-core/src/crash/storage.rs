//! Where a world keeps its sessions, and what becomes of that when a process ends.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::Result;
use crate::store::SessionStore;
use crate::store::memory::MemoryStore;

/// Keeps the sessions of one world through the lives of its processes. One of them has it open at
/// a time.
///
/// The world lives on paused time. A store that waits for anything outside of tokio, a thread or a
/// disk, is to be opened, closed and killed in [`super::in_real_time`], and handed out behind
/// [`super::InRealTime`]. Each world has a thread of its own, so that nothing here need be `Send`:
/// implement it under `#[async_trait(?Send)]`.
#[async_trait(?Send)]
pub trait Storage: Debug + Send + Sync {
    /// Opens the store, as a process does that starts.
    async fn open(&self) -> Result<Arc<dyn SessionStore>>;

    /// Closes it, as a process does that stops: everything that was begun is written.
    async fn close(&self);

    /// Leaves it as a killed process does: what was acknowledged is there when it is next opened,
    /// and what is written after this call is not.
    async fn kill(&self);
}

/// Sessions in memory, of which nothing is ever lost.
#[derive(Debug, Default)]
pub struct InMemory(Arc<MemoryStore>);

#[async_trait(?Send)]
impl Storage for InMemory {
    async fn open(&self) -> Result<Arc<dyn SessionStore>> {
        Ok(Arc::clone(&self.0) as _)
    }

    async fn close(&self) {}

    async fn kill(&self) {}
}
