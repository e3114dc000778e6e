//! A small deployment for the tests of the HTTP face: fake backends, a store in memory, keys.

#![allow(clippy::unwrap_used, dead_code, reason = "shared by several test programs")]

mod screens;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use daas_core::access::{Role, SignInStore};
use daas_core::audit::{
    AuditFilter, AuditKey, AuditLog, AuditPage, AuditSettings, AuditStore, Chain, Entry, Head,
    Placed, SignedHead, Stage,
};
use daas_core::clock::{Clock, ManualClock, TokioClock};
use daas_core::engine::{Caller, Engine, Parts, Running, Settings};
use daas_core::fake::{FakeConfigurator, FakeGuests, FakePlatform, FakeProvisioner, Timing};
use daas_core::identity::{PasswordSource, Person, Refusal, Verdict};
use daas_core::idle::TemplateRules;
use daas_core::ids::{DeploymentId, Organisation, SessionId, SessionPrefix};
use daas_core::layer::{Layer, Layered, ProvisionerLayer};
use daas_core::machine::{Ensured, MachineSpec, Power, Taken};
use daas_core::owner::{Owner, Realms};
use daas_core::progress::Progress;
use daas_core::provisioner::{Console, Examine, Extras, Finding, Place, Places, Provisioner};
use daas_core::secret::{DeploymentKey, Secret};
use daas_core::session::{Phase, Session};
use daas_core::store::quota::Quotas;
use daas_core::store::{SessionStore, memory::MemoryStore};
use daas_core::template::{AddressFrom, CloneMode, ReadyWhen, Template};
use daas_core::{Error, Kind, Operation, Result};
use daas_http::access::Peer;
use daas_http::identity::{Identity, IdentityConfig, Sources};
use daas_http::{Extra, Face, HttpConfig, mint_key};
use http::{Request, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

pub(crate) use self::screens::Screens;

/// How long a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Where callers are, unless a test says otherwise.
pub(crate) const HERE: &str = "127.0.0.1:4711";

pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) face: Face,
    pub(crate) config: HttpConfig,
    pub(crate) platform: Arc<FakePlatform>,
    pub(crate) guests: Arc<FakeGuests>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) away: Arc<AtomicBool>,
    pub(crate) audit: AuditLog,
    /// Whether nothing can be added to the audit log.
    pub(crate) audit_away: Arc<AtomicBool>,
    pub(crate) keys: Keys,
    pub(crate) identity: Arc<Identity>,
    pub(crate) screens: Screens,
    running: Option<Running>,
}

/// One key for each role, and one for another user.
pub(crate) struct Keys {
    pub(crate) alice: String,
    pub(crate) bob: String,
    pub(crate) operator: String,
    pub(crate) admin: String,
}

