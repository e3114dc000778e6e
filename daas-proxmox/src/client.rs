//! The HTTP client: credentials, errors as Proxmox tells them, and a count of every call.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use daas_core::secret::Secret;
use http::Method;
use reqwest::header::{COOKIE, HeaderName, HeaderValue};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;
use tracing::debug;
use url::Url;

use crate::config::{Credentials, ProxmoxConfig};
use crate::error::ProxmoxError;
use crate::slots::Slots;
use crate::tls;

/// A ticket lasts two hours; it is renewed at half its life (`PVE/AccessControl.pm`).
const TICKET_RENEWAL: Duration = Duration::from_secs(3600);
/// How often a reading that failed on its way is tried again.
const READ_RETRIES: u32 = 2;
/// The longest answer that is read, in bytes; a cluster overview of 10,000 machines has 5 MiB.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How many requests one node has to answer at once, beside the questions to its guests: pveproxy has
/// three workers, and each answers one thing at a time.
const REQUESTS_PER_NODE: usize = 8;

/// How many connections to the address are kept for the next request; sixteen nodes' worth.
const CONNECTIONS_KEPT: usize = 16 * REQUESTS_PER_NODE;

/// What calls are made for; they are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Making and destroying desktops.
    Making,
    /// Looking after desktops at rest.
    Resting,
    /// Anything else: doctor, load, consoles.
    Other,
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::Making => "making",
            Self::Resting => "resting",
            Self::Other => "other",
        }
    }
}

/// Calls made so far.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    making: AtomicU64,
    resting: AtomicU64,
    other: AtomicU64,
}

impl Calls {
    fn counter(&self, purpose: Purpose) -> &AtomicU64 {
        match purpose {
            Purpose::Making => &self.making,
            Purpose::Resting => &self.resting,
            Purpose::Other => &self.other,
        }
    }
}

/// The client. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    http: reqwest::Client,
    base: Url,
    credentials: Credentials,
    ticket: Mutex<Option<Ticket>>,
    calls: Calls,
    /// Who may ask which node now: a crowd that asks at once gets no answer sooner, only more
    /// connections, each with a TLS handshake that a node's few workers must pay for.
    rooms: Slots<String>,
}

#[derive(Debug, Clone)]
struct Ticket {
    cookie: Secret<String>,
    csrf: Secret<String>,
    made_at: Instant,
}

/// What `/access/ticket` answers to a name and a password.
#[derive(Debug, Deserialize)]
pub(crate) struct TicketAnswer {
    ticket: Secret<String>,
    #[serde(rename = "CSRFPreventionToken")]
    csrf: Option<Secret<String>>,
    /// The user, as Proxmox writes the name.
    #[serde(default)]
    pub(crate) username: Option<String>,
    #[serde(rename = "NeedTFA", default)]
    need_tfa: Option<u8>,
}

impl TicketAnswer {
    /// Whether a second factor is asked for before it is a ticket.
    pub(crate) fn is_half(&self) -> bool {
        self.need_tfa.is_some_and(|need| need != 0) || self.ticket.expose().starts_with("PVE:!tfa!")
    }
}

/// The node that `path` asks, empty for what any node answers. None for a question to a guest: its
/// answer may take long, so those have a room of their own ([`crate::agent`]).
fn asked_node(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/nodes/").unwrap_or_default();
    (!rest.contains("/agent/")).then(|| rest.split('/').next().unwrap_or_default())
}

