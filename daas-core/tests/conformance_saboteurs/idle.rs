//! Idle policies that break their contract.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use daas_core::activity::Activity;
use daas_core::clock::between;
use daas_core::idle::{Action, IdlePolicy, Moment, Verdict};
use daas_core::session::Session;

#[derive(Debug, Clone, Copy)]
pub(crate) enum PolicyTrick {
    EndsSilence,
    DestroysPersonal,
    ChangesItsMind,
    NeverEnds,
}

#[derive(Debug)]
pub(crate) struct BadPolicy {
    real: Arc<dyn IdlePolicy>,
    trick: PolicyTrick,
    asked: AtomicU64,
}

impl BadPolicy {
    pub(crate) fn new(real: Arc<dyn IdlePolicy>, trick: PolicyTrick) -> Self {
        Self { real, trick, asked: AtomicU64::new(0) }
    }
}

impl IdlePolicy for BadPolicy {
    fn verdict(&self, session: &Session, activity: &Activity, when: Moment) -> Verdict {
        let mut verdict = self.real.verdict(session, activity, when);
        match self.trick {
            PolicyTrick::EndsSilence => {
                let heard = activity.last.as_ref().map(|(at, _)| *at);
                let since = heard.or(session.ready_at).unwrap_or(session.created_at);
                let silence = between(since, when.now).as_secs();
                if silence >= 3_600 {
                    verdict.action = Action::Stop;
                    verdict.evidence.measured_seconds = silence;
                    verdict.evidence.limit_seconds = 3_600;
                }
            }
            PolicyTrick::DestroysPersonal if verdict.action == Action::Stop => {
                verdict.action = Action::Destroy;
            }
            PolicyTrick::NeverEnds if verdict.action >= Action::Stop => {
                verdict.action = Action::Warn;
            }
            PolicyTrick::ChangesItsMind => {
                verdict.evidence.limit_seconds = self.asked.fetch_add(1, Ordering::SeqCst) % 2;
                verdict.evidence.measured_seconds += 1;
            }
            PolicyTrick::DestroysPersonal | PolicyTrick::NeverEnds => {}
        }
        verdict
    }
}
