//! Who a request comes from: a ticket in a cookie or header, or an API token.

use http::{HeaderMap, header};
use percent_encoding::percent_decode_str;

use super::reply::ApiError;
use crate::access::Who;
use crate::cluster::Cluster;
use crate::config::Version;

/// The caller, or why there is none. `writes` asks for the CSRF token a ticket needs then.
pub(crate) fn identify(
    cluster: &Cluster,
    headers: &HeaderMap,
    writes: bool,
) -> Result<Who, ApiError> {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let in_header = authorization.and_then(|value| credential(value, "PVEAuthCookie"));
    let ticket = cookie(headers).or_else(|| in_header.map(str::to_owned));
    if let Some(ticket) = ticket {
        return by_ticket(cluster, headers, &ticket, writes);
    }
    match authorization.and_then(|value| credential(value, "PVEAPIToken")) {
        Some(token) => by_token(cluster, token),
        None => Err(ApiError::unauthorized("No ticket")),
    }
}

fn by_ticket(
    cluster: &Cluster,
    headers: &HeaderMap,
    ticket: &str,
    writes: bool,
) -> Result<Who, ApiError> {
    let now = cluster.clock.unix();
    let refuse = |old: &str| refusal(cluster, old);
    let user = cluster
        .tickets
        .user(ticket, now)
        .ok_or_else(|| refuse("permission denied - invalid PVE ticket"))?;
    if !cluster.state().access.user_config(&user).is_some_and(|u| u.is_usable(now)) {
        return Err(refuse(&format!("user '{user}' is disabled")));
    }
    if writes {
        let token = headers.get("CSRFPreventionToken").and_then(|v| v.to_str().ok());
        if !token.is_some_and(|token| cluster.tickets.csrf_good(token, &user, now)) {
            return Err(ApiError::unauthorized("Permission denied - invalid csrf token"));
        }
    }
    Ok(Who { user, token: None })
}

fn by_token(cluster: &Cluster, token: &str) -> Result<Who, ApiError> {
    let now = cluster.clock.unix();
    let refuse = |old: String| refusal(cluster, &old);
    let broken = || refuse("no tokenid specified".to_owned());
    // `user@realm!name=SECRET`; a colon is taken for the equals sign too.
    let (full, secret) = token.split_once(['=', ':']).ok_or_else(broken)?;
    let (user, name) = full.split_once('!').ok_or_else(broken)?;
    let state = cluster.state();
    let Some(config) = state.access.user_config(user) else {
        return Err(refuse(format!("no such user ('{user}')")));
    };
    if !config.enabled {
        return Err(refuse(format!("user '{user}' is disabled")));
    }
    let Some(token) = state.access.token_config(full) else {
        return Err(refuse(format!("no such token '{name}' for user '{user}'")));
    };
    if token.expire != 0 && token.expire <= now {
        return Err(refuse(format!("token '{name}' access expired")));
    }
    if token.secret != secret {
        return Err(refuse("invalid token value!".to_owned()));
    }
    Ok(Who { user: user.to_owned(), token: Some(name.to_owned()) })
}

/// 9.2 tells everybody the same.
fn refusal(cluster: &Cluster, old: &str) -> ApiError {
    match cluster.config.version {
        Version::V8_4 | Version::V9_0 | Version::V9_1 => ApiError::unauthorized(old),
        Version::V9_2 => ApiError::unauthorized("Authentication failed!"),
    }
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';'));
    let value = pairs.find_map(|pair| pair.trim().strip_prefix("PVEAuthCookie="))?;
    let value = value.trim_matches('"');
    Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
}

/// What follows `name=` or `name `.
fn credential<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    value.strip_prefix(name)?.strip_prefix(['=', ' ']).map(str::trim)
}
