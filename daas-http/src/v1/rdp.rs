//! `/api/v1/sessions/{id}/rdp`: a file that opens the desktop with a double click.

use std::net::IpAddr;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use daas_core::Kind;
use daas_core::engine::Caller;
use daas_core::session::{Phase, Session};
use daas_core::template::ReadyWhen;
use http::{StatusCode, header};

use crate::app::App;
use crate::body::SessionPath;
use crate::problem::Problem;

pub(crate) async fn file(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    SessionPath(id): SessionPath,
) -> Result<Response, Problem> {
    let session = app.engine.session(&caller, &id).await?;
    let not_yet = |why: String| Problem::new(StatusCode::CONFLICT, Kind::Conflict, why);
    if session.phase != Phase::Ready {
        return Err(not_yet(format!("{id} is {}; wait until it is ready", session.phase)));
    }
    let address = session.address.filter(|_| session.template.ready_when != ReadyWhen::Console);
    let address = address.ok_or_else(|| not_yet(format!("{id} has a console only")))?;
    let named = format!("attachment; filename=\"{id}.rdp\"");
    let headers = [
        (header::CONTENT_TYPE, "application/x-rdp".to_owned()),
        (header::CONTENT_DISPOSITION, named),
    ];
    Ok((headers, content(&session, address)).into_response())
}

/// The file. All that goes into it obeys rules that exclude line ends.
fn content(session: &Session, address: IpAddr) -> String {
    let host = match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    };
    let mut lines = vec![
        format!("full address:s:{host}:{}", session.template.ports.rdp),
        "prompt for credentials:i:1".to_owned(),
        // The certificate is the guest's own: ask rather than refuse.
        "authentication level:i:2".to_owned(),
        "screen mode id:i:2".to_owned(),
        "dynamic resolution:i:1".to_owned(),
        "autoreconnection enabled:i:1".to_owned(),
    ];
    if let Some(account) = &session.account {
        lines.push(format!("username:s:{}", account.user));
    }
    lines.push(String::new());
    lines.join("\r\n")
}
