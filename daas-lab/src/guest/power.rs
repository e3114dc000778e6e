//! One guest's power: a task waits for systemd-nspawn for as long as there is power, starts it again
//! when the guest reboots, and leaves nothing running when it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use daas_sim::guest::{GuestError, GuestState, Seed};
use rustix::process::Signal;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::boot;
use crate::error::LabError;
use crate::lab::Lab;
use crate::process::{self, Process};
use crate::run::Made;
use crate::{cgroup, stand_in, sweep, trace};

/// The exit status by which nspawn says that the guest rebooted (with `--keep-unit`).
const REBOOT_STATUS: i32 = 133;

/// How long nspawn may take to end once its guest is dead.
const REAP_DEADLINE: Duration = Duration::from_secs(2);

/// Runs nspawn in a mount namespace of its own, where a cgroup v2 tree is in its place (a hybrid
/// host has it elsewhere) and nspawn's own bookkeeping is not the host's. The guest has a control
/// group of its own, named by the first argument; the others are nspawn's.
const LAUNCH: &str = r#"set -e
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p "/sys/fs/cgroup/$1"
echo $$ > "/sys/fs/cgroup/$1/cgroup.procs"
shift
mount -t tmpfs tmpfs /run/systemd/nspawn
exec systemd-nspawn "$@""#;

/// What the supervising task shares with its guest.
pub(super) struct Machine {
    pub(super) lab: Arc<Lab>,
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) dir: PathBuf,
    /// Boots so far; part of the network card's name, which must be new each time.
    pub(super) boots: AtomicU32,
    pub(super) state: watch::Sender<GuestState>,
    /// The guest's init, while it is known and runs.
    pub(super) leader: watch::Sender<Option<Process>>,
    /// Power is to go: an end is no reboot then.
    pub(super) ending: AtomicBool,
}

impl Machine {
    pub(super) fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    pub(super) fn console(&self) -> PathBuf {
        self.dir.join("console")
    }

    /// The guest's control group, below its lab's.
    fn group(&self) -> String {
        format!("{}/g{}", self.lab.namespace(), self.number)
    }

    pub(super) fn spawn(&self) -> Result<Child, LabError> {
        let parent = Path::new("/run/systemd/nspawn");
        fs::create_dir_all(parent).map_err(LabError::io("make nspawn's directory"))?;
        let console = fs::OpenOptions::new().create(true).append(true).open(self.console());
        let console = console.map_err(LabError::io("open a console log"))?;
        let errors = console.try_clone().map_err(LabError::io("open a console log"))?;
        let mut command = self.lab.command("unshare");
        command
            .args(["--mount", "--propagation", "private", "--", "sh", "-c", LAUNCH, "nspawn"])
            .arg(self.group())
            .args(["--quiet", "--boot", "--private-network", "--register=no", "--keep-unit"])
            .args(["--console=pipe", "--resolv-conf=off", "--timezone=off", "--link-journal=no"])
            .arg(format!("--machine={}", self.name))
            .args(
                Path::new(stand_in::DEVICE)
                    .exists()
                    .then(|| format!("--bind={}", stand_in::DEVICE)),
            )
            .arg("--directory")
            .arg(self.root())
            .stdin(Stdio::null())
            .stdout(console)
            .stderr(errors)
            // Killing nspawn alone would leave its guest running; `supervise` ends both.
            .kill_on_drop(false);
        let child = command.spawn().map_err(LabError::io("start systemd-nspawn"))?;
        self.boots.fetch_add(1, Ordering::SeqCst);
        if let Some(process) = process_of(&child) {
            self.lab.record(&Made::Process(process))?;
        }
        Ok(child)
    }

    /// Ends the guest's init, whereupon nspawn ends; nspawn itself if it does not.
    async fn kill(&self, child: &mut Child) {
        let known = *self.leader.borrow();
        let leader = known.or_else(|| child.id().and_then(boot::leader_of));
        if let Some(leader) = leader {
            leader.signal(Signal::KILL);
            if timeout(REAP_DEADLINE, child.wait()).await.is_ok() {
                return;
            }
        }
        if let Err(error) = child.kill().await {
            tracing::warn!(%error, machine = self.name, "cannot end nspawn");
        }
    }
}

/// Follows nspawn until the guest is off for good, or `cut` cuts its power.
pub(super) async fn supervise(
    machine: Arc<Machine>,
    mut child: Child,
    nspawn: watch::Sender<Option<Process>>,
    seed: Seed,
    cut: CancellationToken,
) {
    loop {
        let pid = child.id();
        let booting = tokio::spawn(boot::watch(Arc::clone(&machine), pid, seed.clone()));
        let ended = tokio::select! {
            ended = child.wait() => Some(ended),
            () = cut.cancelled() => None,
        };
        if ended.is_none() {
            machine.kill(&mut child).await;
        }
        booting.abort();
        // An aborted task has ended only when it has been waited for.
        let _ = booting.await;
        machine.leader.send_replace(None);
        nspawn.send_replace(None);
        clear_processes(&machine).await;
        if !ended.is_some_and(|status| is_reboot(&machine, status)) {
            break;
        }
        child = match machine.spawn() {
            Ok(child) => child,
            Err(error) => {
                tracing::error!(%error, machine = machine.name, "the guest did not come back");
                break;
            }
        };
        nspawn.send_replace(process_of(&child));
        machine.state.send_replace(GuestState::Booting);
    }
    machine.state.send_replace(GuestState::Off);
}

/// INVARIANT: without power nothing of a guest runs.
async fn clear_processes(machine: &Arc<Machine>) {
    let (dir, group) = (machine.dir.clone(), machine.group());
    let done = blocking("end what runs in a guest", move || {
        cgroup::remove(&group)?;
        sweep::kill_all(|| trace::rooted_below(&dir).into_iter().collect())
    });
    if let Err(error) = done.await {
        tracing::error!(%error, machine = machine.name, "something runs without power");
    }
}

fn is_reboot(machine: &Machine, status: std::io::Result<ExitStatus>) -> bool {
    let code = match status {
        Ok(status) => status.code(),
        Err(error) => {
            tracing::warn!(%error, machine = machine.name, "cannot wait for nspawn");
            None
        }
    };
    if !matches!(code, Some(0 | REBOOT_STATUS)) {
        tracing::warn!(?code, machine = machine.name, "nspawn ended in disorder");
    }
    code == Some(REBOOT_STATUS) && !machine.ending.load(Ordering::SeqCst)
}

/// The process of a child that has not been waited for.
pub(super) fn process_of(child: &Child) -> Option<Process> {
    child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(process::Process::of)
}

/// For the trait's errors.
pub(super) fn guest_error(doing: &str, error: LabError) -> GuestError {
    GuestError::Io { doing: doing.to_owned(), source: error.into() }
}

/// Runs what blocks beside the tasks.
pub(super) async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> Result<T, LabError> + Send + 'static,
) -> Result<T, GuestError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| guest_error(doing, error)),
        Err(error) => {
            Err(GuestError::Io { doing: doing.to_owned(), source: std::io::Error::other(error) })
        }
    }
}
