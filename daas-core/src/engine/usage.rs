//! What is learnt of a desktop's use, from its guest and from the gateway, and the way to its screen.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard};

use super::requests::Caller;
use super::{Engine, Inner, unconfigured};
use crate::activity::{Activity, Passage, Report};
use crate::error::{Error, Kind, Operation, Result};
use crate::ids::SessionId;
use crate::machine::Reservation;
use crate::provisioner::{Console, ConsoleLine};
use crate::session::{Goal, Phase, Session};

/// How many locks guard what is known of all sessions' use.
const LOCKS: usize = 64;

/// Guards the time between reading what is known of a session's use and writing it back: a report
/// and a word of the gateway that cross would else each forget the other.
#[derive(Debug)]
pub(super) struct Guards(Vec<Mutex<()>>);

impl Default for Guards {
    fn default() -> Self {
        Self(std::iter::repeat_with(Mutex::default).take(LOCKS).collect())
    }
}

impl Guards {
    async fn of(&self, id: &SessionId) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let place = usize::try_from(hasher.finish() % LOCKS as u64).unwrap_or_default();
        self.0[place].lock().await
    }
}

impl Inner {
    /// Writes what is known of a session's use after `news`; what was known and what is.
    pub(super) async fn learn(
        &self,
        id: &SessionId,
        news: impl FnOnce(&Activity) -> Activity,
    ) -> Result<(Activity, Activity)> {
        let _guard = self.activities.of(id).await;
        let before = self.store().activity(id).await?;
        let after = news(&before);
        self.store().put_activity(id, &after).await?;
        Ok((before, after))
    }
}

impl Engine {
    /// Takes a guest's report of its use. `token` must be the session's own.
    pub async fn report(&self, id: &SessionId, token: &str, report: Report) -> Result<()> {
        let refused =
            || Error::new(Kind::Denied, Operation::Request, id, "the token does not speak for it");
        let session = self.store().get(id).await?.ok_or_else(refused)?;
        if !self.key().verify_guest_token(id, session.token_generation, token) {
            return Err(refused());
        }
        report.check()?;
        if !session.is_live() {
            return Ok(());
        }
        let now = self.clock().now();
        let (before, after) = self.0.learn(id, |known| known.after(report, now)).await?;
        if after.connected() != before.connected()
            || after.disconnected_since != before.disconnected_since
        {
            self.hasten(id).await?;
        }
        Ok(())
    }

    /// Takes what the gateway saw pass to a session's screen.
    pub async fn passed(&self, id: &SessionId, passage: Passage) -> Result<()> {
        let session = self.store().get(id).await?;
        if session.is_none_or(|session| !session.is_live()) {
            return Ok(());
        }
        let (before, after) = self.0.learn(id, |known| known.passed(passage)).await?;
        let there = |activity: &Activity| activity.gateway.is_some_and(|p| p.connected);
        if there(&before) != there(&after) {
            self.hasten(id).await?;
        }
        Ok(())
    }

    /// Opens the screen of a session's machine, if the caller may see it.
    pub async fn console(&self, caller: &Caller, id: &SessionId) -> Result<ConsoleLine> {
        let (console, reservation) = self.screen_of(caller, id).await?;
        console.open(&reservation).await
    }

    /// Whether a session has a screen that the caller may open; asks no hypervisor.
    pub async fn has_screen(&self, caller: &Caller, id: &SessionId) -> Result<()> {
        self.screen_of(caller, id).await.map(drop)
    }

    /// The same of a session that was just read.
    pub fn shows(&self, session: &Session) -> bool {
        let provisioner = session.reservation.as_ref().map(|r| &r.provisioner);
        let provisioner = provisioner.and_then(|name| self.0.provisioners.get(name));
        session.shows_its_screen() && provisioner.is_some_and(|p| p.extras().console.is_some())
    }

    async fn screen_of(
        &self,
        caller: &Caller,
        id: &SessionId,
    ) -> Result<(Arc<dyn Console>, Reservation)> {
        let session = self.session(caller, id).await?;
        if !session.shows_its_screen() {
            return Err(not_yet(&session));
        }
        let reservation = session.reservation.clone().ok_or_else(|| not_yet(&session))?;
        let name = &reservation.provisioner;
        let provisioner = self.0.provisioners.get(name);
        let provisioner = provisioner.ok_or_else(|| unconfigured("provisioner", name, &session))?;
        let console = provisioner.extras().console.ok_or_else(|| {
            let why = format!("its provisioner {name} has no consoles; connect by Remote Desktop");
            Error::new(Kind::Unsupported, Operation::Request, id, why)
        })?;
        Ok((console, reservation))
    }

    async fn hasten(&self, id: &SessionId) -> Result<()> {
        self.store().hasten(id, self.clock().now()).await?;
        self.0.poke(id);
        Ok(())
    }
}

impl Session {
    /// Whether it has a screen that is its user's: before it is ready it is being prepared.
    pub fn shows_its_screen(&self) -> bool {
        self.goal != Goal::Gone
            && self.ready_at.is_some()
            && matches!(self.phase, Phase::Ready | Phase::Restarting | Phase::Starting)
    }
}

fn not_yet(session: &Session) -> Error {
    let why = format!("it is {}; its screen is there when it is ready", session.phase);
    Error::new(Kind::Conflict, Operation::Request, &session.id, why)
}
