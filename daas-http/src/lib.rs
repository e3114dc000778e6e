//! The HTTP face of Desktop as a Service: thin, and blind to backends.
//!
//! # Tour
//!
//! [`routes`] is the one table of what is served, by which listener and for whom; the router, the
//! OpenAPI document and the access test are made from it. [`access`] decides who calls; [`problem`]
//! is how every refusal looks; `wrap` is what every answer passes through; [`audit`] writes down who
//! changes what.
//!
//! - `v1`: the REST API, asynchronous: 202 and events
//! - `portal`: the pages for people, and [`identity`]: who signs in to them
//! - `gateway`: the way to desktops' screens, for browsers and clients
//! - `compat`: what the clients of the earlier Flask orchestrator call; blocks until ready
//! - `guest`: where guests report their use, on a listener of their own
//! - `health`: whether the process, its store and its hypervisors are there, and the metrics
//!
//! [`Listeners`] binds the sockets and loads the certificates; [`Server`] answers on them.

pub mod access;
mod app;
pub mod audit;
mod body;
mod compat;
mod config;
mod connection;
mod docs;
mod face;
mod gateway;
mod guest;
mod health;
pub mod identity;
mod listeners;
mod metrics_text;
mod openapi;
mod portal;
pub mod problem;
mod rate;
mod redirect;
pub mod routes;
mod server;
mod tls;
mod traffic;
mod v1;
mod wrap;

pub use crate::app::Extra;
pub use crate::config::{
    CompatConfig, HttpConfig, HttpLimits, Network, PortalConfig, PublicUrl, Tls,
};
pub use crate::face::Face;
pub use crate::gateway::GatewayConfig;
pub use crate::listeners::{Addresses, Listeners, ServeError};
pub use crate::rate::CallRate;
pub use crate::server::Server;
pub use crate::v1::keys::mint_key;
