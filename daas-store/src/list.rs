//! Pages of sessions and of events: statements put together from fixed pieces, one index named for
//! each shape of filter, so that no plan depends on statistics.

use daas_core::ids::Cursor;
use daas_core::store::prune::{cursor_too_old, events_gone};
use daas_core::store::query::{parse_token, token};
use daas_core::store::{EventFilter, Filter, Page, Sessions};
use daas_core::{Result, event};
use sqlx::{Row, SqlitePool};

use crate::error::Failure;
use crate::rows::{self, millisecond, number};
use crate::sql::{self, Sql};
use crate::write;

/// The page of sessions that pass `filter`.
pub(crate) async fn sessions(pool: &SqlitePool, filter: &Filter, page: &Page) -> Result<Sessions> {
    let after = page.after.as_deref().map(parse_token).transpose()?;
    let (at, id) = match &after {
        Some((at, id)) => (at.as_millisecond(), id.as_str()),
        // Above every session.
        None => (i64::MAX, ""),
    };
    let limit = page.limit.clamp(1, Page::LIMIT_MAX);
    let sql = sessions_sql(filter);
    let mut query = sql.query().bind(at).bind(id.to_owned());
    if let Some(owner) = &filter.owner {
        query = query.bind(owner.realm.clone()).bind(owner.name.clone());
    }
    if let Some(organisation) = &filter.organisation {
        query = query.bind(organisation.as_str().to_owned());
    }
    if let Some(phase) = filter.phase {
        query = query.bind(phase.as_str());
    }
    if let Some(template) = &filter.template {
        query = query.bind(template.as_str().to_owned());
    }
    if let Some(label) = &filter.label {
        query = query.bind(label.as_str().to_owned());
    }
    if let Some(since) = filter.ended_since {
        query = query.bind(millisecond(since));
    }
    // One more than asked for tells whether there is a next page.
    let found = query.bind(number(limit as u64 + 1)).fetch_all(pool).await;
    let found = found.map_err(Failure::from)?;
    let mut sessions = Vec::with_capacity(found.len().min(limit));
    for row in found.iter().take(limit) {
        sessions.push(rows::session(row)?);
    }
    let next = (found.len() > limit).then(|| sessions.last().map(token)).flatten();
    Ok(Sessions { sessions, next })
}

/// The statement for this shape of filter.
pub(crate) fn sessions_sql(filter: &Filter) -> Sql {
    let live = filter.live == Some(true);
    let index = if filter.label.is_some() {
        "session_label"
    } else if filter.ended_since.is_some() {
        "session_ended"
    } else if filter.owner.is_some() {
        if live { "session_owner_live" } else { "session_owner" }
    } else if filter.phase.is_some() {
        "session_phase"
    } else if filter.template.is_some() {
        if live { "session_template_live" } else { "session_template" }
    } else if filter.organisation.is_some() {
        if live { "session_organisation_live" } else { "session_organisation" }
    } else if filter.live.is_some() {
        "session_live"
    } else {
        "session_created"
    };
    let mut sql =
        format!("SELECT record FROM session INDEXED BY {index} WHERE (created_at, id) < (?, ?)");
    let pieces = [
        (filter.owner.is_some(), " AND realm = ? AND name = ?"),
        (filter.organisation.is_some(), " AND organisation = ?"),
        (filter.phase.is_some(), " AND phase = ?"),
        (filter.template.is_some(), " AND template = ?"),
        (filter.label.is_some(), " AND label = ?"),
        (filter.live == Some(true), " AND live = 1"),
        (filter.live == Some(false), " AND live = 0"),
        (filter.ended_since.is_some(), " AND ended_at >= ?"),
    ];
    for (_, piece) in pieces.iter().filter(|(wanted, _)| *wanted) {
        sql.push_str(piece);
    }
    sql.push_str(" ORDER BY created_at DESC, id DESC LIMIT ?");
    Sql::composed(sql)
}

