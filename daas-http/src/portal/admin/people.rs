//! Users and groups as they were seen at their sign-ins, and the end of somebody's sign-ins.

use std::collections::BTreeMap;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use daas_core::access::SignIn;
use daas_core::owner::Owner;
use serde::Deserialize;

use super::{Link, around, time};
use crate::app::App;
use crate::audit;
use crate::body::Form;
use crate::portal::{Frame, Words, page};
use crate::problem::Problem;

/// How many sign-ins are looked at, the newest.
const SIGN_INS_MAX: usize = 1_000;

struct Person {
    owner: String,
    name: String,
    role: &'static str,
    groups: String,
    sign_ins: usize,
    seen: String,
    addresses: Vec<String>,
}

#[derive(Template)]
#[template(path = "admin-people.html")]
struct PeoplePage {
    f: Frame,
    links: Vec<Link>,
    people: Vec<Person>,
    /// Groups, and of how many who are signed in.
    groups: Vec<(String, usize)>,
    /// Whether there are more sign-ins than were looked at.
    more: bool,
}

/// Whose sign-ins are to end.
#[derive(Debug, Deserialize)]
pub(crate) struct Whose {
    owner: String,
}

pub(crate) async fn show(
    State(app): State<App>,
    Extension(sign_in): Extension<SignIn>,
    w: Words,
) -> Result<Response, Problem> {
    let now = app.engine.clock().now();
    let found = app.engine.store().sign_ins().newest_sign_ins(SIGN_INS_MAX).await?;
    let more = found.len() == SIGN_INS_MAX;
    let mut by_owner: BTreeMap<Owner, Vec<SignIn>> = BTreeMap::new();
    for one in found.into_iter().filter(|one| one.ends_at > now) {
        by_owner.entry(one.owner.clone()).or_default().push(one);
    }
    let mut groups: BTreeMap<String, usize> = BTreeMap::new();
    for newest in by_owner.values().filter_map(|theirs| theirs.first()) {
        for group in &newest.groups {
            *groups.entry(format!("{group}@{}", newest.owner.realm)).or_default() += 1;
        }
    }
    let people = by_owner.into_iter().filter_map(|(owner, theirs)| {
        let newest = theirs.first()?;
        let seen = theirs.iter().map(|one| one.seen_at).max()?;
        let mut addresses: Vec<_> = theirs.iter().map(|one| one.address.to_string()).collect();
        addresses.sort();
        addresses.dedup();
        Some(Person {
            name: newest.display_name.clone().unwrap_or_else(|| owner.name.clone()),
            owner: owner.to_string(),
            role: newest.role.as_str(),
            groups: newest.groups.iter().cloned().collect::<Vec<_>>().join(", "),
            sign_ins: theirs.len(),
            seen: time(seen),
            addresses,
        })
    });
    let people = people.collect();
    let (f, links) = around(&app, w, &sign_in, "/admin/people");
    page(&PeoplePage { f, links, people, groups: groups.into_iter().collect(), more })
}

pub(crate) async fn end(
    State(app): State<App>,
    Extension(sign_in): Extension<SignIn>,
    Form(whose): Form<Whose>,
) -> Result<Response, Problem> {
    let wrong = || Problem::invalid("owner", "is not name@realm");
    let (name, realm) = whose.owner.rsplit_once('@').ok_or_else(wrong)?;
    let owner = Owner { realm: realm.to_owned(), name: name.to_owned() };
    audit::subject(owner.to_string());
    let sign_ins = app.engine.store().sign_ins();
    let theirs = sign_ins.sign_ins_of(&owner).await?;
    // An operator does not throw an administrator out.
    if let Some(higher) = theirs.iter().find(|one| one.role > sign_in.role) {
        let why = format!("{owner} has the role {}", higher.role.as_str());
        return Err(Problem::forbidden(why));
    }
    if theirs.is_empty() {
        return Err(Problem::not_found(format!("{owner} is not signed in")));
    }
    for one in &theirs {
        sign_ins.end_sign_in(&one.owner, &one.id).await?;
        app.gateway.signed_out(&one.owner, &one.id);
    }
    tracing::info!(%owner, by = %sign_in.owner, count = theirs.len(), "sign-ins were ended");
    Ok(Redirect::to("/admin/people").into_response())
}
