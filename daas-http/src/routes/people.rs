//! What people see in browsers: pages, and what their forms send.

use axum::routing::{get, post};
use daas_core::access::Role;
use daas_core::audit::Act;

use super::{Body, Gives, Route, Verb, text};
use crate::access::Who;
use crate::audit::Audit;
use crate::portal;

const PERSON: Who = Who::Person(Role::User);
const OVERSEER: Who = Who::Person(Role::Operator);
const PAGE: &[Gives] = &[text("text/html", "The page.")];
const GO: &[Gives] = &[Gives { status: 303, means: "Done; see there.", body: Body::Empty }];
const GO_OR_PAGE: &[Gives] = &[
    Gives { status: 303, means: "Done; see there.", body: Body::Empty },
    text("text/html", "Done, with what is shown this once."),
];

/// The rows.
pub(super) static ROUTES: &[Route] = &[
    // -- pages for people
    Route {
        summary: "Asks who somebody is.",
        gives: PAGE,
        refuses: &[404],
        ..Route::page(Verb::Get, "/sign-in", || get(portal::ask_sign_in))
    },
    Route {
        summary: "Signs somebody in.",
        takes: Some("SignIn"),
        gives: GO,
        refuses: &[400, 401, 403, 404, 413, 429, 503],
        audit: Audit::Tells(Act::SignIn),
        ..Route::page(Verb::Post, "/sign-in", || post(portal::sign_in))
    },
    // -- people whom a provider knows
    Route {
        summary: "Sends somebody to a provider to sign in there.",
        query: &[("next", "where to go afterwards")],
        gives: GO,
        refuses: &[400, 404, 503],
        ..Route::page(Verb::Get, "/sign-in/oidc/{name}", || get(portal::begin_at_provider))
    },
    Route {
        summary: "Signs somebody in whom a provider sends back.",
        query: &[("state", "as it was sent"), ("code", "the provider's"), ("error", "its refusal")],
        gives: GO,
        refuses: &[400, 403, 404, 409, 429, 503],
        audit: Audit::Tells(Act::SignIn),
        ..Route::page(Verb::Get, "/sign-in/oidc/{name}/callback", || {
            get(portal::finish_at_provider)
        })
    },
    // -- second factors
    Route {
        summary: "Asks for the second factor of somebody whose password was right.",
        gives: PAGE,
        refuses: &[303, 404, 503],
        ..Route::page(Verb::Get, "/sign-in/second-factor", || get(portal::ask_code))
    },
    Route {
        summary: "Signs somebody in by their second factor.",
        takes: Some("Code"),
        gives: GO_OR_PAGE,
        refuses: &[400, 401, 403, 404, 409, 413, 429, 503],
        audit: Audit::Tells(Act::SignIn),
        ..Route::page(Verb::Post, "/sign-in/second-factor", || post(portal::give_code))
    },
    Route {
        who: PERSON,
        summary: "Shows one's second factor, or what to enrol one with.",
        gives: PAGE,
        refuses: &[404],
        ..Route::page(Verb::Get, "/account/second-factor", || get(portal::show_factor))
    },
    Route {
        who: PERSON,
        summary: "Enrols a second factor.",
        takes: Some("Code"),
        gives: PAGE,
        refuses: &[400, 401, 404, 409, 413, 429],
        audit: Audit::Does(Act::AccountChange),
        ..Route::page(Verb::Post, "/account/second-factor", || post(portal::enrol_factor))
    },
    Route {
        who: PERSON,
        summary: "Makes new recovery codes.",
        takes: Some("Code"),
        gives: PAGE,
        refuses: &[400, 401, 404, 409, 413, 429],
        audit: Audit::Does(Act::AccountChange),
        ..Route::page(Verb::Post, "/account/second-factor/recovery-codes", || {
            post(portal::renew_codes)
        })
    },
    Route {
        who: PERSON,
        summary: "Takes one's second factor away.",
        takes: Some("Code"),
        gives: GO,
        refuses: &[400, 401, 404, 409, 413, 429],
        audit: Audit::Does(Act::AccountChange),
        ..Route::page(Verb::Post, "/account/second-factor/remove", || post(portal::remove_factor))
    },
    Route {
        who: PERSON,
        summary: "Signs somebody out.",
        gives: GO,
        refuses: &[409],
        audit: Audit::Does(Act::SignOut),
        ..Route::page(Verb::Post, "/sign-out", || post(portal::sign_out))
    },
    Route {
        who: PERSON,
        summary: "Shows one's desktops, or everybody's to operators.",
        gives: PAGE,
        refuses: &[400],
        ..Route::page(Verb::Get, "/desktops", || get(portal::list))
    },
    Route {
        who: PERSON,
        summary: "Asks for a desktop.",
        takes: Some("PageWish"),
        gives: GO,
        refuses: &[400, 404, 409, 413, 429],
        audit: Audit::Does(Act::SessionCreate),
        ..Route::page(Verb::Post, "/desktops", || post(portal::create))
    },
    Route {
        who: PERSON,
        summary: "Shows what can be asked for.",
        gives: PAGE,
        ..Route::page(Verb::Get, "/desktops/new", || get(portal::new))
    },
    Route {
        who: PERSON,
        summary: "Shows a desktop.",
        gives: PAGE,
        refuses: &[404],
        ..Route::page(Verb::Get, "/desktops/{id}", || get(portal::show))
    },
    Route {
        who: PERSON,
        summary: "Shows a desktop's screen.",
        gives: PAGE,
        refuses: &[404],
        ..Route::page(Verb::Get, "/desktops/{id}/console", || get(portal::console))
    },
    Route {
        who: PERSON,
        summary: "Shows a desktop by Remote Desktop.",
        gives: PAGE,
        refuses: &[404],
        ..Route::page(Verb::Get, "/desktops/{id}/rdp", || get(portal::rdp))
    },
    Route {
        who: PERSON,
        summary: "Asks whether a desktop is really to be deleted.",
        gives: PAGE,
        refuses: &[404],
        ..Route::page(Verb::Get, "/desktops/{id}/deletion", || get(portal::confirm))
    },
    Route {
        who: PERSON,
        summary: "Stops, starts, restarts, extends or deletes a desktop.",
        gives: GO,
        refuses: &[404, 409],
        audit: Audit::Named,
        ..Route::page(Verb::Post, "/desktops/{id}/{act}", || post(portal::act))
    },
    Route {
        who: PERSON,
        summary: "Shows where one is signed in.",
        gives: PAGE,
        ..Route::page(Verb::Get, "/account", || get(portal::account))
    },
    Route {
        who: PERSON,
        summary: "Ends a sign-in of one's own.",
        gives: GO,
        refuses: &[404],
        audit: Audit::Does(Act::SignInEnd),
        ..Route::page(Verb::Post, "/account/sign-ins/{name}/end", || post(portal::end_sign_in))
    },
    // -- API keys of one's own
    Route {
        who: PERSON,
        summary: "Makes an API key for oneself. It is shown this once.",
        takes: Some("OwnKey"),
        gives: PAGE,
        refuses: &[400, 409, 413, 429],
        audit: Audit::Does(Act::KeyCreate),
        ..Route::page(Verb::Post, "/account/keys", || post(portal::make_key))
    },
    Route {
        who: PERSON,
        summary: "Revokes an API key that speaks for oneself.",
        takes: Some("OldKey"),
        gives: GO,
        refuses: &[400, 404, 413],
        audit: Audit::Does(Act::KeyRevoke),
        ..Route::page(Verb::Post, "/account/keys/revoke", || post(portal::revoke_key))
    },
    Route {
        summary: "The pages' style or script.",
        gives: &[text("text/plain", "The file.")],
        refuses: &[404],
        ..Route::page(Verb::Get, "/assets/{file}", || get(portal::file))
    },
    Route {
        summary: "A file of a browser client.",
        gives: &[text("text/javascript", "The file.")],
        refuses: &[404],
        ..Route::page(Verb::Get, "/assets/clients/{*file}", || get(portal::client))
    },
    Route {
        who: PERSON,
        summary: "Shows what happened to a desktop, with the evidence of each decision.",
        gives: PAGE,
        refuses: &[404],
        ..Route::page(Verb::Get, "/desktops/{id}/history", || get(portal::history))
    },
    // -- pages for operators and administrators
    Route {
        who: OVERSEER,
        summary: "Shows how everything stands.",
        gives: PAGE,
        ..Route::page(Verb::Get, "/admin", || get(portal::overview))
    },
    Route {
        who: OVERSEER,
        summary: "Lists everybody's desktops; with an act and some chosen, asks whether it is meant.",
        gives: PAGE,
        refuses: &[400],
        ..Route::page(Verb::Get, "/admin/sessions", || get(portal::admin_sessions))
    },
    Route {
        who: OVERSEER,
        audit: Audit::Does(Act::SessionsBulk),
        summary: "Stops, starts, extends or deletes those chosen and tells of each.",
        takes: Some("Chosen"),
        gives: PAGE,
        refuses: &[400, 413],
        ..Route::page(Verb::Post, "/admin/sessions", || post(portal::bulk))
    },
    Route {
        who: OVERSEER,
        summary: "Shows what desktops are made from.",
        gives: PAGE,
        ..Route::page(Verb::Get, "/admin/templates", || get(portal::templates))
    },
    Route {
        who: OVERSEER,
        summary: "Shows who is signed in, and their groups.",
        gives: PAGE,
        ..Route::page(Verb::Get, "/admin/people", || get(portal::people))
    },
    Route {
        who: OVERSEER,
        audit: Audit::Does(Act::SignInEnd),
        summary: "Ends all sign-ins of somebody.",
        takes: Some("Whose"),
        gives: GO,
        refuses: &[400, 404, 413],
        ..Route::page(Verb::Post, "/admin/people/end", || post(portal::end_sign_ins))
    },
    Route {
        who: OVERSEER,
        summary: "Shows the nodes and their load as seen last.",
        gives: PAGE,
        ..Route::page(Verb::Get, "/admin/places", || get(portal::places))
    },
    Route {
        who: OVERSEER,
        summary: "Shows what the last comparison with the hypervisors found.",
        gives: PAGE,
        refuses: &[404],
        ..Route::page(Verb::Get, "/admin/quarantine", || get(portal::quarantine))
    },
    Route {
        who: OVERSEER,
        audit: Audit::Does(Act::QuarantineEnd),
        summary: "Ends a machine in quarantine.",
        gives: GO,
        refuses: &[404, 409],
        ..Route::page(Verb::Post, "/admin/quarantine/{id}/end", || post(portal::end_quarantined))
    },
    Route {
        who: Who::Person(Role::Admin),
        summary: "Shows who did what.",
        gives: PAGE,
        refuses: &[400, 404],
        ..Route::page(Verb::Get, "/admin/audit", || get(portal::admin_audit))
    },
];
