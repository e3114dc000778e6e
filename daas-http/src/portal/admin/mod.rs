//! The pages of operators and administrators: everybody's desktops, what they are made from, who is
//! there, what runs them, and who did what.
//!
//! They come from the store and from what was seen last; nothing here waits for a hypervisor but what
//! asks it for an act.

mod audit;
mod bulk;
mod kept;
mod overview;
mod people;
mod quarantine;
mod sessions;

use daas_core::access::{Role, SignIn};
use jiff::Timestamp;

pub(crate) use self::audit::show as audit;
pub(crate) use self::bulk::act as bulk;
pub(crate) use self::kept::Kept;
pub(crate) use self::overview::{places, show as overview, templates};
pub(crate) use self::people::{end as end_sign_ins, show as people};
pub(crate) use self::quarantine::{end as end_quarantined, show as quarantine};
pub(crate) use self::sessions::show as sessions;
use super::{Frame, Words};
use crate::app::App;

/// A link of the pages' own menu.
struct Link {
    path: &'static str,
    words: String,
    is_here: bool,
}

/// What is around every page here, of which the one at `here` is shown.
fn around(app: &App, w: Words, sign_in: &SignIn, here: &'static str) -> (Frame, Vec<Link>) {
    let admin = sign_in.role >= Role::Admin;
    let all = [
        ("/admin", w.t("admin-overview"), true),
        ("/admin/sessions", w.t("admin-sessions"), true),
        ("/admin/templates", w.t("admin-templates"), true),
        ("/admin/people", w.t("admin-people"), true),
        ("/admin/places", w.t("admin-places"), true),
        ("/admin/quarantine", w.t("admin-quarantine"), true),
        ("/admin/audit", w.t("admin-audit"), admin),
    ];
    let shown = all.into_iter().filter(|(_, _, shown)| *shown);
    let link = |(path, words, _)| Link { path, words, is_here: path == here };
    (Frame::new(app, w, Some(sign_in)), shown.map(link).collect())
}

/// A time as the pages show it.
fn time(at: Timestamp) -> String {
    at.strftime("%F %H:%M:%S UTC").to_string()
}

/// A query's value, percent-encoded.
fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Fields as a query that leads to another page of the same list.
fn query(fields: &[(&str, &str)]) -> String {
    let filled = fields.iter().filter(|(_, value)| !value.is_empty());
    let text = filled.map(|(name, value)| format!("{name}={}", encoded(value)));
    text.collect::<Vec<_>>().join("&")
}

/// What was written in a field, if anything was.
fn written(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}
