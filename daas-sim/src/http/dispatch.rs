//! One request: faults, body, caller, route, permission, node, parameters, handler, faults again.
//!
//! The order is Proxmox's: a 403 wins over a 400, and an unknown node is noticed between them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use percent_encoding::percent_decode_str;

use super::params::{self, Given, Params};
use super::reply::{Answer, ApiError, encode};
use super::{Connection, Dropped, auth};
use crate::access::Who;
use crate::api::check::{Check, check};
use crate::api::schema::{Args, validate};
use crate::api::{self, Call, Route, options};
use crate::cluster::tasks::TaskFault;
use crate::console::SocketRequest;
use crate::durations::Operation;
use crate::faults::Effect;
use crate::log::Event;

/// The most a body may hold.
const BODY_MAX: usize = 512 << 10;

/// How long a node waits for another one to answer a request it passed on.
const PROXY_MAX: Duration = Duration::from_secs(30);

/// What a request's scripted faults ask for.
#[derive(Debug, Default)]
struct Script {
    task: Option<TaskFault>,
    after: Vec<Effect>,
}

/// Answers a request, or drops its connection.
pub(crate) async fn respond(
    connection: Arc<Connection>,
    mut request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Dropped> {
    let cluster = &connection.cluster;
    if cluster.faults.is_away(&connection.node) {
        return Err(Dropped);
    }
    let last = connection.count();
    let raw = request.uri().path().to_owned();
    let decoded = percent_decode_str(&raw).decode_utf8_lossy();
    let Some(path) = decoded.strip_prefix("/api2/json").map(str::to_owned) else {
        let what = decoded.strip_prefix("/api2/").map_or_else(
            || ApiError::new(404, format!("no such file '{decoded}'")),
            |_| ApiError::not_implemented(format!("no such uri '{decoded}'")),
        );
        return Ok(encode(Err(what), last));
    };
    let method = request.method().as_str().to_owned();
    let effects = cluster.faults.on_request(&method, &path);
    let done = async {
        let (script, early) = before(&connection, effects).await?;
        let answer = match early {
            Some(error) => Err(error),
            None => answer(&connection, &mut request, &path, script.task).await,
        };
        after(&connection, script.after, answer).await
    };
    let answer = done.await;
    let status = match &answer {
        Err(Dropped) => 0,
        Ok(Ok(reply)) => {
            if reply.switch.is_some() {
                101
            } else {
                200
            }
        }
        Ok(Err(error)) => error.status,
    };
    if cluster.config.log_requests {
        let (method, path) = (method.into(), path.into());
        let node = connection.node.clone();
        cluster.log.add(Event::Request { method, path, status, node });
    }
    if status == 401 {
        tokio::time::sleep(cluster.config.unauthorized_delay).await;
    }
    answer.map(|answer| encode(answer, last))
}

/// Acts on the faults that come before the effect; what they answer, if they do.
async fn before(
    connection: &Connection,
    effects: Vec<Effect>,
) -> Result<(Script, Option<ApiError>), Dropped> {
    let mut script = Script::default();
    for effect in effects {
        match effect {
            Effect::Delay(real) => tokio::time::sleep(real).await,
            Effect::ErrorBefore { status, reason } => {
                return Ok((script, Some(ApiError::new(status, reason))));
            }
            Effect::HangBefore => {
                connection.cluster.stopping.cancelled().await;
                return Err(Dropped);
            }
            Effect::DropBefore => return Err(Dropped),
            Effect::FailTask(text) => script.task = Some(TaskFault::Instead(text)),
            Effect::FailTaskAfter(text) => script.task = Some(TaskFault::After(text)),
            later @ (Effect::ErrorAfter { .. } | Effect::HangAfter | Effect::DropAfter) => {
                script.after.push(later);
            }
        }
    }
    Ok((script, None))
}

/// Acts on the faults that come after it.
async fn after(
    connection: &Connection,
    effects: Vec<Effect>,
    mut answer: Answer,
) -> Result<Answer, Dropped> {
    for effect in effects {
        match effect {
            Effect::ErrorAfter { status, reason } => answer = Err(ApiError::new(status, reason)),
            Effect::HangAfter => {
                connection.cluster.stopping.cancelled().await;
                return Err(Dropped);
            }
            Effect::DropAfter => return Err(Dropped),
            _ => {}
        }
    }
    Ok(answer)
}

async fn answer(
    connection: &Connection,
    request: &mut Request<Incoming>,
    path: &str,
    fault: Option<TaskFault>,
) -> Answer {
    let cluster = &connection.cluster;
    let method = request.method().clone();
    if ![Method::GET, Method::POST, Method::PUT, Method::DELETE].contains(&method) {
        return Err(ApiError::not_implemented(format!("method '{method}' not available")));
    }
    let params = parameters(request).await?;
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let found = api::find(method.as_str(), &parts);
    let open = found.as_ref().is_some_and(|(route, _)| matches!(route.check, Check::World));
    let who = match open {
        true => None,
        false => Some(auth::identify(cluster, request.headers(), method != Method::GET)?),
    };
    let Some((route, named)) = found else {
        let why = format!("Method '{method} /{}' not implemented", parts.join("/"));
        return Err(ApiError::not_implemented(why));
    };
    let mut params = params;
    params.extend(named.into_iter().map(|(name, value)| (name.to_owned(), Given::One(value))));
    let args = permitted(connection, route, who.as_ref(), params)?;
    let node = reach(connection, route, &args)?;
    let known: &[options::VmOption] = if route.options { options::ALL } else { &[] };
    let args = validate(args.into_params(), route.params, known)?;
    let drawn = cluster.durations.draw(Operation::Request, 0);
    if !drawn.is_zero() {
        tokio::time::sleep(cluster.clock.scaled(drawn)).await;
    }
    let call = Call {
        cluster: cluster.clone(),
        who: who.unwrap_or_else(|| Who::user("")),
        contacted: connection.node.clone(),
        node,
        args,
        fault,
        socket: SocketRequest::from_request(request),
    };
    let patience = (route.proxied && call.node != connection.node)
        .then(|| cluster.clock.guest_limit(PROXY_MAX));
    let work = (route.handler)(call);
    if method == Method::GET {
        return patient(patience, work).await;
    }
    // What was begun is finished, also when the client goes away; but not when the cluster ends.
    let stopping = cluster.stopping.clone();
    let work = async move { stopping.run_until_cancelled_owned(work).await };
    let work = cluster.tracker.spawn(work);
    let ended = async {
        match work.await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(ApiError::new(599, "Connection closed")),
            Err(error) => Err(ApiError::died(format!("worker died: {error}"))),
        }
    };
    patient(patience, ended).await
}

