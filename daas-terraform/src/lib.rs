//! Machines made by Terraform (or OpenTofu) from a module of the operator's.
//!
//! # Tour
//!
//! [`TerraformConfig`] names the program, the module and the directory of the runs;
//! [`TerraformProvisioner::new`] makes the provisioner. Inside, `command` runs the program in a
//! process group of its own, `events` reads what it tells, `module` checks and prepares the
//! module once, `backend` connects it with states that are kept elsewhere, `run_dir` keeps one directory per machine under a lock that the children inherit,
//! `processes` ends what a predecessor left running, `state` tells what a state holds, `making`
//! and `removing` are the two jobs, and `provisioner` starts and answers for them.
//!
//! # With a platform and without
//!
//! Terraform knows only what its state says. Given the native provisioner of the same platform,
//! this one asks it who is really there: to choose a free id, to observe, to list, and to destroy
//! what Terraform lost sight of. Between "machine made" and "state written" Terraform can be
//! killed; such a machine is found by the platform and destroyed before anything is made again.
//!
//! Without a platform that window stays open: a machine made but not yet in the state is known to
//! nobody. A second apply collides with it, because it uses the same `vm_id`, and fails until
//! somebody removes it by hand. Nor is then noticed what is done to machines by hand.
//!
//! # Where states are kept
//!
//! In the run directories, for one orchestrator; elsewhere, for several, by
//! [`TerraformConfig::backend_file`], with a key for each machine. `modules/README.md` tells how.
//! A state that a crash left half written counts as unknown, never as empty: the platform removes
//! the machine, and the state is set aside for the administrator.
//!
//! INVARIANT: nothing runs in a run directory but under its lock, which every process of a run
//! holds as descriptor 9; whoever takes the lock has first ended those that held it.
//!
//! INVARIANT: with a platform, no apply starts before the platform has proved that nothing of ours
//! and nothing of anybody's is under the reserved id.

mod backend;
mod command;
mod config;
mod error;
mod events;
mod examine;
mod hidden;
mod inventory;
mod jobs;
mod making;
mod module;
mod processes;
mod provisioner;
mod removing;
mod run_dir;
mod state;

pub use self::config::{IdRange, TerraformConfig};
pub use self::provisioner::TerraformProvisioner;
