//! Where guests report their use, each for its own session: all that the guests' listener serves.

use axum::extract::FromRequestParts;
use daas_core::Kind;
use daas_core::activity::Report;
use http::StatusCode;
use http::request::Parts;

use crate::access::bearer;
use crate::app::App;
use crate::body::{Json, SessionPath};
use crate::problem::Problem;

/// The token that a guest shows.
pub(crate) struct Token(String);

impl FromRequestParts<App> for Token {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        bearer(&parts.headers).map(|token| Self(token.to_owned())).ok_or_else(refused)
    }
}

pub(crate) async fn report(
    axum::extract::State(app): axum::extract::State<App>,
    Token(token): Token,
    session: Result<SessionPath, Problem>,
    Json(report): Json<Report>,
) -> Result<StatusCode, Problem> {
    let SessionPath(id) = session.map_err(|_| refused())?;
    match app.engine.report(&id, &token, report).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        // The same words whether the session exists or not.
        Err(error) if error.kind() == Kind::Denied => Err(refused()),
        Err(error) => Err(error.into()),
    }
}

fn refused() -> Problem {
    Problem::unauthorized("the token does not speak for this session")
}
