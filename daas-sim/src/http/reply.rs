//! Answers and errors, and how they look on the wire.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::Full;
use hyper::ext::ReasonPhrase;
use serde_json::{Value, json};

/// A successful answer.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) data: Value,
    pub(crate) total: Option<u64>,
    /// The connection becomes a WebSocket.
    pub(crate) switch: Option<Switch>,
}

/// The head of an answer that switches protocols.
#[derive(Debug)]
pub(crate) struct Switch {
    /// The value of `Sec-WebSocket-Accept`.
    pub(crate) accept: String,
    /// The subprotocol, echoed.
    pub(crate) protocol: Option<String>,
}

/// A refusal. Its first line becomes the reason phrase: Proxmox's clients read it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) message: String,
    pub(crate) errors: BTreeMap<String, String>,
    /// Without a body, as the authentication handler refuses.
    pub(crate) bare: bool,
}

/// What a handler says.
pub(crate) type Answer = Result<Reply, ApiError>;

impl Reply {
    pub(crate) fn data(data: impl Into<Value>) -> Answer {
        Ok(Self { data: data.into(), ..Self::default() })
    }

    pub(crate) fn null() -> Answer {
        Ok(Self::default())
    }
}

impl ApiError {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), errors: BTreeMap::new(), bare: false }
    }

    /// What Perl's `die` becomes.
    pub(crate) fn died(message: impl Into<String>) -> Self {
        Self::new(500, message)
    }

    pub(crate) fn denied(message: impl Into<String>) -> Self {
        Self::new(403, message)
    }

    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self { bare: true, ..Self::new(401, message) }
    }

    pub(crate) fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(501, message)
    }

    /// Parameters that do not fit their schema.
    pub(crate) fn parameters(errors: BTreeMap<String, String>) -> Self {
        Self { errors, ..Self::new(400, "Parameter verification failed.") }
    }

    pub(crate) fn parameter(name: &str, message: impl Into<String>) -> Self {
        Self::parameters(BTreeMap::from([(name.to_owned(), message.into())]))
    }
}

/// The answer as HTTP. `last` closes the connection after it.
pub(crate) fn encode(answer: Answer, last: bool) -> Response<Full<Bytes>> {
    let (status, reason, body) = match answer {
        Ok(Reply { switch: Some(switch), .. }) => return switching(&switch),
        Ok(reply) => {
            let mut body = json!({"data": reply.data});
            if let Some(total) = reply.total {
                body["total"] = json!(total);
            }
            (200, None, Some(body))
        }
        Err(error) => {
            let reason = error.message.lines().next().unwrap_or_default().to_owned();
            let body = (!error.bare).then(|| error_body(&error));
            (error.status, Some(reason), body)
        }
    };
    let mut response = Response::new(Full::default());
    // 595 to 599 are outside what the `http` crate calls standard, but within what it allows.
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(reason) = reason.and_then(|r| ReasonPhrase::try_from(printable(&r)).ok()) {
        response.extensions_mut().insert(reason);
    }
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("max-age=0"));
    headers.insert(header::PRAGMA, header::HeaderValue::from_static("no-cache"));
    headers.insert(header::SERVER, header::HeaderValue::from_static("pve-api-daemon/3.0"));
    let keep = if last || status >= 400 { "close" } else { "Keep-Alive" };
    headers.insert(header::CONNECTION, header::HeaderValue::from_static(keep));
    if let Some(body) = body {
        let json = header::HeaderValue::from_static("application/json;charset=UTF-8");
        headers.insert(header::CONTENT_TYPE, json);
        *response.body_mut() = Full::new(Bytes::from(body.to_string()));
    }
    response
}

fn switching(switch: &Switch) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, header::HeaderValue::from_static("upgrade"));
    if let Ok(accept) = header::HeaderValue::from_str(&switch.accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    let protocol = switch.protocol.as_deref().map(header::HeaderValue::from_str);
    if let Some(Ok(protocol)) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}

fn error_body(error: &ApiError) -> Value {
    let mut body = json!({"data": null, "message": format!("{}\n", error.message.trim_end())});
    if !error.errors.is_empty() {
        body["errors"] = json!(error.errors);
    }
    body
}

/// A reason phrase can hold neither control characters nor, for most clients, anything but ASCII.
fn printable(reason: &str) -> Vec<u8> {
    reason.chars().map(|c| if (' '..='~').contains(&c) { c as u8 } else { b'?' }).collect()
}
