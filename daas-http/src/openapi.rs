//! The OpenAPI 3.1 document, made from the table of routes and the types of their bodies.

use std::sync::OnceLock;

use axum::response::{IntoResponse, Response};
use daas_core::access::Role;
use http::header;
use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::access::{Who, name};
use crate::compat::{CompatDestroyed, CompatEnd, CompatReady, CompatSession, CompatWish};
use crate::gateway::{ConnectionList, NewTicket, TicketView};
use crate::health::{Figures, Health, Ready};
use crate::problem::ProblemView;
use crate::routes::{self, Body, Listener, Route};
use crate::v1::audit::AuditList;
use crate::v1::keys::{KeyList, MadeKey, NewKey};
use crate::v1::quarantine::Quarantine;
use crate::v1::sessions::{MoreTime, Wish};
use crate::v1::view::{SessionList, SessionView, TemplateList};

pub(crate) async fn document() -> Response {
    static TEXT: OnceLock<String> = OnceLock::new();
    let text = TEXT.get_or_init(|| whole().to_string());
    ([(header::CONTENT_TYPE, "application/json")], text.as_str()).into_response()
}

fn whole() -> Value {
    let mut paths = Map::new();
    let described = |route: &&Route| route.listener != Listener::Guests && !route.page;
    for route in routes::all().filter(described) {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.verb.as_str().to_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Desktop as a Service",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Asks are answered at once; what takes long is told by events. Paths \
                            outside /api/v1 speak the API of the earlier orchestrator.",
        },
        "tags": TAGS.map(|(name, description)| json!({"name": name, "description": description})),
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas(),
        },
    })
}

/// The chapters of the description, in their order.
const TAGS: [(&str, &str); 6] = [
    (SESSIONS, "Desktops: what can be had, asking, changing one's mind, ending."),
    (EVENTS, "What happens, told as it happens."),
    (ADMINISTRATION, "API keys, machines that no session knows, and who did what."),
    (STATE, "Whether the server and what it needs are there, and figures for monitoring."),
    (DESCRIPTION, "The API about itself."),
    (EARLIER, "Kept for clients of the earlier orchestrator: they block until it is done."),
];
const SESSIONS: &str = "Sessions";
const EVENTS: &str = "Events";
const ADMINISTRATION: &str = "Administration";
const STATE: &str = "Health and metrics";
const DESCRIPTION: &str = "Description";
const EARLIER: &str = "Earlier orchestrator";

/// The chapter that a route belongs to.
fn tag(route: &Route) -> &'static str {
    if route.listener == Listener::Compat {
        return EARLIER;
    }
    match route.path.strip_prefix("/api/v1/") {
        Some(path) if path.ends_with("events") => EVENTS,
        Some("openapi.json") => DESCRIPTION,
        Some(path) if path.starts_with("sessions") || path == "templates" => SESSIONS,
        Some(_) => ADMINISTRATION,
        None if route.path.starts_with("/api/docs") => DESCRIPTION,
        None => STATE,
    }
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "tags": [tag(route)],
        "description": who(route.who),
        "x-who": briefly(route.who),
        "parameters": parameters(route),
        "responses": responses(route),
        "security": match route.who {
            Who::Key(_) => json!([{"key": []}]),
            Who::Monitoring => json!([{"key": []}, {}]),
            _ => json!([]),
        },
    });
    if let Some(schema) = route.takes {
        operation["requestBody"] = json!({"required": true, "content": content(schema)});
    }
    operation
}

fn operation_id(route: &Route) -> String {
    let words = route.path.split(['/', '{', '}', '.', '-']).filter(|word| !word.is_empty());
    let words = std::iter::once(route.verb.as_str()).chain(words);
    words.collect::<Vec<_>>().join("_").to_lowercase()
}

fn who(who: Who) -> String {
    match who {
        Who::Anyone => "For everybody.".to_owned(),
        Who::Key(Role::Admin) => "Needs a key of the role admin.".to_owned(),
        Who::Key(role) => format!("Needs a key of the role {} or a higher one.", name(role)),
        Who::Person(role) => {
            format!("Needs a sign-in with the role {} or a higher one.", name(role))
        }
        Who::Monitoring => {
            "Needs a key of the role operator, or a call from a monitoring network.".to_owned()
        }
        Who::CompatNetwork => "For callers from the networks of the compatible API.".to_owned(),
        Who::Guest => "Needs the session's own token.".to_owned(),
    }
}

/// Who may call, in a word.
fn briefly(who: Who) -> &'static str {
    match who {
        Who::Anyone => "everybody",
        Who::Key(role) | Who::Person(role) => name(role),
        Who::Monitoring => "monitoring",
        Who::CompatNetwork => "network",
        Who::Guest => "guest",
    }
}

