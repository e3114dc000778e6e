//! Which machines of the cluster are ours: one overview, and what was read of each machine's mark.
//!
//! The overview shows names and tags, which anybody may copy or edit. The mark and the uuid have to
//! be read machine by machine: each is read once, and again when its line of the overview changes;
//! besides, every listing reads the ones again that were read longest ago, a few at a time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use daas_core::ids::SessionId;
use daas_core::machine::{Listed, MarkSeen};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::api::Resource;
use crate::client::Purpose;
use crate::error::ProxmoxError;
use crate::mark::{Mark, has_tag, is_under_construction};
use crate::overview::Overview;
use crate::provisioner::{Shared, machine_id, power};

/// Machines of which nothing was read yet, that one listing reads.
const NEW_READINGS_MAX: usize = 50;
/// Machines that one listing reads again.
const READ_AGAIN: usize = 2;

/// What was read of machines, by id. All of it can be lost: it is read again.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    read: Mutex<HashMap<u32, Reading>>,
}

/// What was read of one machine.
#[derive(Debug, Clone)]
struct Reading {
    shown: Shown,
    identity: Option<Identity>,
    at: Instant,
}

/// What the overview showed of it then.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    name: Option<String>,
    tags: Option<String>,
    node: Option<String>,
}

/// Whose a machine of ours is.
#[derive(Debug, Clone)]
struct Identity {
    session: SessionId,
    uuid: Option<String>,
    mark: MarkSeen,
}

impl Shown {
    fn of(row: &Resource) -> Self {
        Self { name: row.name.clone(), tags: row.tags.clone(), node: row.node.clone() }
    }
}

impl Inventory {
    fn read(&self) -> MutexGuard<'_, HashMap<u32, Reading>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The uuid of a machine, if it was read since its name, tags or node last changed.
    pub(crate) fn uuid(&self, vmid: u32, row: &Resource) -> Option<String> {
        let read = self.read();
        let reading = read.get(&vmid).filter(|reading| reading.shown == Shown::of(row))?;
        reading.identity.as_ref()?.uuid.clone()
    }

    /// Makes the next listing read a machine anew.
    pub(crate) fn forget(&self, vmid: u32) {
        self.read().remove(&vmid);
    }

    /// The machines to be read now: the new ones first, then those read longest ago.
    fn due<'a>(&self, candidates: &[(u32, &'a Resource)]) -> Vec<(u32, &'a Resource)> {
        let read = self.read();
        let (mut new, mut known) = (Vec::new(), Vec::new());
        for (vmid, row) in candidates {
            match read.get(vmid).filter(|reading| reading.shown == Shown::of(row)) {
                Some(reading) => known.push((reading.at, *vmid, *row)),
                None => new.push((*vmid, *row)),
            }
        }
        new.sort_by_key(|(vmid, _)| *vmid);
        new.truncate(NEW_READINGS_MAX);
        known.sort_by_key(|(at, ..)| *at);
        new.extend(known.into_iter().take(READ_AGAIN).map(|(_, vmid, row)| (vmid, row)));
        new
    }
}

impl Shared {
    /// Every machine of the cluster that is, or looks like, ours.
    pub(crate) async fn list(&self) -> Result<Vec<Listed>, ProxmoxError> {
        let overview = self.overviews.no_older_than(Duration::ZERO, Purpose::Resting).await?;
        let seen_at = Timestamp::now();
        let candidates = self.candidates_in(&overview);
        self.inventory.read().retain(|vmid, _| overview.machines.contains_key(vmid));
        let mut unread = HashMap::new();
        for (vmid, row) in self.inventory.due(&candidates) {
            if let Err(error) = self.read_identity(vmid, row).await {
                unread.insert(vmid, error);
            }
        }
        let mut listed = Vec::new();
        for (vmid, row) in candidates {
            let reading = self.inventory.read().get(&vmid).cloned();
            let identity = match reading.filter(|reading| reading.shown == Shown::of(row)) {
                Some(reading) => reading.identity,
                // Not read, or not readable now. A tag and a session's name make it ours as far as
                // one can see; without them nobody can tell, and the list would not be whole.
                None => match (self.named(row), unread.remove(&vmid)) {
                    (Some(session), _) => {
                        Some(Identity { session, uuid: None, mark: MarkSeen::Own })
                    }
                    (None, Some(error)) => return Err(error),
                    (None, None) => None,
                },
            };
            let Some(Identity { session, uuid, mark }) = identity else { continue };
            listed.push(Listed {
                machine: machine_id(vmid),
                place: row.node.clone().unwrap_or_default(),
                session,
                uuid,
                power: power(row.status.as_deref().unwrap_or("unknown")),
                mark,
                seen_at,
            });
        }
        Ok(listed)
    }

    /// The machines that could be ours: by our tag, or in our range of ids.
    fn candidates_in<'a>(&self, overview: &'a Overview) -> Vec<(u32, &'a Resource)> {
        let tag = Mark::tag(&self.deployment);
        let machines = overview.machines.iter().map(|(vmid, row)| (*vmid, row));
        let real = machines.filter(|(_, row)| row.kind == "qemu" && !row.is_template());
        real.filter(|(vmid, row)| {
            self.config.ids.contains(*vmid) || has_tag(row.tags.as_deref(), &tag)
        })
        .collect()
    }

    /// The session that a machine is named after, if it bears our tag.
    fn named(&self, row: &Resource) -> Option<SessionId> {
        let tagged = has_tag(row.tags.as_deref(), &Mark::tag(&self.deployment));
        row.name.as_deref().filter(|_| tagged).and_then(|name| SessionId::new(name).ok())
    }

    /// Reads who a machine is, and remembers it.
    async fn read_identity(&self, vmid: u32, row: &Resource) -> Result<(), ProxmoxError> {
        let Some(node) = row.node.as_deref() else { return Ok(()) };
        // Gone since, or on its way to another node: the next overview tells.
        let Some(config) = self.client.vm_config(Purpose::Resting, node, vmid).await? else {
            return Ok(());
        };
        let description = config.text("description");
        let identity = match description.as_deref().and_then(Mark::read) {
            Some(mark) if mark.deployment != self.deployment => None,
            Some(mark) => Some(Identity {
                session: mark.session,
                uuid: config.uuid(),
                mark: if mark.vmid == vmid { MarkSeen::Own } else { MarkSeen::Copied },
            }),
            None if is_under_construction(description.as_deref()) => None,
            None => self.named(row).map(|session| Identity {
                session,
                uuid: config.uuid(),
                mark: MarkSeen::Missing,
            }),
        };
        let reading = Reading { shown: Shown::of(row), identity, at: Instant::now() };
        self.inventory.read().insert(vmid, reading);
        Ok(())
    }
}
