//! API keys in memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::State;
use crate::access::{ApiKey, KeyStore};
use crate::error::{Error, Kind, Operation, Result};

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
        let mut state = self.state();
        let there = state.keys.values().any(|k| k.name == key.name || k.hash == key.hash);
        if there {
            let why = "there is a key of that name";
            return Err(Error::new(Kind::Conflict, Operation::Store, &key.name, why));
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
}
