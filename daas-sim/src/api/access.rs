//! Signing in, who is known, and what one may do.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::check::Check;
use super::schema::{Kind, Param};
use super::{Call, Route, handler};
use crate::access::Who;
use crate::access::privileges::Privileges;
use crate::cluster::Cluster;
use crate::http::reply::{Answer, ApiError, Reply};

const TICKET: &[Param] = &[
    Param::must("username", Kind::Text { max: 64 }),
    Param::must("password", Kind::text()),
    Param::may("realm", Kind::Text { max: 32 }),
    Param::may("new-format", Kind::Bool),
    Param::may("otp", Kind::text()),
    Param::may("path", Kind::Text { max: 64 }),
    Param::may("privs", Kind::Text { max: 64 }),
    Param::may("tfa-challenge", Kind::text()),
];

const PERMISSIONS: &[Param] =
    &[Param::may("path", Kind::text()), Param::may("userid", Kind::text())];

const USER: &[Param] = &[Param::must("userid", Kind::Text { max: 64 })];

pub(crate) const ROUTES: &[Route] = &[
    Route::new("GET", "/access/domains", &[], Check::World, handler!(domains)),
    Route::new("GET", "/access/users/{userid}", USER, Check::User, handler!(user)),
    Route::new("GET", "/access/ticket", &[], Check::World, handler!(nothing)),
    Route::new("POST", "/access/ticket", TICKET, Check::World, handler!(ticket)),
    Route::new("GET", "/access/permissions", PERMISSIONS, Check::User, handler!(permissions)),
];

async fn nothing(_: Call) -> Answer {
    Reply::null()
}

async fn ticket(call: Call) -> Answer {
    let username = call.args.text("username").unwrap_or_default();
    let user = match call.args.text("realm") {
        Some(realm) if !username.contains('@') => format!("{username}@{realm}"),
        Some(_) | None => username.to_owned(),
    };
    let password = call.args.text("password").unwrap_or_default();
    let now = call.cluster.clock.unix();
    if !signs_in(&call.cluster, &user, password, now) {
        return Err(ApiError::new(401, "authentication failure"));
    }
    let who = Who::user(&user);
    if call.cluster.state().access.user_config(&user).is_some_and(|u| u.second_factor) {
        // Half a ticket: it is good for the answer to its challenge only.
        let half = format!("!tfa!{}", json!({"totp": true, "recovery": "available"}));
        return Reply::data(json!({
            "username": user,
            "ticket": call.cluster.tickets.issue(&half, now),
            "CSRFPreventionToken": call.cluster.tickets.csrf(&user, now),
            "NeedTFA": 1,
            "clustername": call.cluster.config.name,
        }));
    }
    if let (Some(path), Some(names)) = (call.args.text("path"), call.args.text("privs")) {
        for name in super::formats::split_list(names) {
            if !super::check::may(&call.cluster, &who, path, name) {
                return Err(ApiError::new(401, "authentication failure"));
            }
        }
    }
    Reply::data(json!({
        "username": user,
        "ticket": call.cluster.tickets.issue(&user, now),
        "CSRFPreventionToken": call.cluster.tickets.csrf(&user, now),
        "cap": capabilities(&call.cluster, &who),
        "clustername": call.cluster.config.name,
    }))
}

/// A password, or a ticket that is still good: the user's own, or root's for anybody.
fn signs_in(cluster: &Cluster, user: &str, password: &str, now: i64) -> bool {
    let state = cluster.state();
    let Some(config) = state.access.user_config(user).filter(|u| u.is_usable(now)) else {
        return false;
    };
    if password.starts_with("PVE:") {
        let holder = cluster.tickets.user(password, now);
        return holder.is_some_and(|h| h == user || h == crate::access::ROOT);
    }
    config.password.as_deref().is_some_and(|p| !p.is_empty() && p == password)
}

