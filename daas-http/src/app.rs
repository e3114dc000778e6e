//! What all handlers share.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use daas_core::audit::AuditLog;
use daas_core::engine::Engine;
use daas_core::owner::Realms;
use jiff::tz::TimeZone;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::HttpConfig;
use crate::gateway::Gateway;
use crate::health::{Load, Readiness, Ready};
use crate::identity::Identity;
use crate::portal::Kept;
use crate::rate::Rates;
use crate::v1::seats::Seats;

/// What the server needs but does not make itself.
#[derive(Clone, Default)]
pub struct Extra {
    /// The recorder whose metrics `/metrics` shows besides our own gauges.
    pub metrics: Option<PrometheusHandle>,
    /// The zone of the compatible API's local times; absent: this machine's.
    pub zone: Option<TimeZone>,
    /// Which spellings of an owner are one.
    pub realms: Realms,
    /// Who may sign in; absent: nobody, and callers have API keys alone.
    pub identity: Option<Arc<Identity>>,
    /// Where it is written who did what; absent: nowhere.
    pub audit: Option<AuditLog>,
}

impl std::fmt::Debug for Extra {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Extra").field("realms", &self.realms).finish_non_exhaustive()
    }
}

/// What all handlers share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<Shared>);

/// The shared things.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) config: HttpConfig,
    pub(crate) metrics: Option<PrometheusHandle>,
    pub(crate) zone: TimeZone,
    pub(crate) realms: Realms,
    pub(crate) identity: Option<Arc<Identity>>,
    pub(crate) audit: Option<AuditLog>,
    /// Cancelled when the server stops: what blocks by design ends then.
    pub(crate) stopping: CancellationToken,
    /// Work that outlives its request: the end of abandoned desktops.
    pub(crate) tasks: TaskTracker,
    /// Event streams that may still be opened.
    pub(crate) streams: Seats,
    pub(crate) gateway: Gateway,
    pub(crate) readiness: Readiness,
    pub(crate) seen: Seen,
    pub(crate) rates: Rates,
}

/// What the pages show as it was seen last.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) ready: Kept<Ready>,
    pub(crate) places: Kept<BTreeMap<String, Load>>,
}

impl App {
    pub(crate) fn new(config: HttpConfig, engine: Engine, extra: Extra) -> Self {
        Self(Arc::new(Shared {
            engine,
            metrics: extra.metrics,
            zone: extra.zone.unwrap_or_else(TimeZone::system),
            realms: extra.realms,
            identity: extra.identity,
            audit: extra.audit,
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
            streams: Seats::new(
                "event streams",
                config.limits.streams,
                config.limits.streams_of_one,
            ),
            gateway: Gateway::new(&config.gateway),
            readiness: Readiness::default(),
            seen: Seen::default(),
            rates: Rates::new(config.limits.calls_of_address, config.limits.calls_of_caller),
            config,
        }))
    }
}

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