/// What differs between tests.
#[derive(Default)]
pub(crate) struct Wanted {
    pub(crate) timing: Timing,
    pub(crate) quotas: Quotas,
    /// Absent: `lab` alone.
    pub(crate) templates: Option<Vec<Template>>,
    pub(crate) config: HttpConfig,
    /// The engine's loops are not started: sessions stay as they are asked for.
    pub(crate) idle_engine: bool,
    /// Guests get an account in a directory.
    pub(crate) joining: bool,
    /// Other screens than those of [`Screens`].
    pub(crate) console: Option<Arc<dyn Console>>,
    /// The clock stands still, for files that hold times.
    pub(crate) frozen: bool,
    /// The clock; absent: one that runs, or stands still.
    pub(crate) clock: Option<Arc<ManualClock>>,
    /// Who may sign in; absent: as a newcomer has it, with operators and administrators by group.
    pub(crate) identity: Option<IdentityConfig>,
    /// Where people are known besides.
    pub(crate) sources: Sources,
    /// Nobody is known by a password.
    pub(crate) no_passwords: bool,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Wanted::default()).await
    }

    pub(crate) async fn with(wanted: Wanted) -> Self {
        let deployment = DeploymentId::mint();
        let platform = FakePlatform::with(wanted.timing);
        let store = Arc::new(MemoryStore::of(deployment.clone()));
        let away = Arc::<AtomicBool>::default();
        let provisioner = Fake {
            real: FakeProvisioner::new("fake".parse().unwrap(), deployment, Arc::clone(&platform)),
            looks: Looks(Arc::clone(&away)),
            screens: Screens::default(),
            console: wanted.console,
        };
        let screens = provisioner.screens.clone();
        let guests = FakeGuests::new();
        let make = if wanted.joining { FakeConfigurator::joining } else { FakeConfigurator::new };
        let configurator = make("inside".parse().unwrap(), Arc::clone(&guests));
        let start = "2026-11-20T10:11:12.345Z".parse().unwrap();
        let clock: Arc<dyn Clock> = match wanted.clock {
            Some(clock) => clock,
            None if wanted.frozen => Arc::new(ManualClock::starting_at(start)),
            None => Arc::new(TokioClock::starting_at(start)),
        };
        let engine = Engine::new(Parts {
            store: Arc::clone(&store) as Arc<dyn SessionStore>,
            provisioners: vec![Arc::new(Layered(provisioner))],
            configurators: vec![Arc::new(configurator)],
            policy: Arc::new(TemplateRules),
            templates: wanted.templates.unwrap_or_else(|| vec![template("lab")]),
            clock,
            key: DeploymentKey::new(vec![7; 32]).unwrap(),
            settings: Settings { quotas: wanted.quotas, ..Settings::default() },
        })
        .await
        .unwrap();
        let keys = Keys {
            alice: key(&engine, "alice", Role::User).await,
            bob: key(&engine, "bob", Role::User).await,
            operator: key(&engine, "olga", Role::Operator).await,
            admin: key(&engine, "root", Role::Admin).await,
        };
        let identity = wanted.identity.unwrap_or_else(as_a_newcomer_has_it);
        let realms = Realms::default();
        let mut sources = wanted.sources;
        if !wanted.no_passwords {
            sources.passwords.push(Arc::new(People));
        }
        let identity = Arc::new(Identity::new(identity, realms.clone(), sources).unwrap());
        let audit_away = Arc::<AtomicBool>::default();
        let audit = audit(&store, Arc::clone(&audit_away), &engine).await;
        let extra = Extra {
            audit: Some(audit.clone()),
            zone: Some(jiff::tz::TimeZone::UTC),
            identity: Some(Arc::clone(&identity)),
            realms,
            ..Extra::default()
        };
        let face = Face::new(wanted.config.clone(), engine.clone(), extra);
        let running = (!wanted.idle_engine).then(|| engine.start());
        let config = wanted.config;
        Self {
            engine,
            face,
            config,
            platform,
            guests,
            store,
            away,
            audit,
            audit_away,
            keys,
            identity,
            screens,
            running,
        }
    }

    /// What a server for this world needs.
    pub(crate) fn extra(&self) -> Extra {
        let (identity, audit) = (Some(Arc::clone(&self.identity)), Some(self.audit.clone()));
        Extra { identity, audit, ..Extra::default() }
    }

    pub(crate) async fn stop(mut self) {
        self.face.stop();
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Response {
        send(self.face.main.clone(), request).await
    }

    pub(crate) async fn get(&self, path: &str, key: &str) -> Answer {
        Answer::of(self.send(with_key(request("GET", path), key)).await).await
    }

    pub(crate) async fn delete(&self, path: &str, key: &str) -> Answer {
        Answer::of(self.send(with_key(request("DELETE", path), key)).await).await
    }

    pub(crate) async fn post(&self, path: &str, key: &str, body: impl ToString) -> Answer {
        Answer::of(self.send(with_body(with_key(request("POST", path), key), body)).await).await
    }

    /// A page, as the browser with `cookie` gets it.
    pub(crate) async fn page(&self, path: &str, cookie: &str) -> Answer {
        Answer::of(self.send(with_cookie(request("GET", path), cookie)).await).await
    }

    /// What a form of ours sends.
    pub(crate) async fn submit(&self, path: &str, cookie: &str, fields: &str) -> Answer {
        let mut request = with_cookie(with_fields(request("POST", path), fields), cookie);
        request.headers_mut().insert("sec-fetch-site", "same-origin".parse().unwrap());
        Answer::of(self.send(request).await).await
    }

    /// Signs in; the cookie that the browser keeps.
    pub(crate) async fn sign_in(&self, name: &str) -> String {
        let fields = format!("name={name}&password={RIGHT}");
        let answer = self.submit("/sign-in", "", &fields).await;
        assert_eq!(answer.status, 303, "{}", answer.text);
        answer.header("set-cookie").split(';').next().unwrap().to_owned()
    }

    pub(crate) fn store_sign_ins(&self) -> Arc<dyn SignInStore> {
        self.store.sign_ins()
    }

    pub(crate) async fn record(&self, id: &str) -> Session {
        self.store.get(&id.parse().unwrap()).await.unwrap().unwrap()
    }

    pub(crate) async fn phase(&self, id: &str, phase: Phase) -> Session {
        let id: SessionId = id.parse().unwrap();
        let mut news = self.store.watch();
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                news.borrow_and_update();
                let session = self.store.get(&id).await.unwrap().unwrap();
                if session.phase == phase {
                    return session;
                }
                news.changed().await.unwrap();
            }
        });
        waited.await.unwrap_or_else(|_| panic!("{id} is not {phase} within {PATIENCE:?}"))
    }

    /// The audit log but the entries about itself, oldest first, once what was left behind is written.
    pub(crate) async fn audited(&self) -> Vec<Entry> {
        let wait = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(5));
            loop {
                ticks.tick().await;
                let (all, page) = (AuditFilter::default(), AuditPage::onwards(0, 1_000));
                let found = self.audit.store().entries(&all, &page).await.unwrap();
                let found: Vec<Entry> = found.into_iter().map(|placed| placed.entry).collect();
                let ended = |e: &Entry| {
                    found.iter().any(|d| d.stage == Stage::Done && d.answers == Some(e.number))
                };
                if found.iter().all(|entry| entry.stage != Stage::Asked || ended(entry)) {
                    return found;
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, wait).await.unwrap();
        found.into_iter().filter(|entry| !entry.act.starts_with("log-")).collect()
    }

    /// Has the platform make a machine with our mark whose session the store never heard of.
    pub(crate) async fn machine_without_record(&self) -> String {
        let id = SessionId::mint(&SessionPrefix::default());
        let provisioner = &self.engine.provisioners()[0];
        let spec = MachineSpec {
            session: id.clone(),
            deployment: self.engine.deployment().clone(),
            source: "image".into(),
            clone: CloneMode::default(),
            storage: None,
            pool: None,
            cores: 1,
            memory_mib: 512,
            disk_gib: None,
            network: None,
            address_from: AddressFrom::default(),
            admin_user: "admin".into(),
            ssh_keys: Vec::new(),
        };
        let reservation = provisioner.reserve(&id, &spec, &Taken::default()).await.unwrap();
        let made = async {
            let progress = Progress::silent();
            let ensure =
                async || provisioner.ensure(&reservation, &spec, Power::Running, &progress).await;
            while let Ensured::Underway(underway) = ensure().await.unwrap() {
                let _ = tokio::time::timeout(underway.check_after, underway.wake.heard()).await;
            }
        };
        tokio::time::timeout(PATIENCE, made).await.unwrap();
        id.to_string()
    }

    /// Asks for a desktop as alice and answers its id.
    pub(crate) async fn asked(&self) -> String {
        let made = self.post("/api/v1/sessions", &self.keys.alice, r#"{"template":"lab"}"#).await;
        assert_eq!(made.status, 202, "{}", made.text);
        made.json["id"].as_str().unwrap().to_owned()
    }
}

