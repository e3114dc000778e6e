//! Plays the activity reporter of a desktop: it tells the orchestrator who works at it.
//!
//! Real guests run a script as the unit [`UNIT`]; a drawn guest runs this instead, with the same
//! settings file and the same reports: at once when a client comes or goes, soon after input, and
//! every period. A report that could not be delivered is made anew, not stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::DrawnGuest;
use super::activity::SessionView;
use super::disk::{LogKind, Who};
use super::drawn_guest::Native;
use super::live::Live;

/// The unit that is the activity reporter.
pub(super) const UNIT: &str = "daas-activity.service";

const SETTINGS: &str = "/etc/daas/activity.env";

/// How long one report may take.
const POST_MAX: Duration = Duration::from_secs(10);

/// After a failure the next attempt comes this much later, or after a period if that is shorter.
const RETRY: Duration = Duration::from_secs(2);

/// Between two reports that only tell of input.
const INPUT_PAUSE: Duration = Duration::from_secs(1);

struct Settings {
    url: String,
    token_file: String,
    ca_file: Option<String>,
    period: Duration,
}

impl DrawnGuest {
    /// Starts reporting; a reporter that runs already is replaced.
    pub(super) fn start_reporter(&self) {
        let Some(native) = self.begin_native(UNIT) else { return };
        let Native { guest, live, stop, running } = native;
        live.clone().spawn(async move {
            let _running = running;
            let reason = tokio::select! {
                () = stop.cancelled() => return,
                reason = report(&guest, &live) => reason,
            };
            guest.unit_failed(UNIT, &reason);
        });
    }
}

/// Reports until it is stopped; answers why it could not even begin.
async fn report(guest: &Arc<DrawnGuest>, live: &Arc<Live>) -> String {
    let (settings, client) = match settings(guest).and_then(|s| client(guest, &s).map(|c| (s, c))) {
        Ok(ready) => ready,
        Err(reason) => return reason,
    };
    loop {
        let changes = guest.activity().changes();
        let sessions = guest.activity_now();
        let began = Instant::now();
        let pause = match post(guest, live, &settings, &client, &sessions).await {
            Ok(()) => settings.period,
            Err(reason) => {
                let text = format!("activity report failed: {reason}");
                guest.note(LogKind::System, "root", text);
                RETRY.min(settings.period)
            }
        };
        let until = began + pause;
        tokio::select! {
            () = sleep_until(until) => {}
            () = news(guest, changes, &sessions, began + INPUT_PAUSE) => {}
        }
    }
}

/// Waits until there is something new to tell since `told`; mere input is told from `earliest` on.
async fn news(
    guest: &DrawnGuest,
    first: impl Future<Output = ()>,
    told: &[SessionView],
    earliest: Instant,
) {
    first.await;
    let connections = |sessions: &[SessionView]| {
        let each = sessions.iter().map(|s| (s.user.clone(), s.connected));
        each.collect::<Vec<_>>()
    };
    let pause = sleep_until(earliest);
    tokio::pin!(pause);
    loop {
        let more = guest.activity().changes();
        if connections(&guest.activity_now()) != connections(told) {
            return;
        }
        tokio::select! {
            () = &mut pause => return,
            () = more => {}
        }
    }
}

async fn post(
    guest: &DrawnGuest,
    live: &Live,
    settings: &Settings,
    client: &reqwest::Client,
    sessions: &[SessionView],
) -> Result<(), String> {
    let token = read(guest, &settings.token_file)?;
    let sessions: Vec<Value> = sessions
        .iter()
        .map(|session| {
            json!({
                "user": session.user,
                "display": session.display,
                "state": if session.connected { "connected" } else { "disconnected" },
                "idle_seconds": session.idle.as_secs(),
                "state_seconds": session.in_state.as_secs(),
            })
        })
        .collect();
    let body = json!({
        "sessions": sessions,
        "uptime_seconds": live.since.elapsed().as_secs(),
        "boot_id": live.boot_id,
    });
    let request = client.post(&settings.url).bearer_auth(token.trim()).json(&body);
    let answer = request.send().await.map_err(|error| chain(&error))?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(format!("{} answered {status}", settings.url)),
    }
}

fn client(guest: &DrawnGuest, settings: &Settings) -> Result<reqwest::Client, String> {
    // Another part of the process may have chosen it already; it is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder().timeout(POST_MAX).no_proxy();
    if let Some(path) = &settings.ca_file {
        let pem = read(guest, path)?;
        let certificates = reqwest::Certificate::from_pem_bundle(pem.as_bytes())
            .map_err(|error| format!("{path}: {error}"))?;
        builder = builder.tls_certs_only(certificates);
    }
    builder.build().map_err(|error| chain(&error))
}

fn settings(guest: &DrawnGuest) -> Result<Settings, String> {
    let text = read(guest, SETTINGS)?;
    let values: BTreeMap<&str, &str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim().trim_matches(['"', '\''])))
        .collect();
    let needed = |name: &str| {
        values.get(name).map(|value| (*value).to_owned()).ok_or(format!("{SETTINGS}: no {name}"))
    };
    let period = match values.get("DAAS_ACTIVITY_PERIOD_SECONDS") {
        Some(text) => match text.parse::<f64>() {
            Ok(seconds) if (0.05..=86_400.0).contains(&seconds) => Duration::from_secs_f64(seconds),
            _ => return Err(format!("{SETTINGS}: bad DAAS_ACTIVITY_PERIOD_SECONDS")),
        },
        None => Duration::from_secs(30),
    };
    Ok(Settings {
        url: needed("DAAS_ACTIVITY_URL")?,
        token_file: needed("DAAS_ACTIVITY_TOKEN_FILE")?,
        ca_file: values.get("DAAS_ACTIVITY_CA_FILE").map(|path| (*path).to_owned()),
        period,
    })
}

fn read(guest: &DrawnGuest, path: &str) -> Result<String, String> {
    let read = guest.with_disk(|disk| disk.read(&Who::root(), path));
    let bytes = read.map_err(|error| format!("{path}: {error}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
