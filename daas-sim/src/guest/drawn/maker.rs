//! The maker of drawn guests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use tokio_util::task::TaskTracker;

use super::addresses::Addresses;
use super::rdp::Logins;
use super::{DrawnConfig, DrawnGuest, image};
use crate::guest::{Guest, GuestError, GuestMaker, GuestSpec};

/// Makes guests that live in this process.
#[derive(Debug)]
pub struct DrawnGuests {
    config: Arc<DrawnConfig>,
    addresses: Arc<Addresses>,
    guests: Mutex<BTreeMap<u32, Weak<DrawnGuest>>>,
    /// Guests that switch themselves off or start again.
    orders: TaskTracker,
    logins: Arc<Logins>,
}

impl DrawnGuests {
    /// No guest yet; nothing is bound before the first one.
    pub fn new(config: DrawnConfig) -> Self {
        let addresses = Arc::new(Addresses::new(&config));
        let (guests, orders) = (Mutex::default(), TaskTracker::new());
        Self { config: Arc::new(config), addresses, guests, orders, logins: Arc::default() }
    }

    /// The guest of that machine, if there is one; tests look at its disk and its log through it.
    pub fn guest(&self, vmid: u32) -> Option<Arc<DrawnGuest>> {
        self.lock().get(&vmid).and_then(Weak::upgrade)
    }

    /// Makes a guest as [`GuestMaker::make`] does, and hands it out by its own type.
    pub fn make_drawn(&self, spec: &GuestSpec) -> Result<Arc<DrawnGuest>, GuestError> {
        let disk =
            image::disk(&spec.image).ok_or_else(|| GuestError::NoImage(spec.image.clone()))?;
        let address = self.addresses.take().map_err(|source| GuestError::Io {
            doing: format!("take an address of {}/{}", self.config.network, self.config.prefix),
            source,
        })?;
        let (orders, logins) = (self.orders.clone(), self.logins.clone());
        let config = self.config.clone();
        let guest = DrawnGuest::new(spec.vmid, disk, address, config, orders, logins);
        let mut guests = self.lock();
        guests.retain(|_, guest| guest.strong_count() > 0);
        guests.insert(spec.vmid, Arc::downgrade(&guest));
        Ok(guest)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Weak<DrawnGuest>>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl GuestMaker for DrawnGuests {
    async fn make(&self, spec: GuestSpec) -> Result<Arc<dyn Guest>, GuestError> {
        Ok(self.make_drawn(&spec)?)
    }

    async fn close(&self) {
        let guests: Vec<_> = std::mem::take(&mut *self.lock()).into_values().collect();
        for guest in guests.iter().filter_map(Weak::upgrade) {
            match guest.erase().await {
                Ok(()) | Err(GuestError::Erased) => {}
                Err(error) => tracing::warn!(%error, "a drawn guest was not erased"),
            }
        }
        self.orders.close();
        self.orders.wait().await;
    }
}
