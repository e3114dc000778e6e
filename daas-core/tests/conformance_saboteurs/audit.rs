//! Audit logs that break their contract.

use std::sync::Arc;

use async_trait::async_trait;
use daas_core::audit::{
    AuditFilter, AuditPage, AuditStore, Chain, Entry, Head, Placed, SignedHead,
};
use daas_core::{Kind, Result};
use jiff::Timestamp;

use super::store::StoreTrick;

#[derive(Debug)]
pub(crate) struct BadAudit {
    pub(crate) real: Arc<dyn AuditStore>,
    pub(crate) trick: StoreTrick,
}

impl BadAudit {
    fn plays(&self, trick: StoreTrick) -> bool {
        self.trick == trick
    }
}

#[async_trait]
impl AuditStore for BadAudit {
    async fn append(&self, entries: &[Entry]) -> Result<()> {
        if self.plays(StoreTrick::AuditLosesTheLast) && entries.len() > 1 {
            return self.real.append(&entries[..entries.len() - 1]).await;
        }
        let answer = self.real.append(entries).await;
        match answer {
            // One after the other, as far as it goes, and silently.
            Err(error)
                if self.plays(StoreTrick::AuditTakesAnything) && error.kind() == Kind::Conflict =>
            {
                for entry in entries {
                    let _ = self.real.append(std::slice::from_ref(entry)).await;
                }
                Ok(())
            }
            answer => answer,
        }
    }

    async fn sign(&self, head: &SignedHead) -> Result<()> {
        if self.plays(StoreTrick::AuditLosesSignatures) {
            return Ok(());
        }
        self.real.sign(head).await
    }

    async fn chains(&self) -> Result<Vec<Chain>> {
        let mut chains = self.real.chains().await?;
        if self.plays(StoreTrick::AuditKnowsNoLinks) {
            chains.iter_mut().for_each(|chain| chain.linked = 0);
        }
        Ok(chains)
    }

    async fn entries(&self, filter: &AuditFilter, page: &AuditPage) -> Result<Vec<Placed>> {
        let mut page = *page;
        if self.plays(StoreTrick::AuditRepeatsPages) && page.newest_first {
            page.after = None;
        }
        if self.plays(StoreTrick::AuditIgnoresFilters) {
            return self.real.entries(&AuditFilter::default(), &page).await;
        }
        self.real.entries(filter, &page).await
    }

    async fn heads(&self, after: u64, limit: usize) -> Result<Vec<(u64, SignedHead)>> {
        self.real.heads(after, limit).await
    }

    async fn aged(&self, before: Timestamp, limit: u64) -> Result<Vec<Head>> {
        if self.plays(StoreTrick::AuditAgesEverything) {
            return self.real.aged(Timestamp::MAX, limit).await;
        }
        self.real.aged(before, limit).await
    }

    async fn forget(&self, marks: &[Head]) -> Result<u64> {
        if self.plays(StoreTrick::AuditForgetsNothing) {
            return Ok(0);
        }
        let mut marks = marks.to_vec();
        if self.plays(StoreTrick::AuditForgetsAll) {
            marks.iter_mut().for_each(|mark| mark.number = u64::MAX);
        }
        self.real.forget(&marks).await
    }
}
