//! Settings of drawn guests.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::units::UnitHook;

/// Where drawn guests live and what they offer.
///
/// Each guest takes one address of the range for itself, so that its ports can be the usual ones.
/// The range has to be one the machine can bind to: Linux routes all of 127.0.0.0/8 to the loopback
/// interface; macOS only 127.0.0.1, and drawn guests are not supported there without aliases.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DrawnConfig {
    /// The network the guests' addresses come from.
    pub network: Ipv4Addr,
    /// Its prefix length, 8 to 30.
    pub prefix: u8,
    /// TCP port of XRDP's stand-in.
    pub rdp_port: u16,
    /// TCP port of the VNC server (VNC authentication; the password is `vnc_password`).
    pub vnc_port: u16,
    /// TCP port of the SSH server. Not 22, which needs root.
    pub ssh_port: u16,
    /// The VNC password, 8 bytes at most count; absent: the VNC port stays closed and the screen
    /// can be had through the cluster only.
    pub vnc_password: Option<String>,
    /// How long an orderly shutdown takes.
    #[serde(skip, default = "shutdown_default")]
    pub shutdown: Duration,
    /// SSH connections a guest serves at once.
    pub ssh_connections_max: usize,
    /// RDP and VNC connections a guest serves at once.
    pub viewers_max: usize,
    /// Whether the desktop's panel shows the time. Without it a picture depends on input only.
    pub clock: bool,
    /// Told when a systemd unit starts or stops.
    #[serde(skip)]
    pub unit_hook: Option<Arc<dyn UnitHook>>,
}

impl Default for DrawnConfig {
    fn default() -> Self {
        Self {
            network: Ipv4Addr::new(127, 77, 0, 0),
            prefix: 16,
            rdp_port: 3389,
            vnc_port: 5900,
            ssh_port: 2222,
            vnc_password: None,
            shutdown: shutdown_default(),
            ssh_connections_max: 64,
            viewers_max: 16,
            clock: true,
            unit_hook: None,
        }
    }
}

fn shutdown_default() -> Duration {
    Duration::from_millis(200)
}
