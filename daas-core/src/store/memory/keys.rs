//! API keys in memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;

use super::State;
use crate::access::{ApiKey, KeyStore};
use crate::error::{Error, Kind, Operation, Result};
use crate::owner::Owner;

#[derive(Debug)]
pub(super) struct MemoryKeys(pub(super) Arc<Mutex<State>>);

impl MemoryKeys {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl KeyStore for MemoryKeys {
    async fn add_key(&self, key: &ApiKey) -> Result<()> {
        self.add_key_within(key, u32::MAX).await
    }

    async fn add_key_within(&self, key: &ApiKey, most: u32) -> Result<()> {
        let mut state = self.state();
        let there = state.keys.values().any(|k| k.name == key.name || k.hash == key.hash);
        if there {
            let why = "there is a key of that name";
            return Err(Error::new(Kind::Conflict, Operation::Store, &key.name, why));
        }
        let has = state.keys.values().filter(|k| k.owner == key.owner).count();
        if has >= most as usize {
            let why = format!("has {most} API keys already; revoke one first");
            return Err(Error::new(Kind::Exhausted, Operation::Store, &key.owner, why));
        }
        state.keys.insert(key.name.clone(), key.clone());
        Ok(())
    }

    async fn key_by_hash(&self, hash: &str) -> Result<Option<ApiKey>> {
        Ok(self.state().keys.values().find(|key| key.hash == hash).cloned())
    }

    async fn keys(&self) -> Result<Vec<ApiKey>> {
        Ok(self.state().keys.values().cloned().collect())
    }

    async fn revoke_key(&self, name: &str) -> Result<bool> {
        Ok(self.state().keys.remove(name).is_some())
    }

    async fn keys_of(&self, owner: &Owner) -> Result<Vec<ApiKey>> {
        Ok(self.state().keys.values().filter(|key| key.owner == *owner).cloned().collect())
    }

    async fn revoke_key_of(&self, owner: &Owner, name: &str) -> Result<bool> {
        let mut state = self.state();
        let theirs = state.keys.get(name).is_some_and(|key| key.owner == *owner);
        Ok(theirs && state.keys.remove(name).is_some())
    }

    async fn see_key(&self, name: &str, at: Timestamp) -> Result<()> {
        if let Some(key) = self.state().keys.get_mut(name) {
            key.used_at = key.used_at.max(Some(at));
        }
        Ok(())
    }
}
