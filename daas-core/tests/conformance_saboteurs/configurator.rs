//! Configurators that break their contract.

use std::sync::Arc;

use async_trait::async_trait;
use daas_core::configurator::{
    Applied, Configurator, ConfiguratorExtras, EffectInventory, EffectThere, GuestContext, Stage,
};
use daas_core::fake::{FakeGuests, GuestAct};
use daas_core::layer::{ConfiguratorLayer, EffectsLayer, Layer, Layered};
use daas_core::ledger::Effect;
use daas_core::progress::Progress;
use daas_core::{Error, Kind, Operation, Result};

#[derive(Debug, Clone, Copy)]
pub(crate) enum ConfiguratorTrick {
    ChangesAgain,
    RetractLies,
    TellsNothing,
    CallsSilenceDone,
    NeedsTheGuest,
    ListsNothingWhileAway,
    ListsStrangers,
    ListsTheRetracted,
    ListsOnlyOne,
}

#[derive(Debug)]
pub(crate) struct BadConfigurator {
    pub(crate) real: Arc<dyn Configurator>,
    pub(crate) guests: Arc<FakeGuests>,
    pub(crate) trick: ConfiguratorTrick,
}

impl Layer for BadConfigurator {}

#[async_trait]
impl ConfiguratorLayer for BadConfigurator {
    fn below(&self) -> &dyn Configurator {
        self.real.as_ref()
    }

    fn effects(&self, guest: &GuestContext) -> Result<Vec<Effect>> {
        match self.trick {
            ConfiguratorTrick::TellsNothing => Ok(Vec::new()),
            _ => self.real.effects(guest),
        }
    }

    async fn apply(
        &self,
        guest: &GuestContext,
        stage: &Stage,
        progress: &Progress,
    ) -> Result<Applied> {
        let applied = self.real.apply(guest, stage, progress).await;
        match self.trick {
            ConfiguratorTrick::ChangesAgain => applied.map(|a| Applied { changed: 1, ..a }),
            ConfiguratorTrick::CallsSilenceDone => Ok(applied.unwrap_or_default()),
            _ => applied,
        }
    }

    async fn retract(&self, guest: &GuestContext, effect: &Effect) -> Result<()> {
        match self.trick {
            ConfiguratorTrick::RetractLies => Ok(()),
            ConfiguratorTrick::NeedsTheGuest if guest.address.is_none() => {
                Err(Error::new(Kind::Unavailable, Operation::Retract, &guest.session, "no guest"))
            }
            _ => self.real.retract(guest, effect).await,
        }
    }
    fn extras(&self) -> ConfiguratorExtras {
        let bad = |below| {
            let (guests, trick) = (Arc::clone(&self.guests), self.trick);
            Arc::new(Layered(BadInventory { below, guests, trick })) as _
        };
        ConfiguratorExtras { effects: self.real.extras().effects.map(bad) }
    }
}

#[derive(Debug)]
struct BadInventory {
    below: Arc<dyn EffectInventory>,
    guests: Arc<FakeGuests>,
    trick: ConfiguratorTrick,
}

impl Layer for BadInventory {}

#[async_trait]
impl EffectsLayer for BadInventory {
    fn below(&self) -> &dyn EffectInventory {
        self.below.as_ref()
    }

    async fn effects_there(&self) -> Result<Vec<EffectThere>> {
        let ours = |key: &String| EffectThere {
            session: "desktop-aaaaaaa".parse().unwrap(),
            effect: Effect {
                configurator: "inside".parse().unwrap(),
                kind: "computer_account".into(),
                key: key.clone(),
            },
        };
        let mut answer = self.below.effects_there().await;
        match (self.trick, &mut answer) {
            (ConfiguratorTrick::ListsNothingWhileAway, Err(_)) => return Ok(Vec::new()),
            (ConfiguratorTrick::ListsStrangers, Ok(there)) => {
                let accounts = self.guests.accounts();
                let listed = |key: &&String| there.iter().any(|e| e.effect.key == **key);
                let strange: Vec<_> = accounts.iter().filter(|key| !listed(key)).collect();
                there.extend(strange.into_iter().map(ours));
            }
            (ConfiguratorTrick::ListsTheRetracted, Ok(there)) => {
                let log = self.guests.log();
                there.extend(log.iter().filter_map(|act| match act {
                    GuestAct::AccountRemoved(key) => Some(ours(key)),
                    _ => None,
                }));
            }
            (ConfiguratorTrick::ListsOnlyOne, Ok(there)) => there.truncate(1),
            _ => {}
        }
        answer
    }
}
