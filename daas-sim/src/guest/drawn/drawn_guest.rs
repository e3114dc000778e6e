//! One drawn guest: its power, its boot, and what its servers and commands share.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::activity::{Activity, SessionView};
use super::addresses::HeldAddress;
use super::agent::Processes;
use super::desktop::Desktop;
use super::disk::{Disk, LogKind};
use super::live::{Live, bind};
use super::rdp::Logins;
use super::shell::{Input, Output, Process, Shell, taken};
use super::{DrawnConfig, seed, ssh, vnc};
use crate::guest::{AgentError, ByteStream, Guest, GuestError, GuestState, Seed};

/// How many connections wait in the kernel until they are accepted.
const BACKLOG: u32 = 128;

/// Bytes of the screen's stream that wait for its reader.
const SCREEN_BUFFER: usize = 256 << 10;

/// A guest that lives in this process.
#[derive(Debug)]
pub struct DrawnGuest {
    me: Weak<Self>,
    vmid: u32,
    address: Ipv4Addr,
    /// Given back when the guest is erased.
    held: Mutex<Option<HeldAddress>>,
    config: Arc<DrawnConfig>,
    disk: Mutex<Disk>,
    desktop: Arc<Desktop>,
    activity: Arc<Activity>,
    pub(super) processes: Processes,
    /// Units that this process plays itself, by name.
    natives: Mutex<HashMap<&'static str, Played>>,
    pub(super) logins: Arc<Logins>,
    state: watch::Sender<GuestState>,
    live: Mutex<Option<Arc<Live>>>,
    /// Whoever gives or takes power holds this; `true` once the guest is erased.
    power: tokio::sync::Mutex<bool>,
    /// Where a guest's own wish to end or start again runs, which ends its other tasks.
    orders: TaskTracker,
}

/// The TCP ports of a guest's services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Remote Desktop.
    pub rdp: u16,
    /// VNC.
    pub vnc: u16,
    /// SSH.
    pub ssh: u16,
}

/// A unit that this process plays, from its start to its stop.
pub(super) struct Native {
    pub(super) guest: Arc<DrawnGuest>,
    pub(super) live: Arc<Live>,
    /// Cancelled when the unit is stopped or power goes.
    pub(super) stop: CancellationToken,
    /// Dropped when nothing of it is left, such as a port it listens on.
    pub(super) running: DropGuard,
}

/// How a unit that is played is ended.
#[derive(Debug)]
struct Played {
    stop: CancellationToken,
    ended: CancellationToken,
}

/// How a script ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// The exit status.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Ports that are bound but do not listen yet.
struct Sockets {
    ssh: TcpSocket,
    vnc: Option<TcpSocket>,
}

