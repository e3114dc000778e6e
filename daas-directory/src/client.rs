//! Speaks LDAP: connections to the servers in turn, each step within its deadline, answers within
//! bounds.

use std::collections::HashSet;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use daas_core::secret::Secret;
use futures::FutureExt;
use ldap3::controls::{Control, ControlType, PagedResults, RawControl};
use ldap3::{
    Ldap, LdapConnAsync, LdapConnSettings, LdapError, LdapResult, Mod, Scope, SearchEntry,
};
use rustls::ClientConfig;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;
use url::Url;

use crate::credentials::Credentials;
use crate::error::{DirectoryError, Settings, code};
use crate::reach::Reach;
use crate::tls;

/// Deletes an entry with all below it (MS-ADTS 3.1.1.3.4.1.15).
const TREE_DELETE: &str = "1.2.840.113556.1.4.805";
/// Pages of one list; with the default size a million entries.
const PAGES_MAX: usize = 2000;
/// Answers that are no entries (references to other servers) in one page.
const REFERENCES_MAX: usize = 100;

/// Values of an attribute.
pub(crate) type Attribute = (&'static str, Vec<Vec<u8>>);

/// One directory, reached through any of its servers.
#[derive(Debug)]
pub(crate) struct Client {
    /// How the settings are called.
    of: &'static Settings,
    reach: Reach,
    tls: Arc<ClientConfig>,
    credentials: Credentials,
    slots: Semaphore,
    /// Room for the binds of others. Apart from `slots`: who holds a place here holds one there and
    /// never waits for another, so that nobody waits for ever.
    proofs: Semaphore,
    /// The server to begin with: the one that answered last.
    first: AtomicUsize,
}

/// A connection that nobody is bound on.
struct Wire {
    server: String,
    ldap: Ldap,
    driver: JoinHandle<()>,
}

/// A connection bound as our own account.
pub(crate) struct Connection<'a> {
    client: &'a Client,
    at: usize,
    wire: Wire,
    _slot: SemaphorePermit<'a>,
}

/// What is searched for, and how deep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query<'a> {
    pub(crate) doing: &'static str,
    pub(crate) base: &'a str,
    pub(crate) scope: Scope,
    pub(crate) filter: &'a str,
    pub(crate) attributes: &'a [&'a str],
}

/// One page: its entries, how the search ended, and where the next page begins (empty: nowhere).
type Page = (Vec<SearchEntry>, LdapResult, Vec<u8>);

impl Client {
    pub(crate) fn new(of: &'static Settings, reach: Reach) -> Result<Self, DirectoryError> {
        reach.check(of)?;
        // Read at once, so that a wrong path is known at the start.
        reach.password(of)?;
        let tls = tls::client_config(of, &reach)?;
        let (slots, proofs) =
            (Semaphore::new(reach.connections), Semaphore::new(reach.connections));
        let (credentials, first) = (Credentials::default(), AtomicUsize::new(0));
        Ok(Self { of, reach, tls, credentials, slots, proofs, first })
    }

