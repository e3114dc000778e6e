//! Events as a stream (server-sent events): what the store has, then what it gets, and between
//! them, without an id, the progress of sessions in hand.
//!
//! A reader that comes back with the last id it saw misses nothing and sees nothing twice: the
//! cursor of the store's log is all there is to remember.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::sse::{Event as Sse, KeepAlive};
use axum::response::{IntoResponse, Response};
use daas_core::Kind;
use daas_core::access::Role;
use daas_core::engine::{Caller, Notice};
use daas_core::event::{Event, What};
use daas_core::ids::{Cursor, SessionId};
use daas_core::session::Phase;
use daas_core::store::{EventFilter, Filter, Page};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::seats::Seat;
use crate::app::App;
use crate::body::{Ask, SessionPath};
use crate::problem::Problem;

/// Events read in one go.
const BATCH: usize = 200;
/// Sessions whose progress one stream tells at most.
const FOLLOWED_MAX: usize = 256;
/// How often a silent stream shows that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a stream lasts; then its reader comes back, with a key that is still good.
const STREAM_MAX: Duration = Duration::from_secs(3_600);
/// The least time between two reads of the log by one stream: the news are everybody's.
const READ_PAUSE: Duration = Duration::from_millis(20);
/// The least time between two words of progress, so that many sessions do not drown a reader.
const PROGRESS_PERIOD: Duration = Duration::from_millis(100);

/// Where to begin.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct From {
    after: Option<u64>,
}

pub(crate) async fn of_session(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    SessionPath(id): SessionPath,
    headers: HeaderMap,
    Ask(from): Ask<From>,
) -> Result<Response, Problem> {
    app.engine.session(&caller, &id).await?;
    let after = begin(&headers, &from)?.unwrap_or(Cursor(0));
    let filter = EventFilter { session: Some(id.clone()), ..EventFilter::default() };
    open(app, &caller, after, filter, vec![id])
}

pub(crate) async fn of_all(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Ask(from): Ask<From>,
) -> Result<Response, Problem> {
    let newest = *app.engine.store().watch().borrow();
    let after = begin(&headers, &from)?.unwrap_or(newest);
    let mut filter = EventFilter::default();
    if caller.role == Role::User {
        filter.owner = Some(caller.owner.clone());
    }
    // Who has missed what is no longer kept is told so now: a stream that opened would end at its
    // first read, and be opened anew for ever.
    app.engine.store().events(after, &filter, 1).await?;
    let live = Filter { live: Some(true), ..Filter::default() };
    let live = app.engine.sessions(&caller, live, &Page::first(FOLLOWED_MAX)).await?;
    open(app, &caller, after, filter, live.sessions.into_iter().map(|s| s.id).collect())
}

/// The cursor that the reader saw last.
fn begin(headers: &HeaderMap, from: &From) -> Result<Option<Cursor>, Problem> {
    let Some(last) = headers.get("last-event-id") else {
        return Ok(from.after.map(Cursor));
    };
    let last = last.to_str().ok().and_then(|text| text.parse().ok());
    let last = last.ok_or_else(|| Problem::invalid("Last-Event-ID", "is not a cursor of ours"))?;
    Ok(Some(Cursor(last)))
}

fn open(
    app: App,
    caller: &Caller,
    after: Cursor,
    filter: EventFilter,
    followed: Vec<SessionId>,
) -> Result<Response, Problem> {
    let seat = app.streams.take(&caller.owner).map_err(|why| {
        let status = StatusCode::TOO_MANY_REQUESTS;
        Problem::new(status, Kind::Exhausted, why).retry_after(HEARTBEAT.as_secs())
    })?;
    let feed = Feed {
        news: app.engine.store().watch(),
        board: app.engine.board().changes(),
        app,
        after,
        filter,
        followed: followed.into_iter().map(|id| (id, None)).collect(),
        pending: VecDeque::new(),
        read_all: false,
        read_at: Instant::now(),
        board_read_at: None,
        ends_at: Instant::now() + STREAM_MAX,
        _seat: seat,
    };
    let stream = futures::stream::unfold(feed, |mut feed| async move {
        feed.next().await.map(|event| (Ok::<_, Infallible>(event), feed))
    });
    let alive = KeepAlive::new().interval(HEARTBEAT).text("alive");
    Ok(axum::response::Sse::new(stream).keep_alive(alive).into_response())
}