impl DrawnGuest {
    pub(super) fn new(
        vmid: u32,
        disk: Disk,
        held: HeldAddress,
        config: Arc<DrawnConfig>,
        orders: TaskTracker,
        logins: Arc<Logins>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            vmid,
            address: held.address,
            held: Mutex::new(Some(held)),
            desktop: Arc::new(Desktop::new(&disk.hostname, config.clock)),
            config,
            disk: Mutex::new(disk),
            activity: Activity::new(),
            processes: Processes::default(),
            natives: Mutex::default(),
            logins,
            state: watch::Sender::new(GuestState::Off),
            live: Mutex::default(),
            power: tokio::sync::Mutex::new(false),
            orders,
        })
    }

    /// The machine id it was made for.
    pub fn vmid(&self) -> u32 {
        self.vmid
    }

    /// The address its services listen on: the seed's, or the one it took for itself.
    pub fn address(&self) -> IpAddr {
        self.live().and_then(|live| live.seed.address).unwrap_or(self.address.into())
    }

    /// The ports its services listen on.
    pub fn ports(&self) -> Ports {
        let DrawnConfig { rdp_port: rdp, vnc_port: vnc, ssh_port: ssh, .. } = *self.config;
        Ports { rdp, vnc, ssh }
    }

    /// Looks at the disk or changes it. The closure runs under a lock: keep it short.
    pub fn with_disk<T>(&self, act: impl FnOnce(&mut Disk) -> T) -> T {
        act(&mut self.disk.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The desktop sessions now.
    pub fn activity_now(&self) -> Vec<SessionView> {
        self.activity.now()
    }

    /// Runs a script as that account, as `ssh user@guest script` would, but without a network.
    /// `None` without power or without such an account.
    pub async fn run(&self, user: &str, script: &str, stdin: &str) -> Option<Ran> {
        self.live()?;
        let (me, process) = self.me().zip(Process::login(self, user))?;
        let ((out, out_bytes), (err, err_bytes)) = (Output::memory(), Output::memory());
        let input = Input::bytes(stdin.to_owned().into());
        let status = Shell::new(me).script(process, script, input, out, err).await;
        let text = |bytes| String::from_utf8_lossy(&taken(bytes)).into_owned();
        Some(Ran { status, stdout: text(&out_bytes), stderr: text(&err_bytes) })
    }

    /// Tasks that run for this guest; 0 without power.
    pub fn tasks(&self) -> usize {
        self.live().map_or(0, |live| live.tasks())
    }

    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    pub(super) fn desktop(&self) -> &Arc<Desktop> {
        &self.desktop
    }

    pub(super) fn config(&self) -> &DrawnConfig {
        &self.config
    }

    pub(super) fn me(&self) -> Option<Arc<Self>> {
        self.me.upgrade()
    }

    pub(super) fn live(&self) -> Option<Arc<Live>> {
        self.lock_live().clone()
    }

    pub(super) fn uptime(&self) -> Duration {
        self.live().map_or(Duration::ZERO, |live| live.since.elapsed())
    }

    pub(super) fn cores(&self) -> u32 {
        self.live().map_or(1, |live| live.seed.cores)
    }

    pub(super) fn mac(&self) -> String {
        self.live().map_or_else(String::new, |live| live.seed.mac.clone())
    }

    /// Begins to play a unit; one that is played already is ended first. `None` without power.
    pub(super) fn begin_native(&self, unit: &'static str) -> Option<Native> {
        let (guest, live) = self.me().zip(self.live())?;
        let (stop, ended) = (live.off.child_token(), CancellationToken::new());
        let played = Played { stop: stop.clone(), ended: ended.clone() };
        let old = self.lock_natives().insert(unit, played);
        if let Some(old) = old {
            old.stop.cancel();
        }
        Some(Native { guest, live, stop, running: ended.drop_guard() })
    }

    /// Ends a unit that is played, if it is, and waits until nothing of it is left.
    pub(super) async fn end_native(&self, unit: &str) {
        let played = self.lock_natives().remove(unit);
        if let Some(Played { stop, ended }) = played {
            stop.cancel();
            ended.cancelled().await;
        }
    }

    /// Notes a login, or a refused one.
    pub(super) fn note(&self, kind: LogKind, user: &str, text: String) {
        tracing::debug!(vmid = self.vmid, ?kind, user, text, "drawn guest");
        self.with_disk(|disk| disk.note(kind, user, text));
    }

    /// The guest's own `reboot`: power stays, everything else starts anew.
    pub(super) fn reboot_soon(&self) {
        let Some((guest, before)) = self.me().zip(self.live()) else { return };
        self.orders.spawn(async move {
            let erased = guest.power.lock().await;
            if *erased || !guest.is_live(&before) {
                return;
            }
            guest.end(&before).await;
            if let Err(error) = guest.boot(before.seed.clone()) {
                tracing::warn!(vmid = guest.vmid, %error, "a drawn guest did not start again");
                guest.went_off();
            }
        });
    }

    /// The guest's own `poweroff`.
    pub(super) fn power_off_soon(&self) {
        let Some((guest, before)) = self.me().zip(self.live()) else { return };
        self.orders.spawn(async move {
            let erased = guest.power.lock().await;
            if !*erased && guest.is_live(&before) {
                guest.end(&before).await;
                guest.went_off();
            }
        });
    }

    /// Applies the seed, binds the ports and lets the boot go on by itself.
    fn boot(&self, seed: Seed) -> Result<(), GuestError> {
        let me = self.me().ok_or(GuestError::Erased)?;
        let address = seed.address.unwrap_or(self.address.into());
        let vnc = self.config.vnc_password.as_ref();
        let sockets = Sockets {
            ssh: bound(address, self.config.ssh_port)?,
            vnc: vnc.map(|_| bound(address, self.config.vnc_port)).transpose()?,
        };
        let applied = self.with_disk(|disk| seed::apply(disk, &seed)).map_err(|error| {
            let source = std::io::Error::other(error);
            GuestError::Io { doing: "apply the seed".into(), source }
        })?;
        self.desktop.name_changed(&self.with_disk(|disk| disk.hostname.clone()));
        let live = Arc::new(Live::new(seed, applied));
        *self.lock_live() = Some(live.clone());
        self.state.send_replace(GuestState::Booting);
        let task = me.come_up(live.clone(), sockets);
        live.spawn(task);
        Ok(())
    }

    async fn come_up(self: Arc<Self>, live: Arc<Live>, sockets: Sockets) {
        tokio::time::sleep(live.seed.boot).await;
        if let Err(error) = self.listen(&live, sockets) {
            // It stays `Booting`: a machine whose services failed looks like that from outside.
            tracing::warn!(vmid = self.vmid, %error, "a drawn guest's services do not listen");
            return;
        }
        self.start_enabled_units();
        self.state.send_replace(GuestState::Up);
        tokio::time::sleep(live.seed.agent_start).await;
        self.state.send_replace(GuestState::AgentUp);
    }

    fn listen(self: &Arc<Self>, live: &Arc<Live>, sockets: Sockets) -> std::io::Result<()> {
        ssh::serve(self, live, sockets.ssh.listen(BACKLOG)?);
        if let Some(socket) = sockets.vnc {
            vnc::serve(self, live, socket.listen(BACKLOG)?);
        }
        Ok(())
    }

    /// Ends everything that runs; the caller sets the state.
    async fn end(&self, live: &Live) {
        self.stop_all_units().await;
        live.cut().await;
        self.activity.clear();
        self.processes.clear();
        self.desktop.reset();
        self.with_disk(Disk::power_lost);
    }

    fn went_off(&self) {
        self.lock_live().take();
        self.state.send_replace(GuestState::Off);
    }

    fn is_live(&self, live: &Arc<Live>) -> bool {
        self.lock_live().as_ref().is_some_and(|now| Arc::ptr_eq(now, live))
    }

    fn lock_natives(&self) -> MutexGuard<'_, HashMap<&'static str, Played>> {
        self.natives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_live(&self) -> MutexGuard<'_, Option<Arc<Live>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bound(address: IpAddr, port: u16) -> Result<TcpSocket, GuestError> {
    let address = SocketAddr::new(address, port);
    bind(address).map_err(|source| GuestError::Io { doing: format!("bind {address}"), source })
}

#[async_trait]
impl Guest for DrawnGuest {
    async fn start(&self, seed: &Seed) -> Result<(), GuestError> {
        let erased = self.power.lock().await;
        if *erased {
            return Err(GuestError::Erased);
        }
        if self.live().is_some() {
            return Ok(());
        }
        self.boot(seed.clone())
    }

    async fn shutdown(&self, deadline: Duration) -> Result<(), GuestError> {
        let erased = self.power.lock().await;
        if *erased {
            return Err(GuestError::Erased);
        }
        let Some(live) = self.live() else { return Ok(()) };
        tokio::time::sleep(self.config.shutdown.min(deadline)).await;
        if self.config.shutdown > deadline {
            return Err(GuestError::Deadline(deadline));
        }
        self.end(&live).await;
        self.went_off();
        Ok(())
    }

    async fn stop(&self) -> Result<(), GuestError> {
        let erased = self.power.lock().await;
        if *erased {
            return Err(GuestError::Erased);
        }
        if let Some(live) = self.live() {
            self.end(&live).await;
            self.went_off();
        }
        Ok(())
    }

    async fn erase(&self) -> Result<(), GuestError> {
        let mut erased = self.power.lock().await;
        if *erased {
            return Err(GuestError::Erased);
        }
        if let Some(live) = self.live() {
            self.end(&live).await;
            self.went_off();
        }
        *erased = true;
        self.with_disk(Disk::wipe);
        self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(())
    }

    fn state(&self) -> watch::Receiver<GuestState> {
        self.state.subscribe()
    }

    async fn agent(&self, command: &str, arguments: Value) -> Result<Value, AgentError> {
        self.agent_call(command, arguments).await
    }

    async fn screen(&self) -> Result<Box<dyn ByteStream>, GuestError> {
        let live = self.live().ok_or(GuestError::Off)?;
        let (ours, theirs) = tokio::io::duplex(SCREEN_BUFFER);
        live.spawn(vnc::show(self.desktop.clone(), ours));
        Ok(Box::new(theirs))
    }
}