fn parameters(route: &Route) -> Vec<Value> {
    let string = json!({"type": "string"});
    let in_path = route.path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some(json!({"name": name, "in": "path", "required": true, "schema": string}))
    });
    let in_query = route.query.iter().map(|(name, meaning)| {
        json!({"name": name, "in": "query", "description": meaning, "schema": string})
    });
    let mut headers = Vec::new();
    if route.takes == Some("Wish") {
        let meaning = "at most 256 bytes; a second wish with it is the first one";
        headers.push(json!({"name": "Idempotency-Key", "in": "header", "description": meaning,
            "schema": string}));
    }
    if route.query.iter().any(|(name, _)| *name == "after") {
        let meaning = "the id of the event that was seen last";
        headers.push(json!({"name": "Last-Event-ID", "in": "header", "description": meaning,
            "schema": string}));
    }
    in_path.chain(in_query).chain(headers).collect()
}

fn responses(route: &Route) -> Value {
    let mut responses = Map::new();
    for gives in route.gives {
        let mut response = json!({"description": gives.means});
        match gives.body {
            Body::Empty => {}
            Body::Json(schema) => response["content"] = content(schema),
            Body::Text(media) => response["content"] = json!({media: {}}),
        }
        responses.insert(gives.status.to_string(), response);
    }
    let problem = match route.listener {
        Listener::Compat => "CompatProblem",
        Listener::Main | Listener::Guests => "Problem",
    };
    for status in route.refusals().into_iter().chain([500]) {
        // A status that is an answer of its own keeps its body.
        responses.entry(status.to_string()).or_insert_with(
            || json!({"description": meaning(status), "content": content(problem)}),
        );
    }
    Value::Object(responses)
}

fn meaning(status: u16) -> &'static str {
    match status {
        400 => "Something in the request is wrong; the error names it.",
        401 => "No key, or an unknown one; or the call comes from a network that may not call.",
        403 => "The caller may not do this.",
        404 => "There is no such thing, or the caller may not see it.",
        409 => "Not in its present state, or the name is taken.",
        413 => "The body is too large.",
        429 => "No room: a quota or a limit; Retry-After says when to ask again.",
        503 => "The store does not answer; try again.",
        _ => "It failed; details, or the log, tell why.",
    }
}

fn content(schema: &str) -> Value {
    json!({"application/json": {"schema": {"$ref": format!("#/components/schemas/{schema}")}}})
}

fn schemas() -> Value {
    let mut all = Schemas(Map::new());
    all.add::<Wish>();
    all.add::<MoreTime>();
    all.add::<SessionView>();
    all.add::<SessionList>();
    all.add::<TemplateList>();
    all.add::<Quarantine>();
    all.add::<NewTicket>();
    all.add::<TicketView>();
    all.add::<ConnectionList>();
    all.add::<NewKey>();
    all.add::<MadeKey>();
    all.add::<KeyList>();
    all.add::<AuditList>();
    all.add::<Health>();
    all.add::<Ready>();
    all.add::<Figures>();
    all.add::<CompatWish>();
    all.add::<CompatReady>();
    all.add::<CompatEnd>();
    all.add::<CompatDestroyed>();
    all.add::<CompatSession>();
    all.insert("Problem", &ProblemView::schema());
    let by_id = json!({
        "type": "object",
        "description": "Sessions by id.",
        "additionalProperties": {"$ref": "#/components/schemas/CompatSession"},
    });
    all.0.insert("CompatSessions".to_owned(), by_id);
    let problem = json!({
        "type": "object",
        "description": "A refusal of the compatible API.",
        "required": ["error"],
        "properties": {
            "error": {"type": "string", "description": "What went wrong, in a sentence."},
            "details": {"type": "string", "description": "More of it; there for 500 only."},
        },
    });
    all.0.insert("CompatProblem".to_owned(), problem);
    Value::Object(all.0)
}

/// Schemas by name, those they refer to included.
struct Schemas(Map<String, Value>);

impl Schemas {
    fn add<T: ToSchema>(&mut self) {
        let mut referred = Vec::new();
        T::schemas(&mut referred);
        self.insert(&T::name(), &T::schema());
        for (name, schema) in referred {
            self.insert(&name, &schema);
        }
    }

    fn insert(&mut self, name: &str, schema: &RefOr<Schema>) {
        let value = serde_json::to_value(schema).unwrap_or_default();
        self.0.insert(name.to_owned(), value);
    }
}
