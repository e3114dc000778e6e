//! A session store behind a gate.

use std::sync::Arc;

use async_trait::async_trait;
use daas_core::access::KeyStore;
use daas_core::activity::Activity;
use daas_core::event::Event;
use daas_core::ids::{BackendName, Cursor, DeploymentId, Fence, Holder, SessionId, Version};
use daas_core::session::Session;
use daas_core::store::{
    Change, Claim, EventFilter, Filter, Inserted, Leased, NewSession, Page, Prune, Pruned,
    SessionStore, Sessions, Tally,
};
use daas_core::{Operation, Result};
use jiff::Timestamp;
use tokio::sync::watch;

use super::faults::{Gate, cut_off};

#[derive(Debug)]
pub(crate) struct GatedStore {
    pub(crate) real: Arc<dyn SessionStore>,
    pub(crate) gate: Gate,
}

fn failed<T>() -> Result<T> {
    Err(cut_off(Operation::Store))
}

#[async_trait]
impl SessionStore for GatedStore {
    async fn deployment(&self) -> Result<DeploymentId> {
        self.gate.pass("deployment", || self.real.deployment(), failed).await
    }

    async fn insert(&self, new: NewSession) -> Result<Inserted> {
        self.gate.pass("insert", || self.real.insert(new.clone()), failed).await
    }

    async fn get(&self, id: &SessionId) -> Result<Option<Session>> {
        self.gate.pass("get", || self.real.get(id), failed).await
    }

    async fn list(&self, filter: &Filter, page: &Page) -> Result<Sessions> {
        self.gate.pass("list", || self.real.list(filter, page), failed).await
    }

    async fn update(&self, change: Change) -> Result<Version> {
        self.gate.pass("update", || self.real.update(change.clone()), failed).await
    }

    async fn take_due(
        &self,
        holder: &Holder,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Leased>> {
        let take = || self.real.take_due(holder, now, until, limit);
        self.gate.pass("take_due", take, failed).await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>> {
        self.gate.pass("next_due", || self.real.next_due(), failed).await
    }

    async fn renew(
        &self,
        holder: &Holder,
        held: &[(SessionId, Fence)],
        until: Timestamp,
    ) -> Result<Vec<SessionId>> {
        self.gate.pass("renew", || self.real.renew(holder, held, until), failed).await
    }

    async fn release(&self, id: &SessionId, fence: Fence, due: Option<Timestamp>) -> Result<()> {
        self.gate.pass("release", || self.real.release(id, fence, due), failed).await
    }

    async fn hasten(&self, id: &SessionId, at: Timestamp) -> Result<()> {
        self.gate.pass("hasten", || self.real.hasten(id, at), failed).await
    }

    async fn claim(&self, claim: Claim) -> Result<Option<Session>> {
        self.gate.pass("claim", || self.real.claim(claim.clone()), failed).await
    }

    async fn events(
        &self,
        after: Cursor,
        filter: &EventFilter,
        limit: usize,
    ) -> Result<Vec<Event>> {
        self.gate.pass("events", || self.real.events(after, filter, limit), failed).await
    }

    fn watch(&self) -> watch::Receiver<Cursor> {
        self.real.watch()
    }

    async fn put_activity(&self, id: &SessionId, activity: &Activity) -> Result<()> {
        self.gate.pass("put_activity", || self.real.put_activity(id, activity), failed).await
    }

    async fn activity(&self, id: &SessionId) -> Result<Activity> {
        self.gate.pass("activity", || self.real.activity(id), failed).await
    }

    async fn reserved(&self, provisioner: &BackendName) -> Result<Vec<Session>> {
        self.gate.pass("reserved", || self.real.reserved(provisioner), failed).await
    }

    async fn prune(&self, old: &Prune) -> Result<Pruned> {
        self.gate.pass("prune", || self.real.prune(old), failed).await
    }

    async fn retired(&self, id: &SessionId) -> Result<bool> {
        self.gate.pass("retired", || self.real.retired(id), failed).await
    }

    async fn tally(&self) -> Result<Tally> {
        self.gate.pass("tally", || self.real.tally(), failed).await
    }

    fn keys(&self) -> Arc<dyn KeyStore> {
        self.real.keys()
    }
}