/// Form parameters, in order; a key may repeat.
pub(crate) type Params = Vec<(&'static str, String)>;

impl Client {
    pub(crate) fn new(config: &ProxmoxConfig) -> Result<Self, ProxmoxError> {
        config.check()?;
        let mut builder = reqwest::Client::builder()
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5).min(config.request_deadline))
            .timeout(config.request_deadline)
            // As many as may be busy: one that is closed costs a handshake when it is missed.
            .pool_max_idle_per_host(CONNECTIONS_KEPT)
            .tcp_nodelay(true);
        if let Some(tls) = tls::client_config(config)? {
            builder = builder.tls_backend_preconfigured(tls);
        }
        let http = builder
            .build()
            .map_err(|e| ProxmoxError::Config { field: "url", why: e.to_string() })?;
        Ok(Self(Arc::new(Inner {
            http,
            base: config.url.clone(),
            credentials: config.credentials()?,
            ticket: Mutex::new(None),
            calls: Calls::default(),
            rooms: Slots::default(),
        })))
    }

    /// How many calls were made for `purpose`.
    pub(crate) fn calls(&self, purpose: Purpose) -> u64 {
        self.0.calls.counter(purpose).load(Ordering::Relaxed)
    }

    /// Reads `path`. Tried again when the answer was lost on its way: reading twice is harmless.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        purpose: Purpose,
        path: &str,
        params: Params,
    ) -> Result<T, ProxmoxError> {
        let mut tries = 0;
        let value = loop {
            match self.call(purpose, Method::GET, path, &params).await {
                Err(error) if error.outcome_unknown() && tries < READ_RETRIES => {
                    tries += 1;
                    debug!(path, tries, error = %error, "a reading is tried again");
                    tokio::time::sleep(Duration::from_millis(100) * tries).await;
                }
                answer => break answer?,
            }
        };
        serde_json::from_value(value)
            .map_err(|e| ProxmoxError::Shape { path: path.to_owned(), why: e.to_string() })
    }

    /// Orders something, once: whoever gets no answer must look before ordering again.
    pub(crate) async fn order(
        &self,
        purpose: Purpose,
        method: Method,
        path: &str,
        params: Params,
    ) -> Result<Value, ProxmoxError> {
        self.call(purpose, method, path, &params).await
    }

    async fn call(
        &self,
        purpose: Purpose,
        method: Method,
        path: &str,
        params: &Params,
    ) -> Result<Value, ProxmoxError> {
        let first = self.send(purpose, &method, path, params).await;
        match (&first, &self.0.credentials) {
            // A ticket may have been made void by a restart or a change of key.
            (Err(ProxmoxError::Refused { .. }), Credentials::Password(..)) => {
                *self.0.ticket.lock().await = None;
                self.send(purpose, &method, path, params).await
            }
            _ => first,
        }
    }

    async fn send(
        &self,
        purpose: Purpose,
        method: &Method,
        path: &str,
        params: &Params,
    ) -> Result<Value, ProxmoxError> {
        let _place = match asked_node(path) {
            // A room is never closed.
            Some(node) => {
                self.0.rooms.room(&node.to_owned(), REQUESTS_PER_NODE).acquire_owned().await.ok()
            }
            None => None,
        };
        let mut request = self.0.http.request(method.clone(), self.address(path));
        request = match *method {
            Method::GET | Method::DELETE if params.is_empty() => request,
            Method::GET | Method::DELETE => request.query(params),
            _ => request.form(params),
        };
        for (name, value) in self.authentication(purpose, method).await? {
            request = request.header(name, value);
        }
        self.count(purpose, method);
        let response = request.send().await.map_err(|e| self.lost(method, path, e))?;
        self.read(method, path, response).await
    }

    /// Asks `url` for another protocol on the same connection; a refusal is told as always.
    pub(crate) async fn open(
        &self,
        purpose: Purpose,
        url: Url,
        path: &str,
        headers: &[(HeaderName, &str)],
    ) -> Result<reqwest::Response, ProxmoxError> {
        let mut request = self.0.http.get(url);
        for (name, value) in self.authentication(purpose, &Method::GET).await? {
            request = request.header(name, value);
        }
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        self.count(purpose, &Method::GET);
        let response = request.send().await.map_err(|e| self.lost(&Method::GET, path, e))?;
        if response.status().is_client_error() || response.status().is_server_error() {
            self.read(&Method::GET, path, response).await?;
            let why = "it refuses without an error".to_owned();
            return Err(ProxmoxError::Shape { path: path.to_owned(), why });
        }
        Ok(response)
    }

    async fn read(
        &self,
        method: &Method,
        path: &str,
        mut response: reqwest::Response,
    ) -> Result<Value, ProxmoxError> {
        let status = response.status().as_u16();
        let reason = reason_phrase(&response);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.lost(method, path, e))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                let why = format!("it is longer than {ANSWER_BYTES_MAX} bytes");
                return Err(ProxmoxError::Shape { path: path.to_owned(), why });
            }
            body.extend_from_slice(&chunk);
        }
        if (200..300).contains(&status) {
            let answer: Result<Answer, _> = serde_json::from_slice(&body);
            return answer
                .map(|answer| answer.data)
                .map_err(|e| ProxmoxError::Shape { path: path.to_owned(), why: e.to_string() });
        }
        Err(self.refusal(method, path, status, reason, &body))
    }

    fn refusal(
        &self,
        method: &Method,
        path: &str,
        status: u16,
        reason: Option<String>,
        body: &[u8],
    ) -> ProxmoxError {
        let told: Told = serde_json::from_slice(body).unwrap_or_default();
        // Since 2025 the text is in the body; before, and for some errors always, it is only in the
        // reason phrase.
        let message = told.message.filter(|m| !m.trim().is_empty()).or(reason).unwrap_or_default();
        let message = message.trim().to_owned();
        let (method, path) = (method.to_string(), path.to_owned());
        match status {
            595..=599 => ProxmoxError::Proxy { method, path, status, message },
            401 => {
                let (what, field) = match self.0.credentials {
                    Credentials::Token(_) => ("token", "token"),
                    Credentials::Password(..) => ("ticket", "user and proxmox.password"),
                };
                ProxmoxError::Refused { what, field, message }
            }
            403 => ProxmoxError::Forbidden { message },
            400 => ProxmoxError::Parameters {
                method,
                path,
                message,
                errors: told.errors.unwrap_or_default(),
            },
            _ => ProxmoxError::Said { method, path, status, message },
        }
    }

    fn lost(&self, method: &Method, path: &str, source: reqwest::Error) -> ProxmoxError {
        let url = self.0.base.to_string();
        let mut cause = source.source();
        while let Some(error) = cause {
            if let Some(tls) = rustls_error(error) {
                return ProxmoxError::Untrusted { url, why: tls };
            }
            cause = error.source();
        }
        if source.is_connect() {
            return ProxmoxError::Unreachable { url, source };
        }
        ProxmoxError::NoAnswer { method: method.to_string(), path: path.to_owned(), source }
    }

    /// The headers that prove who we are.
    async fn authentication(
        &self,
        purpose: Purpose,
        method: &Method,
    ) -> Result<Vec<(&'static str, HeaderValue)>, ProxmoxError> {
        let header = |text: String| {
            let mut value = HeaderValue::from_str(&text).map_err(|_| ProxmoxError::Config {
                field: "token",
                why: "holds a character that no header may hold".to_owned(),
            })?;
            value.set_sensitive(true);
            Ok::<_, ProxmoxError>(value)
        };
        match &self.0.credentials {
            Credentials::Token(token) => {
                Ok(vec![("authorization", header(format!("PVEAPIToken={}", token.expose()))?)])
            }
            Credentials::Password(user, password) => {
                let ticket = self.ticket(purpose, user, password).await?;
                let cookie = format!("PVEAuthCookie={}", ticket.cookie.expose());
                let mut headers = vec![(COOKIE.as_str(), header(cookie)?)];
                if *method != Method::GET {
                    headers.push(("csrfpreventiontoken", header(ticket.csrf.expose().clone())?));
                }
                Ok(headers.into_iter().map(|(n, v)| (static_name(n), v)).collect())
            }
        }
    }

    async fn ticket(
        &self,
        purpose: Purpose,
        user: &str,
        password: &Secret<String>,
    ) -> Result<Ticket, ProxmoxError> {
        let mut held = self.0.ticket.lock().await;
        if let Some(ticket) = held.as_ref().filter(|t| t.made_at.elapsed() < TICKET_RENEWAL) {
            return Ok(ticket.clone());
        }
        let answer = self.new_ticket(purpose, user, password).await?;
        if answer.is_half() {
            return Err(ProxmoxError::SecondFactor { user: user.to_owned() });
        }
        let ticket = Ticket {
            cookie: answer.ticket,
            csrf: answer.csrf.unwrap_or_else(|| Secret::from("")),
            made_at: Instant::now(),
        };
        *held = Some(ticket.clone());
        Ok(ticket)
    }

    /// Asks for a ticket. Not tried again: a refusal may count.
    pub(crate) async fn new_ticket(
        &self,
        purpose: Purpose,
        user: &str,
        password: &Secret<String>,
    ) -> Result<TicketAnswer, ProxmoxError> {
        let path = "/access/ticket";
        self.count(purpose, &Method::POST);
        let params = [("username", user), ("password", password.expose())];
        let request = self.0.http.post(self.address(path)).form(&params);
        let response = request.send().await.map_err(|e| self.lost(&Method::POST, path, e))?;
        let value = self.read(&Method::POST, path, response).await?;
        serde_json::from_value(value)
            .map_err(|e| ProxmoxError::Shape { path: path.to_owned(), why: e.to_string() })
    }

    fn count(&self, purpose: Purpose, method: &Method) {
        self.0.calls.counter(purpose).fetch_add(1, Ordering::Relaxed);
        metrics::counter!(
            "daas_hypervisor_calls_total",
            "backend" => "proxmox",
            "purpose" => purpose.as_str(),
            "method" => method.to_string()
        )
        .increment(1);
    }

    /// The whole address of an API path that begins with `/`.
    pub(crate) fn address(&self, path: &str) -> Url {
        let mut url = self.0.base.clone();
        url.set_path(&format!("/api2/json{path}"));
        url
    }
}

