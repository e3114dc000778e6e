//! The REST API: resources, answered at once; what takes long is told by events.

pub(crate) mod audit;
pub(crate) mod events;
pub(crate) mod keys;
pub(crate) mod quarantine;
pub(crate) mod rdp;
pub(crate) mod seats;
pub(crate) mod second_factors;
pub(crate) mod sessions;
pub(crate) mod templates;
pub(crate) mod view;
