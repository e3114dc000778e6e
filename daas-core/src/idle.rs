//! The third trait: is a desktop still used? Pure functions from what is known to a verdict.

use std::fmt::Debug;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::activity::{Activity, Probed};
use crate::clock::{between, later};
use crate::session::Session;
use crate::template::Lifetime;

/// Decides whether a desktop is still used.
///
/// # Contract
///
/// - *Does*: answers from its arguments alone; no I/O, no clock.
/// - *Already so*: the same arguments give the same verdict.
/// - *Absent*: silence is not idleness: without a fresh report the answer is *keep*, until the
///   orchestrator has probed the guest itself and a silence limit has passed.
/// - *Interrupted*: nothing to undo.
/// - *Errors*: none.
#[cfg_attr(feature = "mock", mockall::automock)]
pub trait IdlePolicy: Debug + Send + Sync {
    /// The verdict on `session` at `now`.
    fn verdict(&self, session: &Session, activity: &Activity, when: Moment) -> Verdict;
}

/// When a verdict is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Now.
    pub now: Timestamp,
    /// Since when reports could reach us.
    pub listening_since: Timestamp,
}

/// What to do about a desktop, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What to do.
    pub action: Action,
    /// When to ask again, if nothing changes before.
    pub until: Timestamp,
    /// What it was decided on.
    pub evidence: Evidence,
}

/// What to do about a desktop. Later ones are stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Leave it.
    Keep,
    /// Leave it, but look at it from outside: its guest is silent.
    Probe,
    /// Leave it, but tell the user that it is going to end.
    Warn,
    /// Take its power.
    Stop,
    /// Destroy it.
    Destroy,
}

/// What a verdict was decided on; stored with the event and shown to users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The rule that decided: `idle`, `disconnected`, `never_connected`, `lifetime`, `silence`,
    /// `unknown`, `in_use`.
    pub rule: String,
    /// What was measured, in seconds.
    pub measured_seconds: u64,
    /// The rule's limit, in seconds.
    pub limit_seconds: u64,
    /// When the last report came.
    pub reported_at: Option<Timestamp>,
    /// When the gateway last told of somebody who was there by it.
    #[serde(default)]
    pub passed_at: Option<Timestamp>,
}

impl Evidence {
    fn new(rule: &str, measured: Duration, limit: Duration, activity: &Activity) -> Self {
        Self {
            rule: rule.to_owned(),
            measured_seconds: measured.as_secs(),
            limit_seconds: limit.as_secs(),
            reported_at: activity.last.as_ref().map(|(at, _)| *at),
            passed_at: activity.gateway.map(|passage| passage.told_at),
        }
    }
}

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.rule.as_str() {
            "idle" => "nobody touched it",
            "disconnected" => "nobody was connected",
            "never_connected" => "nobody ever connected",
            "lifetime" => "it has existed",
            "silence" | "unknown" => "the guest has been silent",
            _ => "it is in use",
        };
        write!(f, "{what} for {} s (limit {} s)", self.measured_seconds, self.limit_seconds)
    }
}

/// The limits of a template; an absent one does not apply. The strictest verdict counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdleRules {
    /// How long a new desktop waits for its first connection. Default 10 min.
    #[serde(with = "humantime_serde")]
    pub first_connection: Option<Duration>,
    /// How long a desktop is kept after its user disconnected. Default 60 s.
    #[serde(with = "humantime_serde")]
    pub disconnected: Option<Duration>,
    /// How long a connected user may touch nothing. Default 30 min.
    #[serde(with = "humantime_serde")]
    pub idle: Option<Duration>,
    /// How long a desktop may live, used or not. Default: for ever.
    #[serde(with = "humantime_serde")]
    pub lifetime_max: Option<Duration>,
    /// How long a silent guest, probed in vain, is kept. Default 2 h.
    #[serde(with = "humantime_serde")]
    pub silence: Option<Duration>,
    /// How long before the end its user is warned. Default 2 min.
    #[serde(with = "humantime_serde")]
    pub warning: Option<Duration>,
    /// How often the guest reports. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub report_period: Duration,
}

impl Default for IdleRules {
    fn default() -> Self {
        Self {
            first_connection: Some(Duration::from_secs(10 * 60)),
            disconnected: Some(Duration::from_secs(60)),
            idle: Some(Duration::from_secs(30 * 60)),
            lifetime_max: None,
            silence: Some(Duration::from_secs(2 * 60 * 60)),
            warning: Some(Duration::from_secs(2 * 60)),
            report_period: Duration::from_secs(30),
        }
    }
}

/// How many periods without a report make a guest silent.
const SILENT_PERIODS: u32 = 3;

/// The policy that obeys each template's [`IdleRules`].
#[derive(Debug, Clone, Copy, Default)]
pub struct TemplateRules;

