//! A directory over LDAPS: sign-in of people, and computer accounts of desktops in an Active
//! Directory.
//!
//! # Tour
//!
//! [`Computers`] implements [`daas_core::directory::ComputerAccounts`] (`computers`): an account is
//! staged before the guest joins, with our mark (`mark`) and a password that is good for that join
//! only, and removed with proof.
//!
//! [`Users`] implements [`daas_core::identity::PasswordSource`] (`users`): `spelling` reads what
//! people write for their name, a bind proves their password, `groups` are read thereafter.
//!
//! Both share `reach` (servers, our own account) and `client`, which speaks LDAP with deadlines and
//! tries the servers in turn. `credentials` keeps a wrong password from locking our own account,
//! `tls` says whom we trust, `error` what went wrong and the way out.
//!
//! INVARIANT: an account without our mark is neither changed nor removed. The mark names the
//! session, and so the account: a copy of it on another account is no mark.
//! INVARIANT: an empty password is never asked about, and no connection on which somebody was bound
//! serves for anything else.

mod client;
mod computers;
mod config;
mod credentials;
mod error;
mod groups;
mod mark;
mod names;
mod reach;
mod spelling;
mod tls;
mod users;

pub use self::computers::Computers;
pub use self::config::{DirectoryConfig, DirectoryKind, UsersConfig};
pub use self::reach::Reach;
pub use self::users::Users;
