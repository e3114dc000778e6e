//! Layers around a [`Configurator`] and its inventory of effects.

use super::layer;
use crate::configurator::{
    Applied, Configurator, ConfiguratorExtras, EffectInventory, EffectThere, GuestContext, Stage,
};
use crate::error::Result;
use crate::ids::BackendName;
use crate::ledger::Effect;
use crate::progress::Progress;

layer! {
    /// What a layer does to the calls of a [`Configurator`].
    pub trait ConfiguratorLayer over Configurator;

    #[fails_as(Configure)]
    async fn apply(
        &self, guest: &GuestContext, stage: &Stage, progress: &Progress
    ) -> Result<Applied>;
    #[fails_as(Retract)]
    async fn retract(&self, guest: &GuestContext, effect: &Effect) -> Result<()>;

    fn name(&self) -> &BackendName;
    fn effects(&self, guest: &GuestContext) -> Result<Vec<Effect>>;
    fn extras(&self) -> ConfiguratorExtras;
}

layer! {
    /// What a layer does to the calls of an [`EffectInventory`].
    pub trait EffectsLayer over EffectInventory;

    #[fails_as(List)]
    async fn effects_there(&self) -> Result<Vec<EffectThere>>;
}
