//! Who did what, for administrators.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use daas_core::access::SignIn;
use daas_core::audit::{Act, AuditFilter, LogState};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::{Link, around, query, time, written};
use crate::app::App;
use crate::body::Ask;
use crate::portal::{Frame, Words, page};
use crate::problem::Problem;
use crate::v1;
use crate::v1::audit::AuditEntry;

/// How many entries are shown at once.
const SHOWN: usize = 50;

/// What the list's form holds.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Asked {
    session: String,
    owner: String,
    act: String,
    /// Days, both included.
    from: String,
    to: String,
    page: Option<u64>,
}

struct Row {
    entry: AuditEntry,
    at: String,
    /// What of it has a page of its own.
    session: Option<String>,
}

#[derive(Template)]
#[template(path = "admin-audit.html")]
struct AuditPage {
    f: Frame,
    links: Vec<Link>,
    asked: Asked,
    acts: Vec<(&'static str, bool)>,
    rows: Vec<Row>,
    next: Option<String>,
    state: LogState,
    key: String,
}

pub(crate) async fn show(
    State(app): State<App>,
    Extension(sign_in): Extension<SignIn>,
    w: Words,
    Ask(asked): Ask<Asked>,
) -> Result<Response, Problem> {
    let log = v1::audit::log(&app)?;
    let text = |text: &str| written(Some(text)).map(str::to_owned);
    let owner = written(Some(&asked.owner)).map(|text| app.realms.owner(text)).transpose()?;
    let filter = AuditFilter {
        session: text(&asked.session),
        owner: owner.map(|owner| owner.to_string()),
        act: text(&asked.act),
        since: day("from", &asked.from, 0)?,
        until: day("to", &asked.to, 1)?,
    };
    let found = v1::audit::page(&app, &filter, asked.page, SHOWN).await?;
    let next = found.next.map(|next| {
        let Asked { session, owner, act, from, to, .. } = &asked;
        let next = next.to_string();
        query(&[
            ("session", session),
            ("owner", owner),
            ("act", act),
            ("from", from),
            ("to", to),
            ("page", &next),
        ])
    });
    let row = |entry: AuditEntry| Row { at: time(entry.at), session: entry.session.clone(), entry };
    let (f, links) = around(&app, w, &sign_in, "/admin/audit");
    page(&AuditPage {
        f,
        links,
        acts: Act::ALL.iter().map(|act| (act.as_str(), act.as_str() == asked.act)).collect(),
        rows: found.entries.into_iter().map(row).collect(),
        next,
        state: log.state(),
        key: log.public_key().to_string(),
        asked,
    })
}

/// The beginning of a day, or of the one `more` days later.
fn day(field: &str, text: &str, more: i64) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = written(Some(text)) else { return Ok(None) };
    let wrong = |_| Problem::invalid(field, "is no day such as 2026-11-21");
    let day: Date = text.parse().map_err(wrong)?;
    let day = day.checked_add(jiff::Span::new().days(more)).map_err(wrong)?;
    let at = day.to_zoned(TimeZone::UTC).map_err(wrong)?;
    Ok(Some(at.timestamp()))
}
