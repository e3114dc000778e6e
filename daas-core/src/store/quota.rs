//! Quotas: how much an owner, an organisation or a template may have at once.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Operation, Result};
use crate::session::Session;

/// Limits on what may be live at once; absent is without limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quota {
    /// Sessions.
    pub sessions: Option<u64>,
    /// Virtual processors.
    pub cores: Option<u64>,
    /// Memory in MiB.
    pub memory_mib: Option<u64>,
}

/// The quotas that apply to one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quotas {
    /// For each owner.
    pub owner: Quota,
    /// For each organisation.
    pub organisation: Quota,
    /// For each template.
    pub template: Quota,
    /// For all together.
    pub all: Quota,
}

/// What is live now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Sessions.
    pub sessions: u64,
    /// Virtual processors.
    pub cores: u64,
    /// Memory in MiB.
    pub memory_mib: u64,
}

/// For whom usage is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The request's owner.
    Owner,
    /// Its organisation.
    Organisation,
    /// Its template.
    Template,
    /// Everybody.
    All,
}

impl Quotas {
    /// The scopes that have a limit at all, so that only these need counting.
    pub fn limited(&self) -> impl Iterator<Item = (Scope, Quota)> {
        [
            (Scope::Owner, self.owner),
            (Scope::Organisation, self.organisation),
            (Scope::Template, self.template),
            (Scope::All, self.all),
        ]
        .into_iter()
        .filter(|(_, quota)| *quota != Quota::default())
    }
}

impl Quota {
    /// Refuses `session` if `usage` with it would pass this quota of `scope`.
    pub fn admit(&self, scope: Scope, usage: Usage, session: &Session) -> Result<()> {
        let subject = match scope {
            Scope::Owner => match &session.owner {
                Some(owner) => format!("owner {owner}"),
                None => return Ok(()),
            },
            Scope::Organisation => format!("organisation {}", session.organisation),
            Scope::Template => format!("template {}", session.template.name),
            Scope::All => "this deployment".to_owned(),
        };
        let template = &session.template;
        let checks = [
            ("sessions", self.sessions, usage.sessions, 1),
            ("cores", self.cores, usage.cores, u64::from(template.cores)),
            ("MiB of memory", self.memory_mib, usage.memory_mib, template.memory_mib),
        ];
        for (what, limit, used, more) in checks {
            if let Some(limit) = limit
                && used.saturating_add(more) > limit
            {
                return Err(Error::new(
                    Kind::Exhausted,
                    Operation::Request,
                    subject,
                    format!("has {used} of {limit} {what} and this needs {more} more"),
                ));
            }
        }
        Ok(())
    }
}
