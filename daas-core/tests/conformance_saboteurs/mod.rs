//! Backends that break their contracts, each in one way.

pub(crate) mod audit;
pub(crate) mod configurator;
pub(crate) mod idle;
pub(crate) mod keys;
pub(crate) mod provisioner;
pub(crate) mod second_factors;
pub(crate) mod sign_ins;
pub(crate) mod store;
