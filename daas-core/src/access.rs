//! Who may call, and as what: API keys of programs, sign-ins of people, both at rest as hashes; and the
//! second factors of people.

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
    /// The groups of who made it for themselves, as of then, in lower case; none otherwise.
    #[serde(default)]
    pub groups: BTreeSet<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends; absent: when it is revoked.
    #[serde(default)]
    pub ends_at: Option<Timestamp>,
    /// When it was used last, to the day; absent: never, as far as is known.
    #[serde(default)]
    pub used_at: Option<Timestamp>,
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

    /// Adds a key like [`Self::add_key`]; `Exhausted` when its owner has `most` already.
    async fn add_key_within(&self, key: &ApiKey, most: u32) -> Result<()>;

    /// The keys that speak for `owner`, by name.
    async fn keys_of(&self, owner: &Owner) -> Result<Vec<ApiKey>>;

    /// Removes the key of that name, if it speaks for `owner`; whether it did.
    async fn revoke_key_of(&self, owner: &Owner, name: &str) -> Result<bool>;

    /// Notes that a key was used; an earlier time than the one known changes nothing.
    async fn see_key(&self, name: &str, at: Timestamp) -> Result<()>;
}

/// Somebody's second factor, at rest: codes that change with time (TOTP, RFC 6238).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecondFactor {
    /// Whose it is.
    pub owner: Owner,
    /// The secret, sealed; the store has no key to it.
    pub sealed: String,
    /// The time step whose code was used last.
    pub last_step: u64,
    /// SHA-256 of the recovery codes that are left, hexadecimal.
    pub recovery_codes: BTreeSet<String>,
    /// When it was enrolled.
    pub created_at: Timestamp,
}

/// Keeps second factors.
#[async_trait]
pub trait SecondFactorStore: Debug + Send + Sync {
    /// Adds one; `Conflict` when its owner has one already.
    async fn add_second_factor(&self, factor: &SecondFactor) -> Result<()>;

    /// The one of `owner`.
    async fn second_factor_of(&self, owner: &Owner) -> Result<Option<SecondFactor>>;

    /// Uses up a time step; whether it was later than every one used before. Of two who use the same
    /// one, one is answered yes.
    async fn use_step(&self, owner: &Owner, step: u64) -> Result<bool>;

    /// Uses up the recovery code with that hash; whether it was left. Of two who use the same one,
    /// one is answered yes.
    async fn use_recovery_code(&self, owner: &Owner, hash: &str) -> Result<bool>;

    /// Puts others in the place of the recovery codes that are left; whether `owner` has a second
    /// factor.
    async fn replace_recovery_codes(
        &self,
        owner: &Owner,
        hashes: &BTreeSet<String>,
    ) -> Result<bool>;

    /// Removes the one of `owner`, its recovery codes too; whether there was one.
    async fn remove_second_factor(&self, owner: &Owner) -> Result<bool>;
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
