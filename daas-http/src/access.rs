//! Who calls: decided once for each request, before its handler, from the route's row in the table.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use daas_core::access::{ApiKey, Role, SignIn};
use daas_core::audit::KnownBy;
use daas_core::engine::Caller;
use daas_core::secret::sha256_hex;
use http::uri::{Authority, Uri};
use http::{HeaderMap, Method, StatusCode, header};
use jiff::SignedDuration;

use crate::app::App;
use crate::audit;
use crate::config::{Network, PublicUrl, Tls};
use crate::identity::bearer::{NotBorne, is_token};
use crate::identity::{self, Identity, cookie};
use crate::portal;
use crate::problem::Problem;
use crate::routes::{Pace, Route};
use crate::wrap::RequestId;

/// What every API key begins with, so that leaked ones can be searched for.
pub(crate) const KEY_PREFIX: &str = "daas_";
/// A key's length: the prefix and 256 bits in hexadecimal.
const KEY_BYTES: usize = KEY_PREFIX.len() + 64;
/// A key's use is noted so often at most.
const USED_PERIOD: SignedDuration = SignedDuration::from_hours(24);
/// How long the look-up of a key may take.
const LOOK_UP_DEADLINE: Duration = Duration::from_secs(10);

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Everybody: it tells nothing of anyone.
    Anyone,
    /// Who has a key of this role or a higher one, or has signed in as such.
    Key(Role),
    /// Who has signed in with this role or a higher one: a page for people.
    Person(Role),
    /// The same, and without a key whoever calls from a monitoring network.
    Monitoring,
    /// Whoever calls from one of the networks of the compatible API.
    CompatNetwork,
    /// A guest, with its session's own token, for that session alone.
    Guest,
}

/// Where the connection comes from; put into each request by the server.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Where a request comes from, seen through trusted proxies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) client: IpAddr,
    /// Whether it came over TLS.
    pub(crate) secure: bool,
    /// Whether a trusted proxy brought it.
    proxied: bool,
}

/// Who a request was let in as.
enum Admitted {
    /// Anybody, or known by their address.
    Nobody,
    /// A program with a key or a token.
    Program(Caller, KnownBy),
    /// Somebody in a browser.
    Person(SignIn),
}

