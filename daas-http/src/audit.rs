//! What the guard writes to the audit log, and what handlers tell it of.
//!
//! A handler knows things that the guard does not: the id of a session just made, who somebody turned
//! out to be. It says so by `session`, `subject`, `signed_in` and the like, from wherever it is,
//! and the guard puts it into the entry of the end.

use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::response::{IntoResponse, Response};
use daas_core::Kind;
use daas_core::access::{Role, SignIn};
use daas_core::audit::{Act, AuditLog, KnownBy, Note, Stage};
use daas_core::ids::SessionId;
use daas_core::owner::Owner;
use http::StatusCode;
use percent_encoding::percent_decode_str;

use crate::access::Who;
use crate::problem::Problem;
use crate::routes::Route;

/// What calls of a route mean to the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audit {
    /// They change nothing, and leave no entry.
    Reads,
    /// This is done: an entry before it, without which it is not done, and one of its end.
    Does(Act),
    /// The same; the path's `{act}` says what.
    Named,
    /// One entry of how it ended, without which nobody is answered: whoever tries is known only then.
    Tells(Act),
    /// They change nothing that anybody would answer for.
    Unheard,
}

/// What handlers have said of the request at hand.
#[derive(Debug, Default)]
struct Said {
    session: Option<SessionId>,
    subject: Option<String>,
    reason: Option<String>,
    owner: Option<Owner>,
    role: Option<Role>,
    known_by: Option<KnownBy>,
    /// Whether there is anything to tell, for [`Audit::Tells`].
    tells: bool,
    each: Vec<Each>,
}

/// What was done to one of several sessions.
#[derive(Debug)]
struct Each {
    session: SessionId,
    act: Act,
    status: StatusCode,
    reason: Option<String>,
}

tokio::task_local! {
    static SAID: Hearing;
}

/// Where it is said; also who waits for the end hears it when the handler is dropped.
type Hearing = Arc<Mutex<Said>>;

fn heard(hearing: &Hearing) -> Said {
    std::mem::take(&mut *hearing.lock().unwrap_or_else(PoisonError::into_inner))
}

fn say(what: impl FnOnce(&mut Said)) {
    // Outside a request, as in a test of a handler's parts, there is nobody to tell.
    let _ = SAID.try_with(|said| what(&mut said.lock().unwrap_or_else(PoisonError::into_inner)));
}

/// The session that the request turned out to be about.
pub(crate) fn session(id: &SessionId) {
    say(|said| said.session = Some(id.clone()));
}

/// What else it is about: a name, never a secret.
pub(crate) fn subject(text: impl Into<String>) {
    let text = text.into();
    say(|said| said.subject = Some(text));
}

/// How it came about, in a few words.
pub(crate) fn remark(words: &str) {
    say(|said| said.reason = Some(words.to_owned()));
}

/// For whom something is asked by somebody whom nobody verified.
pub(crate) fn on_behalf_of(owner: &Owner) {
    say(|said| said.owner = Some(owner.clone()));
}

/// Who has just signed in.
pub(crate) fn signed_in(sign_in: &SignIn) {
    say(|said| {
        said.owner = Some(sign_in.owner.clone());
        said.role = Some(sign_in.role);
        said.known_by = Some(KnownBy::SignIn(sign_in.id.clone()));
        said.tells = true;
    });
}

/// Why nobody was signed in. `name`: only one that somebody has.
pub(crate) fn not_signed_in(name: Option<&str>, realm: &str, why: &str) {
    say(|said| {
        said.subject = name.map(|name| format!("{name}@{realm}"));
        said.reason = Some(why.to_owned());
        said.tells = true;
    });
}

/// What was done to one of several sessions: it gets an entry of its own.
pub(crate) fn each(session: &SessionId, act: Act, refused: Option<&daas_core::Error>) {
    let status = refused.map_or(202, |error| error.kind().http_status());
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let reason = refused.map(|error| error.kind().as_str().to_owned());
    let each = Each { session: session.clone(), act, status, reason };
    say(|said| said.each.push(each));
}

/// Who calls, as far as the guard knows.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) owner: Option<Owner>,
    pub(crate) role: Option<Role>,
    pub(crate) known_by: KnownBy,
    pub(crate) address: IpAddr,
    pub(crate) request: Option<String>,
}

/// Answers by `answer`, with the entries that the route asks for around it.
pub(crate) async fn around(
    log: Option<&AuditLog>,
    route: &Route,
    path: &str,
    caller: &Caller,
    answer: impl Future<Output = Response>,
) -> Response {
    let act = act(route, path);
    let (Some(log), Some(act)) = (log, act) else { return answer.await };
    let note = note(act, route, path, caller);
    match route.audit {
        Audit::Tells(_) => tell(log, note, answer).await,
        _ => act_and_tell(log, route, note, answer).await,
    }
}

/// Somebody who is known tried what they may not.
pub(crate) async fn refused(
    log: Option<&AuditLog>,
    route: &Route,
    path: &str,
    caller: &Caller,
    why: &str,
) {
    let (Some(log), Some(act)) = (log, act(route, path)) else { return };
    if matches!(route.audit, Audit::Tells(_)) || caller.owner.is_none() {
        return;
    }
    let status = Some(StatusCode::FORBIDDEN.as_u16());
    let reason = Some(why.to_owned());
    log.leave(Note { status, reason, ..note(act, route, path, caller) }).await;
}

