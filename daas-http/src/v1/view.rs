//! How sessions look from outside. Never a password's hash, never a token.

use std::net::IpAddr;

use daas_core::clock::between;
use daas_core::engine::Engine;
use daas_core::session::{Goal, Outcome, Phase, Session};
use daas_core::template::{Lifetime, Template};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// A session.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionView {
    /// Its id; also the machine's host name.
    #[schema(example = "desktop-7f3k2mq")]
    pub(crate) id: String,
    /// What its owner calls it.
    pub(crate) label: Option<String>,
    /// Whose it is, `name@realm`; null for a pooled one.
    pub(crate) owner: Option<String>,
    /// The organisation it is counted for.
    pub(crate) organisation: String,
    /// The template it is made from.
    pub(crate) template: String,
    /// `ephemeral` or `personal`.
    pub(crate) lifetime: String,
    /// What was asked for: `running`, `stopped` or `gone`.
    pub(crate) goal: String,
    /// Where it really is: `queued`, `creating`, `preparing`, `pooled`, `assigning`, `ready`,
    /// `stopping`, `stopped`, `starting`, `restarting`, `destroying`, `lost`, `parked` or `ended`.
    pub(crate) phase: String,
    /// Why it is there.
    pub(crate) reason: String,
    /// When it was asked for.
    pub(crate) created_at: Timestamp,
    /// When it was last changed.
    pub(crate) updated_at: Timestamp,
    /// When its making began.
    pub(crate) started_at: Option<Timestamp>,
    /// When it first was ready.
    pub(crate) ready_at: Option<Timestamp>,
    /// When it ended.
    pub(crate) ended_at: Option<Timestamp>,
    /// It is not made before this.
    pub(crate) not_before: Option<Timestamp>,
    /// It ends at this.
    pub(crate) not_after: Option<Timestamp>,
    /// How it ended, or is going to: `destroyed` or `failed`.
    pub(crate) outcome: Option<String>,
    /// Why it failed.
    pub(crate) failure: Option<String>,
    /// Why it could not be configured, though it was handed over.
    pub(crate) unconfigured: Option<String>,
    /// The guest's address.
    #[schema(value_type = Option<String>)]
    pub(crate) address: Option<IpAddr>,
    /// The guest's port for Remote Desktop.
    pub(crate) rdp_port: u16,
    /// The local account in the guest.
    pub(crate) session_user: Option<String>,
    /// Where its machine is.
    pub(crate) machine: Option<MachineView>,
    /// What is being done for it now.
    pub(crate) progress: Option<ProgressView>,
    /// How long it is going to take.
    pub(crate) estimate: Option<EstimateView>,
    /// What the last verdict on its use was decided on.
    pub(crate) evidence: Option<EvidenceView>,
    /// Restarts.
    pub(crate) restarts: RestartsView,
    /// Tries of the step at hand.
    pub(crate) attempts: AttemptsView,
}

/// A session's machine.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MachineView {
    /// Its id on its platform.
    pub(crate) id: String,
    /// Where it is there.
    pub(crate) place: String,
    /// The backend that makes it.
    pub(crate) provisioner: String,
}

/// How far a step has come.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ProgressView {
    /// What is being done, or waited for.
    pub(crate) what: String,
    /// How much of this step is done, 0 to 1, when it can be told.
    pub(crate) fraction: Option<f32>,
}

/// How long it is going to take.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EstimateView {
    /// Until it is ready, in seconds, without the wait for room; null while nothing is known.
    pub(crate) ready_in_seconds: Option<u64>,
    /// Its place among those that wait for room, from 1.
    pub(crate) queue_place: Option<usize>,
}

/// What a verdict was decided on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EvidenceView {
    /// The rule: `idle`, `disconnected`, `never_connected`, `lifetime` or `silence`.
    pub(crate) rule: String,
    /// What was measured, in seconds.
    pub(crate) measured_seconds: u64,
    /// The rule's limit, in seconds.
    pub(crate) limit_seconds: u64,
    /// When the guest last reported.
    pub(crate) reported_at: Option<Timestamp>,
    /// When the gateway last told of somebody who was there by it.
    pub(crate) passed_at: Option<Timestamp>,
}

/// Restarts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RestartsView {
    /// Asked for.
    pub(crate) wanted: u32,
    /// Done.
    pub(crate) done: u32,
}

/// Tries of the step at hand.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AttemptsView {
    /// How many failed in a row.
    pub(crate) failed: u32,
    /// When the next one may begin.
    pub(crate) next_at: Option<Timestamp>,
    /// Why the last one failed.
    pub(crate) last_error: Option<String>,
}

/// A page of sessions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionList {
    /// Youngest first.
    pub(crate) sessions: Vec<SessionView>,
    /// What to ask the next page with; null at the end.
    pub(crate) next: Option<String>,
}

