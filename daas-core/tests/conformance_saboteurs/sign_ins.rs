//! Stores of sign-ins that break their contract.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use daas_core::access::{SignIn, SignInStore};
use daas_core::owner::Owner;
use daas_core::{Kind, Result};
use jiff::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignInTrick {
    /// The id that is shown opens what the token alone may open.
    OpensById,
    /// The oldest comes first.
    ListsBackwards,
    /// However many were asked for.
    ListsEverybody,
    TakesTwins,
    ForgetsTheLater,
    EndsOthers,
    PrunesAllAtOnce,
    PrunesByAgeAlone,
}

#[derive(Debug)]
pub(crate) struct BadSignIns {
    pub(crate) real: Arc<dyn SignInStore>,
    pub(crate) trick: SignInTrick,
    /// Those that were added, by id.
    added: Mutex<BTreeMap<String, SignIn>>,
}

impl BadSignIns {
    pub(crate) fn new(real: Arc<dyn SignInStore>, trick: SignInTrick) -> Self {
        Self { real, trick, added: Mutex::default() }
    }

    fn plays(&self, trick: SignInTrick) -> bool {
        self.trick == trick
    }

    fn of(&self, id: &str) -> Option<SignIn> {
        self.added.lock().unwrap().get(id).cloned()
    }
}

#[async_trait]
impl SignInStore for BadSignIns {
    async fn add_sign_in(&self, sign_in: &SignIn) -> Result<()> {
        let answer = self.real.add_sign_in(sign_in).await;
        if answer.is_ok() {
            self.added.lock().unwrap().insert(sign_in.id.clone(), sign_in.clone());
        }
        match answer {
            Err(error) if error.kind() == Kind::Conflict && self.plays(SignInTrick::TakesTwins) => {
                Ok(())
            }
            answer => answer,
        }
    }

    async fn sign_in_by_hash(&self, hash: &str) -> Result<Option<SignIn>> {
        if self.plays(SignInTrick::OpensById)
            && let Some(found) = self.of(hash)
        {
            return Ok(Some(found));
        }
        self.real.sign_in_by_hash(hash).await
    }

    async fn sign_ins_of(&self, owner: &Owner) -> Result<Vec<SignIn>> {
        let mut theirs = self.real.sign_ins_of(owner).await?;
        if self.plays(SignInTrick::ListsBackwards) {
            theirs.reverse();
        }
        Ok(theirs)
    }

    async fn newest_sign_ins(&self, limit: usize) -> Result<Vec<SignIn>> {
        let limit = if self.plays(SignInTrick::ListsEverybody) { usize::MAX } else { limit };
        self.real.newest_sign_ins(limit).await
    }

    async fn see_sign_in(&self, id: &str, at: Timestamp) -> Result<()> {
        if self.plays(SignInTrick::ForgetsTheLater)
            && let Some(old) = self.of(id)
        {
            // As if the last word were the newest time.
            self.real.end_sign_in(&old.owner, id).await?;
            return self.real.add_sign_in(&SignIn { seen_at: at, ..old }).await;
        }
        self.real.see_sign_in(id, at).await
    }

    async fn end_sign_in(&self, owner: &Owner, id: &str) -> Result<bool> {
        let theirs = self.of(id).map(|sign_in| sign_in.owner);
        match theirs {
            Some(theirs) if self.plays(SignInTrick::EndsOthers) => {
                self.real.end_sign_in(&theirs, id).await
            }
            _ => self.real.end_sign_in(owner, id).await,
        }
    }

    async fn prune_sign_ins(
        &self,
        now: Timestamp,
        unused_since: Timestamp,
        limit: u32,
    ) -> Result<u64> {
        match self.trick {
            SignInTrick::PrunesAllAtOnce => {
                self.real.prune_sign_ins(now, unused_since, u32::MAX).await
            }
            SignInTrick::PrunesByAgeAlone => {
                self.real.prune_sign_ins(now, Timestamp::MIN, limit).await
            }
            _ => self.real.prune_sign_ins(now, unused_since, limit).await,
        }
    }
}
