//! Watches all sessions of a deployment at once: one reader of the event log, however many wait, so
//! that waiting does not load what is measured.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use daas_core::engine::Engine;
use daas_core::event::What;
use daas_core::ids::{Cursor, SessionId};
use daas_core::session::{Goal, Phase};
use daas_core::store::EventFilter;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::exit::{Code, Failure, Outcome};

/// Events read at once.
const PAGE: usize = 1_000;

/// Knows where every session is. Stops when dropped.
#[derive(Debug)]
pub(crate) struct Onlooker {
    seen: Arc<Mutex<Seen>>,
    reader: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    sessions: HashMap<SessionId, Session>,
    /// Why nothing more is seen, if so.
    failure: Option<String>,
}

#[derive(Debug, Default)]
struct Session {
    phases: Vec<Phase>,
    /// Why it was given up, if it was.
    gone: Option<String>,
    waiting: Vec<(Phase, oneshot::Sender<Result<(), String>>)>,
}

impl Session {
    /// Whether `phase` was reached, or never will be.
    fn verdict(&self, phase: Phase) -> Option<Result<(), String>> {
        if self.phases.contains(&phase) {
            return Some(Ok(()));
        }
        let gone = self.gone.as_ref().filter(|_| phase != Phase::Ended);
        gone.map(|why| Err(format!("it was given up: {why}")))
    }

    fn tell(&mut self) {
        for (phase, waiter) in std::mem::take(&mut self.waiting) {
            match self.verdict(phase) {
                Some(verdict) => drop(waiter.send(verdict)),
                None => self.waiting.push((phase, waiter)),
            }
        }
    }
}

impl Onlooker {
    /// Looks on from the first event of `engine`'s store.
    pub(crate) fn of(engine: &Engine) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let reader = tokio::spawn(read(engine.clone(), Arc::clone(&seen)));
        Self { seen, reader }
    }

    /// Waits until a session is in `phase`, or was.
    pub(crate) async fn until(&self, id: &SessionId, phase: Phase) -> Outcome {
        let failed = |why: String| Failure::new(Code::Failed, format!("{id}: {why}"));
        let told = {
            let mut seen = lock(&self.seen);
            if let Some(failure) = &seen.failure {
                return Err(failed(failure.clone()));
            }
            let session = seen.sessions.entry(id.clone()).or_default();
            if let Some(verdict) = session.verdict(phase) {
                return verdict.map_err(failed);
            }
            let (waiter, told) = oneshot::channel();
            session.waiting.push((phase, waiter));
            told
        };
        let verdict = told.await.unwrap_or_else(|_| Err("nobody looks any more".to_owned()));
        verdict.map_err(failed)
    }
}

impl Drop for Onlooker {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read(engine: Engine, seen: Arc<Mutex<Seen>>) {
    let store = engine.store();
    let mut changes = store.watch();
    let mut cursor = Cursor(0);
    loop {
        changes.borrow_and_update();
        loop {
            let events = match store.events(cursor, &EventFilter::default(), PAGE).await {
                Ok(events) => events,
                Err(error) => {
                    let mut seen = lock(&seen);
                    seen.failure = Some(error.chain());
                    // Dropping them tells those who wait.
                    seen.sessions.clear();
                    return;
                }
            };
            let Some(last) = events.last() else { break };
            cursor = last.cursor;
            let mut seen = lock(&seen);
            for event in events {
                let session = seen.sessions.entry(event.session).or_default();
                match event.what {
                    What::Phase { to, .. } => session.phases.push(to),
                    What::Goal { goal: Goal::Gone, reason, .. } => session.gone = Some(reason),
                    _ => continue,
                }
                session.tell();
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
