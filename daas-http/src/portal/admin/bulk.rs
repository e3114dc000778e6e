//! Something done to many sessions at once: asked about first, then told of each.

use std::time::Duration;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use daas_core::access::SignIn;
use daas_core::audit::Act;
use daas_core::engine::Caller;
use daas_core::ids::SessionId;
use daas_core::session::{Goal, Phase, Session};
use daas_core::template::Lifetime;

use super::sessions::{Row, chosen};
use super::{Link, around};
use crate::app::App;
use crate::audit;
use crate::body::Form;
use crate::portal::{Frame, Words, page};
use crate::problem::Problem;

/// How many may be chosen at once.
const CHOSEN_MAX: usize = 200;
/// What "more time" grants.
const MORE_TIME: Duration = Duration::from_hours(1);

/// What can be done to many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Stop,
    Start,
    Extend,
    Delete,
}

impl Deed {
    pub(super) const ALL: [Self; 4] = [Self::Stop, Self::Start, Self::Extend, Self::Delete];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Extend => "extend",
            Self::Delete => "delete",
        }
    }

    pub(super) fn words(self, w: Words) -> String {
        match self {
            Self::Stop => w.t("stop"),
            Self::Start => w.t("start"),
            Self::Extend => w.t("extend"),
            Self::Delete => w.t("delete"),
        }
    }

    fn audited(self) -> Act {
        match self {
            Self::Stop => Act::SessionStop,
            Self::Start => Act::SessionStart,
            Self::Extend => Act::SessionExtend,
            Self::Delete => Act::SessionDestroy,
        }
    }

    async fn on(self, app: &App, caller: &Caller, id: &SessionId) -> daas_core::Result<Session> {
        match self {
            Self::Stop => app.engine.stop(caller, id).await,
            Self::Start => app.engine.start_session(caller, id).await,
            Self::Extend => app.engine.extend(caller, id, MORE_TIME).await,
            Self::Delete => app.engine.destroy(caller, id, "asked for by an operator").await,
        }
    }

    /// What is going to happen to a session.
    fn outlook(self, w: Words, session: &Session) -> String {
        if !session.is_live() || session.goal == Goal::Gone {
            return w.t("bulk-over");
        }
        match self {
            Self::Stop if session.lifetime == Lifetime::Ephemeral => w.t("bulk-not-stopped"),
            Self::Stop => w.t("bulk-stops"),
            Self::Start if matches!(session.phase, Phase::Stopped | Phase::Parked) => {
                w.t("bulk-starts")
            }
            Self::Start => w.t("bulk-runs-already"),
            Self::Extend => w.t("bulk-extends"),
            Self::Delete => w.t("delete-means"),
        }
    }
}

/// A deed and the sessions it is meant for.
#[derive(Debug)]
pub(super) struct Bulk {
    deed: Deed,
    ids: Vec<SessionId>,
}

#[derive(Template)]
#[template(path = "admin-bulk.html")]
struct ConfirmPage {
    f: Frame,
    links: Vec<Link>,
    deed: &'static str,
    words: String,
    danger: bool,
    /// Each with what is going to happen to it.
    rows: Vec<(Row, String)>,
}

#[derive(Template)]
#[template(path = "admin-done.html")]
struct DonePage {
    f: Frame,
    links: Vec<Link>,
    words: String,
    /// Each id with how it went, and whether that is good.
    rows: Vec<(String, String, bool)>,
}

impl Bulk {
    /// From a form's fields: `act`, and `session` for each that is chosen.
    pub(super) fn read(fields: &[(String, String)]) -> Result<Self, Problem> {
        let mut deed = None;
        let mut ids: Vec<SessionId> = Vec::new();
        for (name, value) in fields {
            match name.as_str() {
                "act" => deed = Deed::ALL.into_iter().find(|deed| deed.as_str() == value),
                "session" => {
                    let id = SessionId::new(value.as_str())?;
                    if !ids.contains(&id) {
                        ids.push(id);
                    }
                }
                other => return Err(Problem::invalid("form", format!("unknown field {other:?}"))),
            }
        }
        if ids.len() > CHOSEN_MAX {
            return Err(Problem::invalid("session", format!("at most {CHOSEN_MAX} at once")));
        }
        let deed = deed.ok_or_else(|| Problem::invalid("act", "nothing that can be done"))?;
        Ok(Self { deed, ids })
    }

    /// The page that asks whether it is meant.
    pub(super) async fn confirm(
        &self,
        app: &App,
        w: Words,
        sign_in: &SignIn,
        caller: &Caller,
    ) -> Result<Response, Problem> {
        let sessions = chosen(app, caller, &self.ids).await?;
        let row = |session: &Session| (Row::of(w, session), self.deed.outlook(w, session));
        let (f, links) = around(app, w, sign_in, "/admin/sessions");
        page(&ConfirmPage {
            f,
            links,
            deed: self.deed.as_str(),
            words: self.deed.words(w),
            danger: self.deed == Deed::Delete,
            rows: sessions.iter().map(row).collect(),
        })
    }
}

pub(crate) async fn act(
    State(app): State<App>,
    Extension(sign_in): Extension<SignIn>,
    Extension(caller): Extension<Caller>,
    w: Words,
    Form(fields): Form<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let Bulk { deed, ids } = Bulk::read(&fields)?;
    audit::subject(format!("{} of {}", deed.as_str(), ids.len()));
    let mut rows = Vec::with_capacity(ids.len());
    for id in ids {
        let done = deed.on(&app, &caller, &id).await;
        audit::each(&id, deed.audited(), done.as_ref().err());
        rows.push(match done {
            Ok(_) => (id.to_string(), w.t("bulk-done"), true),
            Err(error) => (id.to_string(), Problem::from(error).error, false),
        });
    }
    let (f, links) = around(&app, w, &sign_in, "/admin/sessions");
    page(&DonePage { f, links, words: deed.words(w), rows })
}
