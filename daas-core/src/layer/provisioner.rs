//! Layers around a [`Provisioner`].

use super::layer;
use crate::error::Result;
use crate::ids::{BackendName, SessionId};
use crate::machine::{
    Destroyed, Ensured, Listed, MachineSpec, Observation, Power, Reservation, Taken,
};
use crate::progress::Progress;
use crate::provisioner::{Extras, Provisioner};

layer! {
    /// What a layer does to the calls of a [`Provisioner`].
    pub trait ProvisionerLayer over Provisioner;

    #[fails_as(Reserve)]
    async fn reserve(
        &self, id: &SessionId, spec: &MachineSpec, taken: &Taken
    ) -> Result<Reservation>;
    #[fails_as(Ensure)]
    async fn ensure(
        &self, reservation: &Reservation, spec: &MachineSpec, power: Power, progress: &Progress
    ) -> Result<Ensured>;
    #[fails_as(Observe)]
    async fn observe(&self, reservation: &Reservation) -> Observation;
    #[fails_as(Destroy)]
    async fn destroy(&self, reservation: &Reservation) -> Result<Destroyed>;
    #[fails_as(List)]
    async fn list(&self) -> Result<Vec<Listed>>;

    fn name(&self) -> &BackendName;
    fn extras(&self) -> Extras;
}
