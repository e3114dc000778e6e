//! What runs inside a desktop, configured by Ansible.
//!
//! # Tour
//!
//! An [`AnsibleProfile`] (`config`) names a playbook for each stage; [`AnsibleConfigurator`] makes the
//! guest's host key sure (`host_keys`), writes a private directory for the session (`run_dir`) with an
//! inventory and variables (`inventory`, as data by `yaml`), and runs `ansible-playbook` there
//! (`command`). A callback plugin of our own (`callback.py`) tells what happens, a line of JSON each
//! (`events`). The default profile is a playbook and two roles that ship with it (`shipped`).
//!
//! Where a profile joins a domain, the guest's computer account is the session's side effect: it is
//! made, with a password for one join, only when the playbook says that the guest is not joined.
//!
//! INVARIANT: nothing of a session reaches a command line, and nothing of it is taken for a Jinja
//! template: variables go by files of mode 0600, every text in them marked `!unsafe`.
//! INVARIANT: when `apply` has ended or was dropped, no process of its run goes on.

mod command;
mod config;
mod configurator;
mod error;
mod events;
mod host_keys;
mod inventory;
mod processes;
mod run_dir;
mod shipped;
mod yaml;

pub use self::config::{AnsibleConfig, AnsibleProfile, Join, Logins, Play};
pub use self::configurator::AnsibleConfigurator;
