//! Configurators that break their contract.

use std::sync::Arc;

use async_trait::async_trait;
use daas_core::configurator::{Applied, Configurator, GuestContext, Stage};
use daas_core::layer::{ConfiguratorLayer, Layer};
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
}

#[derive(Debug)]
pub(crate) struct BadConfigurator {
    pub(crate) real: Arc<dyn Configurator>,
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
}
