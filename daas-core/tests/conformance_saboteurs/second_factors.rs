//! Stores of second factors that break their contract.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use daas_core::Result;
use daas_core::access::{SecondFactor, SecondFactorStore};
use daas_core::owner::Owner;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FactorTrick {
    /// Who enrols again takes the place of who was there.
    Replaces,
    UsesStepsAgain,
    UsesCodesAgain,
    KeepsTheOldCodes,
    KeepsTheRemoved,
}

#[derive(Debug)]
pub(crate) struct BadFactors {
    pub(crate) real: Arc<dyn SecondFactorStore>,
    pub(crate) trick: FactorTrick,
}

impl BadFactors {
    fn plays(&self, trick: FactorTrick) -> bool {
        self.trick == trick
    }
}

#[async_trait]
impl SecondFactorStore for BadFactors {
    async fn add_second_factor(&self, factor: &SecondFactor) -> Result<()> {
        if self.plays(FactorTrick::Replaces) {
            self.real.remove_second_factor(&factor.owner).await?;
        }
        self.real.add_second_factor(factor).await
    }

    async fn second_factor_of(&self, owner: &Owner) -> Result<Option<SecondFactor>> {
        self.real.second_factor_of(owner).await
    }

    async fn use_step(&self, owner: &Owner, step: u64) -> Result<bool> {
        let used = self.real.use_step(owner, step).await?;
        let there = self.real.second_factor_of(owner).await?;
        let again = there.is_some_and(|factor| factor.last_step == step);
        Ok(used || (again && self.plays(FactorTrick::UsesStepsAgain)))
    }

    async fn use_recovery_code(&self, owner: &Owner, hash: &str) -> Result<bool> {
        if self.plays(FactorTrick::UsesCodesAgain) {
            let there = self.real.second_factor_of(owner).await?;
            return Ok(there.is_some_and(|factor| factor.recovery_codes.contains(hash)));
        }
        self.real.use_recovery_code(owner, hash).await
    }

    async fn replace_recovery_codes(
        &self,
        owner: &Owner,
        hashes: &BTreeSet<String>,
    ) -> Result<bool> {
        let mut hashes = hashes.clone();
        if self.plays(FactorTrick::KeepsTheOldCodes)
            && let Some(there) = self.real.second_factor_of(owner).await?
        {
            hashes.extend(there.recovery_codes);
        }
        self.real.replace_recovery_codes(owner, &hashes).await
    }

    async fn remove_second_factor(&self, owner: &Owner) -> Result<bool> {
        if self.plays(FactorTrick::KeepsTheRemoved) {
            return Ok(self.real.second_factor_of(owner).await?.is_some());
        }
        self.real.remove_second_factor(owner).await
    }
}
