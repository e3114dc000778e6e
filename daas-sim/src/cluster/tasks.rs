//! Worker tasks: their ids, logs and ends, as in pve-common's `UPID.pm` and `RESTEnvironment.pm`.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Cluster;
use super::locks::{Held, Mode, vm_lock, vm_lock_timeout};
use crate::access::Who;
use crate::durations::Operation;
use crate::log::Event;

/// Ended tasks past this many are forgotten, oldest first.
const KEPT_MAX: usize = 50_000;
/// What a task that was killed ends with.
const INTERRUPTED: &str = "interrupted by signal";

/// Every task of the cluster.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    book: Mutex<Book>,
    pids: AtomicU32,
}

#[derive(Debug, Default)]
struct Book {
    by_upid: HashMap<Arc<str>, Arc<Task>>,
    order: VecDeque<Arc<Task>>,
}

/// One task.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) upid: Arc<str>,
    pub(crate) node: Arc<str>,
    pub(crate) pid: u32,
    pub(crate) pstart: u64,
    pub(crate) starttime: i64,
    pub(crate) kind: &'static str,
    pub(crate) id: String,
    pub(crate) who: Who,
    pub(crate) cancel: CancellationToken,
    /// Set once the task has ended and its end is told.
    pub(crate) ended: CancellationToken,
    progress: Mutex<Progress>,
}

/// How far a task is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    pub(crate) lines: Vec<String>,
    /// `OK` or the error, once it ended.
    pub(crate) exit: Option<String>,
    pub(crate) endtime: i64,
}

/// What a task is asked to do.
#[derive(Debug)]
pub(crate) struct TaskOrder {
    pub(crate) node: Arc<str>,
    pub(crate) kind: &'static str,
    pub(crate) vmid: u32,
    pub(crate) who: Who,
    pub(crate) fault: Option<TaskFault>,
}

/// A scripted end.
#[derive(Debug, Clone)]
pub(crate) enum TaskFault {
    /// Instead of the effect.
    Instead(String),
    /// After it.
    After(String),
}

/// What a running task works with.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) task: Arc<Task>,
    fault: Option<TaskFault>,
}

impl Cluster {
    /// Starts a task and gives its id.
    pub(crate) fn spawn<F>(
        self: &Arc<Self>,
        order: TaskOrder,
        body: impl FnOnce(Run) -> F,
    ) -> Arc<str>
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let fault = order.fault.clone();
        let task = self.tasks.open(self, order);
        let run = Run { cluster: self.clone(), task: task.clone(), fault };
        let after = match &run.fault {
            Some(TaskFault::After(text)) => Some(text.clone()),
            Some(TaskFault::Instead(_)) | None => None,
        };
        let work = body(run);
        let cluster = self.clone();
        let upid = task.upid.clone();
        self.tracker.spawn(async move {
            let end = work.await.and_then(|()| after.map_or(Ok(()), Err));
            cluster.close_task(&task, end);
        });
        upid
    }

    fn close_task(&self, task: &Task, end: Result<(), String>) {
        let exit = match end {
            Ok(()) => "OK".to_owned(),
            Err(text) => text.trim_end().replace('\n', " "),
        };
        let mut progress = task.progress();
        progress.lines.push(match exit.as_str() {
            "OK" => "TASK OK".to_owned(),
            error => format!("TASK ERROR: {error}"),
        });
        progress.endtime = self.clock.unix();
        progress.exit = Some(exit.clone());
        drop(progress);
        self.log.add(Event::TaskEnd { upid: task.upid.clone(), exit: exit.into() });
        task.ended.cancel();
    }
}