    /// A bound connection to the first server that lets us in.
    pub(crate) async fn connect(&self) -> Result<Connection<'_>, DirectoryError> {
        let mut failures = Vec::new();
        for at in self.from(self.first.load(Ordering::Relaxed)) {
            match self.open(at).await {
                Ok(connection) => {
                    self.first.store(at, Ordering::Relaxed);
                    return Ok(connection);
                }
                Err(error) => failures.push(self.passed_over(at, error)?),
            }
        }
        Err(none_left(failures))
    }

    /// What the directory says to a bind as `name`, on a connection that is used for nothing else.
    /// The servers are asked from the `first` on, the next ones only where one does not answer.
    pub(crate) async fn prove(
        &self,
        first: usize,
        name: &str,
        password: &Secret<String>,
    ) -> Result<LdapResult, DirectoryError> {
        if name.is_empty() || password.expose().is_empty() {
            // Either is a bind as nobody, which succeeds (RFC 4513, 5.1).
            return Err(DirectoryError::Nobody);
        }
        let mut failures = Vec::new();
        for at in self.from(first) {
            match self.prove_to(at, name, password).await {
                Ok(result) => return Ok(result),
                Err(error) => failures.push(self.passed_over(at, error)?),
            }
        }
        Err(none_left(failures))
    }

    async fn prove_to(
        &self,
        at: usize,
        name: &str,
        password: &Secret<String>,
    ) -> Result<LdapResult, DirectoryError> {
        let _place = self.proofs.acquire().await.map_err(|_| self.silent(at))?;
        let mut wire = self.dial(at).await?;
        let result = wire.bind(name, password, self.reach.connect_deadline).await?;
        if code::LATER.contains(&result.rc) {
            return Err(DirectoryError::rejected(&wire.server, "bind", &result));
        }
        Ok(result)
    }

    /// The servers, from one of them on.
    fn from(&self, first: usize) -> impl Iterator<Item = usize> + use<> {
        let count = self.reach.servers.len();
        (0..count).map(move |step| (first + step) % count)
    }

    /// Gives the error back to be kept when the next server may fare better, and fails otherwise.
    fn passed_over(
        &self,
        at: usize,
        error: DirectoryError,
    ) -> Result<DirectoryError, DirectoryError> {
        // A wrong password is as wrong elsewhere, and each try counts.
        if !error.is_the_servers() {
            return Err(error);
        }
        tracing::warn!(error = error.chain(), "a directory server is passed over");
        // Now already: who asked may have no time left to try the next one.
        self.first.store((at + 1) % self.reach.servers.len(), Ordering::Relaxed);
        Ok(error)
    }

    async fn open(&self, at: usize) -> Result<Connection<'_>, DirectoryError> {
        let slot = self.slots.acquire().await.map_err(|_| self.silent(at))?;
        let wire = self.dial(at).await?;
        let mut connection = Connection { client: self, at, wire, _slot: slot };
        connection.bind().await?;
        Ok(connection)
    }

    async fn dial(&self, at: usize) -> Result<Wire, DirectoryError> {
        let url = &self.reach.servers[at];
        let server = shown(url);
        let settings = LdapConnSettings::new().set_config(Arc::clone(&self.tls));
        let connecting = guarded(LdapConnAsync::from_url_with_settings(settings, url));
        let connected = tokio::time::timeout(self.reach.connect_deadline, connecting).await;
        let (connection, ldap) = match connected.map_err(|_| self.silent(at))? {
            Some(Ok(connected)) => connected,
            Some(Err(error)) => return Err(unreachable(self.of, server, error)),
            None => return Err(shape(&server, "connect")),
        };
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.drive().await {
                tracing::debug!(%error, "a connection to the directory ended");
            }
        });
        Ok(Wire { server, ldap, driver })
    }

    fn silent(&self, at: usize) -> DirectoryError {
        let server = shown(&self.reach.servers[at]);
        DirectoryError::Silent { server, after: self.reach.connect_deadline }
    }
}

impl Wire {
    /// The server's answer to a simple bind, whatever it is.
    async fn bind(
        &mut self,
        name: &str,
        password: &Secret<String>,
        deadline: Duration,
    ) -> Result<LdapResult, DirectoryError> {
        let binding = guarded(self.ldap.simple_bind(name, password.expose()));
        let bound = tokio::time::timeout(deadline, binding).await;
        let silent = |_| DirectoryError::Silent { server: self.server.clone(), after: deadline };
        answered(&self.server, "bind", bound.map_err(silent)?)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // The server sees the connection close; a driver that is stuck in a write ends too.
        self.driver.abort();
    }
}

