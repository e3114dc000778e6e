//! The one table of what is served, by which listener and for whom.
//!
//! The router, the OpenAPI document and the access test are made from it: a route that is not here
//! does not exist.

use axum::routing::{MethodRouter, delete, get, post};
use daas_core::access::Role;
use daas_core::audit::Act;

use crate::access::Who;
use crate::app::App;
use crate::audit::Audit;
use crate::{compat, docs, gateway, guest, health, metrics_text, openapi, portal, v1};

/// Which listener serves a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// The API's.
    Main,
    /// The compatible API's, and the main one too.
    Compat,
    /// The guests'.
    Guests,
}

/// The methods in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Reads.
    Get,
    /// Asks for something.
    Post,
    /// Asks for an end.
    Delete,
}

impl Verb {
    /// The method as HTTP writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

/// How long a route may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Within `limits.call_time`.
    Quick,
    /// It blocks by design.
    Blocks,
}

/// One answer that a route gives.
#[derive(Debug, Clone, Copy)]
pub struct Gives {
    /// The status.
    pub status: u16,
    /// What it means.
    pub means: &'static str,
    /// What its body is.
    pub body: Body,
}

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    Empty,
    /// JSON of the schema of that name.
    Json(&'static str),
    /// Text of that media type.
    Text(&'static str),
}

/// A row of the table.
#[derive(Debug)]
pub struct Route {
    /// The method; `GET` serves `HEAD` too.
    pub verb: Verb,
    /// The path, with `{names}`.
    pub path: &'static str,
    /// Who serves it.
    pub listener: Listener,
    /// Who may call it.
    pub who: Who,
    /// How long it may take.
    pub pace: Pace,
    /// What its calls mean to the audit log; whatever changes something says so.
    pub audit: Audit,
    /// Whether it is for people in a browser, not for programs.
    pub page: bool,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// Its query's fields and what they mean.
    pub query: &'static [(&'static str, &'static str)],
    /// The schema of the body it takes.
    pub takes: Option<&'static str>,
    /// What it answers when all is well.
    pub gives: &'static [Gives],
    /// The statuses of its refusals, besides those that follow from `who` and 500.
    pub refuses: &'static [u16],
    pub(crate) handler: fn() -> MethodRouter<App>,
}

impl Route {
    /// Whether it is a page for people who have signed in: who has not is sent to do so.
    pub fn is_for_people(&self) -> bool {
        matches!(self.who, Who::Person(_))
    }

    /// The statuses with which it refuses.
    pub fn refusals(&self) -> Vec<u16> {
        let by_who: &[u16] = match self.who {
            Who::Anyone => &[],
            // The look-up of a key needs the store.
            Who::Key(_) | Who::Monitoring => &[401, 403, 503],
            Who::Person(_) => &[303, 403, 503],
            Who::CompatNetwork | Who::Guest => &[401],
        };
        // Too many calls. The API of the earlier orchestrator has no word for it but 500.
        let too_many = if self.listener == Listener::Compat { 500 } else { 429 };
        let all = by_who.iter().chain(self.refuses).copied();
        let mut all: Vec<u16> = all.chain([too_many]).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// A quick route of the API for everybody, that answers nothing but 200: the rest is said by
    /// struct update.
    const fn new(verb: Verb, path: &'static str, handler: fn() -> MethodRouter<App>) -> Self {
        Self {
            verb,
            path,
            listener: Listener::Main,
            who: Who::Anyone,
            pace: Pace::Quick,
            audit: Audit::Reads,
            page: false,
            summary: "",
            query: &[],
            takes: None,
            gives: &[],
            refuses: &[],
            handler,
        }
    }

    /// The same for people: refusals are pages, and it is no part of the API's description.
    const fn page(verb: Verb, path: &'static str, handler: fn() -> MethodRouter<App>) -> Self {
        Self { page: true, ..Self::new(verb, path, handler) }
    }
}

const fn json(status: u16, means: &'static str, schema: &'static str) -> Gives {
    Gives { status, means, body: Body::Json(schema) }
}

const fn text(media: &'static str, means: &'static str) -> Gives {
    Gives { status: 200, means, body: Body::Text(media) }
}

const PERSON: Who = Who::Person(Role::User);
const OVERSEER: Who = Who::Person(Role::Operator);
const PAGE: &[Gives] = &[text("text/html", "The page.")];
const GO: &[Gives] = &[Gives { status: 303, means: "Done; see there.", body: Body::Empty }];
const GO_OR_PAGE: &[Gives] = &[
    Gives { status: 303, means: "Done; see there.", body: Body::Empty },
    text("text/html", "Done, with what is shown this once."),
];
const USER: Who = Who::Key(Role::User);
const OPERATOR: Who = Who::Key(Role::Operator);
const ADMIN: Who = Who::Key(Role::Admin);
const EVENT_QUERY: &[(&str, &str)] =
    &[("after", "the cursor after which to begin; a Last-Event-ID header goes before it")];
const LIST_QUERY: &[(&str, &str)] = &[
    ("owner", "only this owner's, as name@realm or REALM\\name; others' are for operators"),
    ("phase", "only those in this phase"),
    ("template", "only those made from this template"),
    ("label", "only those with this label"),
    ("live", "true: only live ones; false: only ended ones"),
    ("limit", "at most so many, 1 to 1,000; 100 unless said"),
    ("page", "what the page before answered as next"),
];
const AUDIT_QUERY: &[(&str, &str)] = &[
    ("session", "only those about this session"),
    ("owner", "only those of what this owner did, as name@realm or REALM\\name"),
    ("act", "only those of this act: session-create, key-revoke, sign-in, …"),
    ("since", "only those at this time or later"),
    ("until", "only those before this time"),
    ("limit", "at most so many, 1 to 1,000; 100 unless said"),
    ("page", "what the page before answered as next"),
];

/// Whether a path's pattern is a page's.
pub(crate) fn is_page(pattern: &str) -> bool {
    ROUTES.iter().any(|route| route.page && route.path == pattern)
}

/// All routes.
pub static ROUTES: &[Route] = &[
    // -- templates and sessions
    Route {
        who: USER,
        summary: "Lists the templates that the caller may use.",
        gives: &[json(200, "The templates.", "TemplateList")],
        ..Route::new(Verb::Get, "/api/v1/templates", || get(v1::templates::list))
    },
    Route {
        who: USER,
        summary: "Asks for a desktop. An Idempotency-Key header makes a repeat safe.",
        takes: Some("Wish"),
        gives: &[
            json(200, "The Idempotency-Key was used before, for this session.", "SessionView"),
            json(202, "Accepted; Location names the session.", "SessionView"),
        ],
        refuses: &[400, 409, 413, 429, 503],
        audit: Audit::Does(Act::SessionCreate),
        ..Route::new(Verb::Post, "/api/v1/sessions", || post(v1::sessions::create))
    },
    Route {
        who: USER,
        summary: "Lists sessions, youngest first: one's own, or everybody's for operators.",
        query: LIST_QUERY,
        gives: &[json(200, "A page of sessions.", "SessionList")],
        refuses: &[400, 503],
        ..Route::new(Verb::Get, "/api/v1/sessions", || get(v1::sessions::list))
    },
    Route {
        who: USER,
        summary: "Shows a session.",
        gives: &[json(200, "The session.", "SessionView")],
        refuses: &[404, 503],
        ..Route::new(Verb::Get, "/api/v1/sessions/{id}", || get(v1::sessions::show))
    },
    Route {
        who: USER,
        summary: "Asks for the end of a session. Asking again is no error.",
        gives: &[
            json(200, "It has ended.", "SessionView"),
            json(202, "It is going to end.", "SessionView"),
        ],
        refuses: &[404, 503],
        audit: Audit::Does(Act::SessionDestroy),
        ..Route::new(Verb::Delete, "/api/v1/sessions/{id}", || delete(v1::sessions::destroy))
    },
    Route {
        who: USER,
        summary: "Asks for a personal session to lose power and keep its disk.",
        gives: &[json(202, "Accepted.", "SessionView")],
        refuses: &[404, 409, 503],
        audit: Audit::Does(Act::SessionStop),
        ..Route::new(Verb::Post, "/api/v1/sessions/{id}/stop", || post(v1::sessions::stop))
    },
    Route {
        who: USER,
        summary: "Asks for a session to get power; wakes a parked one.",
        gives: &[json(202, "Accepted.", "SessionView")],
        refuses: &[404, 409, 503],
        audit: Audit::Does(Act::SessionStart),
        ..Route::new(Verb::Post, "/api/v1/sessions/{id}/start", || post(v1::sessions::start))
    },
    Route {
        who: USER,
        summary: "Asks for one restart of a ready session.",
        gives: &[json(202, "Accepted.", "SessionView")],
        refuses: &[404, 409, 503],
        audit: Audit::Does(Act::SessionRestart),
        ..Route::new(Verb::Post, "/api/v1/sessions/{id}/restart", || post(v1::sessions::restart))
    },
    Route {
        who: USER,
        summary: "Grants more time beyond the template's limits.",
        takes: Some("MoreTime"),
        gives: &[json(200, "Granted.", "SessionView")],
        refuses: &[400, 404, 409, 413, 503],
        audit: Audit::Does(Act::SessionExtend),
        ..Route::new(Verb::Post, "/api/v1/sessions/{id}/extend", || post(v1::sessions::extend))
    },
    Route {
        who: USER,
        summary: "Gives a Remote Desktop file for a ready session.",
        gives: &[text("application/x-rdp", "The file.")],
        refuses: &[404, 409, 503],
        ..Route::new(Verb::Get, "/api/v1/sessions/{id}/rdp", || get(v1::rdp::file))
    },
    // -- the gateway
    Route {
        who: USER,
        summary: "Gives a ticket for one connection to a session's screen.",
        takes: Some("NewTicket"),
        gives: &[json(201, "The ticket. It is shown this once.", "TicketView")],
        refuses: &[400, 404, 409, 413, 429, 501, 503],
        audit: Audit::Does(Act::ConsoleOpen),
        ..Route::new(Verb::Post, "/api/v1/sessions/{id}/tickets", || post(gateway::issue))
    },
    Route {
        who: USER,
        summary: "Lists open connections: one's own, or everybody's for operators.",
        gives: &[json(200, "The connections, the oldest first.", "ConnectionList")],
        ..Route::new(Verb::Get, "/api/v1/connections", || get(gateway::list))
    },
    Route {
        who: USER,
        summary: "Ends a connection; the desktop goes on.",
        gives: &[Gives { status: 204, means: "It is ended.", body: Body::Empty }],
        refuses: &[404],
        audit: Audit::Does(Act::ConsoleEnd),
        ..Route::new(Verb::Delete, "/api/v1/connections/{id}", || delete(gateway::end))
    },
    Route {
        who: USER,
        pace: Pace::Blocks,
        summary: "A WebSocket to a screen, for who has a ticket among the subprotocols.",
        gives: &[Gives {
            status: 101,
            means: "Connected; a bad ticket ends it.",
            body: Body::Empty,
        }],
        refuses: &[404, 426],
        ..Route::new(Verb::Get, "/gateway/{kind}", || get(gateway::connect))
    },
    // -- events
    Route {
        who: USER,
        pace: Pace::Blocks,
        summary: "Streams a session's events, from its first unless said, with its progress.",
        query: EVENT_QUERY,
        gives: &[text("text/event-stream", "Events; each has its cursor as id.")],
        refuses: &[400, 404, 429, 503],
        ..Route::new(Verb::Get, "/api/v1/sessions/{id}/events", || get(v1::events::of_session))
    },
    Route {
        who: USER,
        pace: Pace::Blocks,
        summary: "Streams the events of one's own sessions, or of all for operators, from now on \
                  unless said.",
        query: EVENT_QUERY,
        gives: &[text("text/event-stream", "Events; each has its cursor as id.")],
        refuses: &[400, 429, 503],
        ..Route::new(Verb::Get, "/api/v1/events", || get(v1::events::of_all))
    },
    // -- operators and administrators
    Route {
        who: OPERATOR,
        summary: "Shows what the last comparison with the hypervisors found.",
        gives: &[json(200, "What was found.", "Quarantine")],
        ..Route::new(Verb::Get, "/api/v1/quarantine", || get(v1::quarantine::show))
    },
    Route {
        who: OPERATOR,
        summary: "Ends the machine in quarantine whose mark names this session.",
        gives: &[json(202, "It gets a record again and is on its way out.", "SessionView")],
        refuses: &[404, 409, 503],
        audit: Audit::Does(Act::QuarantineEnd),
        ..Route::new(Verb::Delete, "/api/v1/quarantine/{id}", || delete(v1::quarantine::end))
    },
    Route {
        who: ADMIN,
        summary: "Lists API keys, without the keys themselves.",
        gives: &[json(200, "The keys.", "KeyList")],
        refuses: &[503],
        ..Route::new(Verb::Get, "/api/v1/keys", || get(v1::keys::list))
    },
    Route {
        who: ADMIN,
        summary: "Makes an API key. It is shown this once.",
        takes: Some("NewKey"),
        gives: &[json(201, "The key.", "MadeKey")],
        refuses: &[400, 409, 413, 503],
        audit: Audit::Does(Act::KeyCreate),
        ..Route::new(Verb::Post, "/api/v1/keys", || post(v1::keys::create))
    },
    Route {
        who: ADMIN,
        summary: "Revokes an API key.",
        gives: &[Gives { status: 204, means: "Revoked.", body: Body::Empty }],
        refuses: &[404, 503],
        audit: Audit::Does(Act::KeyRevoke),
        ..Route::new(Verb::Delete, "/api/v1/keys/{name}", || delete(v1::keys::revoke))
    },
    Route {
        who: ADMIN,
        summary: "Takes somebody's second factor away, who has lost it.",
        gives: &[Gives { status: 204, means: "Taken away.", body: Body::Empty }],
        refuses: &[400, 404, 503],
        audit: Audit::Does(Act::AccountChange),
        ..Route::new(Verb::Delete, "/api/v1/second-factors/{name}", || {
            delete(v1::second_factors::reset)
        })
    },
    // -- the audit log
    Route {
        who: ADMIN,
        summary: "Lists entries of the audit log, the newest first.",
        query: AUDIT_QUERY,
        gives: &[json(200, "A page of entries.", "AuditList")],
        refuses: &[400, 404, 503],
        ..Route::new(Verb::Get, "/api/v1/audit", || get(v1::audit::list))
    },
    Route {
        who: ADMIN,
        pace: Pace::Blocks,
        audit: Audit::Does(Act::AuditExport),
        summary: "Gives the whole audit log with its signatures, a JSON object a line, for `daas \
                  audit verify`.",
        gives: &[text("application/jsonl", "The lines; the last one is of the kind end.")],
        refuses: &[404, 503],
        ..Route::new(Verb::Get, "/api/v1/audit/export", || get(v1::audit::export))
    },
    // -- the API about itself
    Route {
        summary: "Describes this API.",
        gives: &[text("application/json", "An OpenAPI 3.1 document.")],
        ..Route::new(Verb::Get, "/api/v1/openapi.json", || get(openapi::document))
    },
    Route {
        summary: "Shows this description to people.",
        gives: &[text("text/html", "A page.")],
        ..Route::new(Verb::Get, "/api/docs", || get(docs::page))
    },
    Route {
        summary: "The page's style or script.",
        gives: &[text("text/plain", "The file.")],
        refuses: &[404],
        ..Route::new(Verb::Get, "/api/docs/{file}", || get(docs::file))
    },
    // -- health and metrics
    Route {
        summary: "Says that the process is up.",
        gives: &[json(200, "It is.", "Health")],
        ..Route::new(Verb::Get, "/health", || get(health::health))
    },
    Route {
        summary: "Says whether the store and the hypervisors answer; looked at every 5 s at most.",
        gives: &[json(200, "All do.", "Ready"), json(503, "Some do not.", "Ready")],
        ..Route::new(Verb::Get, "/ready", || get(health::ready))
    },
    Route {
        who: Who::Monitoring,
        summary: "Metrics in Prometheus's text format.",
        gives: &[text("text/plain", "The metrics.")],
        refuses: &[503],
        ..Route::new(Verb::Get, "/metrics", || get(metrics_text::show))
    },
    Route {
        who: Who::Monitoring,
        summary: "A few figures as JSON.",
        gives: &[json(200, "The figures.", "Figures")],
        refuses: &[503],
        ..Route::new(Verb::Get, "/api/metrics", || get(health::figures))
    },
    // -- pages for people
    Route {
        summary: "Asks who somebody is.",
        gives: PAGE,
        refuses: &[404],
        ..Route::page(Verb::Get, "/sign-in", || get(portal::ask_sign_in))
    },
    Route {
        summary: "Signs somebody in.",
        takes: Some("SignIn"),
        gives: GO,
        refuses: &[400, 401, 403, 404, 413, 429, 503],
        audit: Audit::Tells(Act::SignIn),
        ..Route::page(Verb::Post, "/sign-in", || post(portal::sign_in))
    },
    // -- people whom a provider knows
    Route {
        summary: "Sends somebody to a provider to sign in there.",
        query: &[("next", "where to go afterwards")],
        gives: GO,
        refuses: &[400, 404, 503],
        ..Route::page(Verb::Get, "/sign-in/oidc/{name}", || get(portal::begin_at_provider))
    },
    Route {
        summary: "Signs somebody in whom a provider sends back.",
        query: &[("state", "as it was sent"), ("code", "the provider's"), ("error", "its refusal")],
        gives: GO,
        refuses: &[400, 403, 404, 409, 429, 503],
        audit: Audit::Tells(Act::SignIn),
        ..Route::page(Verb::Get, "/sign-in/oidc/{name}/callback", || {
            get(portal::finish_at_provider)
        })
    },
    // -- second factors
    Route {
        summary: "Asks for the second factor of somebody whose password was right.",
        gives: PAGE,
        refuses: &[303, 404, 503],
        ..Route::page(Verb::Get, "/sign-in/second-factor", || get(portal::ask_code))
    },
    Route {
        summary: "Signs somebody in by their second factor.",
        takes: Some("Code"),
        gives: GO_OR_PAGE,
        refuses: &[400, 401, 403, 404, 409, 413, 429, 503],
        audit: Audit::Tells(Act::SignIn),
        ..Route::page(Verb::Post, "/sign-in/second-factor", || post(portal::give_code))
    },
    Route {
        who: PERSON,
        summary: "Shows one's second factor, or what to enrol one with.",
        gives: PAGE,
        refuses: &[404],
        ..Route::page(Verb::Get, "/account/second-factor", || get(portal::show_factor))
    },
    Route {
        who: PERSON,
        summary: "Enrols a second factor.",
        takes: Some("Code"),
        gives: PAGE,
        refuses: &[400, 401, 404, 409, 413, 429],
        audit: Audit::Does(Act::AccountChange),
        ..Route::page(Verb::Post, "/account/second-factor", || post(portal::enrol_factor))
    },
    Route {
        who: PERSON,
        summary: "Makes new recovery codes.",
        takes: Some("Code"),
        gives: PAGE,
        refuses: &[400, 401, 404, 409, 413, 429],
        audit: Audit::Does(Act::AccountChange),
        ..Route::page(Verb::Post, "/account/second-factor/recovery-codes", || {
            post(portal::renew_codes)
        })
    },
    Route {
        who: PERSON,
        summary: "Takes one's second factor away.",
        takes: Some("Code"),
        gives: GO,
        refuses: &[400, 401, 404, 409, 413, 429],
        audit: Audit::Does(Act::AccountChange),
        ..Route::page(Verb::Post, "/account/second-factor/remove", || post(portal::remove_factor))
    },
    Route {
        who: PERSON,
        summary: "Signs somebody out.",
        gives: GO,
        refuses: &[409],
        audit: Audit::Does(Act::SignOut),
        ..Route::page(Verb::Post, "/sign-out", || post(portal::sign_out))
    },
    Route {
        who: PERSON,
        summary: "Shows one's desktops, or everybody's to operators.",
        gives: PAGE,
        refuses: &[400],
        ..Route::page(Verb::Get, "/desktops", || get(portal::list))
    },
    Route {
        who: PERSON,
        summary: "Asks for a desktop.",
        takes: Some("PageWish"),
        gives: GO,
        refuses: &[400, 404, 409, 413, 429],
        audit: Audit::Does(Act::SessionCreate),
        ..Route::page(Verb::Post, "/desktops", || post(portal::create))
    },
    Route {
        who: PERSON,
        summary: "Shows what can be asked for.",
        gives: PAGE,
        ..Route::page(Verb::Get, "/desktops/new", || get(portal::new))
    },
    Route {
        who: PERSON,
        summary: "Shows a desktop.",
        gives: PAGE,
        refuses: &[404],
        ..Route::page(Verb::Get, "/desktops/{id}", || get(portal::show))
    },
    Route {
        who: PERSON,
        summary: "Shows a desktop's screen.",
        gives: PAGE,
        refuses: &[404],
        ..Route::page(Verb::Get, "/desktops/{id}/console", || get(portal::console))
    },
    Route {
        who: PERSON,
        summary: "Asks whether a desktop is really to be deleted.",
        gives: PAGE,
        refuses: &[404],
        ..Route::page(Verb::Get, "/desktops/{id}/deletion", || get(portal::confirm))
    },
    Route {
        who: PERSON,
        summary: "Stops, starts, restarts, extends or deletes a desktop.",
        gives: GO,
        refuses: &[404, 409],
        audit: Audit::Named,
        ..Route::page(Verb::Post, "/desktops/{id}/{act}", || post(portal::act))
    },
    Route {
        who: PERSON,
        summary: "Shows where one is signed in.",
        gives: PAGE,
        ..Route::page(Verb::Get, "/account", || get(portal::account))
    },
    Route {
        who: PERSON,
        summary: "Ends a sign-in of one's own.",
        gives: GO,
        refuses: &[404],
        audit: Audit::Does(Act::SignInEnd),
        ..Route::page(Verb::Post, "/account/sign-ins/{name}/end", || post(portal::end_sign_in))
    },
    // -- API keys of one's own
    Route {
        who: PERSON,
        summary: "Makes an API key for oneself. It is shown this once.",
        takes: Some("OwnKey"),
        gives: PAGE,
        refuses: &[400, 409, 413, 429],
        audit: Audit::Does(Act::KeyCreate),
        ..Route::page(Verb::Post, "/account/keys", || post(portal::make_key))
    },
    Route {
        who: PERSON,
        summary: "Revokes an API key that speaks for oneself.",
        takes: Some("OldKey"),
        gives: GO,
        refuses: &[400, 404, 413],
        audit: Audit::Does(Act::KeyRevoke),
        ..Route::page(Verb::Post, "/account/keys/revoke", || post(portal::revoke_key))
    },
    Route {
        summary: "The pages' style or script.",
        gives: &[text("text/plain", "The file.")],
        refuses: &[404],
        ..Route::page(Verb::Get, "/assets/{file}", || get(portal::file))
    },
    Route {
        summary: "A file of a browser client.",
        gives: &[text("text/javascript", "The file.")],
        refuses: &[404],
        ..Route::page(Verb::Get, "/assets/clients/{*file}", || get(portal::client))
    },
    Route {
        who: PERSON,
        summary: "Shows what happened to a desktop, with the evidence of each decision.",
        gives: PAGE,
        refuses: &[404],
        ..Route::page(Verb::Get, "/desktops/{id}/history", || get(portal::history))
    },
    // -- pages for operators and administrators
    Route {
        who: OVERSEER,
        summary: "Shows how everything stands.",
        gives: PAGE,
        ..Route::page(Verb::Get, "/admin", || get(portal::overview))
    },
    Route {
        who: OVERSEER,
        summary: "Lists everybody's desktops; with an act and some chosen, asks whether it is meant.",
        gives: PAGE,
        refuses: &[400],
        ..Route::page(Verb::Get, "/admin/sessions", || get(portal::admin_sessions))
    },
    Route {
        who: OVERSEER,
        audit: Audit::Does(Act::SessionsBulk),
        summary: "Stops, starts, extends or deletes those chosen and tells of each.",
        takes: Some("Chosen"),
        gives: PAGE,
        refuses: &[400, 413],
        ..Route::page(Verb::Post, "/admin/sessions", || post(portal::bulk))
    },
    Route {
        who: OVERSEER,
        summary: "Shows what desktops are made from.",
        gives: PAGE,
        ..Route::page(Verb::Get, "/admin/templates", || get(portal::templates))
    },
    Route {
        who: OVERSEER,
        summary: "Shows who is signed in, and their groups.",
        gives: PAGE,
        ..Route::page(Verb::Get, "/admin/people", || get(portal::people))
    },
    Route {
        who: OVERSEER,
        audit: Audit::Does(Act::SignInEnd),
        summary: "Ends all sign-ins of somebody.",
        takes: Some("Whose"),
        gives: GO,
        refuses: &[400, 404, 413],
        ..Route::page(Verb::Post, "/admin/people/end", || post(portal::end_sign_ins))
    },
    Route {
        who: OVERSEER,
        summary: "Shows the nodes and their load as seen last.",
        gives: PAGE,
        ..Route::page(Verb::Get, "/admin/places", || get(portal::places))
    },
    Route {
        who: OVERSEER,
        summary: "Shows what the last comparison with the hypervisors found.",
        gives: PAGE,
        refuses: &[404],
        ..Route::page(Verb::Get, "/admin/quarantine", || get(portal::quarantine))
    },
    Route {
        who: OVERSEER,
        audit: Audit::Does(Act::QuarantineEnd),
        summary: "Ends a machine in quarantine.",
        gives: GO,
        refuses: &[404, 409],
        ..Route::page(Verb::Post, "/admin/quarantine/{id}/end", || post(portal::end_quarantined))
    },
    Route {
        who: Who::Person(Role::Admin),
        summary: "Shows who did what.",
        gives: PAGE,
        refuses: &[400, 404],
        ..Route::page(Verb::Get, "/admin/audit", || get(portal::admin_audit))
    },
    // -- the API of the earlier orchestrator
    Route {
        listener: Listener::Compat,
        summary: "A page for people.",
        gives: &[text("text/html", "The page.")],
        ..Route::new(Verb::Get, "/", || get(compat::page))
    },
    Route {
        listener: Listener::Compat,
        who: Who::CompatNetwork,
        summary: "Lists the sessions asked for here, those that ended within a day included.",
        gives: &[json(200, "Sessions by id.", "CompatSessions")],
        refuses: &[500],
        ..Route::new(Verb::Get, "/api/sessions", || get(compat::list))
    },
    Route {
        listener: Listener::Compat,
        who: Who::CompatNetwork,
        pace: Pace::Blocks,
        summary: "Makes a desktop and answers when it is ready.",
        takes: Some("CompatWish"),
        gives: &[json(200, "It is ready.", "CompatReady")],
        refuses: &[400, 500],
        audit: Audit::Does(Act::SessionCreate),
        ..Route::new(Verb::Post, "/api/session/create", || post(compat::create))
    },
    Route {
        listener: Listener::Compat,
        who: Who::CompatNetwork,
        pace: Pace::Blocks,
        summary: "Destroys a desktop and answers when that is proved.",
        takes: Some("CompatEnd"),
        gives: &[json(200, "It is gone.", "CompatDestroyed")],
        refuses: &[400, 500],
        audit: Audit::Does(Act::SessionDestroy),
        ..Route::new(Verb::Post, "/api/session/destroy", || post(compat::destroy))
    },
    // -- guests
    Route {
        listener: Listener::Guests,
        who: Who::Guest,
        summary: "Takes a guest's report of its use.",
        takes: Some("Report"),
        gives: &[Gives { status: 204, means: "Taken.", body: Body::Empty }],
        refuses: &[400, 413, 503],
        audit: Audit::Unheard,
        ..Route::new(Verb::Post, "/guest/v1/sessions/{id}/activity", || post(guest::report))
    },
];
