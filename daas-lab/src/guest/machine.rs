//! One guest, as the simulated cluster knows it: its disk, and the switch of its power.

use std::ffi::CString;
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use daas_sim::guest::{AgentError, ByteStream, Guest, GuestError, GuestState, Seed};
use rustix::mount::MountFlags;
use rustix::process::Signal;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::agent::Agent;
use super::inside::{self, Output};
use super::power::{self, Machine, blocking, guest_error};
use crate::error::LabError;
use crate::lab::Lab;
use crate::process::Process;
use crate::{seed, sweep};

/// How a user logs in by PAM, before the user's name, `login` and the words to run: by `su` as nobody,
/// since root would not be asked for the password. The words go as arguments, never as a shell's text.
pub(crate) const LOG_IN: [&str; 10] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--",
    "su",
    "--login",
    "--command",
    r#"exec "$@""#,
    "--",
];

/// A guest under systemd-nspawn.
pub struct NspawnGuest {
    shared: Arc<Machine>,
    life: tokio::sync::Mutex<Life>,
    erased: AtomicBool,
    agent: Agent,
}

#[derive(Default)]
struct Life {
    /// What was written at the first boot.
    seed: Option<Seed>,
    power: Option<Power>,
}

struct Power {
    nspawn: watch::Receiver<Option<Process>>,
    cut: CancellationToken,
    task: JoinHandle<()>,
    seed: Seed,
}

impl NspawnGuest {
    /// A disk on top of the trees `lower` (the topmost first), without power.
    pub(super) async fn make(
        lab: Arc<Lab>,
        lower: Vec<PathBuf>,
    ) -> Result<NspawnGuest, GuestError> {
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
        self.exec_with(argv, b"").await
    }

    /// As [`NspawnGuest::exec`], with `input` on the program's standard input: how a password gets
    /// in without being seen in a list of processes.
    ///
    /// # Errors
    /// No power, or the program cannot be started. A program that fails is an answer.
    pub async fn exec_with(&self, argv: &[&str], input: &[u8]) -> Result<Output, GuestError> {
        let leader = *self.shared.leader.borrow();
        let leader = leader.ok_or(GuestError::Off)?;
        let argv: Vec<String> = argv.iter().map(|&word| word.to_owned()).collect();
        inside::exec(leader, &argv, &[], input).await.map_err(|source| GuestError::Io {
            doing: format!("run {} in {}", argv.first().map_or("", |s| s), self.shared.name),
            source,
        })
    }

    /// Runs a program of the user's own after a login by PAM with this password: authentication,
    /// account and session as at any login, by `su` started as nobody. The password goes by standard
    /// input. A refused login is exit code 1, its reason on standard error.
    ///
    /// # Errors
    /// No power, or `su` cannot be started. A program that fails is an answer.
    pub async fn log_in(
        &self,
        user: &str,
        password: &str,
        argv: &[&str],
    ) -> Result<Output, GuestError> {
        let words = [LOG_IN.as_slice(), &[user, "login"], argv].concat();
        self.exec_with(&words, format!("{password}\n").as_bytes()).await
    }

    /// The host name of its first start; `None` before that.
    pub async fn hostname(&self) -> Option<String> {
        self.life.lock().await.seed.as_ref().map(|seed| seed.hostname.clone())
    }

    /// Its whole disk, as it is.
    pub(crate) fn root(&self) -> PathBuf {
        self.shared.root()
    }

    /// Where what the guest wrote lies.
    pub(crate) fn upper(&self) -> PathBuf {
        self.shared.dir.join("up")
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
        match &life.seed {
            Some(first) => keep_seed(&self.shared, first, seed)?,
            None => {
                let (root, wanted) = (self.shared.root(), seed.clone());
                blocking("write the seed", move || seed::plant(&root, &wanted)).await?;
                life.seed = Some(seed.clone());
            }
        }
        self.shared.ending.store(false, Ordering::SeqCst);
        let child = self.shared.spawn().map_err(|error| guest_error("start", error))?;
        self.shared.state.send_replace(GuestState::Booting);
        let (nspawn, watched) = watch::channel(power::process_of(&child));
        let cut = CancellationToken::new();
        let machine = Arc::clone(&self.shared);
        let task = power::supervise(machine, child, nspawn, seed.clone(), cut.clone());
        let task = tokio::spawn(task);
        life.power = Some(Power { nspawn: watched, cut, task, seed: seed.clone() });
        Ok(())
    }

    async fn shutdown(&self, deadline: Duration) -> Result<(), GuestError> {
        // Not held while the guest ends: its power can be cut meanwhile.
        let nspawn = match &self.life.lock().await.power {
            Some(power) => *power.nspawn.borrow(),
            None => return Ok(()),
        };
        self.shared.ending.store(true, Ordering::SeqCst);
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

/// Once it has run, a guest's files are its own: a later seed cannot be written any more.
fn keep_seed(machine: &Machine, first: &Seed, later: &Seed) -> Result<(), GuestError> {
    if (&first.mac, first.address) != (&later.mac, later.address) {
        return Err(GuestError::Io {
            doing: format!("start {}", machine.name),
            source: std::io::Error::new(
                std::io::ErrorKind::Unsupported,
                "a real guest keeps the network card and address of its first start",
            ),
        });
    }
    let said = |seed: &Seed| {
        (
            seed.hostname.clone(),
            seed.user.clone(),
            seed.password_hash.clone(),
            seed.ssh_keys.clone(),
        )
    };
    if said(first) != said(later) {
        tracing::warn!(machine = machine.name, "a changed seed is not applied after first boot");
    }
    Ok(())
}

fn mount_overlay(dir: &Path, lower: &[PathBuf]) -> Result<(), LabError> {
    for part in [dir.to_owned(), dir.join("up"), dir.join("work"), dir.join("root")] {
        fs::create_dir(&part).map_err(LabError::io(format!("make {}", part.display())))?;
    }
    // The upper directory's mode is the mode of the guest's root.
    fs::set_permissions(dir.join("up"), fs::Permissions::from_mode(0o755))
        .map_err(LabError::io("open a guest's root"))?;
    let (upper, work) = (dir.join("up"), dir.join("work"));
    let lower: Vec<String> = lower.iter().map(|tree| tree.display().to_string()).collect();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.join(":"),
        upper.display(),
        work.display()
    );
    let options = CString::new(options)
        .map_err(|error| LabError::Io { doing: "mount a disk".into(), source: error.into() })?;
    let flags = MountFlags::empty();
    rustix::mount::mount("daas-lab", dir.join("root"), "overlay", flags, options.as_c_str())
        .map_err(LabError::sys(format!("mount {}", dir.join("root").display())))
}
