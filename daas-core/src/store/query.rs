//! What can be asked of a store, and how the answers look.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::error::{Error, Operation, Result};
use crate::ids::{Label, Organisation, SessionId, TemplateName};
use crate::owner::Owner;
use crate::session::{Phase, Session};

/// Which sessions; absent fields pass all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this owner.
    pub owner: Option<Owner>,
    /// Of this organisation.
    pub organisation: Option<Organisation>,
    /// In this phase.
    pub phase: Option<Phase>,
    /// Of this template.
    pub template: Option<TemplateName>,
    /// With this label.
    pub label: Option<Label>,
    /// Live ones only (`true`), ended ones only (`false`).
    pub live: Option<bool>,
    /// Ended at this time or later; live ones do not pass.
    pub ended_since: Option<Timestamp>,
}

impl Filter {
    /// Whether `session` passes.
    pub fn passes(&self, session: &Session) -> bool {
        let owner = self.owner.as_ref().is_none_or(|o| session.owner.as_ref() == Some(o));
        let label = self.label.as_ref().is_none_or(|l| session.label.as_ref() == Some(l));
        owner
            && label
            && self.organisation.as_ref().is_none_or(|o| &session.organisation == o)
            && self.phase.is_none_or(|p| session.phase == p)
            && self.template.as_ref().is_none_or(|t| &session.template.name == t)
            && self.live.is_none_or(|live| session.is_live() == live)
            && self.ended_since.is_none_or(|t| session.ended_at.is_some_and(|e| e >= t))
    }
}

/// Which part of a long answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// At most this many, between 1 and 1,000.
    pub limit: usize,
    /// What the page before answered; absent for the first.
    pub after: Option<String>,
}

impl Page {
    /// The most sessions a page holds.
    pub const LIMIT_MAX: usize = 1_000;

    /// The first page.
    pub fn first(limit: usize) -> Self {
        Self { limit: limit.clamp(1, Self::LIMIT_MAX), after: None }
    }
}

/// A page of sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sessions {
    /// Youngest first.
    pub sessions: Vec<Session>,
    /// What to ask the next page with; absent at the end.
    pub next: Option<String>,
}

/// Which events; absent fields pass all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Of this session.
    pub session: Option<SessionId>,
    /// Of this owner's sessions.
    pub owner: Option<Owner>,
    /// Of this organisation's sessions.
    pub organisation: Option<Organisation>,
}

/// Counts over all sessions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    /// Live sessions by phase.
    pub by_phase: BTreeMap<Phase, u64>,
    /// Sessions ever asked for.
    pub created: u64,
    /// Sessions that ended.
    pub ended: u64,
    /// The sum of the ended sessions' lifetimes, in seconds.
    pub ended_seconds: f64,
}

impl Tally {
    /// Sessions that have not ended.
    pub fn live(&self) -> u64 {
        self.by_phase.values().sum()
    }
}

/// The token of the page after `session`: its place in the order.
pub fn token(session: &Session) -> String {
    format!("{}-{}", session.created_at.as_millisecond(), session.id)
}

/// The place that a page token names; `Invalid` for a text that is no such token.
pub fn parse_token(token: &str) -> Result<(Timestamp, SessionId)> {
    let parsed = token.split_once('-').and_then(|(at, id)| {
        let at = Timestamp::from_millisecond(at.parse().ok()?).ok()?;
        Some((at, SessionId::new(id).ok()?))
    });
    parsed.ok_or_else(|| {
        Error::invalid(Operation::Check, "page", "is not a token that a page before answered")
    })
}
