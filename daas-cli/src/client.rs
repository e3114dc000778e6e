//! The REST client: one method per route, every refusal with its way out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::args::ClientArgs;
use crate::exit::{Code, Failure, Outcome};
use crate::output::tell;
use crate::wire::{Ask, Quarantine, Refusal, Session, Sessions, Template, Templates};

const DEFAULT_SERVER: &str = "http://127.0.0.1:5000";
/// The pause between two looks at something that is waited for.
const LOOK_PERIOD: Duration = Duration::from_millis(250);

/// The client's own settings file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ClientFile {
    server: Option<String>,
    key_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

/// A server and how to speak to it.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    server: String,
    key: Option<String>,
}

impl Client {
    /// A client as flags, environment and file say.
    pub(crate) fn new(args: &ClientArgs) -> Outcome<Self> {
        let file = client_file()?;
        let server = args.server.clone().or(file.server).unwrap_or(DEFAULT_SERVER.to_owned());
        let key = match args.key_file.as_ref().or(file.key_file.as_ref()) {
            Some(path) => Some(read(path)?.trim().to_owned()),
            None => None,
        };
        Self::connect(server, key, args.ca_file.as_ref().or(file.ca_file.as_ref()))
    }

    /// A client of `server`.
    pub(crate) fn connect(
        server: String,
        key: Option<String>,
        ca_file: Option<&PathBuf>,
    ) -> Outcome<Self> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(256)
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true);
        if let Some(path) = ca_file {
            let pem = read(path)?;
            let certificates = reqwest::Certificate::from_pem_bundle(pem.as_bytes())
                .map_err(|e| Failure::new(Code::Usage, format!("{}: {e}", path.display())))?;
            builder = builder.tls_certs_only(certificates);
        }
        let server = check_server(&server)?;
        let key = key.map(check_key).transpose()?;
        let http = builder.build().map_err(|e| Failure::new(Code::Failed, e.to_string()))?;
        Ok(Self { http, server, key })
    }

    pub(crate) async fn ask(&self, ask: &Ask, idempotency_key: &str) -> Outcome<Session> {
        let request = self
            .request(Method::POST, "/api/v1/sessions")
            .header("Idempotency-Key", idempotency_key)
            .json(ask);
        self.read(request).await
    }

    pub(crate) async fn session(&self, id: &str) -> Outcome<Session> {
        self.read(self.request(Method::GET, &path(id, ""))).await
    }

    pub(crate) async fn sessions(&self, query: &[(&str, String)]) -> Outcome<Vec<Session>> {
        let mut all = Vec::new();
        let mut page: Option<String> = None;
        loop {
            let mut request = self.request(Method::GET, "/api/v1/sessions").query(query);
            if let Some(token) = &page {
                request = request.query(&[("page", token)]);
            }
            let answer: Sessions = self.read(request).await?;
            all.extend(answer.sessions);
            match answer.next {
                Some(next) => page = Some(next),
                None => return Ok(all),
            }
        }
    }

    pub(crate) async fn destroy(&self, id: &str) -> Outcome<Session> {
        self.read(self.request(Method::DELETE, &path(id, ""))).await
    }

    pub(crate) async fn act(&self, id: &str, act: &str) -> Outcome<Session> {
        self.read(self.request(Method::POST, &path(id, &format!("/{act}")))).await
    }

    pub(crate) async fn extend(&self, id: &str, by: Duration) -> Outcome<Session> {
        let body = json!({"seconds": by.as_secs()});
        self.read(self.request(Method::POST, &path(id, "/extend")).json(&body)).await
    }

    pub(crate) async fn rdp_file(&self, id: &str) -> Outcome<Vec<u8>> {
        let response = self.send(self.request(Method::GET, &path(id, "/rdp"))).await?;
        let bytes = response.bytes().await;
        Ok(bytes.map_err(|e| self.unreachable(&e))?.to_vec())
    }

    /// What the last comparison with the hypervisors found.
    pub(crate) async fn quarantine(&self) -> Outcome<Quarantine> {
        self.read(self.request(Method::GET, "/api/v1/quarantine")).await
    }

    pub(crate) async fn end_quarantined(&self, id: &str) -> Outcome<Session> {
        let path = format!("/api/v1/quarantine/{id}");
        self.read(self.request(Method::DELETE, &path)).await
    }

    /// The audit log, as it comes.
    pub(crate) async fn audit_export(&self) -> Outcome<reqwest::Response> {
        let request = self.request(Method::GET, "/api/v1/audit/export");
        self.send(request.timeout(Duration::from_secs(3600))).await
    }

    pub(crate) async fn templates(&self) -> Outcome<Vec<Template>> {
        let answer: Templates = self.read(self.request(Method::GET, "/api/v1/templates")).await?;
        Ok(answer.templates)
    }

    /// A session's events after the one with the id `after`, as a stream of server-sent events.
    pub(crate) async fn events(&self, id: &str, after: Option<&str>) -> Outcome<reqwest::Response> {
        let request = self
            .request(Method::GET, &path(id, "/events"))
            .header("accept", "text/event-stream")
            .timeout(Duration::from_secs(24 * 3600));
        let request = match after {
            Some(after) => request.header("last-event-id", after),
            None => request,
        };
        self.send(request).await
    }

    /// Reads a session until `done` says so, telling `seen` each time. A server that is away for a
    /// moment is asked again.
    pub(crate) async fn until(
        &self,
        id: &str,
        deadline: Duration,
        mut seen: impl FnMut(&Session),
        done: impl Fn(&Session) -> bool,
    ) -> Outcome<Session> {
        let waiting = async {
            loop {
                let session = self.patiently(async || self.session(id).await).await?;
                seen(&session);
                if done(&session) {
                    return Ok(session);
                }
                tokio::time::sleep(LOOK_PERIOD).await;
            }
        };
        match tokio::time::timeout(deadline, waiting).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::new(
                Code::Failed,
                format!("{id}: not done within {}", humantime::format_duration(deadline)),
            )),
        }
    }

    /// Asks again as long as the server is away, and says so once. The caller bounds it.
    pub(crate) async fn patiently<T>(&self, ask: impl AsyncFn() -> Outcome<T>) -> Outcome<T> {
        let mut away = false;
        loop {
            match ask().await {
                Err(failure) if failure.code == Code::Unavailable => {
                    if !away {
                        tell(&format!("{failure}; trying again (Ctrl-C: give up)"));
                        away = true;
                    }
                }
                answer => return answer,
            }
            tokio::time::sleep(LOOK_PERIOD).await;
        }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.server));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    async fn read<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Outcome<T> {
        let response = self.send(request).await?;
        let value: Value = response.json().await.map_err(|e| self.unreachable(&e))?;
        serde_json::from_value(value).map_err(|e| {
            Failure::new(Code::Failed, format!("{}: not a daas server? {e}", self.server))
        })
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Outcome<reqwest::Response> {
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let refusal: Refusal = response.json().await.unwrap_or_default();
        Err(refused(status, refusal))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            text = inner.to_string();
            cause = inner.source();
        }
        let message = format!("cannot reach {}: {text}", self.server);
        let hint = if text.contains("ertificate") {
            "give the server's certificate with --ca-file"
        } else if text.contains("InvalidContentType") {
            "it speaks no TLS: write its address with http://"
        } else if text.contains("invalid HTTP version") {
            "it speaks no plain HTTP: write its address with https://"
        } else {
            "check --server, or ask whoever runs it whether it is up"
        };
        Failure::new(Code::Unavailable, message).hint(hint)
    }
}

