//! The end of a desktop whose asker no longer waits.

use std::time::Duration;

use daas_core::engine::Caller;
use daas_core::ids::SessionId;
use tracing::{error, info, warn};

use crate::app::App;

/// How long the end of an abandoned desktop is tried to be written, while the store is away.
const PERSISTENCE: Duration = Duration::from_secs(600);
/// The wait between two tries.
const PAUSE: Duration = Duration::from_secs(2);

/// A desktop that somebody waits for. Dropped without an answer, it sets the goal gone.
pub(super) struct Awaited {
    app: App,
    caller: Caller,
    pub(super) id: SessionId,
    answered: bool,
}

impl Awaited {
    pub(super) fn new(app: App, caller: Caller, id: SessionId) -> Self {
        Self { app, caller, id, answered: false }
    }

    /// The desktop is there and its asker is told: it stays.
    pub(super) fn keep(mut self) {
        self.answered = true;
    }

    /// Gives it up for `reason`; answers once that is written, or said to be tried.
    pub(super) async fn give_up(mut self, reason: &'static str) {
        self.answered = true;
        let (app, caller, id) = (self.app.clone(), self.caller.clone(), self.id.clone());
        let writing = self.app.tasks.spawn(end(app, caller, id, reason));
        if let Err(failure) = writing.await {
            error!(session = %self.id, error = %failure, "cannot end a desktop nobody waits for");
        }
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let (app, caller, id) = (self.app.clone(), self.caller.clone(), self.id.clone());
        let reason = "its client went away before it was ready";
        // Without a runtime the process ends: the record stays as it is, and a user can still ask.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.app.tasks.spawn_on(end(app, caller, id, reason), &runtime);
        }
    }
}

async fn end(app: App, caller: Caller, id: SessionId, reason: &'static str) {
    let trying = async {
        loop {
            match app.engine.destroy(&caller, &id, reason).await {
                Ok(_) => return,
                Err(error) => {
                    warn!(session = %id, error = error.chain(), "cannot set the goal gone yet");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    };
    match tokio::time::timeout(PERSISTENCE, trying).await {
        Ok(()) => info!(session = %id, reason, "given up"),
        Err(_) => {
            error!(session = %id, reason, "still wished running: the store was away too long")
        }
    }
}
