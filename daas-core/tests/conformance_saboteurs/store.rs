//! Session stores that break their contract.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use daas_core::Result;
use daas_core::access::{KeyStore, SecondFactorStore, SignInStore};
use daas_core::activity::Activity;
use daas_core::audit::AuditStore;
use daas_core::event::Event;
use daas_core::ids::{BackendName, Cursor, Fence, Holder, SessionId, Version};
use daas_core::layer::{Layer, StoreLayer};
use daas_core::session::Session;
use daas_core::store::quota::Quotas;
use daas_core::store::{
    Change, Claim, EventFilter, Filter, Inserted, NewSession, Next, Page, Prune, Pruned,
    SessionStore, Sessions, Tally,
};
use jiff::Timestamp;

use super::audit::BadAudit;
use super::keys::{BadKeys, KeyTrick};
use super::second_factors::{BadFactors, FactorTrick};
use super::sign_ins::{BadSignIns, SignInTrick};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreTrick {
    IgnoresVersion,
    IgnoresFence,
    ClaimsTwice,
    LosesEvents,
    IgnoresKeys,
    IgnoresQuotas,
    ForgetsHaste,
    CallsEveryLeaseKept,
    RepeatsPages,
    TouchesTheRecord,
    ReservedTellsAll,
    PrunesNothing,
    PrunesTheLive,
    PrunesTheYoung,
    PrunesAllAtOnce,
    KeepsKeys,
    ForgetsIds,
    SkipsInSilence,
    ForgetsCounts,
    AuditTakesAnything,
    AuditLosesTheLast,
    AuditIgnoresFilters,
    AuditRepeatsPages,
    AuditLosesSignatures,
    AuditForgetsAll,
    AuditForgetsNothing,
    AuditKnowsNoLinks,
    AuditAgesEverything,
    /// Its sign-ins do.
    SignIns(SignInTrick),
    /// Its API keys do.
    Keys(KeyTrick),
    /// Its second factors do.
    Factors(FactorTrick),
}

#[derive(Debug)]
pub(crate) struct BadStore {
    real: Arc<dyn SessionStore>,
    trick: StoreTrick,
    claimed: Mutex<Option<Session>>,
    pruned: Mutex<Option<Prune>>,
    sign_ins: Mutex<Option<Arc<BadSignIns>>>,
}

impl BadStore {
    pub(crate) fn new(real: Arc<dyn SessionStore>, trick: StoreTrick) -> Self {
        let (claimed, pruned, sign_ins) = Default::default();
        Self { real, trick, claimed, pruned, sign_ins }
    }

    fn plays(&self, trick: StoreTrick) -> bool {
        self.trick == trick
    }
}

impl Layer for BadStore {}

#[async_trait]
impl StoreLayer for BadStore {
    fn below(&self) -> &dyn SessionStore {
        self.real.as_ref()
    }

    async fn insert(&self, mut new: NewSession) -> Result<Inserted> {
        if self.plays(StoreTrick::IgnoresKeys) {
            new.idempotency_key = None;
        }
        if self.plays(StoreTrick::IgnoresQuotas) {
            new.quotas = Quotas::default();
        }
        self.real.insert(new).await
    }

    async fn get(&self, id: &SessionId) -> Result<Option<Session>> {
        let found = self.real.get(id).await?;
        let pruned = self.pruned.lock().unwrap();
        let before = pruned.as_ref().map(|old| old.ended_before);
        // As if live sessions that are old had been removed.
        let hidden = |s: &Session| {
            let old = before.is_some_and(|t| s.created_at < t);
            self.plays(StoreTrick::PrunesTheLive) && s.is_live() && old
        };
        Ok(found.filter(|session| !hidden(session)))
    }

    async fn list(&self, filter: &Filter, page: &Page) -> Result<Sessions> {
        let answer = self.real.list(filter, page).await?;
        if self.plays(StoreTrick::RepeatsPages) {
            let first = self.real.list(filter, &Page::first(page.limit)).await?;
            return Ok(Sessions { next: answer.next, ..first });
        }
        Ok(answer)
    }

    async fn update(&self, mut change: Change) -> Result<Version> {
        if self.plays(StoreTrick::IgnoresVersion)
            && let Some(present) = self.real.get(&change.session.id).await?
        {
            change.session.version = present.version;
        }
        if self.plays(StoreTrick::IgnoresFence) {
            change.fence = None;
        }
        if self.plays(StoreTrick::LosesEvents) {
            change.events.clear();
        }
        self.real.update(change).await
    }