/// One reader's stream.
struct Feed {
    app: App,
    news: watch::Receiver<Cursor>,
    board: watch::Receiver<u64>,
    after: Cursor,
    filter: EventFilter,
    /// Sessions whose progress is told, and what was told last.
    followed: HashMap<SessionId, Option<Notice>>,
    pending: VecDeque<Sse>,
    /// Whether the log was read to its end since `news` was last looked at.
    read_all: bool,
    read_at: Instant,
    board_read_at: Option<Instant>,
    ends_at: Instant,
    _seat: Seat,
}

impl Feed {
    /// The next event; absent when the stream ends.
    async fn next(&mut self) -> Option<Sse> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(event);
            }
            if !self.read_all {
                self.read().await?;
                continue;
            }
            let pause = self.board_read_at.map_or(Instant::now(), |at| at + PROGRESS_PERIOD);
            let board = &mut self.board;
            let progress = async {
                tokio::time::sleep_until(pause).await;
                board.changed().await
            };
            tokio::select! {
                () = self.app.stopping.cancelled() => return None,
                () = tokio::time::sleep_until(self.ends_at) => return None,
                changed = self.news.changed() => {
                    changed.ok()?;
                    tokio::time::sleep_until(self.read_at + READ_PAUSE).await;
                    self.read_all = false;
                }
                changed = progress => {
                    changed.ok()?;
                    self.tell_progress();
                }
            }
        }
    }

    /// Reads what the log has after the last cursor. Marked as seen before it is read: what comes
    /// meanwhile wakes again.
    async fn read(&mut self) -> Option<()> {
        let newest = *self.news.borrow_and_update();
        self.read_at = Instant::now();
        let store = self.app.engine.store();
        let events = store.events(self.after, &self.filter, BATCH);
        let events = match timeout(self.app.config.limits.call_time, events).await {
            Ok(Ok(events)) => events,
            Ok(Err(error)) => {
                warn!(error = error.chain(), "an event stream ends: the log cannot be read");
                return None;
            }
            Err(_) => {
                warn!("an event stream ends: the store does not answer");
                return None;
            }
        };
        self.read_all = events.len() < BATCH;
        if self.board_read_at.is_none() {
            self.tell_progress();
        }
        for event in events {
            self.after = event.cursor;
            self.follow(&event);
            let name = name(&event.what);
            let sse = Sse::default().id(event.cursor.0.to_string()).event(name);
            match sse.json_data(&event) {
                Ok(sse) => self.pending.push_back(sse),
                Err(error) => {
                    warn!(%error, "an event stream ends: an event cannot be written");
                    return None;
                }
            }
        }
        if self.read_all {
            // Also what was not for this reader is behind it: its cursor does not grow old.
            self.after = self.after.max(newest);
        }
        Some(())
    }

    fn follow(&mut self, event: &Event) {
        if matches!(event.what, What::Phase { to: Phase::Ended, .. }) {
            self.followed.remove(&event.session);
        } else if self.followed.len() < FOLLOWED_MAX && !self.followed.contains_key(&event.session)
        {
            self.followed.insert(event.session.clone(), None);
        }
    }

    fn tell_progress(&mut self) {
        self.board_read_at = Some(Instant::now());
        self.board.borrow_and_update();
        let board = self.app.engine.board();
        for (id, told) in &mut self.followed {
            let notice = board.notice(id);
            if notice.is_some() && notice != *told {
                let data = notice.as_ref().map(
                    |n| json!({"session": id, "what": n.what, "fraction": n.fraction, "at": n.at}),
                );
                let text = data.unwrap_or_default().to_string();
                self.pending.push_back(Sse::default().event("progress").data(text));
                *told = notice;
            }
        }
    }
}

fn name(what: &What) -> &'static str {
    match what {
        What::Requested { .. } => "requested",
        What::Phase { .. } => "phase",
        What::Goal { .. } => "goal",
        What::Warning { .. } => "warning",
        What::Failed { .. } => "failed",
        What::Note { .. } => "note",
    }
}
