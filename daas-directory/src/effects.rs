//! The accounts there are, as side effects of a configurator.

use std::sync::Arc;

use async_trait::async_trait;
use daas_core::Result;
use daas_core::configurator::{EffectInventory, EffectThere};
use daas_core::directory::{COMPUTER_ACCOUNT, ComputerAccounts};
use daas_core::ids::BackendName;
use daas_core::ledger::Effect;

/// Tells the computer accounts of a deployment as effects of the configurator that causes them.
#[derive(Debug, Clone)]
pub struct DirectoryEffects {
    configurator: BackendName,
    accounts: Arc<dyn ComputerAccounts>,
}

impl DirectoryEffects {
    /// The accounts as effects of the configurator of this name.
    pub fn new(configurator: BackendName, accounts: Arc<dyn ComputerAccounts>) -> Self {
        Self { configurator, accounts }
    }
}

#[async_trait]
impl EffectInventory for DirectoryEffects {
    async fn effects_there(&self) -> Result<Vec<EffectThere>> {
        let there = self.accounts.list().await?;
        let effect = |(session, account)| EffectThere {
            session,
            effect: Effect {
                configurator: self.configurator.clone(),
                kind: COMPUTER_ACCOUNT.to_owned(),
                key: account,
            },
        };
        Ok(there.into_iter().map(effect).collect())
    }
}