    async fn renew(
        &self,
        holder: &Holder,
        held: &[(SessionId, Fence)],
        until: Timestamp,
    ) -> Result<Vec<SessionId>> {
        let kept = self.real.renew(holder, held, until).await?;
        Ok(if self.plays(StoreTrick::CallsEveryLeaseKept) {
            held.iter().map(|(id, _)| id.clone()).collect()
        } else {
            kept
        })
    }

    async fn hasten(&self, id: &SessionId, at: Timestamp) -> Result<()> {
        if self.plays(StoreTrick::ForgetsHaste) {
            return Ok(());
        }
        self.real.hasten(id, at).await
    }

    async fn claim(&self, mut claim: Claim) -> Result<Option<Session>> {
        if self.plays(StoreTrick::IgnoresQuotas) {
            claim.quotas = Quotas::default();
        }
        if self.plays(StoreTrick::ClaimsTwice)
            && let Some(session) = self.claimed.lock().unwrap().take()
        {
            return Ok(Some(session));
        }
        let claimed = self.real.claim(claim).await?;
        (*self.claimed.lock().unwrap()).clone_from(&claimed);
        Ok(claimed)
    }

    async fn events(
        &self,
        after: Cursor,
        filter: &EventFilter,
        limit: usize,
    ) -> Result<Vec<Event>> {
        let answer = self.real.events(after, filter, limit).await;
        if self.plays(StoreTrick::SkipsInSilence) {
            return Ok(answer.unwrap_or_default());
        }
        answer
    }

    async fn put_activity(&self, id: &SessionId, activity: &Activity) -> Result<()> {
        self.real.put_activity(id, activity).await?;
        if self.plays(StoreTrick::TouchesTheRecord)
            && let Some(session) = self.real.get(id).await?
        {
            let change = Change { session, fence: None, events: Vec::new(), next: Next::Hold };
            self.real.update(change).await?;
        }
        Ok(())
    }

    async fn reserved(&self, provisioner: &BackendName) -> Result<Vec<Session>> {
        if self.plays(StoreTrick::ReservedTellsAll) {
            return Ok(self.real.list(&Filter::default(), &Page::first(1_000)).await?.sessions);
        }
        self.real.reserved(provisioner).await
    }

    async fn prune(&self, old: &Prune) -> Result<Pruned> {
        *self.pruned.lock().unwrap() = Some(old.clone());
        let mut old = old.clone();
        match self.trick {
            StoreTrick::PrunesNothing => return Ok(Pruned::default()),
            StoreTrick::PrunesTheYoung => {
                (old.ended_before, old.keys_before) = (Timestamp::MAX, Timestamp::MAX);
            }
            StoreTrick::PrunesAllAtOnce => old.limit = 100_000,
            StoreTrick::KeepsKeys => old.keys_before = Timestamp::MIN,
            _ => {}
        }
        self.real.prune(&old).await
    }

    async fn retired(&self, id: &SessionId) -> Result<bool> {
        Ok(self.real.retired(id).await? && !self.plays(StoreTrick::ForgetsIds))
    }

    async fn tally(&self) -> Result<Tally> {
        let mut tally = self.real.tally().await?;
        if self.plays(StoreTrick::ForgetsCounts) && self.pruned.lock().unwrap().is_some() {
            (tally.created, tally.ended) = (tally.live(), 0);
        }
        Ok(tally)
    }

    fn audit(&self) -> Arc<dyn AuditStore> {
        Arc::new(BadAudit { real: self.real.audit(), trick: self.trick })
    }

    fn sign_ins(&self) -> Arc<dyn SignInStore> {
        // One for the store's life: some tricks remember.
        let real = self.real.sign_ins();
        let StoreTrick::SignIns(trick) = self.trick else { return real };
        let mut bad = self.sign_ins.lock().unwrap();
        let bad = bad.get_or_insert_with(|| Arc::new(BadSignIns::new(real, trick)));
        Arc::clone(bad) as Arc<dyn SignInStore>
    }

    fn keys(&self) -> Arc<dyn KeyStore> {
        let real = self.real.keys();
        match self.trick {
            StoreTrick::Keys(trick) => Arc::new(BadKeys { real, trick }),
            _ => real,
        }
    }

    fn second_factors(&self) -> Arc<dyn SecondFactorStore> {
        let real = self.real.second_factors();
        match self.trick {
            StoreTrick::Factors(trick) => Arc::new(BadFactors { real, trick }),
            _ => real,
        }
    }
}
