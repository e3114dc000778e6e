//! From a configuration to a running deployment.
//!
//! The only crate that names backends: [`Settings`] reads the configuration, [`Deployment::open`]
//! makes store, provisioners, configurators, engine and server of it, [`Deployment::run`] runs them
//! until told to stop.

mod audit;
mod backends;
mod deployment;
mod doctor;
mod earlier;
mod error;
mod keys;
mod logging;
mod people;
mod settings;

pub use self::audit::{audit_key, open_audit, shell_user};
pub use self::backends::open_store;
pub use self::deployment::Deployment;
pub use self::doctor::examine;
pub use self::error::ComposeError;
pub use self::logging::log_to_stderr;
pub use self::settings::{FakeSettings, LogFormat, LogSettings, Settings, StoreSettings};
