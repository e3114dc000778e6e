//! Machines on Proxmox VE, by its native API, and sign-in by its realms.
//!
//! # Tour
//!
//! [`ProxmoxConfig`] says how a cluster is reached; [`ProxmoxProvisioner::new`] makes the
//! provisioner. Inside, `client` speaks HTTP and knows how Proxmox tells errors, `api` types the
//! calls, `tasks` follows tasks with one reader per node, `overview` reads the cluster in one call,
//! `placement` chooses the node, `making` and `removing` bring one machine a step further, `console`
//! opens its screen.
//! [`SignIn`] (`sign_in`) knows the people of a realm.
//!
//! INVARIANT: no write and no delete touches a machine whose mark was not read just before; the one
//! exception is the clone order itself, which can only ever make the reserved id.

mod agent;
mod api;
mod client;
mod config;
mod console;
mod error;
mod extras;
mod identity;
mod inventory;
mod making;
mod mark;
mod overview;
mod placement;
mod provisioner;
mod removing;
mod sign_in;
mod slots;
mod tasks;
mod tls;

pub use self::config::{IdRange, ProxmoxConfig};
pub use self::provisioner::ProxmoxProvisioner;
pub use self::sign_in::{SignIn, SignInConfig};
