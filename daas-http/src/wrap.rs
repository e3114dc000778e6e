//! What every answer passes through: a request id, a span, the log, security headers, the body of a
//! refusal, and 500 for a panic. Never a body or a header of the request: they may hold secrets.

use std::any::Any;
use std::time::Instant;

use axum::Json;
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use daas_core::Kind;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::json;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::{Instrument, debug, error, info_span};

use crate::app::App;
use crate::portal::{self, Words};
use crate::problem::Problem;
use crate::routes;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The id under which the log tells of a request.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub(crate) String);

/// The headers of every answer. Pages run only our own scripts, and nobody frames them.
const SECURITY: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Wraps all of `router`, its 404 and 405 included.
pub(crate) fn wrap(router: Router<App>, app: &App) -> Router<App> {
    router
        .fallback(async || Problem::not_found("there is nothing at this path"))
        .method_not_allowed_fallback(async |method: Method| {
            let why = format!("this path does not take {method}");
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, Kind::Unsupported, why)
        })
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(app.clone(), finish))
}

async fn finish(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let id = mint_id();
    let method = request.method().clone();
    let words = Words::wanted(request.headers());
    let reads_pages = reads_pages(&request);
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str).to_owned();
    let span = info_span!("request", id, %method, route);
    let began = Instant::now();
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let brand = &app.config.portal.name;
        let page = (reads_pages || routes::is_page(&route))
            .then(|| portal::refusal(brand, words, &problem, &id));
        response = match page.flatten() {
            Some(page) => page,
            None => present(problem, &response, &route, &id),
        };
    }
    let took = began.elapsed();
    span.in_scope(|| debug!(status = status.as_u16(), ms = took.as_millis() as u64, "answered"));
    let labels = [
        ("method", method.as_str().to_owned()),
        ("route", route),
        ("status", status.as_u16().to_string()),
    ];
    metrics::counter!("daas_http_requests_total", &labels).increment(1);
    metrics::histogram!("daas_http_request_seconds", &labels).record(took.as_secs_f64());
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    for (name, value) in SECURITY {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Whether a person looks for something that is nowhere, with a browser.
fn reads_pages(request: &Request) -> bool {
    let accepts = request.headers().get(header::ACCEPT).and_then(|v| v.to_str().ok());
    let is_api = request.uri().path().starts_with("/api/");
    !is_api && accepts.is_some_and(|accepts| accepts.contains("text/html"))
}

/// The refusal as the caller's API writes it, with the headers it already has.
fn present(problem: Problem, bare: &Response, route: &str, id: &str) -> Response {
    let (status, is_compat) = (problem.status, crate::compat::is_route(route));
    let view = problem.view(id.to_owned());
    let mut response = if !is_compat {
        (status, Json(view)).into_response()
    } else if status.is_server_error() {
        (status, Json(json!({"error": view.error, "details": view.details}))).into_response()
    } else {
        (status, Json(json!({"error": view.error}))).into_response()
    };
    for (name, value) in bare.headers() {
        if name != header::CONTENT_LENGTH && name != header::CONTENT_TYPE {
            response.headers_mut().append(name, value.clone());
        }
    }
    response
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let said = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    error!(error = said, "a handler panicked");
    let why = "something went wrong inside; the log tells more";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, Kind::Internal, why).into_response()
}

fn mint_id() -> String {
    let token = daas_core::secret::random_token();
    token.expose()[..16].to_owned()
}
