//! What the server answers, as far as this program reads it. Unknown fields are ignored, so that a
//! newer server does not break an older client.

use serde::{Deserialize, Serialize};

/// A session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) label: Option<String>,
    #[serde(default)]
    pub(crate) owner: Option<String>,
    pub(crate) template: String,
    #[serde(default)]
    pub(crate) lifetime: String,
    pub(crate) goal: String,
    pub(crate) phase: String,
    #[serde(default)]
    pub(crate) reason: String,
    pub(crate) created_at: String,
    #[serde(default)]
    pub(crate) ready_at: Option<String>,
    #[serde(default)]
    pub(crate) ended_at: Option<String>,
    #[serde(default)]
    pub(crate) outcome: Option<String>,
    #[serde(default)]
    pub(crate) failure: Option<String>,
    #[serde(default)]
    pub(crate) address: Option<String>,
    #[serde(default)]
    pub(crate) rdp_port: Option<u16>,
    #[serde(default)]
    pub(crate) session_user: Option<String>,
    #[serde(default)]
    pub(crate) progress: Option<Progress>,
    #[serde(default)]
    pub(crate) estimate: Option<Estimate>,
}

impl Session {
    pub(crate) fn is_ready(&self) -> bool {
        self.phase == "ready"
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.phase == "ended"
    }

    /// Whether it will never be ready: it is on its way out, or an operator must look.
    pub(crate) fn is_over(&self) -> bool {
        self.goal == "gone" || matches!(self.phase.as_str(), "ended" | "parked" | "lost")
    }

    /// What is being done, in the server's words.
    pub(crate) fn doing(&self) -> &str {
        self.progress.as_ref().map_or(&self.reason, |progress| &progress.what)
    }

    /// Why it ended, if it failed.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// `address:port` for an RDP client.
    pub(crate) fn rdp_address(&self) -> Option<String> {
        let port = self.rdp_port.unwrap_or(3389);
        self.address.as_ref().map(|address| {
            if address.contains(':') {
                format!("[{address}]:{port}")
            } else {
                format!("{address}:{port}")
            }
        })
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) what: String,
    #[serde(default)]
    pub(crate) fraction: Option<f32>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Estimate {
    #[serde(default)]
    pub(crate) ready_in_seconds: Option<f64>,
    #[serde(default)]
    pub(crate) queue_place: Option<usize>,
}

/// A page of sessions.
#[derive(Debug, Deserialize)]
pub(crate) struct Sessions {
    pub(crate) sessions: Vec<Session>,
    #[serde(default)]
    pub(crate) next: Option<String>,
}

/// A template.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Template {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) title: String,
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) cores: u32,
    #[serde(default)]
    pub(crate) memory_mib: u64,
    #[serde(default)]
    pub(crate) lifetime: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Templates {
    pub(crate) templates: Vec<Template>,
}

/// A refusal.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Refusal {
    #[serde(default)]
    pub(crate) error: String,
    #[serde(default)]
    pub(crate) details: Option<String>,
    #[serde(default)]
    pub(crate) request_id: Option<String>,
}

/// A wish for a session.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Ask {
    pub(crate) template: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_password: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lifetime: Option<String>,
}

/// What the last comparison with the hypervisors found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Quarantine {
    #[serde(default)]
    pub(crate) at: Option<String>,
    #[serde(default)]
    pub(crate) orphans: Vec<FoundMachine>,
    #[serde(default)]
    pub(crate) quarantined: Vec<FoundMachine>,
    #[serde(default)]
    pub(crate) duplicates: Vec<FoundMachine>,
    #[serde(default)]
    pub(crate) left_alone: Vec<FoundMachine>,
    #[serde(default)]
    pub(crate) braked: bool,
    #[serde(default)]
    pub(crate) failures: Vec<String>,
    #[serde(default)]
    pub(crate) effects: Option<Effects>,
}

/// What the last comparison with directories and their like found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Effects {
    #[serde(default)]
    pub(crate) orphans: Vec<FoundEffect>,
    #[serde(default)]
    pub(crate) unknown: Vec<FoundEffect>,
    #[serde(default)]
    pub(crate) braked: bool,
    #[serde(default)]
    pub(crate) failures: Vec<String>,
}

/// Something caused outside a guest that was found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FoundEffect {
    pub(crate) configurator: String,
    pub(crate) kind: String,
    pub(crate) key: String,
    pub(crate) session: String,
}

/// A machine that was found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FoundMachine {
    pub(crate) provisioner: String,
    pub(crate) machine: String,
    pub(crate) place: String,
    pub(crate) session: String,
}