impl Connection<'_> {
    /// The server it is with, for messages.
    pub(crate) fn server(&self) -> &str {
        &self.wire.server
    }

    /// Which server it is with.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    async fn bind(&mut self) -> Result<(), DirectoryError> {
        let client = self.client;
        let (of, user) = (client.of, &client.reach.bind_user);
        let password = client.reach.password(of)?;
        let wire = &mut self.wire;
        let word = password.clone();
        let bind = async move || {
            let result = wire.bind(user, &word, client.reach.connect_deadline).await?;
            match result.rc {
                code::SUCCESS => Ok(()),
                _ => Err(DirectoryError::said(of, &wire.server, user, "bind", user, &result)),
            }
        };
        client.credentials.present(of, user, &password, bind).await
    }

    /// The one entry of this name; `None` when the server says that there is none.
    pub(crate) async fn entry(
        &mut self,
        doing: &'static str,
        name: &str,
        attributes: &[&str],
    ) -> Result<Option<SearchEntry>, DirectoryError> {
        let filter = "(objectClass=*)";
        let query = Query { doing, base: name, scope: Scope::Base, filter, attributes };
        let (mut entries, result, _) = self.page(query, Vec::new()).await?;
        match result.rc {
            code::SUCCESS if entries.len() == 1 => Ok(entries.pop()),
            // It is there, yet hidden from us: that is not absence.
            code::SUCCESS => Err(self.forbidden(doing, name)),
            code::NO_SUCH_OBJECT => Ok(None),
            _ => Err(self.said(doing, name, &result)),
        }
    }

    /// All entries, page by page; more than `entries_max` are an error. `None` when the base is not
    /// there. A page that fails fails all.
    pub(crate) async fn search(
        &mut self,
        query: Query<'_>,
        entries_max: usize,
    ) -> Result<Option<Vec<SearchEntry>>, DirectoryError> {
        let (mut all, mut cookie) = (Vec::new(), Vec::new());
        for _ in 0..PAGES_MAX {
            let (entries, result, next) = self.page(query, cookie).await?;
            match result.rc {
                code::SUCCESS => all.extend(entries),
                code::NO_SUCH_OBJECT => return Ok(None),
                _ => return Err(self.said(query.doing, query.base, &result)),
            }
            if all.len() > entries_max {
                let why = format!("more than {entries_max} entries");
                return Err(self.nonsense(query.doing, why));
            }
            if next.is_empty() {
                return Ok(Some(all));
            }
            cookie = next;
        }
        Err(self.nonsense(query.doing, format!("more than {PAGES_MAX} pages")))
    }

    /// Whether there is an entry, by the first page alone. `None` when the base is not there.
    pub(crate) async fn any(&mut self, query: Query<'_>) -> Result<Option<bool>, DirectoryError> {
        let (entries, result, next) = self.page(query, Vec::new()).await?;
        match result.rc {
            code::SUCCESS => Ok(Some(!entries.is_empty() || !next.is_empty())),
            code::NO_SUCH_OBJECT => Ok(None),
            _ => Err(self.said(query.doing, query.base, &result)),
        }
    }

    /// An answer that makes no sense.
    pub(crate) fn nonsense(&self, doing: &'static str, why: String) -> DirectoryError {
        DirectoryError::Shape { server: self.wire.server.clone(), doing, why }
    }

    async fn page(&mut self, query: Query<'_>, cookie: Vec<u8>) -> Result<Page, DirectoryError> {
        let size = self.client.reach.page_size;
        let paged = query.scope != Scope::Base;
        let mut ldap = self.wire.ldap.clone();
        let read = async move {
            if paged {
                ldap.with_controls(PagedResults { size: i32::from(size), cookie });
            }
            let found =
                ldap.streaming_search(query.base, query.scope, query.filter, query.attributes);
            let mut found = found.await?;
            let (mut entries, mut others) = (Vec::new(), 0);
            while let Some(answer) = found.next().await? {
                if answer.is_ref() || answer.is_intermediate() {
                    others += 1;
                } else {
                    entries.push(SearchEntry::construct(answer));
                }
                if entries.len() > usize::from(size) || others > REFERENCES_MAX {
                    return Ok(None);
                }
            }
            let result = found.finish().await;
            let next = next_page(&result);
            Ok(Some((entries, result, next)))
        };
        let page = self.ask(query.doing, read).await?;
        let why = || format!("more than the {size} entries that were asked for");
        page.ok_or_else(|| self.nonsense(query.doing, why()))
    }

    pub(crate) async fn add(
        &mut self,
        name: &str,
        attributes: Vec<Attribute>,
    ) -> Result<LdapResult, DirectoryError> {
        let attributes = attributes
            .into_iter()
            .map(|(kind, values)| (kind.as_bytes().to_vec(), values.into_iter().collect()))
            .collect();
        let mut ldap = self.wire.ldap.clone();
        self.ask("create", async move { ldap.add(name, attributes).await }).await
    }

    /// Puts new values in place of old ones.
    pub(crate) async fn replace(
        &mut self,
        name: &str,
        attributes: Vec<Attribute>,
    ) -> Result<LdapResult, DirectoryError> {
        let replaced = |(kind, values): Attribute| {
            let values: HashSet<Vec<u8>> = values.into_iter().collect();
            Mod::Replace(kind.as_bytes().to_vec(), values)
        };
        let changes: Vec<Mod<Vec<u8>>> = attributes.into_iter().map(replaced).collect();
        let mut ldap = self.wire.ldap.clone();
        self.ask("change", async move { ldap.modify(name, changes).await }).await
    }

    pub(crate) async fn delete_tree(&mut self, name: &str) -> Result<LdapResult, DirectoryError> {
        let control = RawControl { ctype: TREE_DELETE.to_owned(), crit: true, val: None };
        let mut ldap = self.wire.ldap.clone();
        self.ask("remove", async move { ldap.with_controls(vec![control]).delete(name).await })
            .await
    }

    /// What a result that is not success means.
    pub(crate) fn said(
        &self,
        doing: &'static str,
        name: &str,
        result: &LdapResult,
    ) -> DirectoryError {
        let Client { of, reach, .. } = self.client;
        DirectoryError::said(of, self.server(), &reach.bind_user, doing, name, result)
    }

    /// A right that is missing, found out without a refusal.
    pub(crate) fn forbidden(&self, doing: &'static str, name: &str) -> DirectoryError {
        self.said(doing, name, &hidden())
    }

    /// One request within its deadline. After a failure the next connection begins with another
    /// server, or a hung one would be asked for ever.
    async fn ask<T>(
        &self,
        doing: &'static str,
        request: impl Future<Output = Result<T, LdapError>>,
    ) -> Result<T, DirectoryError> {
        let deadline = self.client.reach.request_deadline;
        let answer = match tokio::time::timeout(deadline, guarded(request)).await {
            Ok(answer) => answered(self.server(), doing, answer),
            Err(_) => Err(DirectoryError::NoAnswer {
                server: self.server().to_owned(),
                doing,
                source: None,
            }),
        };
        if answer.is_err() {
            let next = (self.at + 1) % self.client.reach.servers.len();
            self.client.first.store(next, Ordering::Relaxed);
        }
        answer
    }
}