fn refused(status: StatusCode, refusal: Refusal) -> Failure {
    let code = match status.as_u16() {
        400 => Code::Usage,
        401 | 403 => Code::Denied,
        404 => Code::NotFound,
        409 => Code::Conflict,
        429 => Code::Exhausted,
        503 => Code::Unavailable,
        _ => Code::Failed,
    };
    let failure = Failure::new(code, message(status, &refusal));
    match (status.as_u16(), refusal.request_id) {
        (401, _) => failure.hint("give an API key with --key-file; `daas key add` makes one"),
        (500.., Some(id)) => failure.hint(format!("tell whoever runs it the request id {id}")),
        _ => failure,
    }
}

/// What went wrong, and of its details what they add.
fn message(status: StatusCode, refusal: &Refusal) -> String {
    let error = refusal.error.as_str();
    let details = refusal.details.as_deref().unwrap_or_default();
    let more = details.split_once(error).map_or(details, |(_, more)| more);
    match (error, more.trim_start_matches([':', ' '])) {
        ("", "") => format!("the server answered {status}"),
        ("", more) => more.to_owned(),
        (error, "") => error.to_owned(),
        (error, more) => format!("{error}: {more}"),
    }
}

fn path(id: &str, rest: &str) -> String {
    format!("/api/v1/sessions/{id}{rest}")
}

