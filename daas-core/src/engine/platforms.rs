//! Which backends stand on one platform: they see the same machines and share its ids.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ids::BackendName;
use crate::provisioner::Provisioner;

/// The platform of each provisioner, by the name of the backend that is native to it.
#[derive(Debug, Default)]
pub(super) struct Platforms(HashMap<BackendName, BackendName>);

impl Platforms {
    /// Of these provisioners, as they tell it.
    pub(super) fn of_all(provisioners: &HashMap<BackendName, Arc<dyn Provisioner>>) -> Self {
        let told = |(name, p): (&BackendName, &Arc<dyn Provisioner>)| {
            Some((name.clone(), p.extras().platform?))
        };
        Self(provisioners.iter().filter_map(told).collect())
    }

    /// The platform that `name` stands on: its own, if it told of none.
    pub(super) fn of<'a>(&'a self, name: &'a BackendName) -> &'a BackendName {
        self.0.get(name).unwrap_or(name)
    }

    /// Whether two backends see the same machines.
    pub(super) fn same(&self, one: &BackendName, other: &BackendName) -> bool {
        self.of(one) == self.of(other)
    }

    /// Whether another backend stands on `name`'s platform: it lists all that is there, and what it
    /// keeps beside each machine.
    pub(super) fn is_stood_on(&self, name: &BackendName) -> bool {
        self.0.values().any(|platform| platform == name)
    }
}
