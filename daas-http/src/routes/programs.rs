//! What programs call, the earlier orchestrator's clients and guests among them.

use axum::routing::{delete, get, post};
use daas_core::access::Role;
use daas_core::audit::Act;

use super::{Body, Gives, Listener, Pace, Route, Verb, json, text};
use crate::access::Who;
use crate::audit::Audit;
use crate::{compat, docs, gateway, guest, health, metrics_text, openapi, v1};

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

/// The rows.
pub(super) static ROUTES: &[Route] = &[
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
