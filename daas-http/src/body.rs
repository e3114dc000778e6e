//! Bodies, queries and ids of requests, whose faults are named instead of dropped.

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use daas_core::ids::SessionId;
use http::request::Parts;
use http::{StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::problem::Problem;

/// A JSON body of at most `limits.body_bytes`.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let bytes = read(request, app).await?;
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        let value = serde_path_to_error::deserialize(&mut json).map_err(|e| {
            let at = e.path().to_string();
            let why = e.into_inner();
            // Only a value of the wrong sort has a place; text that is no JSON has none.
            let field = if why.is_data() && at != "." { at.as_str() } else { "body" };
            Problem::invalid(field, plain(&why))
        })?;
        json.end().map_err(|why| Problem::invalid("body", why))?;
        Ok(Self(value))
    }
}

/// A form's fields, in a body of at most `limits.body_bytes`.
pub(crate) struct Form<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for Form<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let bytes = read(request, app).await?;
        // The reason may hold what was written, a password perhaps.
        let wrong = |_| Problem::invalid("form", "a field is missing or cannot be read");
        serde_urlencoded::from_bytes(&bytes).map(Self).map_err(wrong)
    }
}

/// What is wrong with a value, its place left aside where the field's name tells it.
fn plain(why: &serde_json::Error) -> String {
    let text = why.to_string();
    if !why.is_data() {
        return text;
    }
    let said = text.rsplit_once(" at line ").map_or(text.as_str(), |(said, _)| said);
    // Our own types say first what they checked.
    let checked = said.strip_prefix("check ").and_then(|rest| rest.split_once(": "));
    checked.map_or(said, |(_, said)| said).to_owned()
}

/// The whole body, within its bounds of size and time.
async fn read(request: Request, app: &App) -> Result<Vec<u8>, Problem> {
    let limits = &app.config.limits;
    let too_large = || {
        let why = format!("the body is longer than {} bytes", limits.body_bytes);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, daas_core::Kind::Invalid, why)
    };
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limits.body_bytes as u64) {
        return Err(too_large());
    }
    let body = Limited::new(request.into_body(), limits.body_bytes).collect();
    match tokio::time::timeout(limits.header_time, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes().into()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::invalid("body", "it ended before it was whole")),
        Err(_) => Err(Problem::invalid("body", "it did not come in time")),
    }
}

/// A query whose fields are all known.
pub(crate) struct Ask<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<App> for Ask<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let query = Query::<T>::from_request_parts(parts, app).await;
        query.map(|Query(value)| Self(value)).map_err(|e| {
            let text = e.body_text();
            let why = text.strip_prefix("Failed to deserialize query string: ");
            Problem::invalid("query", why.unwrap_or(&text))
        })
    }
}

/// The session that the path names; what cannot be an id is no session.
pub(crate) struct SessionPath(pub(crate) SessionId);

impl FromRequestParts<App> for SessionPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, app).await;
        let id = path.ok().and_then(|Path(text)| SessionId::new(text).ok());
        id.map(Self).ok_or_else(|| Problem::not_found("there is no such session"))
    }
}
