//! Crash points: whole lives of desktops in which calls go wrong, on any session store and any
//! backends.
//!
//! A [`Story`] is what people do: ask, stop, destroy. It is lived in a world with a platform,
//! guests and a directory, in memory unless said, by an engine that an operator starts anew whenever it has
//! ended. Every call to store, provisioner or configurator is counted, and a chosen one goes wrong
//! as a [`Fault`] says: it fails, is done twice, has its effect late, or the process stops or is
//! killed around it. In the end nothing is left, nothing was made twice, nothing is stuck, and the
//! event log tells one whole story.
//!
//! A store's author says in a [`Storage`] how the store is opened, closed and killed, and calls
//! [`every_point`] from an ordinary test (not an asynchronous one: each life has its own runtime,
//! on paused time).
//!
//! Authors of provisioners and configurators say in a [`Backends`] how they are opened, and how the
//! platform tells what is there; [`every_point_in`] lives in [`Worlds`] of them, in real time.

mod backends;
mod fault;
mod gate;
mod judge;
mod lives;
mod pace;
mod real_time;
mod storage;
mod story;
mod world;

pub use self::backends::{Backends, InFakes, Opened, Sabotage, Sabotaged};
pub use self::fault::Fault;
pub use self::lives::{
    Lives, MakeBackends, MakeStorage, Points, Worlds, every_point, every_point_in, late_effects,
    several_at_once, several_at_once_in,
};
pub use self::pace::Pace;
pub use self::real_time::{InRealTime, in_real_time};
pub use self::storage::{InMemory, Storage};
pub use self::story::{Story, stories};
