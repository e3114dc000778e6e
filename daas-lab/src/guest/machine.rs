//! One guest's disk and power. A task of its own waits for systemd-nspawn for as long as there is
//! power, starts it again when the guest reboots, and leaves nothing running when it ends.

use std::ffi::CString;
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use daas_sim::guest::{AgentError, ByteStream, Guest, GuestError, GuestState, Seed};
use rustix::mount::MountFlags;
use rustix::process::Signal;
use serde_json::Value;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::agent::Agent;
use super::boot;
use super::inside::{self, Output};
use crate::error::LabError;
use crate::lab::Lab;
use crate::process::{self, Process};
use crate::run::Made;
use crate::{cgroup, seed, sweep, trace};

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

/// A guest under systemd-nspawn.
pub struct NspawnGuest {
    shared: Arc<Machine>,
    life: tokio::sync::Mutex<Life>,
    erased: AtomicBool,
    agent: Agent,
}

/// What the supervising task shares with its guest.
pub(super) struct Machine {
    pub(super) lab: Arc<Lab>,
    pub(super) number: u32,
    name: String,
    dir: PathBuf,
    /// Boots so far; part of the network card's name, which must be new each time.
    pub(super) boots: AtomicU32,
    pub(super) state: watch::Sender<GuestState>,
    /// The guest's init, while it is known and runs.
    pub(super) leader: watch::Sender<Option<Process>>,
    /// Power is to go: an end is no reboot then.
    ending: AtomicBool,
}

#[derive(Default)]
struct Life {
    seeded: bool,
    power: Option<Power>,
}

struct Power {
    nspawn: watch::Receiver<Option<Process>>,
    cut: CancellationToken,
    task: JoinHandle<()>,
    seed: Seed,
}

impl NspawnGuest {
    /// A disk on top of `lower`, without power.
    pub(super) async fn make(lab: Arc<Lab>, lower: PathBuf) -> Result<NspawnGuest, GuestError> {
        let number = lab.next_number();
        let machine = Machine {
            name: format!("{}-{number}", lab.namespace()),
            dir: lab.base().join(format!("g{number}")),
            number,
            lab,
            boots: AtomicU32::new(0),
            state: watch::channel(GuestState::Off).0,
            leader: watch::channel(None).0,
            ending: AtomicBool::new(false),
        };
        let dir = machine.dir.clone();
        blocking("make a disk", move || mount_overlay(&dir, &lower)).await?;
        Ok(NspawnGuest {
            shared: Arc::new(machine),
            life: tokio::sync::Mutex::default(),
            erased: AtomicBool::new(false),
            agent: Agent::default(),
        })
    }