/// What is done by a call of `route` at `path`; none for what only reads or does not exist.
fn act(route: &Route, path: &str) -> Option<Act> {
    match route.audit {
        Audit::Reads | Audit::Unheard => None,
        Audit::Does(act) | Audit::Tells(act) => Some(act),
        Audit::Named => match parameter(route, path, "{act}")?.as_str() {
            "stop" => Some(Act::SessionStop),
            "start" => Some(Act::SessionStart),
            "restart" => Some(Act::SessionRestart),
            "extend" => Some(Act::SessionExtend),
            "delete" => Some(Act::SessionDestroy),
            // There is no such act, and the handler says so.
            _ => None,
        },
    }
}

fn note(act: Act, route: &Route, path: &str, caller: &Caller) -> Note {
    let id = parameter(route, path, "{id}");
    // What has an id and is no session.
    let (id, other) = if act == Act::ConsoleEnd { (None, id) } else { (id, None) };
    let session = id.and_then(|id| SessionId::new(id).ok());
    let named = parameter(route, path, "{name}").or(other);
    // Several routes are one act: which of them it was.
    let which = (act == Act::AccountChange).then(|| route.path.to_owned());
    Note {
        owner: caller.owner.clone(),
        role: caller.role,
        known_by: caller.known_by.clone(),
        address: Some(caller.address),
        session,
        subject: named.or(which),
        request: caller.request.clone(),
        ..Note::of(act, Stage::Noted)
    }
}

/// What stands in `path` where the route's pattern has `name`.
fn parameter(route: &Route, path: &str, name: &str) -> Option<String> {
    let mut parts = route.path.split('/').zip(path.split('/'));
    let (_, text) = parts.find(|(pattern, _)| *pattern == name)?;
    Some(percent_decode_str(text).decode_utf8_lossy().into_owned())
}

/// An act with its two entries.
async fn act_and_tell(
    log: &AuditLog,
    route: &Route,
    note: Note,
    answer: impl Future<Output = Response>,
) -> Response {
    let asked = log.write(Note { stage: Stage::Asked, ..note.clone() }).await;
    let number = match asked {
        Ok(number) => number,
        Err(_) => return unwritten(route),
    };
    let done = Note { stage: Stage::Done, answers: Some(number), ..note };
    let hearing = Hearing::default();
    let mut end = End { log, done: Some(done), hearing: Arc::clone(&hearing) };
    let response = SAID.scope(Arc::clone(&hearing), answer).await;
    let said = heard(&hearing);
    if let Some(mut done) = end.done.take() {
        for each in &said.each {
            let session = Some(each.session.clone());
            let (status, reason) = (Some(each.status.as_u16()), each.reason.clone());
            let stage = Stage::Noted;
            log.leave(Note { session, status, reason, stage, act: each.act, ..done.clone() }).await;
        }
        complete(&mut done, said, Some(&response));
        log.leave(done).await;
    }
    response
}

/// One entry of how it ended.
async fn tell(log: &AuditLog, mut note: Note, answer: impl Future<Output = Response>) -> Response {
    let hearing = Hearing::default();
    let response = SAID.scope(Arc::clone(&hearing), answer).await;
    let said = heard(&hearing);
    if !said.tells {
        return response;
    }
    complete(&mut note, said, Some(&response));
    match log.write(note).await {
        Ok(_) => response,
        // What the answer would have given, a cookie as a rule, nobody gets.
        Err(_) => Problem::unavailable("this could not be written down; try again").into_response(),
    }
}

fn complete(note: &mut Note, said: Said, response: Option<&Response>) {
    note.session = said.session.or(note.session.take());
    note.subject = said.subject.or(note.subject.take());
    note.owner = said.owner.or(note.owner.take());
    note.role = said.role.or(note.role);
    note.status = response.map(|response| response.status().as_u16());
    if let Some(known_by) = said.known_by {
        note.known_by = known_by;
    }
    // The kind alone: a sentence may repeat what was sent, a password perhaps.
    let problem = response.and_then(|response| response.extensions().get::<Problem>());
    let kind = problem.map(|problem| problem.kind.as_str().to_owned());
    note.reason = said.reason.or(kind);
}

/// Why nothing was done, as the route's callers know refusals.
fn unwritten(route: &Route) -> Response {
    let why = "nothing was done: it could not be written to the audit log; try again";
    let problem = match route.who {
        Who::CompatNetwork => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, Kind::Unavailable, why).because(why)
        }
        _ => Problem::unavailable(why),
    };
    problem.into_response()
}

/// Tells of an act whose caller went away before its end: the handler is dropped wherever it was.
struct End<'a> {
    log: &'a AuditLog,
    done: Option<Note>,
    hearing: Hearing,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        if let Some(mut done) = self.done.take() {
            complete(&mut done, heard(&self.hearing), None);
            let reason = Some("the caller went away before the end".to_owned());
            self.log.leave_now(Note { reason, ..done });
        }
    }
}
