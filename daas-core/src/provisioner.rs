//! The first trait: machines.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::Result;
use crate::ids::{BackendName, SessionId};
use crate::machine::{
    Destroyed, Ensured, Listed, MachineSpec, Observation, Power, Reservation, Taken,
};
use crate::progress::Progress;
use crate::secret::Secret;
use crate::template::Template;

/// Makes, watches and destroys machines on one platform.
///
/// # Contract
///
/// The engine owns deadlines, retries and back-off: a method answers for one try. Every method may
/// be called again with the same arguments after any failure, after its future was dropped at any
/// await, or by another process after a crash; none may then make a second machine. A method that
/// does not know answers [`Observation::Unknown`] or an `Unavailable` error, never absence.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait Provisioner: Debug + Send + Sync {
    /// The name under which templates and reservations refer to it.
    fn name(&self) -> &BackendName;

    /// Chooses a machine id and a place for `spec`.
    ///
    /// - *Does*: answers an id that neither the platform nor `taken` uses, and a place with room
    ///   after what `taken` holds there is deducted. Touches nothing.
    /// - *Already so*: a second call may answer differently; only what the engine stored counts.
    /// - *Absent*: an image that does not exist is `Invalid`.
    /// - *Interrupted*: nothing to undo.
    /// - *Errors*: `Exhausted` when no id or no room is left; `Unavailable` when the platform is
    ///   away.
    async fn reserve(
        &self,
        id: &SessionId,
        spec: &MachineSpec,
        taken: &Taken,
    ) -> Result<Reservation>;

    /// Makes the reserved machine be there with the wished power.
    ///
    /// - *Does*: makes the machine under exactly `reservation.machine`, marks it, and gives it
    ///   power or takes it away. May answer `Underway`, so that waiting holds no slot.
    /// - *Already so*: a machine as wished is answered as it is, unchanged.
    /// - *Absent*: is made, but never when `reservation.uuid` is set: that machine has been, and
    ///   `NotFound` says that it no longer is.
    /// - *Interrupted*: called again, goes on where it was; there is still one machine.
    /// - *Errors*: `Conflict` when the id is somebody else's: nothing was touched, and the engine
    ///   reserves anew. `Exhausted` when the platform has no room.
    async fn ensure(
        &self,
        reservation: &Reservation,
        spec: &MachineSpec,
        power: Power,
        progress: &Progress,
    ) -> Result<Ensured>;

    /// Looks at the reserved machine.
    ///
    /// - *Does*: answers `Present` for the machine that is ours by id, mark and (once recorded)
    ///   uuid; `Absent` only on the platform's proof that it does not exist anywhere.
    /// - *Already so*: changes nothing.
    /// - *Absent*: a machine under this id that is provably somebody else's is `Absent`.
    /// - *Interrupted*: nothing to undo.
    /// - *Errors*: none; every doubt is `Unknown` with its reason.
    async fn observe(&self, reservation: &Reservation) -> Observation;

    /// Destroys the reserved machine.
    ///
    /// - *Does*: proves identity, takes power away, removes machine and disks, and answers `Gone`
    ///   only when the platform proves its absence.
    /// - *Already so*: an absent machine is `Gone`.
    /// - *Absent*: likewise; a machine under this id that is not provably ours is `LeftAlone`.
    /// - *Interrupted*: called again, goes on.
    /// - *Errors*: `Denied` for a protected machine; `Unavailable` when the outcome is unknown.
    async fn destroy(&self, reservation: &Reservation) -> Result<Destroyed>;

    /// Every machine with this deployment's mark.
    ///
    /// - *Does*: one batched reading of the whole platform; tells copied and removed marks from
    ///   those that name their own machine, as far as it has read them.
    /// - *Already so*: changes nothing.
    /// - *Absent*: no machine is an empty list; a part that could not be read is an error, never a
    ///   shorter list.
    /// - *Interrupted*: nothing to undo.
    /// - *Errors*: `Unavailable`.
    async fn list(&self) -> Result<Vec<Listed>>;

    /// What this backend can do beyond machines.
    fn extras(&self) -> Extras;
}

/// What only some backends can do; absent is "cannot".
#[derive(Debug, Clone, Default)]
pub struct Extras {
    /// The backend native to the platform that this one makes its machines on: its ids are shared
    /// with that backend, and [`Provisioner::list`] tells all that backend would. Absent: this one.
    pub platform: Option<BackendName>,
    /// Consoles of machines.
    pub console: Option<Arc<dyn Console>>,
    /// The load of the places.
    pub places: Option<Arc<dyn Places>>,
    /// Checks of the platform's settings for `doctor` and `/ready`.
    pub examine: Option<Arc<dyn Examine>>,
}

/// Opens machines' consoles.
#[async_trait]
pub trait Console: Debug + Send + Sync {
    /// Opens the console of a machine.
    ///
    /// - *Does*: proves identity and answers a connection to the screen that speaks RFB, before its
    ///   first byte. Whom it trusts and how it authenticates are the backend's own affair: nothing
    ///   of it is needed, or told, further out.
    /// - *Already so*: each call is a connection of its own.
    /// - *Absent*: `NotFound`; a machine that is not provably ours likewise.
    /// - *Interrupted*: nothing to undo; the platform gives an unused console up by itself.
    /// - *Errors*: `Conflict` for a machine without power; `Unavailable` when the platform is away.
    async fn open(&self, reservation: &Reservation) -> Result<ConsoleLine>;
}

/// A connection to a machine's screen that speaks RFB (RFC 6143) from its first byte on.
pub struct ConsoleLine {
    /// The connection.
    pub stream: Box<dyn Line>,
    /// The VNC password, if one is asked for.
    pub password: Option<Secret<String>>,
}

impl Debug for ConsoleLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsoleLine").field("password", &self.password).finish_non_exhaustive()
    }
}

/// A stream of bytes in both directions.
pub trait Line: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Line for T {}

/// Tells the load of the places that machines can be on.
#[async_trait]
pub trait Places: Debug + Send + Sync {
    /// All places, those that are away included.
    async fn places(&self) -> Result<Vec<Place>>;
}

/// A place: a Proxmox node.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// Whether it answers.
    pub online: bool,
    /// Processor use, 0 to 1.
    pub processor: f64,
    /// Memory in use, in MiB.
    pub memory_used_mib: u64,
    /// Memory there is, in MiB.
    pub memory_mib: u64,
}

/// Checks a platform's settings.
#[async_trait]
pub trait Examine: Debug + Send + Sync {
    /// Whether the platform answers and takes our credentials; cheap.
    async fn reachable(&self) -> Result<()>;

    /// What `doctor` finds, for these templates.
    async fn examine(&self, templates: &[Template]) -> Vec<Finding>;
}

/// One thing checked.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What was checked.
    pub what: String,
    /// How it stands.
    pub state: FindingState,
    /// What was seen, and for a problem what to mend.
    pub detail: String,
}

/// How a checked thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingState {
    /// As it should be.
    Good,
    /// Works, but should be looked at.
    Warning,
    /// Will not work.
    Bad,
}
