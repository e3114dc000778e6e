//! API keys: who may call, and as what. Keys rest as hashes.

use std::fmt::Debug;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::ids::Organisation;
use crate::owner::Owner;

/// What a caller may do. Later ones may do all that earlier ones may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Their own sessions.
    User,
    /// Everybody's sessions.
    Operator,
    /// Everything, keys included.
    Admin,
}

/// A key at rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// The key's name, unique; what it is revoked by.
    pub name: String,
    /// SHA-256 of the key, hexadecimal.
    pub hash: String,
    /// For whom it speaks.
    pub owner: Owner,
    /// In which organisation.
    pub organisation: Organisation,
    /// As what.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Keeps API keys.
#[async_trait]
pub trait KeyStore: Debug + Send + Sync {
    /// Adds a key; `Conflict` when the name or the key is there already.
    async fn add_key(&self, key: &ApiKey) -> Result<()>;

    /// The key with that hash.
    async fn key_by_hash(&self, hash: &str) -> Result<Option<ApiKey>>;

    /// All keys, by name.
    async fn keys(&self) -> Result<Vec<ApiKey>>;

    /// Removes the key of that name; whether there was one.
    async fn revoke_key(&self, name: &str) -> Result<bool>;
}