/// Lets a request pass to its handler, or not.
pub(crate) async fn guard(
    State((app, route)): State<(App, &'static Route)>,
    mut request: Request,
    next: Next,
) -> Response {
    let origin = Origin {
        client: client(&app, &request),
        secure: is_secure(&app, &request),
        proxied: trusted(&app, peer(&request)),
    };
    if let Err(problem) = app.rates.from(origin.client, route) {
        return problem.into_response();
    }
    let named = host(origin, request.uri(), request.headers());
    let admitted = match admit(&app, route, origin, request.headers(), named.clone()).await {
        Ok(admitted) => admitted,
        Err(problem) if problem.status == StatusCode::UNAUTHORIZED && route.is_for_people() => {
            return portal::to_sign_in(request.method(), request.uri());
        }
        Err(problem) => return problem.into_response(),
    };
    let (caller, path) = (audited(&admitted, route, origin, &request), request.uri().path());
    let allowed = admitted.enough(route);
    let allowed = allowed.and_then(|()| own_site(route, &admitted, &request, named.as_ref()));
    if let Err(problem) = allowed {
        let why = problem.kind.as_str();
        audit::refused(app.audit.as_ref(), route, path, &caller, why).await;
        return problem.into_response();
    }
    if let Some(owner) = &caller.owner
        && let Err(problem) = app.rates.by(owner, route)
    {
        return problem.into_response();
    }
    let path = path.to_owned();
    request.extensions_mut().insert(origin);
    match admitted {
        Admitted::Nobody => {}
        Admitted::Program(caller, _) => {
            request.extensions_mut().insert(caller);
        }
        Admitted::Person(sign_in) => {
            request.extensions_mut().insert(identity::caller(&sign_in));
            request.extensions_mut().insert(sign_in);
        }
    }
    let answer = async {
        let answer = next.run(request);
        match route.pace {
            Pace::Blocks => answer.await,
            Pace::Quick => match tokio::time::timeout(app.config.limits.call_time, answer).await {
                Ok(response) => response,
                Err(_) => Problem::unavailable("it took too long; try again").into_response(),
            },
        }
    };
    audit::around(app.audit.as_ref(), route, &path, &caller, answer).await
}

impl Admitted {
    /// Whether who was let in may call the route.
    fn enough(&self, route: &Route) -> Result<(), Problem> {
        let needs = match route.who {
            Who::Key(role) | Who::Person(role) => role,
            Who::Monitoring => Role::Operator,
            Who::Anyone | Who::CompatNetwork | Who::Guest => return Ok(()),
        };
        match self {
            // Known by their address, which is enough where that is.
            Self::Nobody => Ok(()),
            Self::Program(caller, _) => enough(caller.role, needs),
            Self::Person(sign_in) => enough(sign_in.role, needs),
        }
    }
}

/// Refuses what a page of another site sends in the name of whoever looks at it.
fn own_site(
    route: &Route,
    admitted: &Admitted,
    request: &Request,
    host: Option<&Authority>,
) -> Result<(), Problem> {
    // What a WebSocket carries changes things, and a browser opens one for whatever page it shows.
    let changes = (request.method() != Method::GET && request.method() != Method::HEAD)
        || request.headers().contains_key(header::UPGRADE);
    let lent = is_cross_site(request.headers(), host)
        // A browser always says from where; what does not is no browser, and has no sign-in of its own.
        || (matches!(admitted, Admitted::Person(_)) && !says_its_site(request.headers()));
    if !(changes && lent) {
        return Ok(());
    }
    let why = "a page of another site may not do this";
    Err(match route.who {
        Who::CompatNetwork | Who::Guest => Problem::unauthorized(why),
        _ => Problem::forbidden(why),
    })
}

/// Who calls, for the audit log.
fn audited(admitted: &Admitted, route: &Route, origin: Origin, request: &Request) -> audit::Caller {
    let (owner, role, known_by) = match admitted {
        Admitted::Nobody if route.who == Who::CompatNetwork => (None, None, KnownBy::Network),
        Admitted::Nobody => (None, None, KnownBy::Nobody),
        Admitted::Program(caller, known_by) => {
            (Some(caller.owner.clone()), Some(caller.role), known_by.clone())
        }
        Admitted::Person(sign_in) => {
            let known_by = KnownBy::SignIn(sign_in.id.clone());
            (Some(sign_in.owner.clone()), Some(sign_in.role), known_by)
        }
    };
    let request = request.extensions().get::<RequestId>().map(|RequestId(id)| id.clone());
    audit::Caller { owner, role, known_by, address: origin.client, request }
}

async fn admit(
    app: &App,
    route: &Route,
    origin: Origin,
    headers: &HeaderMap,
    host: Option<Authority>,
) -> Result<Admitted, Problem> {
    let client = origin.client;
    let within = |networks: &[Network]| networks.iter().any(|n| n.contains(client));
    let keyless = match route.who {
        Who::CompatNetwork => within(&app.config.compat.networks),
        Who::Monitoring => {
            !headers.contains_key(header::AUTHORIZATION) && within(&app.config.monitoring_networks)
        }
        _ => false,
    };
    if keyless && client.is_loopback() && !host.is_none_or(|host| is_local_name(&host)) {
        let why = "from this machine call it by address or as localhost; a proxy on this machine \
                   must be among trusted_proxies";
        return Err(Problem::unauthorized(why));
    }
    match route.who {
        // The guest's own token is checked with its report, in one look at the record.
        Who::Anyone | Who::Guest => Ok(Admitted::Nobody),
        Who::CompatNetwork | Who::Monitoring if keyless => Ok(Admitted::Nobody),
        Who::CompatNetwork => Err(Problem::unauthorized("not from this network")),
        Who::Monitoring => caller(app, headers).await,
        Who::Person(_) => match person(app, headers, origin).await? {
            Some(sign_in) => Ok(Admitted::Person(sign_in)),
            None => Err(Problem::unauthorized("sign in first")),
        },
        Who::Key(_) => {
            // A key that is shown speaks, be there a cookie or not.
            if !headers.contains_key(header::AUTHORIZATION)
                && let Some(sign_in) = person(app, headers, origin).await?
            {
                return Ok(Admitted::Person(sign_in));
            }
            caller(app, headers).await
        }
    }
}

fn enough(has: Role, needs: Role) -> Result<(), Problem> {
    if has < needs {
        return Err(Problem::forbidden(format!("this needs the role {}", name(needs))));
    }
    Ok(())
}

/// Who has signed in with the browser that sends this.
async fn person(app: &App, headers: &HeaderMap, origin: Origin) -> Result<Option<SignIn>, Problem> {
    let Some(identity) = &app.identity else { return Ok(None) };
    let Some(token) = cookie::token(headers, origin.secure) else { return Ok(None) };
    let sign_ins = app.engine.store().sign_ins();
    let found = identity.signed_in(&token, sign_ins.as_ref(), app.engine.clock().now());
    let found = tokio::time::timeout(LOOK_UP_DEADLINE, found).await;
    Ok(found.map_err(|_| Problem::unavailable("the store does not answer; try again"))??)
}

/// Whose key the request carries.
async fn caller(app: &App, headers: &HeaderMap) -> Result<Admitted, Problem> {
    let why = "an API key is needed: Authorization: Bearer daas_…";
    let key = bearer(headers).ok_or_else(|| Problem::unauthorized(why))?;
    let unknown = || Problem::unauthorized("the API key is not known; it may have been revoked");
    if let Some(identity) = app.identity.as_deref().filter(|identity| identity.takes_tokens())
        && is_token(key)
    {
        return borne(identity, app, key).await;
    }
    if key.len() != KEY_BYTES || !key.starts_with(KEY_PREFIX) {
        return Err(unknown());
    }
    let keys = app.engine.store().keys();
    let hash = sha256_hex(key);
    let found = tokio::time::timeout(LOOK_UP_DEADLINE, keys.key_by_hash(&hash)).await;
    let late = |_| Problem::unavailable("the store does not answer; try again");
    let found = found.map_err(late)??.ok_or_else(unknown)?;
    let now = app.engine.clock().now();
    if found.ends_at.is_some_and(|end| end <= now) {
        return Err(Problem::unauthorized("the API key has ended; make another one"));
    }
    if found.used_at.is_none_or(|at| at + USED_PERIOD <= now)
        && let Err(error) = keys.see_key(&found.name, now).await
    {
        // It is good all the same.
        tracing::warn!(error = error.chain(), key = found.name, "its use could not be noted");
    }
    let ApiKey { owner, organisation, role, groups, name, .. } = found;
    Ok(Admitted::Program(Caller { owner, organisation, role, groups }, KnownBy::Key(name)))
}

/// Whom a token speaks for that somebody else has signed.
async fn borne(identity: &Identity, app: &App, token: &str) -> Result<Admitted, Problem> {
    let caller = identity.bearer(token, app.engine.clock().now()).await;
    let caller = caller.map_err(|why| match why {
        NotBorne::Refused(why) => Problem::unauthorized("the bearer token is refused").because(why),
        NotBorne::NotEntitled => Problem::forbidden("no group of yours may call this"),
        NotBorne::Away => {
            Problem::unavailable("the keys of the token's issuer cannot be had; try again")
        }
    })?;
    let realm = caller.owner.realm.clone();
    Ok(Admitted::Program(caller, KnownBy::Token(realm)))
}

/// The token in `Authorization: Bearer …`.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A role as in JSON.
pub(crate) fn name(role: Role) -> &'static str {
    role.as_str()
}

