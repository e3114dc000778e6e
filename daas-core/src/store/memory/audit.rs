//! The audit log in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;

use super::State;
use crate::audit::{
    AuditFilter, AuditPage, AuditStore, Chain, Entry, Head, Placed, SignedHead, Writer,
};
use crate::error::{Error, Kind, Operation, Result};

#[derive(Debug, Default)]
pub(super) struct AuditRows {
    /// In the order of their places, which have gaps where entries were removed.
    entries: Vec<Placed>,
    heads: Vec<(u64, SignedHead)>,
    newest: u64,
}

impl AuditRows {
    fn of<'a>(&'a self, writer: &'a Writer) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().map(|placed| &placed.entry).filter(move |e| &e.writer == writer)
    }
}

#[derive(Debug)]
pub(super) struct MemoryAudit(pub(super) Arc<Mutex<State>>);

impl MemoryAudit {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl AuditStore for MemoryAudit {
    async fn append(&self, entries: &[Entry]) -> Result<()> {
        let mut state = self.state();
        let mut heads: BTreeMap<Writer, Head> = BTreeMap::new();
        for entry in entries {
            let before = match heads.get(&entry.writer) {
                Some(head) => Some(head.clone()),
                None => state.audit.of(&entry.writer).last().map(Entry::head),
            };
            let follows = match &before {
                Some(head) => entry.number == head.number + 1 && entry.previous == head.hash,
                None => entry.number == 1,
            };
            if !follows {
                let why = "it does not follow the newest entry of its chain";
                let what = format!("audit entry {} of {}", entry.number, entry.writer);
                return Err(Error::new(Kind::Conflict, Operation::Store, what, why));
            }
            heads.insert(entry.writer.clone(), entry.head());
        }
        for entry in entries {
            state.audit.newest += 1;
            let place = state.audit.newest;
            state.audit.entries.push(Placed { place, entry: entry.clone() });
        }
        Ok(())
    }

    async fn sign(&self, head: &SignedHead) -> Result<()> {
        let mut state = self.state();
        let place = state.audit.heads.last().map_or(1, |(place, _)| place + 1);
        state.audit.heads.push((place, head.clone()));
        Ok(())
    }

    async fn chains(&self) -> Result<Vec<Chain>> {
        let state = self.state();
        let mut chains: BTreeMap<Writer, Chain> = BTreeMap::new();
        for Placed { entry, .. } in &state.audit.entries {
            for link in entry.links.iter().filter(|link| link.writer != entry.writer) {
                if let Some(chain) = chains.get_mut(&link.writer) {
                    chain.linked = chain.linked.max(link.number);
                }
            }
            let begun = || Chain { first: entry.number, head: entry.head(), linked: 0 };
            chains.entry(entry.writer.clone()).or_insert_with(begun).head = entry.head();
        }
        Ok(chains.into_values().collect())
    }

    async fn entries(&self, filter: &AuditFilter, page: &AuditPage) -> Result<Vec<Placed>> {
        let state = self.state();
        let passes = |placed: &&Placed| filter.passes(&placed.entry);
        let entries = state.audit.entries.iter().filter(passes);
        if page.newest_first {
            let beyond = |placed: &&Placed| page.after.is_none_or(|after| placed.place < after);
            return Ok(entries.rev().filter(beyond).take(page.limit).cloned().collect());
        }
        let beyond = |placed: &&Placed| page.after.is_none_or(|after| placed.place > after);
        Ok(entries.filter(beyond).take(page.limit).cloned().collect())
    }

    async fn heads(&self, after: u64, limit: usize) -> Result<Vec<(u64, SignedHead)>> {
        let state = self.state();
        let later = state.audit.heads.iter().filter(|(place, _)| *place > after);
        Ok(later.take(limit).cloned().collect())
    }

    async fn aged(&self, before: Timestamp, limit: u64) -> Result<Vec<Head>> {
        let chains = self.chains().await?;
        let state = self.state();
        let aged = chains.iter().filter_map(|chain| {
            let writer = &chain.head.writer;
            let old = state.audit.of(writer).take_while(|entry| entry.at < before);
            old.take(usize::try_from(limit).unwrap_or(usize::MAX)).last().map(Entry::head)
        });
        Ok(aged.collect())
    }

    async fn forget(&self, marks: &[Head]) -> Result<u64> {
        let mut state = self.state();
        let marked = |writer: &Writer, number: u64| {
            marks.iter().any(|mark| &mark.writer == writer && number <= mark.number)
        };
        let before = state.audit.entries.len();
        state.audit.entries.retain(|p| !marked(&p.entry.writer, p.entry.number));
        state.audit.heads.retain(|(_, signed)| !marked(&signed.head.writer, signed.head.number));
        Ok((before - state.audit.entries.len()) as u64)
    }
}