/// The realms; anybody may know them, to choose one when signing in.
async fn domains(call: Call) -> Answer {
    let state = call.cluster.state();
    let mut realms: BTreeMap<&str, Value> = BTreeMap::from([
        (
            "pam",
            json!({"realm": "pam", "type": "pam", "comment": "Linux PAM standard authentication"}),
        ),
        (
            "pve",
            json!({"realm": "pve", "type": "pve", "comment": "Proxmox VE authentication server"}),
        ),
    ]);
    for user in state.access.users() {
        let Some((_, realm)) = user.id.rsplit_once('@') else { continue };
        realms.entry(realm).or_insert_with(|| json!({"realm": realm, "type": "ldap"}));
    }
    Reply::data(realms.into_values().collect::<Vec<_>>())
}

/// One user. Who may look after all groups, or after one of the user's (`RPCEnvironment.pm`,
/// `userid-group`).
async fn user(call: Call) -> Answer {
    let id = call.args.text("userid").unwrap_or_default();
    let user = call.cluster.state().access.user_config(id).cloned();
    let user = user.ok_or_else(|| ApiError::died(format!("no such user ('{id}')")))?;
    let any = |path: &str| call.may(path, "User.Modify") || call.may(path, "Sys.Audit");
    let of_group = |group: &String| any(&format!("/access/groups/{group}"));
    if !any("/access/groups") && !user.groups.iter().any(of_group) {
        return Err(ApiError::denied("Permission check failed"));
    }
    let mut told = json!({
        "enable": u8::from(user.enabled),
        "expire": user.expire,
        "groups": user.groups,
    });
    for (name, value) in [("firstname", user.firstname), ("lastname", user.lastname)] {
        if let Some(value) = value {
            told[name] = json!(value);
        }
    }
    Reply::data(told)
}

/// What the web interface shows or hides by: privileges by area.
fn capabilities(cluster: &Cluster, who: &Who) -> Value {
    let state = cluster.state();
    let area = |path: &str, prefix: &[&str]| -> Value {
        let mut found = state.access.allowed(who, path);
        let below = state.access.granted_paths().filter(|p| p.starts_with(path));
        for deeper in below {
            found = found | state.access.allowed(who, deeper);
        }
        let named = found.names().filter(|n| prefix.iter().any(|p| n.starts_with(p)));
        named.map(|n| (n.to_owned(), json!(1))).collect::<Map<_, _>>().into()
    };
    json!({
        "vms": area("/vms", &["VM.", "Permissions."]),
        "storage": area("/storage", &["Datastore.", "Permissions."]),
        "nodes": area("/nodes", &["Sys.", "Permissions."]),
        "access": area("/access", &["User.", "Group.", "Realm.", "Permissions."]),
        "dc": area("/", &["Sys.", "SDN."]),
        "sdn": area("/sdn", &["SDN.", "Permissions."]),
        "mapping": area("/mapping", &["Mapping.", "Permissions."]),
    })
}

async fn permissions(call: Call) -> Answer {
    let asked = call.args.text("userid").map(parse_who);
    let own = asked.as_ref().is_none_or(|a| a.user == call.who.user);
    if !own {
        call.require("/access", "Sys.Audit")?;
    }
    let who = asked.unwrap_or_else(|| call.who.clone());
    let state = call.cluster.state();
    let mut paths: BTreeSet<String> = match call.args.text("path") {
        Some(path) => [path.to_owned()].into(),
        None => ["/", "/access", "/nodes", "/pool", "/sdn", "/storage", "/vms"]
            .into_iter()
            .chain(state.access.granted_paths())
            .map(str::to_owned)
            .collect(),
    };
    let single = paths.len() == 1;
    let held: BTreeMap<String, Value> = std::mem::take(&mut paths)
        .into_iter()
        .map(|path| (path.clone(), state.access.allowed(&who, &path)))
        .filter(|(_, held)| single || !held.is_empty())
        .map(|(path, held)| (path, names(held)))
        .collect();
    Reply::data(json!(held))
}

fn names(held: Privileges) -> Value {
    held.names().map(|name| (name.to_owned(), json!(1))).collect::<Map<_, _>>().into()
}

fn parse_who(text: &str) -> Who {
    match text.split_once('!') {
        Some((user, token)) => Who { user: user.to_owned(), token: Some(token.to_owned()) },
        None => Who::user(text),
    }
}
