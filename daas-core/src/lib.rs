//! Desktop as a Service, as a library: types, the four traits and the engine between them.
//!
//! # Tour
//!
//! A [`session::Session`] is the record of one desktop. It is made from a [`template::Template`],
//! has a [`session::Goal`] (what was asked for) and a [`session::Phase`] (where it really is).
//!
//! Four traits face the world, each with a contract that a conformance suite checks:
//!
//! - the [`provisioner::Provisioner`] trait: machines
//! - the [`configurator::Configurator`] trait: what runs inside them
//! - the [`store::SessionStore`] trait: where sessions are kept
//! - the [`idle::IdlePolicy`] trait: whether one is still used
//!
//! The engine takes sessions that are due, observes, decides and executes one step at a time; a
//! crash anywhere is only a late pass. The `daas-core` crate links no HTTP, no SQL and starts no
//! processes.

pub mod access;
pub mod activity;
pub mod audit;
pub mod clock;
pub mod configurator;
pub mod conformance;
#[cfg(feature = "testing")]
pub mod crash;
pub mod directory;
pub mod engine;
pub mod error;
pub mod event;
pub mod fake;
pub mod identity;
pub mod idle;
pub mod ids;
#[cfg(feature = "testing")]
pub mod layer;
pub mod ledger;
pub mod machine;
pub mod owner;
pub mod progress;
pub mod provisioner;
pub mod reporter;
pub mod secret;
pub mod session;
pub mod store;
pub mod template;

pub use crate::error::{Error, Kind, Operation, Recovery, Result};
