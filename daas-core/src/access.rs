//! Who may call, and as what: API keys of programs, sign-ins of people. Both rest as hashes.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::net::IpAddr;

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

impl Role {
    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
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

/// Somebody's sign-in, at rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignIn {
    /// What it is listed and ended by; it opens nothing.
    pub id: String,
    /// SHA-256 of the token that the browser has, hexadecimal.
    pub hash: String,
    /// Who signed in.
    pub owner: Owner,
    /// What people call them; absent: their name.
    pub display_name: Option<String>,
    /// In which organisation.
    pub organisation: Organisation,
    /// As what, from their groups as of then.
    pub role: Role,
    /// Their groups as of then, in lower case.
    pub groups: BTreeSet<String>,
    /// From where.
    pub address: IpAddr,
    /// With what, as it calls itself.
    pub agent: String,
    /// When.
    pub created_at: Timestamp,
    /// When it was used last, to the minute.
    pub seen_at: Timestamp,
    /// When it ends, used or not.
    pub ends_at: Timestamp,
}

/// Keeps sign-ins.
#[async_trait]
pub trait SignInStore: Debug + Send + Sync {
    /// Adds one; `Conflict` when the id or the token is there already.
    async fn add_sign_in(&self, sign_in: &SignIn) -> Result<()>;

    /// The one with that hash, also when its time is over.
    async fn sign_in_by_hash(&self, hash: &str) -> Result<Option<SignIn>>;

    /// Those of `owner`, the newest first.
    async fn sign_ins_of(&self, owner: &Owner) -> Result<Vec<SignIn>>;

    /// Everybody's, the newest first, `limit` at most; also those whose time is over.
    async fn newest_sign_ins(&self, limit: usize) -> Result<Vec<SignIn>>;

    /// Notes that it was used; an earlier time than the one known changes nothing.
    async fn see_sign_in(&self, id: &str, at: Timestamp) -> Result<()>;

    /// Removes the one of that id, if it is `owner`'s; whether there was one.
    async fn end_sign_in(&self, owner: &Owner, id: &str) -> Result<bool>;

    /// Removes at most `limit` of those that end by `now` or were not used since `unused_since`;
    /// how many.
    async fn prune_sign_ins(
        &self,
        now: Timestamp,
        unused_since: Timestamp,
        limit: u32,
    ) -> Result<u64>;
}
