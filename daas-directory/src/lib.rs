//! Computer accounts of desktops in an Active Directory, over LDAPS.
//!
//! # Tour
//!
//! [`Computers`] implements [`daas_core::directory::ComputerAccounts`] (`computers`): an account is
//! staged before the guest joins, with our mark (`mark`) and a password that is good for that join
//! only, and removed with proof. `client` speaks LDAP with deadlines and tries the servers in turn,
//! `credentials` keeps a wrong password from locking our own account, `tls` says whom we trust,
//! `error` what went wrong and the way out.
//!
//! INVARIANT: an account without our mark is neither changed nor removed. The mark names the
//! session, and so the account: a copy of it on another account is no mark.

mod client;
mod computers;
mod config;
mod credentials;
mod error;
mod mark;
mod names;
mod tls;

pub use self::computers::Computers;
pub use self::config::DirectoryConfig;
