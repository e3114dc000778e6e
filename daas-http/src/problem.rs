//! How every refusal looks: a status and `{"error", "details", "kind", "request_id"}`.
//!
//! A [`Problem`] travels as an extension of an empty answer; `wrap` writes its body, since only it
//! knows the request's id and which of the APIs the caller speaks.

use axum::response::{IntoResponse, Response};
use daas_core::{Error, Kind};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

/// The wait that a 503 asks for, in seconds.
const RETRY_SECONDS: u64 = 5;

/// A refusal.
#[derive(Debug, Clone)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// What sort of failure it is.
    pub kind: Kind,
    /// What went wrong, in a sentence.
    pub error: String,
    /// More of it, when it may be shown.
    pub details: Option<String>,
    /// When trying again is worth it, in seconds.
    pub retry_after: Option<u64>,
}

/// A refusal as JSON.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProblemView {
    /// What went wrong, in a sentence.
    pub(crate) error: String,
    /// More of it; empty when there is no more to say.
    pub(crate) details: String,
    /// `not_found`, `conflict`, `invalid`, `denied`, `exhausted`, `unavailable`, `unsupported` or
    /// `internal`.
    pub(crate) kind: String,
    /// The request's id, under which the log tells more.
    pub(crate) request_id: String,
    /// When trying again is worth it, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after_seconds: Option<u64>,
}

impl Problem {
    /// A refusal with this status.
    pub fn new(status: StatusCode, kind: Kind, error: impl Into<String>) -> Self {
        Self { status, kind, error: error.into(), details: None, retry_after: None }
    }

    /// A wrong input: `field` names what is wrong.
    pub fn invalid(field: &str, why: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Kind::Invalid, format!("{field}: {why}"))
    }

    /// No key, or none that is known.
    pub fn unauthorized(why: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, Kind::Denied, why)
    }

    /// A known caller who may not.
    pub fn forbidden(why: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, Kind::Denied, why)
    }

    /// Nothing there.
    pub fn not_found(why: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, Kind::NotFound, why)
    }

    /// Something we need does not answer.
    pub fn unavailable(why: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, Kind::Unavailable, why);
        problem.retry_after(RETRY_SECONDS)
    }

    /// The same, with more to say.
    #[must_use]
    pub fn because(mut self, details: impl Into<String>) -> Self {
        self.details = Some(details.into());
        self
    }

    /// The same, worth trying again after so many seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    pub(crate) fn view(self, request_id: String) -> ProblemView {
        ProblemView {
            error: self.error,
            details: self.details.unwrap_or_default(),
            kind: self.kind.as_str().to_owned(),
            request_id,
            retry_after_seconds: self.retry_after,
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let kind = error.kind();
        let status =
            StatusCode::from_u16(kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::warn!(error = error.chain(), "a request failed");
        }
        let said = format!("{}: {}", error.subject(), error.message());
        match kind {
            // What we did not foresee may hold anything; the log has it.
            Kind::Internal => {
                Self::new(status, kind, "something went wrong inside; the log tells more")
            }
            Kind::Unavailable => Self::unavailable(said),
            Kind::Unsupported | Kind::Denied => Self::new(status, kind, said),
            Kind::NotFound | Kind::Conflict | Kind::Invalid | Kind::Exhausted => {
                Self::new(status, kind, said).because(error.chain())
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}
