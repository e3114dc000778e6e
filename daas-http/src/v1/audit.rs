//! `/api/v1/audit`: who did what, to be read, and to be kept and verified elsewhere.

use axum::Json as Answer;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use daas_core::audit::file::{self, Export};
use daas_core::audit::{AuditFilter, AuditLog, AuditPage, Placed};
use futures::TryStreamExt;
use http::header;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::body::Ask;
use crate::problem::Problem;

/// The page's length unless said.
const PAGE_DEFAULT: usize = 100;
/// The longest page.
const PAGE_MAX: usize = 1_000;

/// Which entries to list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    session: Option<String>,
    owner: Option<String>,
    act: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    limit: Option<usize>,
    page: Option<u64>,
}

/// An entry of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditEntry {
    /// When it was.
    pub(crate) at: Timestamp,
    /// What was done: `session-create`, `key-revoke`, `sign-in` and the like.
    pub(crate) act: String,
    /// `asked` before it was done, `done` after it, `noted` where there is one entry alone.
    pub(crate) stage: &'static str,
    /// The number of the entry it is the end of.
    pub(crate) answers: Option<u64>,
    /// Who did it, `name@realm`.
    pub(crate) owner: Option<String>,
    /// As what.
    pub(crate) role: Option<String>,
    /// How that is known: `key:NAME`, `token:REALM`, `sign-in:ID`, `network`,
    /// `shell:USER`, `program`, `nobody`.
    pub(crate) known_by: String,
    /// From where.
    pub(crate) address: Option<String>,
    /// To which session.
    pub(crate) session: Option<String>,
    /// To what else: the name of a key, whose sign-in.
    pub(crate) subject: Option<String>,
    /// How it ended, as HTTP has it.
    pub(crate) status: Option<u16>,
    /// Why it ended so.
    pub(crate) reason: Option<String>,
    /// The request's id, under which the log tells more.
    pub(crate) request_id: Option<String>,
    /// Its chain: one run of one process.
    pub(crate) writer: String,
    /// Its number there.
    pub(crate) number: u64,
    /// Its hash.
    pub(crate) hash: String,
}

/// A page of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditList {
    /// The newest first.
    pub(crate) entries: Vec<AuditEntry>,
    /// What to ask the next page with; null at the end.
    pub(crate) next: Option<u64>,
}

impl From<Placed> for AuditEntry {
    fn from(Placed { entry, .. }: Placed) -> Self {
        Self {
            at: entry.at,
            act: entry.act,
            stage: entry.stage.as_str(),
            answers: entry.answers,
            owner: entry.owner,
            role: entry.role,
            known_by: entry.known_by,
            address: entry.address,
            session: entry.session,
            subject: entry.subject,
            status: entry.status,
            reason: entry.reason,
            request_id: entry.request,
            writer: entry.writer.to_string(),
            number: entry.number,
            hash: entry.hash.to_string(),
        }
    }
}

/// The log, where there is one.
pub(crate) fn log(app: &App) -> Result<&AuditLog, Problem> {
    app.audit.as_ref().ok_or_else(|| Problem::not_found("no audit log is kept here"))
}

/// A page of the log, newest first.
pub(crate) async fn page(
    app: &App,
    filter: &AuditFilter,
    after: Option<u64>,
    limit: usize,
) -> Result<AuditList, Problem> {
    // One more than asked for tells whether there is a next page.
    let page = AuditPage { after, newest_first: true, limit: limit + 1 };
    let mut found = log(app)?.store().entries(filter, &page).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|placed| placed.place);
    Ok(AuditList { entries: found.into_iter().map(Into::into).collect(), next })
}

pub(crate) async fn list(
    State(app): State<App>,
    Ask(which): Ask<Which>,
) -> Result<Answer<AuditList>, Problem> {
    let limit = which.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::invalid("limit", "is not between 1 and 1,000"));
    }
    let owner = which.owner.as_deref().map(|text| app.realms.owner(text)).transpose()?;
    let filter = AuditFilter {
        session: which.session,
        owner: owner.map(|owner| owner.to_string()),
        act: which.act,
        since: which.since,
        until: which.until,
    };
    Ok(Answer(page(&app, &filter, which.page, limit).await?))
}

pub(crate) async fn export(State(app): State<App>) -> Result<Response, Problem> {
    let log = log(&app)?;
    let about = Export {
        version: 1,
        deployment: log.deployment().clone(),
        key: log.public_key().clone(),
        at: app.engine.clock().now(),
    };
    // A failure on the way cuts the answer: its last line is missing then.
    let lines = file::export(std::sync::Arc::clone(log.store()), about).inspect_err(|error| {
        tracing::warn!(error = error.chain(), "an export of the audit log broke off");
    });
    let name = "attachment; filename=\"audit.jsonl\"";
    let headers =
        [(header::CONTENT_TYPE, "application/jsonl"), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, Body::from_stream(lines)).into_response())
}
