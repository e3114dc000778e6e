//! The listener that sends browsers from plain HTTP to TLS, and serves nothing.
//!
//! Who calls the compatible API is never sent anywhere: its clients do not follow.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::uri::Authority;
use http::{HeaderValue, Method, StatusCode, Uri, header};

use crate::config::{HttpConfig, PublicUrl};
use crate::routes::{self, Listener};

/// Where browsers are sent.
#[derive(Debug, Clone)]
struct There {
    public: Option<PublicUrl>,
    /// The port with TLS, where no public address is known.
    port: u16,
}

/// What answers on that listener; `port` is the one with TLS.
pub(crate) fn router(config: &HttpConfig, port: u16) -> Router {
    // A public address without TLS is no place to send anybody to.
    let public = config.public_url.clone().filter(PublicUrl::is_secure);
    Router::new().fallback(send).with_state(There { public, port })
}

async fn send(State(there): State<There>, request: Request) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    let reads = method == Method::GET || method == Method::HEAD;
    let accepts = request.headers().get(header::ACCEPT).and_then(|v| v.to_str().ok());
    // The front page is for people: a browser says so.
    let is_browser = accepts.is_some_and(|accepts| accepts.contains("text/html"));
    let compat = routes::all().any(|r| r.listener == Listener::Compat && r.path == path);
    if !reads || (compat && !(path == "/" && is_browser)) {
        let why = "this address only sends browsers to TLS; call the one with https";
        let mut refused = (StatusCode::FORBIDDEN, why).into_response();
        refused.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return refused;
    }
    match there.location(&request) {
        Some(location) => {
            (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, location)]).into_response()
        }
        None => {
            (StatusCode::BAD_REQUEST, "this request names no host to be sent to").into_response()
        }
    }
}

impl There {
    fn location(&self, request: &Request) -> Option<HeaderValue> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let location = match &self.public {
            Some(public) => {
                let base = public.at("/").to_string();
                format!("{}{path}", base.trim_end_matches('/'))
            }
            None => {
                let named = request.headers().get(header::HOST);
                let host: Authority = named?.as_bytes().try_into().ok()?;
                let port = if self.port == 443 { String::new() } else { format!(":{}", self.port) };
                format!("https://{}{port}{path}", host.host())
            }
        };
        location.parse::<Uri>().ok()?;
        location.parse().ok()
    }
}