/// The nearest address that is not a trusted proxy's.
fn client(app: &App, request: &Request) -> IpAddr {
    let peer = peer(request);
    if !trusted(app, peer) {
        return peer;
    }
    let hops = request.headers().get_all("x-forwarded-for").iter().rev();
    let hops = hops.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
    let mut nearest = peer;
    for hop in hops {
        let Ok(address) = hop.trim().parse::<IpAddr>() else { return NOBODY };
        nearest = address;
        if !trusted(app, address) {
            break;
        }
    }
    nearest
}

/// Whether nobody could read it on its way: our own TLS, or a trusted proxy's, which says so.
fn is_secure(app: &App, request: &Request) -> bool {
    let forwarded = request.headers().get("x-forwarded-proto").and_then(|v| v.to_str().ok());
    let proxied = trusted(app, peer(request)) && forwarded.is_some_and(|s| s.trim() == "https");
    proxied || app.config.tls != Tls::None
}

/// Without a peer (a request made in this process) nobody's address is trusted.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

fn peer(request: &Request) -> IpAddr {
    request.extensions().get::<Peer>().map_or(NOBODY, |Peer(peer)| peer.ip())
}

fn trusted(app: &App, address: IpAddr) -> bool {
    app.config.trusted_proxies.iter().any(|network| network.contains(address))
}

