//! The audit log: who did what, to which session, from where, and how it ended.
//!
//! An [`Entry`] is one line. Entries are hash-chained per *writer*, which is one run of one process
//! ([`AuditLog`]); a chain's first entry names the heads of the chains before it. At intervals a
//! chain's [`Head`] is signed ([`SignedHead`]) with a key that is not in the store. [`Verifier`]
//! says where a log was changed.
//!
//! An act that changes something has two entries: *asked*, which is durable before the act begins,
//! and *done*. What was asked and has no *done* was interrupted: it may have happened or not.
//!
//! What the engine ends by itself is told by the session's own events, with its evidence.

mod act;
mod chain;
mod entry;
pub mod file;
mod key;
mod log;
mod verify;

use std::fmt::Debug;

use async_trait::async_trait;
use jiff::Timestamp;

pub use self::act::Act;
pub use self::chain::{Digest, Head, SignedHead, Writer};
pub use self::entry::{Entry, KnownBy, Note, Stage};
pub use self::key::{AuditKey, PublicKey};
pub use self::log::{AuditLog, AuditSettings, LogState};
pub use self::verify::{Break, ChainReport, Verdict, Verifier};
use crate::error::Result;

/// Keeps the audit log. Nothing but [`Self::forget`] ever changes or removes what was added.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait AuditStore: Debug + Send + Sync {
    /// Adds entries, whole or not at all, durable before the answer.
    ///
    /// `Conflict` when one does not come just after the newest of its chain: its number is not the
    /// next one, or its `previous` not the hash of that.
    async fn append(&self, entries: &[Entry]) -> Result<()>;

    /// Keeps a signature.
    async fn sign(&self, head: &SignedHead) -> Result<()>;

    /// Every chain, by its writer.
    async fn chains(&self) -> Result<Vec<Chain>>;

    /// Entries that pass `filter`, by their place, which is the order in which they were added.
    async fn entries(&self, filter: &AuditFilter, page: &AuditPage) -> Result<Vec<Placed>>;

    /// Signatures after the place `after`, oldest first, `limit` at most, each with its place.
    async fn heads(&self, after: u64, limit: usize) -> Result<Vec<(u64, SignedHead)>>;

    /// For each chain that begins with entries older than `before`: the last of these that no younger
    /// one comes before, or the one `limit` entries after its beginning.
    async fn aged(&self, before: Timestamp, limit: u64) -> Result<Vec<Head>>;

    /// Removes, of each chain named, the entries up to that number, with their signatures; how many
    /// entries. Only what a signed entry names is removed: see [`AuditLog`].
    async fn forget(&self, marks: &[Head]) -> Result<u64>;
}

/// What is known of a chain without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The number of its oldest entry that is kept.
    pub first: u64,
    /// Its newest entry.
    pub head: Head,
    /// The greatest number of it that an entry of another chain names; 0 for none.
    pub linked: u64,
}

/// An entry and its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Greater than those of all entries that were added before.
    pub place: u64,
    /// The entry.
    pub entry: Entry,
}

/// Which entries; absent fields pass all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Of this session.
    pub session: Option<String>,
    /// By this owner, `name@realm`.
    pub owner: Option<String>,
    /// Of this act.
    pub act: Option<String>,
    /// At this time or later.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

impl AuditFilter {
    /// Whether `entry` passes.
    pub fn passes(&self, entry: &Entry) -> bool {
        let is = |wanted: &Option<String>, has: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| has == Some(wanted))
        };
        is(&self.session, entry.session.as_deref())
            && is(&self.owner, entry.owner.as_deref())
            && is(&self.act, Some(&entry.act))
            && self.since.is_none_or(|since| entry.at >= since)
            && self.until.is_none_or(|until| entry.at < until)
    }
}

/// Which part of the log, and in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditPage {
    /// Only beyond this place; absent: from the beginning, which is the newest end if `newest_first`.
    pub after: Option<u64>,
    /// Whether the newest come first.
    pub newest_first: bool,
    /// At most so many.
    pub limit: usize,
}

impl AuditPage {
    /// The oldest entries after `place`.
    pub fn onwards(place: u64, limit: usize) -> Self {
        Self { after: Some(place), newest_first: false, limit }
    }
}
