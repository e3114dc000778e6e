//! The pages for people: rendered here, from the store alone, so that nothing waits for a hypervisor.
//! They work without a script; with one they follow what happens.

mod account;
mod admin;
mod assets;
mod clients;
mod console;
mod desktops;
mod history;
mod keys;
mod provider;
mod qr;
mod second_factor;
mod sign_in;
mod words;

use askama::Template;
use axum::response::{Html, IntoResponse, Redirect, Response};
use daas_core::access::{Role, SignIn};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

pub(crate) use self::account::{end_sign_in, show as account};
pub(crate) use self::admin::{
    Kept, audit as admin_audit, bulk, end_quarantined, end_sign_ins, overview, people, places,
    quarantine, sessions as admin_sessions, templates,
};
pub(crate) use self::assets::file;
pub(crate) use self::clients::file as client;
pub(crate) use self::console::{rdp, show as console};
pub(crate) use self::desktops::{act, confirm, create, list, new, show};
pub(crate) use self::history::show as history;
pub(crate) use self::keys::{make_key, revoke_key};
pub(crate) use self::provider::{begin as begin_at_provider, finish as finish_at_provider};
pub(crate) use self::second_factor::{
    ask_code, enrol_factor, give_code, remove_factor, renew_codes, show_factor,
};
pub(crate) use self::sign_in::{ask as ask_sign_in, sign_in, sign_out};
pub(crate) use self::words::Words;
use crate::app::App;
use crate::problem::Problem;

/// What a page may load and where its forms go: this server alone, and no text in the page is run.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// What is around every page.
pub(crate) struct Frame {
    pub(crate) w: Words,
    pub(crate) brand: String,
    /// Who has signed in.
    pub(crate) person: Option<String>,
    /// Whether the pages of operators are offered.
    pub(crate) operator: bool,
}

impl Frame {
    fn new(app: &App, w: Words, sign_in: Option<&SignIn>) -> Self {
        let called = |s: &SignIn| s.display_name.clone().unwrap_or_else(|| s.owner.name.clone());
        Self {
            w,
            brand: app.config.portal.name.clone(),
            person: sign_in.map(called),
            operator: sign_in.is_some_and(is_operator),
        }
    }
}

/// Renders a page.
fn page(template: &impl Template) -> Result<Response, Problem> {
    let text = template.render().map_err(|error| {
        tracing::error!(%error, "a page could not be rendered");
        let why = "something went wrong inside; the log tells more";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, daas_core::Kind::Internal, why)
    })?;
    let mut response = Html(text).into_response();
    let policy = HeaderValue::from_static(PAGE_POLICY);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}

/// Sends who has not signed in to do so, and back afterwards.
pub(crate) fn to_sign_in(method: &Method, uri: &Uri) -> Response {
    if method != Method::GET {
        return Redirect::to("/sign-in").into_response();
    }
    let back = uri.path_and_query().map_or("/desktops", |path| path.as_str());
    let back = utf8_percent_encode(back, NON_ALPHANUMERIC);
    Redirect::to(&format!("/sign-in?next={back}")).into_response()
}

/// A path of ours to go to; anything that could lead elsewhere is the list of desktops.
fn own_path(path: Option<&str>) -> &str {
    let is_ours = |path: &&str| {
        path.starts_with('/')
            && !path.starts_with("//")
            && !path.contains('\\')
            && !path.chars().any(char::is_control)
    };
    path.filter(is_ours).unwrap_or("/desktops")
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    f: Frame,
    title: String,
    said: String,
    details: String,
    id: String,
}

/// A refusal as a page.
pub(crate) fn refusal(app_name: &str, w: Words, problem: &Problem, id: &str) -> Option<Response> {
    let title = match problem.status {
        StatusCode::NOT_FOUND => w.t("error-not-found"),
        StatusCode::FORBIDDEN => w.t("error-forbidden"),
        StatusCode::CONFLICT => w.t("error-conflict"),
        StatusCode::TOO_MANY_REQUESTS => w.t("error-too-many"),
        StatusCode::SERVICE_UNAVAILABLE => w.t("error-unavailable"),
        status if status.is_server_error() => w.t("error-inside"),
        _ => w.t("error-invalid"),
    };
    let shown = ErrorPage {
        f: Frame { w, brand: app_name.to_owned(), person: None, operator: false },
        title,
        said: problem.error.clone(),
        details: problem.details.clone().unwrap_or_default(),
        id: id.to_owned(),
    };
    let mut response = page(&shown).ok()?;
    *response.status_mut() = problem.status;
    Some(response)
}

/// Whether somebody may see what is for operators.
fn is_operator(sign_in: &SignIn) -> bool {
    sign_in.role >= Role::Operator
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_elsewhere() {
        for good in ["/desktops", "/desktops/new?template=lab", "/account"] {
            assert_eq!(own_path(Some(good)), good);
        }
        for bad in ["", "desktops", "//evil.test", "/\\evil.test", "https://evil.test", "/a\r\nb"] {
            assert_eq!(own_path(Some(bad)), "/desktops", "{bad:?}");
        }
        assert_eq!(own_path(None), "/desktops");
    }
}
