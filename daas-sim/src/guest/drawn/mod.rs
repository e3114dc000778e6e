//! Guests drawn in this process: no root, no kernel, but real protocols.
//!
//! [`DrawnGuests`] makes [`DrawnGuest`]s. Each has a disk (`disk`, from an `image`), a shell that
//! works on it (`shell`, `commands`), and once it has booted an SSH server (`ssh`), a VNC server
//! (`vnc`), an RDP server (`rdp`), a guest agent (`agent`) and a desktop somebody can look at
//! (`desktop`). `drawn_guest` holds them together and gives and takes power.

mod activity;
mod addresses;
mod agent;
mod commands;
mod config;
mod cut;
mod desktop;
mod disk;
mod drawn_guest;
mod host_key;
mod image;
mod live;
mod maker;
mod password;
mod rdp;
mod reporter;
mod seed;
mod shell;
mod ssh;
mod units;
mod vnc;

pub use activity::SessionView;
pub use config::DrawnConfig;
pub use disk::{Account, Disk, FileError, Group, Kind, LogEntry, LogKind, Node, Unit, Who};
pub use drawn_guest::{DrawnGuest, Ports, Ran};
pub use maker::DrawnGuests;
pub use units::UnitHook;