/// The host that a request names, for a trusted proxy the one that was named to it; absent in
/// HTTP/1.0. One that cannot be read is nobody's.
fn host(origin: Origin, uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    let read = |text: &[u8]| {
        Authority::try_from(text).unwrap_or_else(|_| Authority::from_static("unreadable"))
    };
    let forwarded = headers.get_all("x-forwarded-host").iter().next_back();
    if let Some(named) = forwarded.filter(|_| origin.proxied) {
        // The last one: those before it may be the client's own words.
        let last = named.as_bytes().rsplit(|b| *b == b',').next().unwrap_or_default();
        return Some(read(last.trim_ascii()));
    }
    if let Some(authority) = uri.authority() {
        return Some(authority.clone());
    }
    headers.get(header::HOST).map(|named| read(named.as_bytes()))
}

/// Whether a page of another site sent this.
pub(crate) fn is_lent(origin: Origin, uri: &Uri, headers: &HeaderMap) -> bool {
    is_cross_site(headers, host(origin, uri, headers).as_ref())
}

/// The address of this server for the browser that sends this: the one that is configured, or, on
/// this machine alone, the one that it uses. Any other name may be made up by who sends it.
pub(crate) fn own_url(
    app: &App,
    origin: Origin,
    uri: &Uri,
    headers: &HeaderMap,
) -> Option<PublicUrl> {
    if app.config.public_url.is_some() {
        return app.config.public_url.clone();
    }
    let host = host(origin, uri, headers).filter(is_loopback_name)?;
    let scheme = if origin.secure { "https" } else { "http" };
    format!("{scheme}://{host}").parse().ok()
}

fn is_loopback_name(host: &Authority) -> bool {
    let name = host.host();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// Whether a call from this machine was meant for it. If not, a proxy passed it on for somebody
/// else, or a page made its own name point here (DNS rebinding).
fn is_local_name(host: &Authority) -> bool {
    let name = host.host();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

/// Whether a browser says that a page of another site sent this: callers known by their address
/// must not lend it to whatever page they look at.
fn is_cross_site(headers: &HeaderMap, host: Option<&Authority>) -> bool {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    match (text("origin"), host.map(Authority::as_str)) {
        (None, _) => false,
        (Some(origin), Some(host)) => {
            origin.split_once("://").is_none_or(|(_, o)| !o.eq_ignore_ascii_case(host))
        }
        (Some(_), None) => true,
    }
}

/// Whether a browser says from where this was sent, so that [`is_cross_site`] can tell.
fn says_its_site(headers: &HeaderMap) -> bool {
    headers.contains_key("sec-fetch-site") || headers.contains_key(header::ORIGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine_are_told_from_others() {
        let check = |host: &'static str, local: bool| {
            let host = Authority::from_static(host);
            assert_eq!(is_local_name(&host), local, "{host}");
        };
        for host in ["localhost", "LocalHost:5000", "127.0.0.1", "127.0.0.1:5000", "[::1]:5000"] {
            check(host, true);
        }
        for host in ["evil.test", "evil.test:5000", "127.0.0.1.evil.test", "localhost.evil"] {
            check(host, false);
        }
    }

    #[test]
    fn a_page_of_another_site_is_told_from_our_own_and_from_programs() {
        let check = |headers: &[(&'static str, &'static str)], cross: bool| {
            let map: HeaderMap = headers
                .iter()
                .map(|(n, v)| (n.parse().expect("name"), v.parse().expect("value")))
                .collect();
            let host = map.get("host").map(|host| host.as_bytes().try_into().expect("a host"));
            assert_eq!(is_cross_site(&map, host.as_ref()), cross, "{headers:?}");
        };
        check(&[], false);
        check(&[("sec-fetch-site", "same-origin")], false);
        check(&[("sec-fetch-site", "cross-site")], true);
        check(&[("sec-fetch-site", "same-site")], true);
        check(&[("origin", "http://127.0.0.1:5000"), ("host", "127.0.0.1:5000")], false);
        check(&[("origin", "http://evil.test"), ("host", "127.0.0.1:5000")], true);
        check(&[("origin", "null"), ("host", "127.0.0.1:5000")], true);
    }
}
