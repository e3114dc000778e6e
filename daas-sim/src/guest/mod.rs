//! What stands behind a simulated machine once it has power.
//!
//! The cluster (`crate::cluster`) keeps the books of Proxmox: ids, configuration, locks, tasks. What
//! the machine *does* is a guest's business, behind the two small traits here. `drawn` guests live
//! in this process and need no root; `daas-lab` brings guests that are a real Debian.

pub mod drawn;
pub mod null;

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

/// Makes guests. A cluster has one.
#[async_trait]
pub trait GuestMaker: Debug + Send + Sync {
    /// A new guest without power, whose disk is a copy of the image `spec.image`.
    async fn make(&self, spec: GuestSpec) -> Result<Arc<dyn Guest>, GuestError>;

    /// Ends every guest made here and frees what they hold; nothing of them is left afterwards.
    async fn close(&self);
}

/// What a guest is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestSpec {
    /// The machine id in the cluster; unique among the guests that are alive.
    pub vmid: u32,
    /// The image's name, as the template's configuration tells it.
    pub image: String,
}

/// What the machine tells its guest at power-on: cloud-init's data and the virtual hardware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// The host name (a DNS label).
    pub hostname: String,
    /// The user cloud-init makes; absent: `root` takes the keys.
    pub user: Option<String>,
    /// That user's password as a crypt(3) string.
    pub password_hash: Option<String>,
    /// OpenSSH public keys, a line each.
    pub ssh_keys: Vec<String>,
    /// The MAC address of `net0`, upper case with colons.
    pub mac: String,
    /// A fixed address; absent: the guest takes one by itself (DHCP).
    pub address: Option<IpAddr>,
    /// Virtual processors.
    pub cores: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Whether the machine has a guest agent port and the agent is installed.
    pub agent: bool,
    /// From power-on until the guest's services listen. Real guests take what they take and ignore it.
    pub boot: Duration,
    /// From then until the guest agent answers. Real guests ignore it.
    pub agent_start: Duration,
}

/// How far a guest has come since power-on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GuestState {
    /// No power.
    Off,
    /// Power, but no service listens yet.
    Booting,
    /// Its services (SSH, RDP, VNC) listen.
    Up,
    /// The guest agent answers too, and the guest has its address.
    AgentUp,
}

/// One guest: a disk, and what runs from it while there is power.
#[async_trait]
pub trait Guest: Debug + Send + Sync {
    /// Gives power. Returns when power is on; the boot goes on by itself (see [`Guest::state`]).
    /// A guest that has power already keeps running and answers `Ok`.
    async fn start(&self, seed: &Seed) -> Result<(), GuestError>;

    /// Asks the guest to end in good order and waits for it at most `deadline`;
    /// [`GuestError::Deadline`] when it still has power then.
    async fn shutdown(&self, deadline: Duration) -> Result<(), GuestError>;

    /// Cuts the power. Returns when nothing of the guest runs. Without power: `Ok`.
    async fn stop(&self) -> Result<(), GuestError>;

    /// Cuts the power if there is any and removes the disk. The guest cannot be started again.
    async fn erase(&self) -> Result<(), GuestError>;

    /// The guest's state and its changes; a guest may end by itself.
    fn state(&self) -> watch::Receiver<GuestState>;

    /// One call of the QEMU guest agent protocol: `{"execute": command, "arguments": arguments}`;
    /// what comes back is the value of `return`. Commands: `guest-ping`, `guest-info`,
    /// `guest-get-osinfo`, `guest-get-host-name`, `guest-network-get-interfaces`, `guest-exec`,
    /// `guest-exec-status`, `guest-file-read` (of a whole small file, argument `path`).
    ///
    /// As with a real virtio port, a call made while the agent is still starting waits for it; the
    /// caller brings the deadline.
    async fn agent(&self, command: &str, arguments: Value) -> Result<Value, AgentError>;

    /// The machine's screen: a stream on which an RFB 3.8 server offers security type *None*.
    /// The cluster puts its own authentication in front of it.
    async fn screen(&self) -> Result<Box<dyn ByteStream>, GuestError>;
}

/// A bidirectional byte stream.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// Why a guest did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// There is no image of that name.
    #[error("no image {0:?}")]
    NoImage(String),
    /// The guest has been erased.
    #[error("the guest is gone")]
    Erased,
    /// The guest has no power.
    #[error("the guest has no power")]
    Off,
    /// The guest did not end in time.
    #[error("the guest still runs after {0:?}")]
    Deadline(Duration),
    /// The world outside refused.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// The reason.
        source: std::io::Error,
    },
}

/// Why the guest agent gave no value.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// No power, no agent installed, or the guest ended while the call waited.
    #[error("the guest agent is not running")]
    NotRunning,
    /// The agent answered with an error.
    #[error("{0}")]
    Refused(String),
}
