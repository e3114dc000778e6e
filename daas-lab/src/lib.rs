//! Real guests for tests of Desktop as a Service: Debian under systemd-nspawn, in a network of the
//! run's own, cleared without a trace.
//!
//! A [`Lab`] is one run: a network namespace with a bridge and DHCP, a place for disks, and a record
//! on disk by which [`sweep`] finds what a killed run left. [`Templates`] builds and caches what disks
//! are copied from. [`NspawnGuests`] makes guests on `daas-sim`'s traits, so that a machine of the
//! simulated cluster truly boots. [`VirtualMachine`] boots such a guest's disk with a kernel of its
//! own. [`Domain`] is an Active Directory for a test. [`RdpClient`] looks
//! at a desktop as a person would, and [`Leaks`] proves that nothing is left.
//!
//! A whole desktop for a domain's user is [`Recipe::workstation`] beside a [`Domain`]: the user is
//! one of [`domain::facts::USERS`], the home [`domain::facts::home_share`] is what
//! [`Domain::home_file`] shows from the server's side, and [`NspawnGuest::log_in`] is a login by PAM.
//! [`secrecy`] proves that no password is seen on the way.
//!
//! It needs root and a handful of Debian packages; [`tools::Missing`] says which.

mod cgroup;
pub mod domain;
pub mod error;
mod guest;
mod kernel;
mod lab;
mod leaks;
mod process;
mod rdp;
mod run;
mod screen;
pub mod secrecy;
mod seed;
mod stand_in;
mod sweep;
mod template;
pub mod tools;
mod trace;
pub mod trials;
mod vm;

pub use domain::Domain;
pub use error::LabError;
pub use guest::{NspawnGuest, NspawnGuests, Output};
pub use lab::{GATEWAY, Lab, LabConfig};
pub use leaks::Leaks;
pub use rdp::{RdpClient, RdpTarget};
pub use screen::Screen;
pub use sweep::sweep;
pub use template::{Recipe, Templates};
pub use vm::VirtualMachine;