/// The server's address without a slash at its end.
fn check_server(text: &str) -> Outcome<String> {
    let wrong = |hint: String| {
        Failure::new(Code::Usage, format!("{text:?} is not a server's address")).hint(hint)
    };
    match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ if text.contains("://") => Err(wrong(format!("write it as {DEFAULT_SERVER}"))),
        _ => Err(wrong(format!("write it with http:// or https:// before it: http://{text}"))),
    }
}

/// A key as it may travel in a header.
fn check_key(key: String) -> Outcome<String> {
    if !key.is_empty() && key.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(key);
    }
    Err(Failure::new(Code::Usage, "the key file holds no API key")
        .hint("a key begins with daas_ and is the file's only line"))
}

fn client_file() -> Outcome<ClientFile> {
    let home = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")));
    let Some(path) = home.map(|home| home.join("daas/client.toml")).filter(|p| p.exists()) else {
        return Ok(ClientFile::default());
    };
    toml::from_str(&read(&path)?)
        .map_err(|e| Failure::new(Code::Usage, format!("{}: {e}", path.display())))
}

fn read(path: &Path) -> Outcome<String> {
    std::fs::read_to_string(path)
        .map_err(|e| Failure::new(Code::Usage, format!("cannot read {}: {e}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_shown_for_what_they_add() {
        let check = |error: &str, details: &str, shown: &str| {
            let details = Some(details.to_owned());
            let refusal = Refusal { error: error.to_owned(), details, request_id: None };
            assert_eq!(message(StatusCode::NOT_FOUND, &refusal), shown);
        };
        check("a: gone", "", "a: gone");
        check("a: gone", "request a: gone", "a: gone");
        check("a: gone", "request a: gone: the disk is away", "a: gone: the disk is away");
        check("it failed", "the disk is away", "it failed: the disk is away");
        check("", "", "the server answered 404 Not Found");
    }

    #[test]
    fn a_servers_address_is_checked_before_it_is_asked() {
        for good in ["http://127.0.0.1:5000", "https://daas.lab/", "http://[::1]:5000"] {
            assert_eq!(check_server(good).expect(good), good.trim_end_matches('/'));
        }
        for bad in ["", "nonsense", "127.0.0.1:5000", "localhost:5000", "http://", "ftp://a"] {
            let failure = check_server(bad).expect_err(bad);
            assert_eq!(failure.code, Code::Usage, "{bad}");
            assert!(failure.hint.is_some_and(|hint| hint.contains("http://")), "{bad}");
        }
    }

    #[test]
    fn a_file_that_holds_no_key_is_told_from_a_wrong_key() {
        assert!(check_key("daas_00".to_owned()).is_ok());
        for bad in ["", "two words", "a\nb", "caf\u{e9}"] {
            assert!(check_key(bad.to_owned()).is_err(), "{bad:?}");
        }
    }
}