impl IdlePolicy for TemplateRules {
    fn verdict(&self, session: &Session, activity: &Activity, when: Moment) -> Verdict {
        let rules = &session.template.idle;
        let clauses =
            [lifetime_clause(rules, session, when), usage_clause(rules, session, activity, when)];
        let strictest = clauses
            .into_iter()
            .flatten()
            .map(|clause| judge(clause, rules, session, activity, when))
            .chain(look_clause(rules, session, activity, when))
            .min_by_key(|verdict| (std::cmp::Reverse(verdict.action), verdict.until));
        strictest.unwrap_or_else(|| Verdict {
            action: Action::Keep,
            until: later(when.now, rules.report_period * SILENT_PERIODS),
            evidence: Evidence::new("in_use", Duration::ZERO, Duration::ZERO, activity),
        })
    }
}

/// A limit that applies now, and what is measured against it.
struct Clause {
    rule: &'static str,
    measured: Duration,
    limit: Duration,
}

fn lifetime_clause(rules: &IdleRules, session: &Session, when: Moment) -> Option<Clause> {
    let limit = rules.lifetime_max?.saturating_add(session.extension);
    let measured = between(session.ready_at.unwrap_or(session.created_at), when.now);
    Some(Clause { rule: "lifetime", measured, limit })
}

/// The one clause about use that applies: which one depends on what was last heard.
fn usage_clause(
    rules: &IdleRules,
    session: &Session,
    activity: &Activity,
    when: Moment,
) -> Option<Clause> {
    let fresh = rules.report_period * SILENT_PERIODS;
    let passing = activity.passes(when.now, fresh).is_some();
    if !expects_reports(session) && activity.last.is_none() && !passing {
        // Nobody will ever tell of other ways in: only the lifetime can end it.
        return None;
    }
    if !passing && let Some(silence) = silent_for(rules, session, activity, when) {
        // Unknown, which ends nothing until we have looked ourselves during this silence.
        let (at, probed) = activity.probe?;
        if between(at, when.now) >= silence || probed == Probed::InUse {
            return None;
        }
        return rules.silence.map(|limit| Clause { rule: "silence", measured: silence, limit });
    }
    let extended = |limit: Duration| limit.saturating_add(session.extension);
    if let Some(since) = activity.left_at(when.listening_since).filter(|_| !passing) {
        let limit = extended(rules.disconnected?);
        return Some(Clause { rule: "disconnected", measured: between(since, when.now), limit });
    }
    if activity.first_connected_at.is_none() {
        let start = ready_at(session).max(when.listening_since.min(when.now));
        let limit = extended(rules.first_connection?);
        return Some(Clause { rule: "never_connected", measured: between(start, when.now), limit });
    }
    let limit = extended(rules.idle?);
    Some(Clause { rule: "idle", measured: activity.untouched(when.now, fresh)?, limit })
}

/// How long the guest has been silent, if that is longer than a few missed reports.
fn silent_for(
    rules: &IdleRules,
    session: &Session,
    activity: &Activity,
    when: Moment,
) -> Option<Duration> {
    let silence = activity.silence(when.now, when.listening_since.max(ready_at(session)));
    let expected = expects_reports(session) || activity.last.is_some();
    (expected && silence >= rules.report_period * SILENT_PERIODS).then_some(silence)
}

/// A silent guest is looked at from outside, and again after as long as made it silent.
fn look_clause(
    rules: &IdleRules,
    session: &Session,
    activity: &Activity,
    when: Moment,
) -> Option<Verdict> {
    let period = rules.report_period * SILENT_PERIODS;
    if activity.passes(when.now, period).is_some() {
        return None;
    }
    let silence = silent_for(rules, session, activity, when)?;
    let looked = activity.probe.is_some_and(|(at, _)| between(at, when.now) < period.min(silence));
    let (action, until) =
        if looked { (Action::Keep, later(when.now, period)) } else { (Action::Probe, when.now) };
    Some(Verdict { action, until, evidence: Evidence::new("unknown", silence, period, activity) })
}

fn judge(
    clause: Clause,
    rules: &IdleRules,
    session: &Session,
    activity: &Activity,
    when: Moment,
) -> Verdict {
    let left = clause.limit.saturating_sub(clause.measured);
    let warning = rules.warning.unwrap_or(Duration::ZERO).min(clause.limit / 2);
    let (action, wait) = if left.is_zero() {
        let end = match session.lifetime {
            Lifetime::Ephemeral => Action::Destroy,
            Lifetime::Personal => Action::Stop,
        };
        (end, Duration::ZERO)
    } else if left <= warning {
        (Action::Warn, left)
    } else {
        (Action::Keep, left - warning)
    };
    Verdict {
        action,
        until: later(when.now, wait),
        evidence: Evidence::new(clause.rule, clause.measured, clause.limit, activity),
    }
}

fn ready_at(session: &Session) -> Timestamp {
    session.ready_at.unwrap_or(session.created_at)
}

fn expects_reports(session: &Session) -> bool {
    session.template.configurator.is_some()
}

#[cfg(test)]
#[path = "idle_tests.rs"]
mod tests;
