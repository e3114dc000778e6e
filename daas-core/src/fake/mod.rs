//! A platform and guests in memory, with real state: they can catch a double creation, and they
//! keep a log from which tests judge.

mod configurator;
mod provisioner;

pub use self::configurator::{FakeConfigurator, FakeGuests, GuestAct};
pub use self::provisioner::{FakePlatform, FakeProvisioner, PlatformAct, Timing};