/// A node that asks another one gives up after a while; what was asked for goes on.
async fn patient(patience: Option<Duration>, work: impl Future<Output = Answer>) -> Answer {
    match patience {
        None => work.await,
        Some(patience) => match tokio::time::timeout(patience, work).await {
            Ok(answer) => answer,
            Err(_) => Err(ApiError::new(596, "Connection timed out")),
        },
    }
}

fn permitted(
    connection: &Connection,
    route: &Route,
    who: Option<&Who>,
    params: Params,
) -> Result<Args, ApiError> {
    let args = Args::unchecked(params);
    check(&connection.cluster, who, &route.check, &args)?;
    Ok(args)
}

/// The node that answers; one that is away, or unknown, is noticed by the node that would proxy.
fn reach(connection: &Connection, route: &Route, args: &Args) -> Result<Arc<str>, ApiError> {
    let Some(name) = args.text("node") else { return Ok(connection.node.clone()) };
    let cluster = &connection.cluster;
    let Some(node) = cluster.node(name) else {
        let why = format!(
            "hostname lookup '{name}' failed - failed to get address info for: {name}: \
             Name or service not known"
        );
        return Err(ApiError::died(why));
    };
    if route.proxied && cluster.faults.is_away(name) {
        return Err(ApiError::new(595, "No route to host"));
    }
    Ok(node.clone())
}

/// The body's parameters, with the query's on top.
async fn parameters(request: &mut Request<Incoming>) -> Result<Params, ApiError> {
    let method = request.method().clone();
    let headers = request.headers();
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(ApiError::not_implemented("chunked transfer encoding not supported"));
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let kind = kind.map(|k| k.split(';').next().unwrap_or_default().trim().to_lowercase());
    let length = request.body().size_hint().exact().unwrap_or(0);
    let mut params = Params::new();
    if length > 0 && (method == Method::GET || method == Method::DELETE) {
        let why = format!("Unexpected content for method '{method}'");
        return Err(ApiError::not_implemented(why));
    }
    if length > BODY_MAX as u64 {
        return Err(ApiError::not_implemented("for data too large"));
    }
    if length > 0 {
        let body = Limited::new(request.body_mut(), BODY_MAX).collect().await;
        let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => ApiError::not_implemented("for data too large"),
            None => ApiError::new(400, "Bad Request"),
        })?;
        let body = body.to_bytes();
        match kind.as_deref() {
            None | Some("" | "application/x-www-form-urlencoded") => {
                params::add_form(&mut params, &body);
            }
            Some("application/json") => params::add_json(&mut params, &body)?,
            Some(other) => {
                return Err(ApiError::new(506, format!("upload '{other}' not implemented")));
            }
        }
    }
    params::add_form(&mut params, request.uri().query().unwrap_or_default().as_bytes());
    Ok(params)
}