pub(crate) async fn send(router: axum::Router, mut request: Request<Body>) -> Response {
    if request.extensions().get::<Peer>().is_none() {
        let here: SocketAddr = HERE.parse().unwrap();
        request.extensions_mut().insert(Peer(here));
    }
    tokio::time::timeout(PATIENCE, router.oneshot(request)).await.unwrap().unwrap()
}

pub(crate) fn request(method: &str, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
}

pub(crate) fn from(mut request: Request<Body>, address: &str) -> Request<Body> {
    request.extensions_mut().insert(Peer(SocketAddr::new(address.parse().unwrap(), 4711)));
    request
}

pub(crate) fn with_key(mut request: Request<Body>, key: &str) -> Request<Body> {
    if !key.is_empty() {
        let value = format!("Bearer {key}").parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    request
}

pub(crate) fn with_cookie(mut request: Request<Body>, cookie: &str) -> Request<Body> {
    if !cookie.is_empty() {
        request.headers_mut().insert(header::COOKIE, cookie.parse().unwrap());
    }
    request
}

/// A form's fields.
pub(crate) fn with_fields(mut request: Request<Body>, fields: &str) -> Request<Body> {
    let form = "application/x-www-form-urlencoded".parse().unwrap();
    request.headers_mut().insert(header::CONTENT_TYPE, form);
    *request.body_mut() = Body::from(fields.to_owned());
    request
}

pub(crate) fn with_body(mut request: Request<Body>, body: impl ToString) -> Request<Body> {
    let json = "application/json".parse().unwrap();
    request.headers_mut().insert(header::CONTENT_TYPE, json);
    *request.body_mut() = Body::from(body.to_string());
    request
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = tokio::time::timeout(PATIENCE, body.collect()).await.unwrap().unwrap();
        let text = String::from_utf8(bytes.to_bytes().to_vec()).unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self { status: parts.status.as_u16(), headers: parts.headers, text, json }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|v| v.to_str().unwrap()).unwrap_or_default()
    }
}

