//! Guests that are a real Debian: an overlay of a template as disk, systemd-nspawn as hypervisor.
//!
//! `machine` is the guest, `power` runs nspawn, `boot` watches a start, `inside` runs programs and
//! reads files in a running guest, `agent` speaks the guest agent's protocol on top of that.

mod agent;
mod boot;
mod inside;
mod machine;
mod power;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use daas_sim::guest::{Guest, GuestError, GuestMaker, GuestSpec};

pub use inside::Output;
pub(crate) use machine::LOG_IN;
pub use machine::NspawnGuest;

use crate::error::LabError;
use crate::lab::Lab;
use crate::template::{Recipe, Templates};

/// `PATH` of programs run in a guest.
pub(crate) const GUEST_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Makes guests of templates, in one lab.
pub struct NspawnGuests {
    lab: Arc<Lab>,
    /// The trees each image stands on, the topmost first.
    images: BTreeMap<String, Vec<PathBuf>>,
    made: Mutex<Vec<Arc<NspawnGuest>>>,
}

impl NspawnGuests {
    /// Guests from these `(image name, template)` pairs; templates that are not in the cache are
    /// built first, which takes up to minutes.
    ///
    /// # Errors
    /// A template cannot be built.
    pub async fn prepare(
        lab: Arc<Lab>,
        images: &[(&str, Recipe)],
    ) -> Result<NspawnGuests, LabError> {
        let wanted: Vec<(String, Recipe)> =
            images.iter().map(|(name, recipe)| ((*name).to_owned(), recipe.clone())).collect();
        let templates = Templates::new(&lab.config().cache);
        let ready = tokio::task::spawn_blocking(move || {
            let ensure = |(name, recipe): (String, Recipe)| {
                templates.ensure(&recipe).map(|tree| (name, vec![tree]))
            };
            wanted.into_iter().map(ensure).collect::<Result<BTreeMap<_, _>, _>>()
        });
        let images = ready.await.map_err(|error| LabError::Io {
            doing: "build templates".to_owned(),
            source: std::io::Error::other(error),
        })??;
        Ok(NspawnGuests { lab, images, made: Mutex::new(Vec::new()) })
    }

    /// Guests of one image that stands on these trees, the topmost first.
    pub(crate) fn on_trees(lab: Arc<Lab>, image: &str, trees: Vec<PathBuf>) -> NspawnGuests {
        let images = BTreeMap::from([(image.to_owned(), trees)]);
        NspawnGuests { lab, images, made: Mutex::new(Vec::new()) }
    }

    /// As [`GuestMaker::make`], but gives the guest as what it is.
    ///
    /// # Errors
    /// No such image, or the disk cannot be made.
    pub async fn guest(&self, spec: &GuestSpec) -> Result<Arc<NspawnGuest>, GuestError> {
        let lower = self.images.get(&spec.image);
        let lower = lower.ok_or_else(|| GuestError::NoImage(spec.image.clone()))?.clone();
        let guest = Arc::new(NspawnGuest::make(Arc::clone(&self.lab), lower).await?);
        if let Ok(mut made) = self.made.lock() {
            made.retain(|guest| !guest.is_erased());
            made.push(Arc::clone(&guest));
        }
        Ok(guest)
    }

    /// The guest that was started under this host name and is not erased: one that somebody else
    /// made, a simulated cluster say.
    pub async fn named(&self, hostname: &str) -> Option<Arc<NspawnGuest>> {
        let made = self.made.lock().map(|made| made.clone()).unwrap_or_default();
        for guest in made.into_iter().filter(|guest| !guest.is_erased()) {
            if guest.hostname().await.as_deref() == Some(hostname) {
                return Some(guest);
            }
        }
        None
    }

    /// The lab its guests are in.
    pub fn lab(&self) -> &Arc<Lab> {
        &self.lab
    }
}

#[async_trait]
impl GuestMaker for NspawnGuests {
    async fn make(&self, spec: GuestSpec) -> Result<Arc<dyn Guest>, GuestError> {
        Ok(self.guest(&spec).await?)
    }

    async fn close(&self) {
        let made = self.made.lock().map(|mut made| std::mem::take(&mut *made)).unwrap_or_default();
        for guest in made {
            if let Err(error) = guest.erase().await {
                tracing::error!(%error, machine = guest.name(), "guest not erased");
            }
        }
    }
}

impl fmt::Debug for NspawnGuests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NspawnGuests")
            .field("lab", &self.lab.id())
            .field("images", &self.images.keys())
            .finish_non_exhaustive()
    }
}
