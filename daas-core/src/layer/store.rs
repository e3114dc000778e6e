//! Layers around a [`SessionStore`].

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;

use super::layer;
use crate::access::{KeyStore, SecondFactorStore, SignInStore};
use crate::activity::Activity;
use crate::audit::AuditStore;
use crate::error::Result;
use crate::event::Event;
use crate::ids::{BackendName, Cursor, DeploymentId, Fence, Holder, SessionId, Version};
use crate::session::Session;
use crate::store::{
    Change, Claim, EventFilter, Filter, Inserted, Leased, NewSession, Page, Prune, Pruned,
    SessionStore, Sessions, Tally,
};

layer! {
    /// What a layer does to the calls of a [`SessionStore`]. Those of its [`KeyStore`] do not pass.
    pub trait StoreLayer over SessionStore;

    #[fails_as(Store)]
    async fn deployment(&self) -> Result<DeploymentId>;
    #[fails_as(Store)]
    async fn insert(&self, new: NewSession) -> Result<Inserted>;
    #[fails_as(Store)]
    async fn get(&self, id: &SessionId) -> Result<Option<Session>>;
    #[fails_as(Store)]
    async fn list(&self, filter: &Filter, page: &Page) -> Result<Sessions>;
    #[fails_as(Store)]
    async fn update(&self, change: Change) -> Result<Version>;
    #[fails_as(Store)]
    async fn take_due(
        &self, holder: &Holder, now: Timestamp, until: Timestamp, limit: usize
    ) -> Result<Vec<Leased>>;
    #[fails_as(Store)]
    async fn next_due(&self) -> Result<Option<Timestamp>>;
    #[fails_as(Store)]
    async fn renew(
        &self, holder: &Holder, held: &[(SessionId, Fence)], until: Timestamp
    ) -> Result<Vec<SessionId>>;
    #[fails_as(Store)]
    async fn release(
        &self, id: &SessionId, fence: Fence, due: Option<Timestamp>
    ) -> Result<()>;
    #[fails_as(Store)]
    async fn hasten(&self, id: &SessionId, at: Timestamp) -> Result<()>;
    #[fails_as(Store)]
    async fn claim(&self, claim: Claim) -> Result<Option<Session>>;
    #[fails_as(Store)]
    async fn events(
        &self, after: Cursor, filter: &EventFilter, limit: usize
    ) -> Result<Vec<Event>>;
    #[fails_as(Store)]
    async fn put_activity(&self, id: &SessionId, activity: &Activity) -> Result<()>;
    #[fails_as(Store)]
    async fn activity(&self, id: &SessionId) -> Result<Activity>;
    #[fails_as(Store)]
    async fn reserved(&self, provisioner: &BackendName) -> Result<Vec<Session>>;
    #[fails_as(Store)]
    async fn prune(&self, old: &Prune) -> Result<Pruned>;
    #[fails_as(Store)]
    async fn retired(&self, id: &SessionId) -> Result<bool>;
    #[fails_as(Store)]
    async fn tally(&self) -> Result<Tally>;

    fn watch(&self) -> watch::Receiver<Cursor>;
    fn keys(&self) -> Arc<dyn KeyStore>;
    fn sign_ins(&self) -> Arc<dyn SignInStore>;
    fn audit(&self) -> Arc<dyn AuditStore>;
    fn second_factors(&self) -> Arc<dyn SecondFactorStore>;
}
