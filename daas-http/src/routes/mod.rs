//! The one table of what is served, by which listener and for whom: its rows for programs, and those
//! for people in browsers.
//!
//! The router, the OpenAPI document and the access test are made from it: a route that is not here
//! does not exist.

mod people;
mod programs;

use axum::routing::MethodRouter;

use crate::access::Who;
use crate::app::App;
use crate::audit::Audit;

/// Which listener serves a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// The API's.
    Main,
    /// The compatible API's, and the main one too.
    Compat,
    /// The guests'.
    Guests,
}

/// The methods in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Reads.
    Get,
    /// Asks for something.
    Post,
    /// Asks for an end.
    Delete,
}

impl Verb {
    /// The method as HTTP writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

/// How long a route may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Within `limits.call_time`.
    Quick,
    /// It blocks by design.
    Blocks,
}

/// One answer that a route gives.
#[derive(Debug, Clone, Copy)]
pub struct Gives {
    /// The status.
    pub status: u16,
    /// What it means.
    pub means: &'static str,
    /// What its body is.
    pub body: Body,
}

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    Empty,
    /// JSON of the schema of that name.
    Json(&'static str),
    /// Text of that media type.
    Text(&'static str),
}

/// A row of the table.
#[derive(Debug)]
pub struct Route {
    /// The method; `GET` serves `HEAD` too.
    pub verb: Verb,
    /// The path, with `{names}`.
    pub path: &'static str,
    /// Who serves it.
    pub listener: Listener,
    /// Who may call it.
    pub who: Who,
    /// How long it may take.
    pub pace: Pace,
    /// What its calls mean to the audit log; whatever changes something says so.
    pub audit: Audit,
    /// Whether it is for people in a browser, not for programs.
    pub page: bool,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// Its query's fields and what they mean.
    pub query: &'static [(&'static str, &'static str)],
    /// The schema of the body it takes.
    pub takes: Option<&'static str>,
    /// What it answers when all is well.
    pub gives: &'static [Gives],
    /// The statuses of its refusals, besides those that follow from `who` and 500.
    pub refuses: &'static [u16],
    pub(crate) handler: fn() -> MethodRouter<App>,
}

impl Route {
    /// Whether it is a page for people who have signed in: who has not is sent to do so.
    pub fn is_for_people(&self) -> bool {
        matches!(self.who, Who::Person(_))
    }

    /// The statuses with which it refuses.
    pub fn refusals(&self) -> Vec<u16> {
        let by_who: &[u16] = match self.who {
            Who::Anyone => &[],
            // The look-up of a key needs the store.
            Who::Key(_) | Who::Monitoring => &[401, 403, 503],
            Who::Person(_) => &[303, 403, 503],
            Who::CompatNetwork | Who::Guest => &[401],
        };
        // Too many calls. The API of the earlier orchestrator has no word for it but 500.
        let too_many = if self.listener == Listener::Compat { 500 } else { 429 };
        let all = by_who.iter().chain(self.refuses).copied();
        let mut all: Vec<u16> = all.chain([too_many]).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// A quick route of the API for everybody, that answers nothing but 200: the rest is said by
    /// struct update.
    const fn new(verb: Verb, path: &'static str, handler: fn() -> MethodRouter<App>) -> Self {
        Self {
            verb,
            path,
            listener: Listener::Main,
            who: Who::Anyone,
            pace: Pace::Quick,
            audit: Audit::Reads,
            page: false,
            summary: "",
            query: &[],
            takes: None,
            gives: &[],
            refuses: &[],
            handler,
        }
    }

    /// The same for people: refusals are pages, and it is no part of the API's description.
    const fn page(verb: Verb, path: &'static str, handler: fn() -> MethodRouter<App>) -> Self {
        Self { page: true, ..Self::new(verb, path, handler) }
    }
}

const fn json(status: u16, means: &'static str, schema: &'static str) -> Gives {
    Gives { status, means, body: Body::Json(schema) }
}

const fn text(media: &'static str, means: &'static str) -> Gives {
    Gives { status: 200, means, body: Body::Text(media) }
}

/// Whether a path's pattern is a page's.
pub(crate) fn is_page(pattern: &str) -> bool {
    all().any(|route| route.page && route.path == pattern)
}

/// All routes.
pub fn all() -> impl Iterator<Item = &'static Route> {
    programs::ROUTES.iter().chain(people::ROUTES)
}
