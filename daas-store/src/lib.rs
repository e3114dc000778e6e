//! Session stores of Desktop as a Service.
//!
//! # Tour
//!
//! [`SqliteStore`] keeps sessions in one SQLite file that one process has open at a time. It reads
//! through a pool of connections and writes through one (`writer`), which puts what is queued into
//! one transaction: durable (`synchronous=FULL`) before anybody is answered, and cheap when many
//! write at once.
//!
//! The record of a session is JSON; beside it are columns for everything that is searched for
//! (`migrations/`). All statements are in one list (`sql`), and a test reads the plan of each.
//! Opening (`open`) looks before it writes: a file that is locked, damaged, foreign or newer is
//! left as it is.

mod audit;
mod error;
mod keys;
mod list;
mod open;
#[cfg(test)]
mod plans;
mod rows;
mod second_factors;
mod sign_ins;
mod sql;
mod sqlite;
#[cfg(test)]
mod trouble;
mod write;
mod writer;

pub use crate::sqlite::SqliteStore;
