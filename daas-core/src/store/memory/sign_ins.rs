//! Sign-ins in memory.

use std::cmp::Reverse;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;

use super::State;
use crate::access::{SignIn, SignInStore};
use crate::error::{Error, Kind, Operation, Result};
use crate::owner::Owner;

#[derive(Debug)]
pub(super) struct MemorySignIns(pub(super) Arc<Mutex<State>>);

impl MemorySignIns {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl SignInStore for MemorySignIns {
    async fn add_sign_in(&self, new: &SignIn) -> Result<()> {
        let mut state = self.state();
        if state.sign_ins.values().any(|old| old.id == new.id || old.hash == new.hash) {
            let why = "there is a sign-in of that id or token";
            return Err(Error::new(Kind::Conflict, Operation::Store, &new.id, why));
        }
        state.sign_ins.insert(new.id.clone(), new.clone());
        Ok(())
    }

    async fn sign_in_by_hash(&self, hash: &str) -> Result<Option<SignIn>> {
        Ok(self.state().sign_ins.values().find(|sign_in| sign_in.hash == hash).cloned())
    }

    async fn sign_ins_of(&self, owner: &Owner) -> Result<Vec<SignIn>> {
        let state = self.state();
        let theirs = state.sign_ins.values().filter(|sign_in| sign_in.owner == *owner);
        let mut theirs: Vec<SignIn> = theirs.cloned().collect();
        theirs.sort_by_key(|sign_in| (Reverse(sign_in.created_at), sign_in.id.clone()));
        Ok(theirs)
    }

    async fn newest_sign_ins(&self, limit: usize) -> Result<Vec<SignIn>> {
        let mut all: Vec<SignIn> = self.state().sign_ins.values().cloned().collect();
        all.sort_by_key(|sign_in| (Reverse(sign_in.created_at), sign_in.id.clone()));
        all.truncate(limit);
        Ok(all)
    }

    async fn see_sign_in(&self, id: &str, at: Timestamp) -> Result<()> {
        if let Some(sign_in) = self.state().sign_ins.get_mut(id) {
            sign_in.seen_at = sign_in.seen_at.max(at);
        }
        Ok(())
    }

    async fn end_sign_in(&self, owner: &Owner, id: &str) -> Result<bool> {
        let mut state = self.state();
        let is_theirs = state.sign_ins.get(id).is_some_and(|sign_in| sign_in.owner == *owner);
        Ok(is_theirs && state.sign_ins.remove(id).is_some())
    }

    async fn prune_sign_ins(
        &self,
        now: Timestamp,
        unused_since: Timestamp,
        limit: u32,
    ) -> Result<u64> {
        let mut state = self.state();
        let over = |s: &&SignIn| s.ends_at <= now || s.seen_at < unused_since;
        let over: Vec<String> =
            state.sign_ins.values().filter(over).map(|s| s.id.clone()).collect();
        let over = over.into_iter().take(limit as usize);
        Ok(over.filter_map(|id| state.sign_ins.remove(&id)).count() as u64)
    }
}