pub(crate) fn template(name: &str) -> Template {
    let mut template = Template::new(name.parse().unwrap(), "fake".parse().unwrap(), "image");
    template.ready_when = ReadyWhen::Agent;
    template.configurator = Some("inside".parse().unwrap());
    template
}

fn as_a_newcomer_has_it() -> IdentityConfig {
    IdentityConfig {
        roles: [("Staff@api".to_owned(), Role::Operator), ("root@api".to_owned(), Role::Admin)]
            .into(),
        ..IdentityConfig::default()
    }
}

pub(crate) fn alice() -> Caller {
    Caller {
        owner: Owner { realm: "api".into(), name: "alice".into() },
        organisation: Organisation::default(),
        role: Role::User,
        groups: [].into(),
    }
}

async fn audit(store: &MemoryStore, away: Arc<AtomicBool>, engine: &Engine) -> AuditLog {
    let store = Arc::new(Forgetful { real: store.audit(), away });
    let (deployment, clock) = (engine.deployment().clone(), Arc::clone(engine.clock()));
    let key = AuditKey::mint().unwrap();
    AuditLog::open(store, deployment, key, clock, AuditSettings::default()).await.unwrap()
}

/// An audit log that can be full.
#[derive(Debug)]
struct Forgetful {
    real: Arc<dyn AuditStore>,
    away: Arc<AtomicBool>,
}

#[async_trait::async_trait]
impl AuditStore for Forgetful {
    async fn append(&self, entries: &[Entry]) -> Result<()> {
        if self.away.load(Ordering::SeqCst) {
            let why = "the disk is full";
            return Err(Error::new(Kind::Exhausted, Operation::Store, "audit", why));
        }
        self.real.append(entries).await
    }

    async fn sign(&self, head: &SignedHead) -> Result<()> {
        self.real.sign(head).await
    }

    async fn chains(&self) -> Result<Vec<Chain>> {
        self.real.chains().await
    }

    async fn entries(&self, filter: &AuditFilter, page: &AuditPage) -> Result<Vec<Placed>> {
        self.real.entries(filter, page).await
    }

