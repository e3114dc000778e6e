//! Computer accounts in a directory, as configurators that join guests to a domain need them.
//!
//! An account is made by us before the join, with our mark and a password that is good for that
//! join only: the guest never sees a credential that could join another machine, and an account
//! without our mark is never taken or removed. A configurator names the account in
//! [`crate::configurator::Configurator::effects`] before it calls [`ComputerAccounts::stage`].

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::configurator::{EffectInventory, EffectThere};
use crate::error::Result;
use crate::ids::{BackendName, SessionId};
use crate::ledger::Effect;
use crate::secret::Secret;

/// The kind under which a computer account stands in a session's ledger.
pub const COMPUTER_ACCOUNT: &str = "computer_account";

/// The computer accounts of one deployment in one directory.
///
/// Every method may be called again after any failure, after its future was dropped, or by another
/// process. One that does not know answers `Unavailable`, never absence.
#[async_trait]
pub trait ComputerAccounts: Debug + Send + Sync {
    /// The name of the session's account in the directory (an LDAP distinguished name), whether it
    /// exists or not. No I/O; the same session gives the same name.
    fn account(&self, session: &SessionId) -> String;

    /// Makes the session's account be there, marked, and ready to be joined; answers its one-time
    /// password.
    ///
    /// - *Already so*: an account of ours is given a new password: a guest joins again.
    /// - *Errors*: `Conflict` when an account of that name is not ours: nothing was touched.
    ///   `Denied` when the directory refuses us.
    async fn stage(&self, session: &SessionId) -> Result<Secret<String>>;

    /// Removes an account, with all below it, and answers after proof that it is gone.
    ///
    /// - *Already so*: an account that is gone is success.
    /// - *Errors*: `Denied` for an account without our mark: nothing was touched. `Unavailable`
    ///   when it cannot be found out.
    async fn remove(&self, account: &str) -> Result<()>;

    /// Every account with this deployment's mark: the session in it, and the account's name. A part
    /// that could not be read is an error, never a shorter list.
    async fn list(&self) -> Result<Vec<(SessionId, String)>>;
}

/// Tells the computer accounts of a deployment as effects of the configurator that causes them.
#[derive(Debug, Clone)]
pub struct AccountEffects {
    configurator: BackendName,
    accounts: Arc<dyn ComputerAccounts>,
}

impl AccountEffects {
    /// The accounts as effects of the configurator of this name.
    pub fn new(configurator: BackendName, accounts: Arc<dyn ComputerAccounts>) -> Self {
        Self { configurator, accounts }
    }
}

#[async_trait]
impl EffectInventory for AccountEffects {
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
