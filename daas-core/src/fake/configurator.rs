//! Guests in memory, and a directory in which they cause computer accounts.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::configurator::{
    Applied, Configurator, ConfiguratorExtras, EffectInventory, EffectThere, GuestContext,
    GuestFacts, Stage,
};
use crate::error::{Error, Kind, Operation, Result};
use crate::ids::{BackendName, SessionId};
use crate::ledger::Effect;
use crate::progress::Progress;

/// The kind of the effect that fake guests cause.
const ACCOUNT: &str = "computer_account";

/// Something that really happened to a guest or in the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestAct {
    /// The guest was prepared.
    Prepared(SessionId),
    /// The guest was made somebody's.
    Assigned(SessionId, String),
    /// A computer account was made.
    AccountMade(String),
    /// A computer account was removed.
    AccountRemoved(String),
}

/// The guests, and the directory beside them.
#[derive(Debug, Default)]
pub struct FakeGuests {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    prepared: BTreeSet<SessionId>,
    assigned: BTreeMap<SessionId, String>,
    /// By key, with the session in its mark; absent for a stranger's account.
    accounts: BTreeMap<String, Option<SessionId>>,
    log: Vec<GuestAct>,
    away: bool,
}

impl FakeGuests {
    /// No guests yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What really happened, oldest first.
    pub fn log(&self) -> Vec<GuestAct> {
        self.state().log.clone()
    }

    /// The computer accounts there are.
    pub fn accounts(&self) -> Vec<String> {
        self.state().accounts.keys().cloned().collect()
    }

    /// Puts a stranger's account into the directory.
    pub fn put_strange_account(&self, key: &str) {
        self.state().accounts.insert(key.to_owned(), None);
    }

    /// Puts an account with our mark into the directory, behind everybody's back.
    pub fn put_account(&self, session: &SessionId) {
        self.state().accounts.insert(account_key(session), Some(session.clone()));
    }

    /// Cuts guests and directory off, or brings them back.
    pub fn set_away(&self, away: bool) {
        self.state().away = away;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Configures [`FakeGuests`].
#[derive(Debug)]
pub struct FakeConfigurator {
    name: BackendName,
    guests: Arc<FakeGuests>,
    joins: bool,
}

impl FakeConfigurator {
    /// A configurator that causes nothing outside its guests.
    pub fn new(name: BackendName, guests: Arc<FakeGuests>) -> Self {
        Self { name, guests, joins: false }
    }

    /// A configurator that joins each guest to the directory: a side effect.
    pub fn joining(name: BackendName, guests: Arc<FakeGuests>) -> Self {
        Self { name, guests, joins: true }
    }

    fn reached(&self, operation: Operation, id: &SessionId) -> Result<MutexGuard<'_, State>> {
        let state = self.guests.state();
        if state.away {
            return Err(Error::new(Kind::Unavailable, operation, id, "the guest does not answer"));
        }
        Ok(state)
    }
}

#[async_trait]
impl Configurator for FakeConfigurator {
    fn name(&self) -> &BackendName {
        &self.name
    }

    fn effects(&self, guest: &GuestContext) -> Result<Vec<Effect>> {
        if guest.template.profile.as_deref() == Some("missing") {
            return Err(Error::invalid(
                Operation::Configure,
                "profile",
                "there is no such profile",
            ));
        }
        let effect = Effect {
            configurator: self.name.clone(),
            kind: ACCOUNT.to_owned(),
            key: account_key(&guest.session),
        };
        Ok(if self.joins { vec![effect] } else { Vec::new() })
    }

    async fn apply(
        &self,
        guest: &GuestContext,
        stage: &Stage,
        progress: &Progress,
    ) -> Result<Applied> {
        progress.tell("the fake guest is being configured", Some(0.5));
        let effects = self.effects(guest)?;
        let mut state = self.reached(Operation::Configure, &guest.session)?;
        let mut changed = 0;
        for effect in effects {
            if let Entry::Vacant(free) = state.accounts.entry(effect.key.clone()) {
                free.insert(Some(guest.session.clone()));
                state.log.push(GuestAct::AccountMade(effect.key));
                changed += 1;
            }
        }
        match stage {
            Stage::Prepare => {
                if state.prepared.insert(guest.session.clone()) {
                    state.log.push(GuestAct::Prepared(guest.session.clone()));
                    changed += 1;
                }
            }
            Stage::Assign { owner, .. } => {
                let owner = owner.to_string();
                let before = state.assigned.insert(guest.session.clone(), owner.clone());
                if before.as_ref() != Some(&owner) {
                    state.log.push(GuestAct::Assigned(guest.session.clone(), owner));
                    changed += 1;
                }
            }
        }
        // A certificate that no guest has: nothing listens behind a fake.
        let rdp_certificate = Some("ab".repeat(32));
        let facts = GuestFacts { rdp_certificate, ..GuestFacts::default() };
        Ok(Applied { changed, warnings: Vec::new(), facts })
    }

    async fn retract(&self, guest: &GuestContext, effect: &Effect) -> Result<()> {
        let mut state = self.reached(Operation::Retract, &guest.session)?;
        if state.accounts.remove(&effect.key).is_some() {
            state.log.push(GuestAct::AccountRemoved(effect.key.clone()));
        }
        Ok(())
    }
    fn extras(&self) -> ConfiguratorExtras {
        let directory = Directory { name: self.name.clone(), guests: Arc::clone(&self.guests) };
        ConfiguratorExtras { effects: self.joins.then(|| Arc::new(directory) as _) }
    }
}

/// The directory, as it tells of the accounts with our mark.
#[derive(Debug)]
struct Directory {
    name: BackendName,
    guests: Arc<FakeGuests>,
}

#[async_trait]
impl EffectInventory for Directory {
    async fn effects_there(&self) -> Result<Vec<EffectThere>> {
        let state = self.guests.state();
        if state.away {
            let why = "the directory does not answer";
            return Err(Error::new(Kind::Unavailable, Operation::List, self.name.as_str(), why));
        }
        let ours = state.accounts.iter().filter_map(|(key, session)| {
            let (configurator, kind) = (self.name.clone(), ACCOUNT.to_owned());
            let effect = Effect { configurator, kind, key: key.clone() };
            Some(EffectThere { session: session.clone()?, effect })
        });
        Ok(ours.collect())
    }
}

fn account_key(session: &SessionId) -> String {
    format!("CN={session}")
}
