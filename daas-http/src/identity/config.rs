//! Settings of who may sign in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use daas_core::access::Role;
use daas_core::secret::Secret;
use serde::Deserialize;

/// Who may sign in, as what and for how long.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdentityConfig {
    /// What groups make of their members, `"it staff@lab" = "operator"`: the group's name, `@`, its
    /// realm. Who is in several is the most of them.
    pub roles: BTreeMap<String, Role>,
    /// What those are who are in none of these groups; `none`: they are not let in. Default `user`.
    pub others: Others,
    /// How long a sign-in lasts, used or not. Default 12 h.
    #[serde(with = "humantime_serde")]
    pub lifetime: Duration,
    /// How long it lasts unused. Default 2 h.
    #[serde(with = "humantime_serde")]
    pub idle: Duration,
    /// How many wrong passwords are taken.
    pub tries: Tries,
    /// Who must give a code from their telephone after their password. Default `optional`.
    pub second_factor: SecondFactorRule,
    /// People of the realm `local`, by name.
    pub users: BTreeMap<String, LocalUser>,
}

impl Default for IdentityConfig {
    fn default() -> Self {
        Self {
            roles: BTreeMap::new(),
            others: Others::User,
            lifetime: Duration::from_hours(12),
            idle: Duration::from_hours(2),
            tries: Tries::default(),
            second_factor: SecondFactorRule::Optional,
            users: BTreeMap::new(),
        }
    }
}

/// What those are whom no group makes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Others {
    /// Users.
    User,
    /// Not let in.
    None,
}

/// Who must have a second factor, of those who sign in by a password.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecondFactorRule {
    /// Who wishes.
    Optional,
    /// Who has one of these roles: without one they are led to enrol before anything else.
    RequiredFor(BTreeSet<Role>),
}

impl SecondFactorRule {
    /// Whether somebody with `role` must have one.
    pub(crate) fn requires(&self, role: Role) -> bool {
        match self {
            Self::Optional => false,
            Self::RequiredFor(roles) => roles.contains(&role),
        }
    }
}

/// How many wrong passwords are taken before the next must wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tries {
    /// For one account, from everywhere. Default 10: fewer than a directory takes before it locks
    /// the account is wise.
    pub account: u32,
    /// From one address, for all accounts: a whole class may be behind it. Default 100.
    pub address: u32,
    /// In how long. Default 10 min.
    #[serde(with = "humantime_serde")]
    pub period: Duration,
}

impl Default for Tries {
    fn default() -> Self {
        Self { account: 10, address: 100, period: Duration::from_mins(10) }
    }
}

/// Somebody whom this server knows by itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalUser {
    /// The password as Argon2id made it: `$argon2id$…`, as `daas user hash` prints.
    pub password_hash: Secret<String>,
    /// What people call them.
    #[serde(default)]
    pub display_name: Option<String>,
    /// The groups they are in.
    #[serde(default)]
    pub groups: Vec<String>,
}