    async fn heads(&self, after: u64, limit: usize) -> Result<Vec<(u64, SignedHead)>> {
        self.real.heads(after, limit).await
    }

    async fn aged(&self, before: jiff::Timestamp, limit: u64) -> Result<Vec<Head>> {
        self.real.aged(before, limit).await
    }

    async fn forget(&self, marks: &[Head]) -> Result<u64> {
        self.real.forget(marks).await
    }
}

async fn key(engine: &Engine, name: &str, role: Role) -> String {
    let owner = Owner { realm: "api".into(), name: name.into() };
    let now = engine.clock().now();
    let (text, key) = mint_key(name, owner, Organisation::default(), role, now).unwrap();
    engine.store().keys().add_key(&key).await.unwrap();
    text.expose().clone()
}

/// The password of everybody.
pub(crate) const RIGHT: &str = "correct-horse";

/// Those who have keys, with a password each. `ghost` has no source that answers.
#[derive(Debug)]
struct People;

#[async_trait::async_trait]
impl PasswordSource for People {
    fn realm(&self) -> &str {
        "api"
    }

    async fn sign_in(&self, name: &str, password: &Secret<String>) -> Result<Verdict> {
        let name = name.to_lowercase();
        let groups: &[&str] = match name.as_str() {
            "alice" | "bob" => &["students"],
            "olga" => &["staff", "students"],
            "root" => &["root", "staff"],
            "locked" => return Ok(Verdict::Refused(Refusal::Locked)),
            "twofold" => {
                let why = "needs a second factor";
                return Err(Error::new(Kind::Unsupported, Operation::Check, "api", why));
            }
            "ghost" => {
                let why = "no server answers";
                return Err(Error::new(Kind::Unavailable, Operation::Check, "api", why));
            }
            _ => return Ok(Verdict::Refused(Refusal::Unknown)),
        };
        if password.expose() != RIGHT {
            return Ok(Verdict::Refused(Refusal::Password));
        }
        Ok(Verdict::Known(Person {
            display_name: (name == "alice").then(|| "Älice <b>".to_owned()),
            owner: Owner { realm: "api".into(), name },
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        }))
    }
}

/// The fake provisioner, which can also say how its platform is.
#[derive(Debug)]
struct Fake {
    real: FakeProvisioner,
    looks: Looks,
    screens: Screens,
    console: Option<Arc<dyn Console>>,
}

#[derive(Debug, Clone)]
struct Looks(Arc<AtomicBool>);

impl Looks {
    fn reached(&self) -> Result<()> {
        if self.0.load(Ordering::SeqCst) {
            let why = "cannot reach the platform; check its url";
            return Err(Error::new(Kind::Unavailable, Operation::Observe, "fake", why));
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Examine for Looks {
    async fn reachable(&self) -> Result<()> {
        self.reached()
    }

    async fn examine(&self, _: &[Template]) -> Vec<Finding> {
        Vec::new()
    }
}

#[async_trait::async_trait]
impl Places for Looks {
    async fn places(&self) -> Result<Vec<Place>> {
        self.reached()?;
        Ok(vec![Place {
            name: "node1".into(),
            online: true,
            processor: 0.25,
            memory_used_mib: 1024,
            memory_mib: 4096,
        }])
    }
}

impl Layer for Fake {}

impl ProvisionerLayer for Fake {
    fn below(&self) -> &dyn Provisioner {
        &self.real
    }

    fn extras(&self) -> Extras {
        Extras {
            places: Some(Arc::new(self.looks.clone())),
            examine: Some(Arc::new(self.looks.clone())),
            console: self.console.clone().or(Some(Arc::new(self.screens.clone()))),
            ..Extras::default()
        }
    }
}

/// Compares `text` with a file of `tests/golden`; `UPDATE_GOLDEN=1` writes it instead.
pub(crate) fn check_golden(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == text, "{name} differs; it is now:\n{text}\nand was:\n{golden}");
}