    /// The machine's name, unique on this host.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What the guest wrote to its console.
    pub fn console(&self) -> String {
        let bytes = fs::read(self.shared.console()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Runs a program in the guest to its end. Arguments are passed as they are; there is no shell.
    ///
    /// # Errors
    /// No power, or the program cannot be started. A program that fails is an answer.
    pub async fn exec(&self, argv: &[&str]) -> Result<Output, GuestError> {
        let leader = *self.shared.leader.borrow();
        let leader = leader.ok_or(GuestError::Off)?;
        let argv: Vec<String> = argv.iter().map(|&word| word.to_owned()).collect();
        inside::exec(leader, &argv, &[], b"").await.map_err(|source| GuestError::Io {
            doing: format!("run {} in {}", argv.first().map_or("", |s| s), self.shared.name),
            source,
        })
    }

    pub(super) fn is_erased(&self) -> bool {
        self.erased.load(Ordering::SeqCst)
    }

    async fn cut(&self, life: &mut Life) -> Result<(), GuestError> {
        let Some(mut power) = life.power.take() else { return Ok(()) };
        self.shared.ending.store(true, Ordering::SeqCst);
        power.cut.cancel();
        let within = Duration::from_secs(20);
        if timeout(within, &mut power.task).await.is_err() {
            // The task keeps working at it; a later call waits for it again.
            life.power = Some(power);
            return Err(GuestError::Deadline(within));
        }
        Ok(())
    }
}

#[async_trait]
impl Guest for NspawnGuest {
    async fn start(&self, seed: &Seed) -> Result<(), GuestError> {
        let mut life = self.life.lock().await;
        if self.is_erased() {
            return Err(GuestError::Erased);
        }
        if *self.shared.state.borrow() != GuestState::Off {
            return Ok(());
        }
        // A guest that ended by itself: its task is about to end too.
        self.cut(&mut life).await?;
        if !life.seeded {
            let (root, seed) = (self.shared.root(), seed.clone());
            blocking("write the seed", move || seed::plant(&root, &seed)).await?;
            life.seeded = true;
        }
        self.shared.ending.store(false, Ordering::SeqCst);
        let child = self.shared.spawn().map_err(|error| guest_error("start", error))?;
        self.shared.state.send_replace(GuestState::Booting);
        let (nspawn, watched) = watch::channel(process_of(&child));
        let cut = CancellationToken::new();
        let machine = Arc::clone(&self.shared);
        let task = supervise(machine, child, nspawn, seed.clone(), cut.clone());
        let task = tokio::spawn(task);
        life.power = Some(Power { nspawn: watched, cut, task, seed: seed.clone() });
        Ok(())
    }

    async fn shutdown(&self, deadline: Duration) -> Result<(), GuestError> {
        let life = self.life.lock().await;
        let Some(power) = &life.power else { return Ok(()) };
        self.shared.ending.store(true, Ordering::SeqCst);
        let nspawn = *power.nspawn.borrow();
        if let Some(nspawn) = nspawn {
            // nspawn passes it on as the signal by which systemd powers off.
            nspawn.signal(Signal::TERM);
        }
        let mut state = self.shared.state.subscribe();
        let off = timeout(deadline, state.wait_for(|state| *state == GuestState::Off)).await;
        if off.is_err() {
            self.shared.ending.store(false, Ordering::SeqCst);
            return Err(GuestError::Deadline(deadline));
        }
        Ok(())
    }

    async fn stop(&self) -> Result<(), GuestError> {
        let mut life = self.life.lock().await;
        self.cut(&mut life).await
    }

    async fn erase(&self) -> Result<(), GuestError> {
        let mut life = self.life.lock().await;
        if self.is_erased() {
            return Ok(());
        }
        self.cut(&mut life).await?;
        let dir = self.shared.dir.clone();
        blocking("remove a disk", move || {
            sweep::unmount_below(&dir)?;
            sweep::remove_tree(&dir)
        })
        .await?;
        self.erased.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn state(&self) -> watch::Receiver<GuestState> {
        self.shared.state.subscribe()
    }

    async fn agent(&self, command: &str, arguments: Value) -> Result<Value, AgentError> {
        let installed = {
            let life = self.life.lock().await;
            life.power.as_ref().is_some_and(|power| power.seed.agent)
        };
        if !installed {
            return Err(AgentError::NotRunning);
        }
        let mut state = self.shared.state.subscribe();
        let ready = |state: &GuestState| matches!(state, GuestState::AgentUp | GuestState::Off);
        state.wait_for(ready).await.map_err(|_| AgentError::NotRunning)?;
        let leader = *self.shared.leader.borrow();
        let leader = leader.ok_or(AgentError::NotRunning)?;
        self.agent.call(leader, command, &arguments).await
    }

    async fn screen(&self) -> Result<Box<dyn ByteStream>, GuestError> {
        Err(GuestError::Io {
            doing: format!("show the screen of {}", self.shared.name),
            source: std::io::Error::new(
                std::io::ErrorKind::Unsupported,
                "a container has no framebuffer; look at its desktop by RDP",
            ),
        })
    }
}

impl fmt::Debug for NspawnGuest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NspawnGuest")
            .field("name", &self.shared.name)
            .field("state", &*self.shared.state.borrow())
            .finish_non_exhaustive()
    }
}

impl Machine {
    fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    fn console(&self) -> PathBuf {
        self.dir.join("console")
    }

    /// The guest's control group, below its lab's.
    fn group(&self) -> String {
        format!("{}/g{}", self.lab.namespace(), self.number)
    }

    fn spawn(&self) -> Result<Child, LabError> {
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

async fn supervise(
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

fn mount_overlay(dir: &Path, lower: &Path) -> Result<(), LabError> {
    for part in [dir.to_owned(), dir.join("up"), dir.join("work"), dir.join("root")] {
        fs::create_dir(&part).map_err(LabError::io(format!("make {}", part.display())))?;
    }
    // The upper directory's mode is the mode of the guest's root.
    fs::set_permissions(dir.join("up"), fs::Permissions::from_mode(0o755))
        .map_err(LabError::io("open a guest's root"))?;
    let (upper, work) = (dir.join("up"), dir.join("work"));
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    let options = CString::new(options)
        .map_err(|error| LabError::Io { doing: "mount a disk".into(), source: error.into() })?;
    let flags = MountFlags::empty();
    rustix::mount::mount("daas-lab", dir.join("root"), "overlay", flags, options.as_c_str())
        .map_err(LabError::sys(format!("mount {}", dir.join("root").display())))
}

fn process_of(child: &Child) -> Option<Process> {
    child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(process::Process::of)
}

fn guest_error(doing: &str, error: LabError) -> GuestError {
    GuestError::Io { doing: doing.to_owned(), source: error.into() }
}

async fn blocking<T: Send + 'static>(
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
