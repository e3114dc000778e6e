//! What runs inside a desktop, configured over SSH.
//!
//! # Tour
//!
//! A `profile::Profile` is an ordered list of steps, each of which can tell whether it is done
//! already. [`SshConfigurator`] makes one script of the steps of a stage (`script`), runs it over
//! one connection (`connection`) and follows it by its marks (`follower`). The default profile (`builtin`) gives
//! XFCE over XRDP and the activity reporter (`reporter`).
//!
//! INVARIANT: nothing of a profile or a session reaches a command line: the script is read from
//! standard input, and what it holds is quoted by `script::quote`.

mod builtin;
mod config;
mod configurator;
mod connection;
mod error;
mod follower;
mod keys;
mod profile;
mod reporter;
mod script;

pub use self::config::SshConfig;
pub use self::configurator::SshConfigurator;
pub use self::keys::public_key_of;
pub use self::profile::{Action, Profile, Step, When};
