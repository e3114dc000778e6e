//! What passes is told to the engine as use of the desktop, and a desktop that ends takes its
//! connections with it.

use std::collections::HashSet;
use std::time::Duration;

use daas_core::activity::Passage;
use daas_core::ids::{Cursor, SessionId};
use daas_core::session::{Goal, Session};
use daas_core::store::EventFilter;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::ended::Ended;
use crate::app::App;

/// How often the use of a desktop is told while somebody is connected: well within the three
/// periods of a guest's reports after which it would be forgotten.
pub(super) const PERIOD: Duration = Duration::from_secs(20);
/// How long the telling may take; the next one is due soon anyway.
const DEADLINE: Duration = Duration::from_secs(10);
/// Events read in one go; after more all connections are looked at.
const EVENTS_MAX: usize = 500;

/// Tells what all of a session's connections together show. `left` was touched last at that time
/// and has just ended.
pub(super) async fn tell(app: &App, session: &SessionId, left: Option<jiff::Timestamp>) {
    let now = app.engine.clock().now();
    let touched = app.gateway.connections.touched(session);
    let Some(input_at) = touched.max(left) else { return };
    let passage = Passage { connected: touched.is_some(), told_at: now, input_at };
    match timeout(DEADLINE, app.engine.passed(session, passage)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(%session, error = error.chain(), "its use cannot be noted"),
        Err(_) => warn!(%session, "its use cannot be noted: the store does not answer"),
    }
}

/// Ends the connections of desktops that are going: at once by the log of events, and, whatever the
/// log told, at the next look at all of them.
pub(super) async fn follow(app: App) {
    let mut news = app.engine.store().watch();
    let mut read = *news.borrow_and_update();
    loop {
        let changed = tokio::select! {
            changed = news.changed() => changed.is_ok(),
            () = tokio::time::sleep(PERIOD) => false,
            () = app.stopping.cancelled() => return,
        };
        let newest = *news.borrow_and_update();
        let mut sessions = app.gateway.connections.sessions();
        if changed && !sessions.is_empty() {
            let told = changed_since(&app, read).await;
            sessions.retain(|id| told.as_ref().is_none_or(|told| told.contains(id)));
        }
        read = newest;
        for id in sessions {
            match timeout(DEADLINE, app.engine.store().get(&id)).await {
                Ok(Ok(session)) if session.as_ref().is_none_or(is_going) => {
                    app.gateway.connections.end_where(&Ended::Gone, |c| c.session == id);
                }
                Ok(Ok(_)) => {}
                // Nobody is cut off for what cannot be read; it is looked at again.
                Ok(Err(error)) => debug!(%id, error = error.chain(), "a session cannot be read"),
                Err(_) => debug!(%id, "a session cannot be read: the store does not answer"),
            }
        }
    }
}

/// The sessions that changed after `read`; absent: more than can be told, or it cannot be read.
async fn changed_since(app: &App, read: Cursor) -> Option<HashSet<SessionId>> {
    let filter = EventFilter::default();
    let events = app.engine.store().events(read, &filter, EVENTS_MAX);
    let events = timeout(DEADLINE, events).await.ok()?.ok()?;
    (events.len() < EVENTS_MAX).then(|| events.into_iter().map(|e| e.session).collect())
}

fn is_going(session: &Session) -> bool {
    session.goal == Goal::Gone || !session.is_live()
}
