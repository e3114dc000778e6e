//! `/api/v1/second-factors`: for who has lost theirs.

use axum::Extension;
use axum::extract::{Path, State};
use daas_core::engine::Caller;
use http::StatusCode;
use tracing::warn;

use crate::app::App;
use crate::problem::Problem;

pub(crate) async fn reset(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let owner = app.realms.owner(&name)?;
    if !app.engine.store().second_factors().remove_second_factor(&owner).await? {
        return Err(Problem::not_found(format!("{owner} has no second factor")));
    }
    warn!(%owner, by = %caller.owner, "a second factor was taken away by an administrator");
    Ok(StatusCode::NO_CONTENT)
}
