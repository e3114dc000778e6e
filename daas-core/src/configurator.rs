//! The second trait: what runs inside a machine.

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::ids::{BackendName, SessionId};
use crate::ledger::Effect;
use crate::owner::Owner;
use crate::progress::Progress;
use crate::secret::Secret;
use crate::template::Template;

/// Turns a running guest into somebody's desktop.
///
/// # Contract
///
/// `apply` brings the guest into a state, it does not run a script: applied twice, the second time
/// changes nothing. It may be interrupted anywhere and called again. No secret may reach a command
/// line, a log, an event or an error.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait Configurator: Debug + Send + Sync {
    /// The name under which templates refer to it.
    fn name(&self) -> &BackendName;

    /// The side effects that `apply` is going to cause outside the guest.
    ///
    /// - *Does*: tells them from the context alone, without I/O; the engine writes them to the
    ///   ledger before it calls `apply`.
    /// - *Already so*: the same context gives the same effects.
    /// - *Absent*: none is an empty list.
    /// - *Interrupted*: nothing to undo.
    /// - *Errors*: `Invalid` when the profile does not exist or cannot be used.
    fn effects(&self, guest: &GuestContext) -> Result<Vec<Effect>>;

    /// Brings the guest into the state of `stage`.
    ///
    /// - *Does*: all of the stage, and tells what changed, warnings and the guest's facts.
    /// - *Already so*: changes nothing and says so (`changed` is 0).
    /// - *Absent*: a guest that does not answer is `Unavailable`.
    /// - *Interrupted*: called again, completes the stage.
    /// - *Errors*: `Denied` when the guest refuses us or is not the one pinned; `Invalid` when the
    ///   profile cannot be applied to this guest, and trying again will not help.
    async fn apply(
        &self,
        guest: &GuestContext,
        stage: &Stage,
        progress: &Progress,
    ) -> Result<Applied>;

    /// Undoes one effect.
    ///
    /// - *Does*: makes the effect be gone, and answers only after proof.
    /// - *Already so*: an effect that is gone already is success.
    /// - *Absent*: valid also when the guest is gone.
    /// - *Interrupted*: called again, completes it.
    /// - *Errors*: `Unavailable` when it cannot be found out whether it is gone.
    async fn retract(&self, guest: &GuestContext, effect: &Effect) -> Result<()>;

    /// What this backend can do beyond guests.
    fn extras(&self) -> ConfiguratorExtras;
}

/// What only some backends can do; absent is "cannot".
#[derive(Debug, Clone, Default)]
pub struct ConfiguratorExtras {
    /// The effects there are. A backend that causes any should have it: without it an effect that
    /// comes late, when its session has ended, is never found.
    pub effects: Option<Arc<dyn EffectInventory>>,
}

/// Tells the effects that there are outside the guests.
#[async_trait]
pub trait EffectInventory: Debug + Send + Sync {
    /// Every effect with this deployment's mark, whichever process caused it and when.
    ///
    /// - *Does*: one batched reading of all that this backend can have caused.
    /// - *Already so*: changes nothing.
    /// - *Absent*: none is an empty list; a part that could not be read is an error, never a
    ///   shorter list. What does not bear our mark is never among them.
    /// - *Interrupted*: nothing to undo.
    /// - *Errors*: `Unavailable`.
    async fn effects_there(&self) -> Result<Vec<EffectThere>>;
}

/// An effect that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectThere {
    /// The session in its mark.
    pub session: SessionId,
    /// The effect, as [`Configurator::effects`] told it before it was caused.
    pub effect: Effect,
}

/// What a configurator knows of the guest.
#[derive(Debug, Clone)]
pub struct GuestContext {
    /// The session; also the host name.
    pub session: SessionId,
    /// The session's snapshot of its template.
    pub template: Template,
    /// The guest's address, when it is known.
    pub address: Option<IpAddr>,
    /// The guest's SSH host key as it was first seen (`SHA256:…`): no other is trusted.
    pub host_key: Option<String>,
    /// Where the guest reports its use; absent: it does not.
    pub activity: Option<ActivityTarget>,
}

/// Where and how a guest reports its use.
#[derive(Debug, Clone)]
pub struct ActivityTarget {
    /// The address to send reports to.
    pub url: String,
    /// The session's token.
    pub token: Secret<String>,
    /// The certificate authority to trust, in PEM; absent: the system's.
    pub ca_pem: Option<String>,
    /// How often to report when nothing changes.
    pub period: Duration,
}

/// Which part of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Everything that does not depend on who will use it.
    Prepare,
    /// What belongs to the user.
    Assign {
        /// Whose desktop it becomes.
        owner: Owner,
        /// The local account to make, if one was asked for.
        account: Option<Account>,
    },
}

/// A local account in the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The user's name, `[a-z_][a-z0-9_-]{0,31}`.
    pub user: String,
    /// The password as a crypt(3) string; absent: the account exists without one.
    pub password_hash: Option<PasswordHash>,
}

/// A crypt(3) string. It is stored, but it is not shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PasswordHash(pub String);

impl Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// What `apply` did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// How many steps changed something.
    pub changed: u32,
    /// What people should know, though it did not fail.
    pub warnings: Vec<String>,
    /// What was learnt about the guest.
    pub facts: GuestFacts,
}

/// What is learnt about a guest while configuring it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestFacts {
    /// The SSH host key's fingerprint, `SHA256:…`.
    pub host_key: Option<String>,
    /// SHA-256 of the RDP certificate, hexadecimal.
    pub rdp_certificate: Option<String>,
}

impl GuestFacts {
    /// Adds what is newly known; what was known first stays, it is a pin.
    pub fn learn(&mut self, news: GuestFacts) {
        self.host_key = self.host_key.take().or(news.host_key);
        self.rdp_certificate = self.rdp_certificate.take().or(news.rdp_certificate);
    }
}
