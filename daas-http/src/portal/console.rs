//! A desktop's screen, in the page.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use daas_core::access::SignIn;
use daas_core::engine::Caller;
use http::{HeaderValue, header};
use serde_json::json;

use super::{Frame, Words, clients, page};
use crate::app::App;
use crate::body::SessionPath;
use crate::problem::Problem;

/// As all pages, but that a viewer makes pictures of its own for what it shows.
const CONSOLE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'";

/// The Remote Desktop viewer is a program for WebAssembly, which it has in itself as data, and makes
/// a style of its own.
const RDP_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; \
    style-src 'self' 'unsafe-inline'; connect-src 'self' data:; img-src 'self' data: blob:; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

#[derive(Template)]
#[template(path = "rdp.html")]
struct RdpPage {
    f: Frame,
    id: String,
    name: String,
    /// The account that was asked for, if one was.
    user: String,
    /// Where the viewer's scripts are; absent: the build went on without them.
    viewer: Option<(String, String)>,
    words: String,
}

pub(crate) async fn rdp(
    State(app): State<App>,
    Extension(sign_in): Extension<SignIn>,
    Extension(caller): Extension<Caller>,
    w: Words,
    SessionPath(id): SessionPath,
) -> Result<Response, Problem> {
    let session = app.engine.session(&caller, &id).await?;
    let (viewer, backend) = ("iron-remote-desktop", "iron-remote-desktop-rdp");
    let file = |package: &str| clients::address(package, &format!("{package}.js"));
    let mut response = page(&RdpPage {
        f: Frame::new(&app, w, Some(&sign_in)),
        id: id.to_string(),
        name: session.label.as_ref().map_or_else(|| id.to_string(), ToString::to_string),
        user: session.account.map(|account| account.user).unwrap_or_default(),
        viewer: file(viewer).zip(file(backend)),
        words: words(w),
    })?;
    let policy = HeaderValue::from_static(RDP_POLICY);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}

#[derive(Template)]
#[template(path = "console.html")]
struct ConsolePage {
    f: Frame,
    id: String,
    name: String,
    /// Where the viewer's script is; absent: the build went on without it.
    viewer: Option<String>,
    /// What the page's script says, by what happened.
    words: String,
}

pub(crate) async fn show(
    State(app): State<App>,
    Extension(sign_in): Extension<SignIn>,
    Extension(caller): Extension<Caller>,
    w: Words,
    SessionPath(id): SessionPath,
) -> Result<Response, Problem> {
    let session = app.engine.session(&caller, &id).await?;
    let name = session.label.as_ref().map_or_else(|| id.to_string(), ToString::to_string);
    let mut response = page(&ConsolePage {
        f: Frame::new(&app, w, Some(&sign_in)),
        id: id.to_string(),
        name,
        viewer: clients::address("novnc", "core/rfb.js"),
        words: words(w),
    })?;
    let policy = HeaderValue::from_static(CONSOLE_POLICY);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}

/// By the close codes of [`crate::gateway`], and by what the script itself finds.
fn words(w: Words) -> String {
    json!({
        "connecting": w.t("console-connecting"),
        "connected": w.t("console-connected"),
        "again": w.t("console-again"),
        "away": w.t("console-away"),
        "signed-out": w.t("console-signed-out"),
        "not-ready": w.t("console-not-ready"),
        "gone": w.t("console-gone"),
        "given-up": w.t("console-given-up"),
        "idle-warning": w.t("idle-warning"),
        "rdp-ended": w.t("rdp-ended"),
        "rdp-lost": w.t("rdp-lost"),
        "rdp-wrong": w.t("rdp-wrong"),
        "1001": w.t("console-restarted"),
        "1002": w.t("console-protocol"),
        "4001": w.t("console-ticket"),
        "4003": w.t("console-not-yours"),
        "4004": w.t("console-gone"),
        "4005": w.t("console-screen"),
        "4006": w.t("console-by-operator"),
        "4007": w.t("console-idle"),
        "4008": w.t("console-again"),
        "4009": w.t("console-not-ready"),
        "4010": w.t("console-away"),
        "4011": w.t("console-signed-out"),
        "4012": w.t("console-again"),
        "4029": w.t("console-full"),
    })
    .to_string()
}
