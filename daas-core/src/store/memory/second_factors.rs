//! Second factors in memory.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::State;
use crate::access::{SecondFactor, SecondFactorStore};
use crate::error::{Error, Kind, Operation, Result};
use crate::owner::Owner;

#[derive(Debug)]
pub(super) struct MemorySecondFactors(pub(super) Arc<Mutex<State>>);

impl MemorySecondFactors {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl SecondFactorStore for MemorySecondFactors {
    async fn add_second_factor(&self, factor: &SecondFactor) -> Result<()> {
        let mut state = self.state();
        if state.second_factors.contains_key(&factor.owner) {
            let why = "has a second factor already";
            return Err(Error::new(Kind::Conflict, Operation::Store, &factor.owner, why));
        }
        state.second_factors.insert(factor.owner.clone(), factor.clone());
        Ok(())
    }

    async fn second_factor_of(&self, owner: &Owner) -> Result<Option<SecondFactor>> {
        Ok(self.state().second_factors.get(owner).cloned())
    }

    async fn use_step(&self, owner: &Owner, step: u64) -> Result<bool> {
        let mut state = self.state();
        let factor = state.second_factors.get_mut(owner);
        Ok(factor.is_some_and(|factor| {
            let later = step > factor.last_step;
            factor.last_step = factor.last_step.max(step);
            later
        }))
    }

    async fn use_recovery_code(&self, owner: &Owner, hash: &str) -> Result<bool> {
        let mut state = self.state();
        let factor = state.second_factors.get_mut(owner);
        Ok(factor.is_some_and(|factor| factor.recovery_codes.remove(hash)))
    }

    async fn replace_recovery_codes(
        &self,
        owner: &Owner,
        hashes: &BTreeSet<String>,
    ) -> Result<bool> {
        let mut state = self.state();
        let Some(factor) = state.second_factors.get_mut(owner) else { return Ok(false) };
        factor.recovery_codes.clone_from(hashes);
        Ok(true)
    }

    async fn remove_second_factor(&self, owner: &Owner) -> Result<bool> {
        Ok(self.state().second_factors.remove(owner).is_some())
    }
}