/// At most `limit` events after `after` that pass `filter`.
pub(crate) async fn events(
    pool: &SqlitePool,
    after: Cursor,
    filter: &EventFilter,
    limit: usize,
) -> Result<Vec<event::Event>> {
    let mut query = events_sql(filter).query().bind(number(after.0));
    if let Some(session) = &filter.session {
        query = query.bind(session.as_str().to_owned());
    }
    if let Some(owner) = &filter.owner {
        query = query.bind(owner.realm.clone()).bind(owner.name.clone());
    }
    if let Some(organisation) = &filter.organisation {
        query = query.bind(organisation.as_str().to_owned());
    }
    let found = query.bind(number(limit as u64)).fetch_all(pool).await.map_err(Failure::from)?;
    // Looked at after the events were read: what is pruned from now on was among them.
    check_kept(pool, after, filter).await?;
    Ok(found.iter().map(rows::event).collect::<Result<_, Failure>>()?)
}

/// Refuses a reader who has not seen what was pruned.
async fn check_kept(pool: &SqlitePool, after: Cursor, filter: &EventFilter) -> Result<()> {
    if let Some(session) = &filter.session {
        // Its events are whole while its record is there.
        let gone = write::retired(pool, session).await?;
        return if gone { Err(events_gone(session)) } else { Ok(()) };
    }
    let row = sql::CURSOR_PRUNED_GET.query().fetch_one(pool).await.map_err(Failure::from)?;
    let newest = Cursor(rows::count(row.try_get(0).map_err(Failure::from)?));
    if after < newest { Err(cursor_too_old(after, newest)) } else { Ok(()) }
}

/// The statement for this shape of filter.
pub(crate) fn events_sql(filter: &EventFilter) -> Sql {
    // `+` keeps the narrowest index the only choice.
    let pieces = match (&filter.session, &filter.owner, &filter.organisation) {
        (None, None, None) => "",
        (None, None, Some(_)) => " AND organisation = ?",
        (None, Some(_), None) => " AND realm = ? AND name = ?",
        (None, Some(_), Some(_)) => " AND realm = ? AND name = ? AND +organisation = ?",
        (Some(_), None, None) => " AND session = ?",
        (Some(_), None, Some(_)) => " AND session = ? AND +organisation = ?",
        (Some(_), Some(_), None) => " AND session = ? AND +realm = ? AND +name = ?",
        (Some(_), Some(_), Some(_)) => {
            " AND session = ? AND +realm = ? AND +name = ? AND +organisation = ?"
        }
    };
    Sql::composed(format!(
        "SELECT cursor, at, session, realm, name, organisation, body FROM event
         WHERE cursor > ?{pieces} ORDER BY cursor LIMIT ?"
    ))
}

/// Every shape a filter can have, for the test that explains their plans.
#[cfg(test)]
pub(crate) fn shapes() -> Vec<Sql> {
    use daas_core::ids::{Label, Organisation, SessionId, TemplateName};
    use daas_core::owner::Owner;
    use daas_core::session::Phase;
    use jiff::Timestamp;
    let owner = Owner { realm: "r".into(), name: "n".into() };
    let id: SessionId = "desktop-aaaaaaa".parse().expect("an id");
    let mut shapes = Vec::new();
    for bits in 0..64_u32 {
        let bit = |n: u32| bits & (1 << n) != 0;
        for live in [None, Some(true), Some(false)] {
            shapes.push(sessions_sql(&Filter {
                owner: bit(0).then(|| owner.clone()),
                organisation: bit(1).then(Organisation::default),
                phase: bit(2).then_some(Phase::Ready),
                template: bit(3).then(|| "t".parse::<TemplateName>().expect("a name")),
                label: bit(4).then(|| "l".parse::<Label>().expect("a label")),
                live,
                ended_since: bit(5).then_some(Timestamp::UNIX_EPOCH),
            }));
        }
        if bits < 8 {
            shapes.push(events_sql(&EventFilter {
                session: bit(0).then(|| id.clone()),
                owner: bit(1).then(|| owner.clone()),
                organisation: bit(2).then(Organisation::default),
            }));
        }
    }
    shapes
}
