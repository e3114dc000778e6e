//! The API's description for people: a page of our own that reads the OpenAPI document, so that it
//! works without the internet.

use axum::extract::Path;
use axum::response::{Html, IntoResponse, Response};
use http::header;

use crate::problem::Problem;

pub(crate) async fn page() -> Response {
    Html(include_str!("../assets/docs.html")).into_response()
}

pub(crate) async fn file(Path(name): Path<String>) -> Result<Response, Problem> {
    let (media, text) = match name.as_str() {
        "style.css" => ("text/css; charset=utf-8", include_str!("../assets/style.css")),
        "docs.js" => ("text/javascript; charset=utf-8", include_str!("../assets/docs.js")),
        "try.js" => ("text/javascript; charset=utf-8", include_str!("../assets/try.js")),
        "icon.svg" => ("image/svg+xml", include_str!("../assets/icon.svg")),
        _ => return Err(Problem::not_found("there is no such file")),
    };
    Ok(([(header::CONTENT_TYPE, media)], text).into_response())
}
