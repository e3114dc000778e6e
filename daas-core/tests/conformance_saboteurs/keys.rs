//! Stores of API keys that break their contract.

use std::sync::Arc;

use async_trait::async_trait;
use daas_core::access::{ApiKey, KeyStore};
use daas_core::owner::Owner;
use daas_core::{Kind, Result};
use jiff::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyTrick {
    /// The name that is shown opens what the key alone may open.
    OpensByName,
    TakesTwins,
    KeepsTheRevoked,
    ListsEverybodys,
    RevokesOthers,
    IgnoresTheBound,
    NeverSees,
}

#[derive(Debug)]
pub(crate) struct BadKeys {
    pub(crate) real: Arc<dyn KeyStore>,
    pub(crate) trick: KeyTrick,
}

impl BadKeys {
    fn plays(&self, trick: KeyTrick) -> bool {
        self.trick == trick
    }

    fn taken(&self, answer: Result<()>) -> Result<()> {
        match answer {
            Err(error) if error.kind() == Kind::Conflict && self.plays(KeyTrick::TakesTwins) => {
                Ok(())
            }
            answer => answer,
        }
    }
}

#[async_trait]
impl KeyStore for BadKeys {
    async fn add_key(&self, key: &ApiKey) -> Result<()> {
        self.taken(self.real.add_key(key).await)
    }

    async fn key_by_hash(&self, hash: &str) -> Result<Option<ApiKey>> {
        if self.plays(KeyTrick::OpensByName)
            && let Some(named) = self.real.keys().await?.into_iter().find(|key| key.name == hash)
        {
            return Ok(Some(named));
        }
        self.real.key_by_hash(hash).await
    }

    async fn keys(&self) -> Result<Vec<ApiKey>> {
        self.real.keys().await
    }

    async fn revoke_key(&self, name: &str) -> Result<bool> {
        if self.plays(KeyTrick::KeepsTheRevoked) {
            return Ok(true);
        }
        self.real.revoke_key(name).await
    }

    async fn add_key_within(&self, key: &ApiKey, most: u32) -> Result<()> {
        let most = if self.plays(KeyTrick::IgnoresTheBound) { u32::MAX } else { most };
        self.taken(self.real.add_key_within(key, most).await)
    }

    async fn keys_of(&self, owner: &Owner) -> Result<Vec<ApiKey>> {
        if self.plays(KeyTrick::ListsEverybodys) {
            return self.real.keys().await;
        }
        self.real.keys_of(owner).await
    }

    async fn revoke_key_of(&self, owner: &Owner, name: &str) -> Result<bool> {
        if self.plays(KeyTrick::RevokesOthers) {
            return self.real.revoke_key(name).await;
        }
        self.real.revoke_key_of(owner, name).await
    }

    async fn see_key(&self, name: &str, at: Timestamp) -> Result<()> {
        if self.plays(KeyTrick::NeverSees) {
            return Ok(());
        }
        self.real.see_key(name, at).await
    }
}
