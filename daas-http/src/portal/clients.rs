//! The browser clients that the build fetched (`build.rs`): other people's files, packed and
//! otherwise as they came.

use std::io::Read as _;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use flate2::read::GzDecoder;
use http::{HeaderMap, header};

use crate::problem::Problem;

include!(concat!(env!("OUT_DIR"), "/clients.rs"));

/// Where they are served.
const PLACE: &str = "/assets/clients/";

/// The address of the file whose name, after the package's version, ends so; absent: the build
/// went on without it.
pub(super) fn address(package: &str, file: &str) -> Option<String> {
    let is_it = |name: &str| {
        let (versioned, rest) = name.split_once('/').unwrap_or_default();
        // A version begins with a digit: `iron-remote-desktop-rdp` is no version of the other.
        let version = versioned.strip_prefix(package).and_then(|v| v.strip_prefix('-'));
        rest == file && version.is_some_and(|v| v.starts_with(|c: char| c.is_ascii_digit()))
    };
    let found = FILES.iter().find(|(name, _)| is_it(name));
    found.map(|(name, _)| format!("{PLACE}{name}"))
}

/// `GET /assets/clients/{*file}`.
pub(crate) async fn file(
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let packed = FILES.iter().find(|(known, _)| *known == name).map(|(_, packed)| *packed);
    let packed = packed.ok_or_else(|| Problem::not_found("there is no such file"))?;
    let media = if name.ends_with(".js") { "text/javascript; charset=utf-8" } else { "text/plain" };
    let kept = [
        (header::CONTENT_TYPE, media),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::VARY, "accept-encoding"),
    ];
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok());
    if accepted.is_some_and(|accepted| accepted.contains("gzip")) {
        return Ok((kept, [(header::CONTENT_ENCODING, "gzip")], packed).into_response());
    }
    let mut plain = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut plain).map_err(|error| {
        tracing::error!(%error, name, "a packed file cannot be read");
        Problem::not_found("there is no such file")
    })?;
    Ok((kept, plain).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_told_from_one_whose_name_is_longer() {
        for (package, file) in [
            ("novnc", "core/rfb.js"),
            ("iron-remote-desktop", "iron-remote-desktop.js"),
            ("iron-remote-desktop-rdp", "iron-remote-desktop-rdp.js"),
        ] {
            let found = address(package, file);
            assert_eq!(found.is_some(), !FILES.is_empty(), "{package}: {found:?}");
        }
        assert_eq!(address("novnc", "core/nothing.js"), None);
    }
}