impl SessionView {
    pub(crate) fn of(engine: &Engine, session: Session) -> Self {
        let (outcome, failure) = match session.outcome {
            None => (None, None),
            Some(Outcome::Destroyed) => (Some("destroyed".to_owned()), None),
            Some(Outcome::Failed { ref reason }) => {
                (Some("failed".to_owned()), Some(reason.clone()))
            }
        };
        let notice = engine.board().notice(&session.id).filter(|_| session.is_live());
        Self {
            estimate: estimate(engine, &session),
            progress: notice.map(|n| ProgressView { what: n.what, fraction: n.fraction }),
            machine: session.reservation.map(|r| MachineView {
                id: r.machine.to_string(),
                place: r.place,
                provisioner: r.provisioner.to_string(),
            }),
            evidence: session.evidence.map(|e| EvidenceView {
                rule: e.rule,
                measured_seconds: e.measured_seconds,
                limit_seconds: e.limit_seconds,
                reported_at: e.reported_at,
                passed_at: e.passed_at,
            }),
            restarts: RestartsView { wanted: session.restarts.wanted, done: session.restarts.done },
            attempts: AttemptsView {
                failed: session.attempts.failed,
                next_at: session.attempts.next_at,
                last_error: session.attempts.last_error,
            },
            id: session.id.to_string(),
            label: session.label.map(String::from),
            owner: session.owner.map(|o| o.to_string()),
            organisation: session.organisation.to_string(),
            rdp_port: session.template.ports.rdp,
            template: session.template.name.to_string(),
            lifetime: lifetime(session.lifetime).to_owned(),
            goal: goal(session.goal).to_owned(),
            phase: session.phase.to_string(),
            reason: session.reason,
            unconfigured: session.unconfigured,
            created_at: session.created_at,
            updated_at: session.updated_at,
            started_at: session.started_at,
            ready_at: session.ready_at,
            ended_at: session.ended_at,
            not_before: session.not_before,
            not_after: session.not_after,
            outcome,
            failure,
            address: session.address,
            session_user: session.account.map(|a| a.user),
        }
    }
}

fn estimate(engine: &Engine, session: &Session) -> Option<EstimateView> {
    if !session.phase.is_coming() || session.goal != Goal::Running {
        return None;
    }
    let expected = engine.estimates().expected_of(&session.id, &session.template.name);
    let ready_in_seconds = expected.map(|whole| {
        let now = engine.clock().now();
        let passed = session.started_at.map_or(std::time::Duration::ZERO, |at| between(at, now));
        whole.saturating_sub(passed).as_secs()
    });
    let queue_place = match session.phase {
        Phase::Queued => engine.brakes().place(&session.id, session.created_at),
        _ => None,
    };
    Some(EstimateView { ready_in_seconds, queue_place })
}

/// A template, as far as those who use it care.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TemplateView {
    /// The name that requests use.
    pub(crate) name: String,
    /// What people read.
    pub(crate) title: String,
    /// `linux`, `windows` or `other`.
    #[schema(value_type = String)]
    pub(crate) os: daas_core::template::Os,
    /// Virtual processors.
    pub(crate) cores: u32,
    /// Memory in MiB.
    pub(crate) memory_mib: u64,
    /// Disk in GiB; null: the image's own size.
    pub(crate) disk_gib: Option<u64>,
    /// `ephemeral` or `personal`, unless a request says otherwise.
    pub(crate) lifetime: String,
    /// `rdp`, `ssh`, `console` or `agent`.
    #[schema(value_type = String)]
    pub(crate) ready_when: daas_core::template::ReadyWhen,
    /// Whether a local account can be asked for.
    pub(crate) takes_session_user: bool,
    /// How long one is likely to take, in seconds; null while nothing is known.
    pub(crate) expected_seconds: Option<u64>,
}

/// The templates that the caller may use.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TemplateList {
    /// In the order of the configuration.
    pub(crate) templates: Vec<TemplateView>,
}

impl TemplateView {
    pub(crate) fn of(engine: &Engine, template: &Template) -> Self {
        Self {
            name: template.name.to_string(),
            title: template.title().to_owned(),
            os: template.os,
            cores: template.cores,
            memory_mib: template.memory_mib,
            disk_gib: template.disk_gib,
            lifetime: lifetime(template.lifetime).to_owned(),
            ready_when: template.ready_when,
            takes_session_user: template.configurator.is_some(),
            expected_seconds: engine.estimates().expected(&template.name).map(|d| d.as_secs()),
        }
    }
}

fn lifetime(lifetime: Lifetime) -> &'static str {
    match lifetime {
        Lifetime::Ephemeral => "ephemeral",
        Lifetime::Personal => "personal",
    }
}

fn goal(goal: Goal) -> &'static str {
    match goal {
        Goal::Running => "running",
        Goal::Stopped => "stopped",
        Goal::Gone => "gone",
    }
}
