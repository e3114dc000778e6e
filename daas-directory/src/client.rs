//! Speaks LDAP: connections to the servers in turn, each step within its deadline, answers within
//! bounds.

use std::collections::HashSet;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use ldap3::controls::{Control, ControlType, PagedResults, RawControl};
use ldap3::{
    Ldap, LdapConnAsync, LdapConnSettings, LdapError, LdapResult, Mod, Scope, SearchEntry,
};
use rustls::ClientConfig;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;
use url::Url;

use crate::config::DirectoryConfig;
use crate::credentials::Credentials;
use crate::error::{DirectoryError, code};
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
    config: DirectoryConfig,
    tls: Arc<ClientConfig>,
    credentials: Credentials,
    slots: Semaphore,
    /// The server to begin with: the one that answered last.
    first: AtomicUsize,
}

/// A bound connection.
pub(crate) struct Connection<'a> {
    client: &'a Client,
    at: usize,
    server: String,
    ldap: Ldap,
    driver: JoinHandle<()>,
    _slot: SemaphorePermit<'a>,
}

/// What is searched for, and how deep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query<'a> {
    pub(crate) doing: &'static str,
    pub(crate) base: &'a str,
    pub(crate) scope: Scope,
    pub(crate) filter: &'a str,
    pub(crate) attributes: &'static [&'static str],
}

/// One page: its entries, how the search ended, and where the next page begins (empty: nowhere).
type Page = (Vec<SearchEntry>, LdapResult, Vec<u8>);

impl Client {
    pub(crate) fn new(config: DirectoryConfig) -> Result<Self, DirectoryError> {
        config.check()?;
        // Read at once, so that a wrong path is known at the start.
        config.password()?;
        let tls = tls::client_config(&config)?;
        let slots = Semaphore::new(config.connections);
        Ok(Self {
            config,
            tls,
            credentials: Credentials::default(),
            slots,
            first: AtomicUsize::new(0),
        })
    }

    /// A bound connection to the first server that lets us in.
    pub(crate) async fn connect(&self) -> Result<Connection<'_>, DirectoryError> {
        let count = self.config.servers.len();
        let first = self.first.load(Ordering::Relaxed);
        let mut failures = Vec::new();
        for at in (0..count).map(|step| (first + step) % count) {
            match self.open(at).await {
                Ok(connection) => {
                    self.first.store(at, Ordering::Relaxed);
                    return Ok(connection);
                }
                // A wrong password is as wrong elsewhere, and each try counts.
                Err(error) if !error.is_the_servers() => return Err(error),
                Err(error) => {
                    tracing::warn!(error = error.chain(), "a directory server is passed over");
                    failures.push(error);
                }
            }
        }
        if failures.len() == 1
            && let Some(only) = failures.pop()
        {
            return Err(only);
        }
        let tried: Vec<String> = failures.iter().map(DirectoryError::chain).collect();
        Err(DirectoryError::NoServer { tried: tried.join("; ") })
    }

    async fn open(&self, at: usize) -> Result<Connection<'_>, DirectoryError> {
        let url = &self.config.servers[at];
        let server = shown(url);
        let silent = || DirectoryError::Silent {
            server: server.clone(),
            after: self.config.connect_deadline,
        };
        let slot = self.slots.acquire().await.map_err(|_| silent())?;
        let settings = LdapConnSettings::new().set_config(Arc::clone(&self.tls));
        let connecting = guarded(LdapConnAsync::from_url_with_settings(settings, url));
        let connected = tokio::time::timeout(self.config.connect_deadline, connecting).await;
        let (connection, ldap) = match connected.map_err(|_| silent())? {
            Some(Ok(connected)) => connected,
            Some(Err(error)) => return Err(unreachable(server, error)),
            None => return Err(shape(&server, "connect")),
        };
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.drive().await {
                tracing::debug!(%error, "a connection to the directory ended");
            }
        });
        let mut connection = Connection { client: self, at, server, ldap, driver, _slot: slot };
        connection.bind().await?;
        Ok(connection)
    }
}