/// What is told when every server was passed over.
fn none_left(mut failures: Vec<DirectoryError>) -> DirectoryError {
    if failures.len() == 1
        && let Some(only) = failures.pop()
    {
        return only;
    }
    let tried: Vec<String> = failures.iter().map(DirectoryError::chain).collect();
    DirectoryError::NoServer { tried: tried.join("; ") }
}

/// ldap3 panics where an answer is not LDAP: `None` then. Nothing of ours is left half done by it,
/// as the connection is given up.
async fn guarded<T>(request: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(request).catch_unwind().await.ok()
}

fn answered<T>(
    server: &str,
    doing: &'static str,
    answer: Option<Result<T, LdapError>>,
) -> Result<T, DirectoryError> {
    match answer {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(error)) => Err(DirectoryError::NoAnswer {
            server: server.to_owned(),
            doing,
            source: Some(Box::new(error)),
        }),
        None => Err(shape(server, doing)),
    }
}

fn shape(server: &str, doing: &'static str) -> DirectoryError {
    DirectoryError::Shape { server: server.to_owned(), doing, why: "not LDAP".to_owned() }
}

/// The result that stands for an entry we may not see.
fn hidden() -> LdapResult {
    LdapResult {
        rc: code::INSUFFICIENT_RIGHTS,
        matched: String::new(),
        text: String::new(),
        refs: Vec::new(),
        ctrls: Vec::new(),
    }
}

fn next_page(result: &LdapResult) -> Vec<u8> {
    let paged = result.ctrls.iter().find_map(|Control(kind, raw)| {
        matches!(kind, Some(ControlType::PagedResults)).then(|| raw.parse::<PagedResults>())
    });
    paged.map(|paged| paged.cookie).unwrap_or_default()
}

/// A failure to connect; a certificate that is not trusted hides in an I/O error.
fn unreachable(of: &'static Settings, server: String, error: LdapError) -> DirectoryError {
    let inner = match &error {
        LdapError::Io { source } => source.get_ref(),
        _ => None,
    };
    match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(why @ rustls::Error::InvalidCertificate(_)) => {
            DirectoryError::Untrusted { of, why: why.to_string(), server }
        }
        _ => DirectoryError::Unreachable { of, server, source: Box::new(error) },
    }
}

/// A server's address without what somebody may have put before the host.
fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| format!("ldaps://{host}"), |port| format!("ldaps://{host}:{port}"))
}
