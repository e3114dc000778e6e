//! A simulated Proxmox VE cluster and drawn guests, speaking the real protocols.
//!
//! It exists to prove a client wrong: it shares no code with one, keeps Proxmox's texts, types,
//! locks and orders of checks, takes its time from a seed, and fails where it is told to.
//!
//! Start with [`Simulator`]; [`SimConfig`] says what the cluster is made of, [`Faults`] what goes
//! wrong, [`Log`] what really happened. A machine's inside is a [`guest`].
//!
//! Inside: `http` reads and writes HTTP as Proxmox does, `api` is a table of routes with two
//! interpreters (parameters, permissions) and their handlers, `access` resolves rights, `cluster`
//! keeps the books, `console` leads to a guest's screen.

mod access;
mod api;
mod clock;
mod cluster;
mod config;
mod console;
mod durations;
mod faults;
pub mod guest;
mod http;
mod log;
mod random;
mod simulator;

pub use access::AccessError;
pub use clock::Clock;
pub use cluster::view::{View, VmView};
pub use config::{
    Grant, NodeConfig, RoleConfig, SimConfig, StorageConfig, StorageKind, TemplateConfig,
    TokenConfig, UserConfig, Version,
};
pub use durations::{Durations, Spread};
pub use faults::{Effect, Fault, Faults, When};
pub use guest::null::NullGuests;
pub use http::tls::TlsError;
pub use log::{Entry, Event, Log};
pub use simulator::{Simulator, StartError};