impl Connection<'_> {
    /// The server it is with, for messages.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    async fn bind(&mut self) -> Result<(), DirectoryError> {
        let (client, server) = (self.client, self.server.clone());
        let password = client.config.password()?;
        let word = password.clone();
        let user = &client.config.bind_user;
        let deadline = client.config.connect_deadline;
        let mut ldap = self.ldap.clone();
        let bind = async move || {
            let binding = ldap.simple_bind(user, word.expose());
            let bound = tokio::time::timeout(deadline, guarded(binding)).await;
            let bound = bound
                .map_err(|_| DirectoryError::Silent { server: server.clone(), after: deadline })?;
            let result = answered(&server, "bind", bound)?;
            match result.rc {
                code::SUCCESS => Ok(()),
                _ => Err(DirectoryError::said(&server, user, "bind", user, &result)),
            }
        };
        client.credentials.present(user, &password, bind).await
    }

    /// The one entry of this name; `None` when the server says that there is none.
    pub(crate) async fn entry(
        &mut self,
        doing: &'static str,
        name: &str,
        attributes: &'static [&'static str],
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

    /// All entries, page by page. `None` when the base is not there. A page that fails fails all.
    pub(crate) async fn search(
        &mut self,
        query: Query<'_>,
    ) -> Result<Option<Vec<SearchEntry>>, DirectoryError> {
        let (mut all, mut cookie) = (Vec::new(), Vec::new());
        for _ in 0..PAGES_MAX {
            let (entries, result, next) = self.page(query, cookie).await?;
            match result.rc {
                code::SUCCESS => all.extend(entries),
                code::NO_SUCH_OBJECT => return Ok(None),
                _ => return Err(self.said(query.doing, query.base, &result)),
            }
            if next.is_empty() {
                return Ok(Some(all));
            }
            cookie = next;
        }
        let why = format!("more than {PAGES_MAX} pages");
        Err(DirectoryError::Shape { server: self.server.clone(), doing: query.doing, why })
    }

    async fn page(&mut self, query: Query<'_>, cookie: Vec<u8>) -> Result<Page, DirectoryError> {
        let size = self.client.config.page_size;
        let paged = query.scope != Scope::Base;
        let mut ldap = self.ldap.clone();
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
        page.ok_or_else(|| DirectoryError::Shape {
            server: self.server.clone(),
            doing: query.doing,
            why: format!("more than the {size} entries that were asked for"),
        })
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
        let mut ldap = self.ldap.clone();
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
        let mut ldap = self.ldap.clone();
        self.ask("change", async move { ldap.modify(name, changes).await }).await
    }

    pub(crate) async fn delete_tree(&mut self, name: &str) -> Result<LdapResult, DirectoryError> {
        let control = RawControl { ctype: TREE_DELETE.to_owned(), crit: true, val: None };
        let mut ldap = self.ldap.clone();
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
        DirectoryError::said(&self.server, &self.client.config.bind_user, doing, name, result)
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
        let deadline = self.client.config.request_deadline;
        let answer = match tokio::time::timeout(deadline, guarded(request)).await {
            Ok(answer) => answered(&self.server, doing, answer),
            Err(_) => {
                Err(DirectoryError::NoAnswer { server: self.server.clone(), doing, source: None })
            }
        };
        if answer.is_err() {
            let next = (self.at + 1) % self.client.config.servers.len();
            self.client.first.store(next, Ordering::Relaxed);
        }
        answer
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        // The server sees the connection close; a driver that is stuck in a write ends too.
        self.driver.abort();
    }
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
fn unreachable(server: String, error: LdapError) -> DirectoryError {
    let inner = match &error {
        LdapError::Io { source } => source.get_ref(),
        _ => None,
    };
    match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(why @ rustls::Error::InvalidCertificate(_)) => {
            DirectoryError::Untrusted { why: why.to_string(), server }
        }
        _ => DirectoryError::Unreachable { server, source: Box::new(error) },
    }
}

/// A server's address without what somebody may have put before the host.
fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| format!("ldaps://{host}"), |port| format!("ldaps://{host}:{port}"))
}