impl Tasks {
    fn open(&self, cluster: &Cluster, order: TaskOrder) -> Arc<Task> {
        let pid = 1000 + self.pids.fetch_add(1, Ordering::Relaxed) % 4_000_000;
        let starttime = cluster.clock.unix();
        let pstart = u64::try_from(cluster.clock.elapsed().as_millis() / 10).unwrap_or(u64::MAX);
        let id = if order.vmid == 0 { String::new() } else { order.vmid.to_string() };
        let upid: Arc<str> = format!(
            "UPID:{}:{pid:08X}:{pstart:08X}:{starttime:08X}:{}:{id}:{}:",
            order.node, order.kind, order.who
        )
        .into();
        cluster.log.add(Event::TaskStart {
            upid: upid.clone(),
            kind: order.kind,
            vmid: order.vmid,
            node: order.node.clone(),
            user: order.who.to_string().into(),
        });
        let task = Arc::new(Task {
            upid: upid.clone(),
            node: order.node,
            pid,
            pstart,
            starttime,
            kind: order.kind,
            id,
            who: order.who,
            cancel: cluster.stopping.child_token(),
            ended: CancellationToken::new(),
            progress: Mutex::default(),
        });
        let mut book = self.book();
        book.by_upid.insert(upid, task.clone());
        book.order.push_back(task.clone());
        while book.order.len() > KEPT_MAX {
            // A running task at the head waits for its end; what is behind it waits too.
            match book.order.front() {
                Some(oldest) if oldest.progress().exit.is_some() => {
                    let gone = oldest.upid.clone();
                    book.order.pop_front();
                    book.by_upid.remove(&gone);
                }
                Some(_) | None => break,
            }
        }
        task
    }

    pub(crate) fn get(&self, upid: &str) -> Option<Arc<Task>> {
        self.book().by_upid.get(upid).cloned()
    }

    /// All tasks, newest first.
    pub(crate) fn newest_first(&self) -> Vec<Arc<Task>> {
        self.book().order.iter().rev().cloned().collect()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Task {
    pub(crate) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Run {
    pub(crate) fn say(&self, line: impl Into<String>) {
        self.task.progress().lines.push(line.into());
    }

    /// Lets the time pass that `operation` takes; an error when the task is killed meanwhile.
    pub(crate) async fn spend(&self, operation: Operation, vmid: u32) -> Result<(), String> {
        let drawn = self.cluster.durations.draw(operation, vmid);
        self.pause(self.cluster.clock.scaled(drawn)).await
    }

    async fn pause(&self, real: Duration) -> Result<(), String> {
        if self.task.cancel.is_cancelled() {
            return Err(INTERRUPTED.to_owned());
        }
        if real.is_zero() {
            return Ok(());
        }
        tokio::select! {
            () = self.task.cancel.cancelled() => Err(INTERRUPTED.to_owned()),
            () = tokio::time::sleep(real) => Ok(()),
        }
    }

    /// The last moment before the task's effect: a scripted failure happens here.
    pub(crate) fn about_to_act(&self) -> Result<(), String> {
        match &self.fault {
            Some(TaskFault::Instead(text)) => Err(text.clone()),
            Some(TaskFault::After(_)) | None => Ok(()),
        }
    }

    /// A machine's lock file, waited for at most `limit` of simulated time.
    pub(crate) async fn lock_vm(
        &self,
        vmid: u32,
        mode: Mode,
        limit: Duration,
    ) -> Result<Held, String> {
        let limit = self.cluster.clock.limit(limit);
        let taken = self.cluster.locks.take(&vm_lock(vmid), mode, limit).await;
        taken.ok_or_else(|| vm_lock_timeout(vmid))
    }

    /// Works on a storage under its lock: a lock file on a local one, a cluster lock on a shared
    /// one. Both are waited for 10 s; the cluster's may be held for 60 s.
    pub(crate) async fn with_storage(&self, storage: &str, vmid: u32) -> Result<Held, String> {
        let clock = &self.cluster.clock;
        let shared = self.cluster.storage(storage).is_some_and(|s| s.kind.shared());
        let node = &self.task.node;
        let (name, refusal) = if shared {
            let refusal = format!("cfs-lock 'storage-{storage}' error: got lock request timeout");
            (format!("storage-{storage}"), refusal)
        } else {
            let file = format!("/var/lock/pve-manager/pve-storage-{storage}");
            let refusal = format!("can't lock file '{file}' - got timeout");
            (format!("{node}:{file}"), refusal)
        };
        let limit = clock.limit(Duration::from_secs(10));
        let held = self.cluster.locks.take(&name, Mode::Exclusive, limit).await.ok_or(refusal)?;
        let drawn = self.cluster.durations.draw(Operation::Storage, vmid);
        let held_max = Duration::from_secs(60);
        if shared && drawn > held_max {
            self.pause(clock.scaled(held_max)).await?;
            return Err(format!("'storage-{storage}'-locked command timed out - aborting"));
        }
        self.pause(clock.scaled(drawn)).await?;
        Ok(held)
    }
}
