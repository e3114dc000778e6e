//! The pages' own style and script.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::header;

use crate::problem::Problem;

pub(crate) async fn file(Path(name): Path<String>) -> Result<Response, Problem> {
    let (media, text) = match name.as_str() {
        "portal.css" => ("text/css; charset=utf-8", include_str!("../../assets/portal.css")),
        "portal.js" => ("text/javascript; charset=utf-8", include_str!("../../assets/portal.js")),
        "console.js" => ("text/javascript; charset=utf-8", include_str!("../../assets/console.js")),
        "rdp.js" => ("text/javascript; charset=utf-8", include_str!("../../assets/rdp.js")),
        "screen.js" => ("text/javascript; charset=utf-8", include_str!("../../assets/screen.js")),
        "icon.svg" => ("image/svg+xml", include_str!("../../assets/icon.svg")),
        _ => return Err(Problem::not_found("there is no such file")),
    };
    Ok(([(header::CONTENT_TYPE, media)], text).into_response())
}