fn static_name(name: &str) -> &'static str {
    match name {
        "csrfpreventiontoken" => "csrfpreventiontoken",
        _ => "cookie",
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    data: Value,
}

#[derive(Default, Deserialize)]
struct Told {
    message: Option<String>,
    errors: Option<BTreeMap<String, String>>,
}

fn reason_phrase(response: &reqwest::Response) -> Option<String> {
    let phrase = response.extensions().get::<hyper::ext::ReasonPhrase>()?;
    Some(String::from_utf8_lossy(phrase.as_bytes()).into_owned())
}

/// The TLS library's complaint about the server's certificate, if that is what failed. An I/O error
/// does not name what it wraps as its source, so it is opened by hand.
fn rustls_error(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(io) = error.downcast_ref::<std::io::Error>() {
        return rustls_error(io.get_ref()?);
    }
    match error.downcast_ref::<rustls::Error>()? {
        tls @ (rustls::Error::InvalidCertificate(_) | rustls::Error::General(_)) => {
            Some(tls.to_string())
        }
        _ => None,
    }
}

/// One segment of a path, escaped.
pub(crate) fn segment(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use futures::FutureExt as _;
    use futures::future::join_all;

    use super::*;

    #[test]
    fn the_asked_node_is_in_the_path() {
        assert_eq!(asked_node("/nodes/pve1/qemu/100/config"), Some("pve1"));
        assert_eq!(asked_node("/cluster/resources"), Some(""));
        assert_eq!(asked_node("/nodes/pve1/qemu/100/agent/network-get-interfaces"), None);
    }

    #[tokio::test]
    async fn a_crowd_does_not_open_a_connection_each() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let url = format!("https://{address}").parse().expect("an address");
        let _ = rustls::crypto::ring::default_provider().install_default();
        let token = Secret::new("daas@pve!t=0".to_owned());
        let mut config = ProxmoxConfig::with_token(url, token);
        config.insecure = true;
        let client = Client::new(&config).expect("a client");
        let order = |_| {
            let path = "/nodes/pve1/qemu/100/status/start";
            client.order(Purpose::Making, Method::POST, path, Params::new())
        };
        let mut crowd = join_all((0..100).map(order)).boxed();
        assert!(futures::poll!(&mut crowd).is_pending(), "nobody answers");
        // The kernel has made each connection that was begun.
        let begun = std::iter::from_fn(|| listener.accept().ok()).count();
        assert_eq!(begun, REQUESTS_PER_NODE);
    }
}
