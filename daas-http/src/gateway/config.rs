//! The gateway's bounds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The gateway's bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// Connections at once. Default 1,000.
    pub connections: usize,
    /// Connections at once of one owner. Default 16.
    pub connections_of_one: usize,
    /// How long a ticket is good. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub ticket_life: Duration,
    /// How long a screen may take to open. Default 20 s.
    #[serde(with = "humantime_serde")]
    pub open_time: Duration,
    /// How long a client may be silent, its answers to our signs of life included. Default 60 s.
    #[serde(with = "humantime_serde")]
    pub silence: Duration,
    /// How long a client may take for what is sent to it. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub take_time: Duration,
    /// How long a connection lasts on which nobody touches anything; the desktop lives by its own
    /// rules. Default 1 h.
    #[serde(with = "humantime_serde")]
    pub idle: Duration,
    /// How long a connection lasts, used or not; a page connects again by itself. Default 12 h.
    #[serde(with = "humantime_serde")]
    pub lifetime: Duration,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            connections: 1_000,
            connections_of_one: 16,
            ticket_life: Duration::from_secs(30),
            open_time: Duration::from_secs(20),
            silence: Duration::from_secs(60),
            take_time: Duration::from_secs(30),
            idle: Duration::from_secs(60 * 60),
            lifetime: Duration::from_secs(12 * 60 * 60),
        }
    }
}
