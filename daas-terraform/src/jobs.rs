//! The jobs that run for machines: at most one each, in a task of its own, so that whoever asks
//! waits for a bell and holds nothing.

use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use daas_core::machine::{Underway, Wake};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::error::TerraformError;

/// How long a job is waited for before it is looked at without a bell.
const LOOK: Duration = Duration::from_secs(5);

/// What a job is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Making a machine, or changing its power.
    Make,
    /// Removing it.
    Remove,
}

/// What a job came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Done {
    /// The machine is made.
    Made,
    /// Nothing is left of it.
    Gone,
    /// Somebody else's machine is under its id.
    LeftAlone(String),
}

/// How it stands with a machine's job.
#[derive(Debug)]
pub(crate) enum Look {
    /// There is none.
    Idle,
    /// It runs.
    Busy(Work, Underway),
    /// It has ended, which is told once.
    Ended(Work, Result<Done, TerraformError>),
}

type Outcome = Arc<Mutex<Option<Result<Done, TerraformError>>>>;

#[derive(Debug)]
struct Job {
    work: Work,
    cancelled: CancellationToken,
    wake: Wake,
    outcome: Outcome,
    task: AbortHandle,
}

/// All jobs, by run directory. Dropped, they are all interrupted.
#[derive(Debug, Default)]
pub(crate) struct Jobs(Mutex<HashMap<PathBuf, Job>>);

impl Jobs {
    /// Looks at the job of `directory`; an ended one is forgotten.
    pub(crate) fn look(&self, directory: &Path) -> Look {
        let mut jobs = self.jobs();
        let Some(job) = jobs.get(directory) else { return Look::Idle };
        let finished = job.task.is_finished();
        let outcome = lock(&job.outcome).take();
        let work = job.work;
        let outcome = match outcome {
            Some(outcome) => outcome,
            None if finished => Err(TerraformError::Shape {
                command: "a job".to_owned(),
                why: "ended without an outcome; this is a bug".to_owned(),
            }),
            None => return Look::Busy(work, job.underway()),
        };
        jobs.remove(directory);
        Look::Ended(work, outcome)
    }

    /// Whether a job runs.
    pub(crate) fn runs(&self, directory: &Path) -> bool {
        let jobs = self.jobs();
        jobs.get(directory)
            .is_some_and(|job| lock(&job.outcome).is_none() && !job.task.is_finished())
    }

    /// Lets the job of `directory` end soon.
    pub(crate) fn cancel(&self, directory: &Path) {
        if let Some(job) = self.jobs().get(directory) {
            job.cancelled.cancel();
        }
    }

    /// Starts a job, unless one is there already.
    pub(crate) fn start<F>(
        &self,
        directory: &Path,
        work: Work,
        job: impl FnOnce(CancellationToken) -> F,
    ) -> Underway
    where
        F: Future<Output = Result<Done, TerraformError>> + Send + 'static,
    {
        let mut jobs = self.jobs();
        let job = jobs.entry(directory.to_owned()).or_insert_with(|| {
            let (cancelled, wake, outcome) =
                (CancellationToken::new(), Wake::default(), Outcome::default());
            let running = job(cancelled.clone());
            let (bell, told) = (wake.clone(), Arc::clone(&outcome));
            let task = tokio::spawn(async move {
                let came_to = running.await;
                *lock(&told) = Some(came_to);
                bell.ring();
            });
            Job { work, cancelled, wake, outcome, task: task.abort_handle() }
        });
        job.underway()
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<PathBuf, Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    fn underway(&self) -> Underway {
        let what = match self.work {
            Work::Make => "terraform makes the machine",
            Work::Remove => "terraform removes the machine",
        };
        Underway::for_at_most(LOOK, what).or_when(&self.wake)
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        for job in self.jobs().values() {
            job.task.abort();
        }
    }
}

fn lock(outcome: &Outcome) -> MutexGuard<'_, Option<Result<Done, TerraformError>>> {
    outcome.lock().unwrap_or_else(PoisonError::into_inner)
}
