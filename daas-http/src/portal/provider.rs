//! Signing in at a provider: out there, and back.

use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, Uri, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use url::Url;

use super::sign_in::{Again, Next, agent, entered, identity, means, refused};
use super::{Words, own_path};
use crate::access::{self, Origin};
use crate::app::App;
use crate::body::Ask;
use crate::identity::Denied;
use crate::identity::cookie::Cookie;
use crate::identity::redirect::{BEGUN_SECONDS, Brought};
use crate::problem::Problem;

/// What a provider gives the browser to bring (RFC 6749, 4.1.2). Providers add what they like.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Answer {
    state: String,
    code: String,
    error: Option<String>,
}

/// Where the provider of `realm` sends the browser back to.
fn back(app: &App, origin: Origin, uri: &Uri, headers: &HeaderMap, realm: &str) -> Option<Url> {
    let realm = utf8_percent_encode(realm, NON_ALPHANUMERIC);
    let url = access::own_url(app, origin, uri, headers);
    if url.is_none() {
        tracing::warn!("nobody can sign in at a provider: http.public_url is not set");
    }
    Some(url?.at(&format!("/sign-in/oidc/{realm}/callback")))
}

fn unknown() -> Problem {
    Problem::not_found("there is no such provider")
}

pub(crate) async fn begin(
    State(app): State<App>,
    Extension(origin): Extension<Origin>,
    Path(realm): Path<String>,
    w: Words,
    uri: Uri,
    headers: HeaderMap,
    Ask(next): Ask<Next>,
) -> Result<Response, Problem> {
    let identity = identity(&app)?;
    let provider = identity.provider(&realm).ok_or_else(unknown)?;
    // Nobody else's page begins a sign-in here: ours is shown first.
    if access::is_cross_site(&headers) {
        return Ok(Redirect::to("/sign-in").into_response());
    }
    let next = next.next.as_deref();
    let Some(back) = back(&app, origin, &uri, &headers, &realm) else {
        return refused(&app, w, &Denied::NotSetUp, &Again { next, ..Again::default() });
    };
    match identity.begin(provider, &back, own_path(next), &means(&app)).await {
        Ok((url, kept)) => {
            let mut response = Redirect::to(url.as_str()).into_response();
            let lifetime = Duration::from_secs(BEGUN_SECONDS);
            let cookie = Cookie::Begun.give(&kept, origin.secure, lifetime);
            response.headers_mut().append(header::SET_COOKIE, cookie);
            Ok(response)
        }
        Err(denied) => refused(&app, w, &denied, &Again { next, ..Again::default() }),
    }
}

pub(crate) async fn finish(
    State(app): State<App>,
    Extension(origin): Extension<Origin>,
    Path(realm): Path<String>,
    w: Words,
    uri: Uri,
    headers: HeaderMap,
    Ask(answer): Ask<Answer>,
) -> Result<Response, Problem> {
    let identity = identity(&app)?;
    let provider = identity.provider(&realm).ok_or_else(unknown)?;
    let means = means(&app);
    let kept = identity.begun(Cookie::Begun.value(&headers, origin.secure), &means);
    let next = kept.as_ref().map(|kept| kept.next.clone());
    let next = own_path(next.as_deref());
    let brought = Brought {
        state: &answer.state,
        code: &answer.code,
        error: answer.error.as_deref(),
        address: origin.client,
        agent: agent(&headers),
    };
    let done = match back(&app, origin, &uri, &headers, &realm) {
        Some(back) => identity.finish(provider, &back, kept, brought, &means).await,
        None => Err(Denied::NotSetUp),
    };
    let mut response = match done {
        Ok((token, _)) => entered(identity, &token, next, origin.secure),
        Err(denied) => {
            let again = Again { next: Some(next), ..Again::default() };
            refused(&app, w, &denied, &again)?
        }
    };
    // What was begun is ended, well or not.
    let over = Cookie::Begun.take_away(origin.secure);
    response.headers_mut().append(header::SET_COOKIE, over);
    Ok(response)
}
