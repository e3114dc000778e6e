//! The stories: what people do in a world.

use futures::future::LocalBoxFuture;

use super::world::{World, alice};
use crate::engine::Engine;
use crate::error::Kind;
use crate::session::{Phase, Session};
use crate::template::Lifetime;

/// What happens in a world.
#[derive(Debug, Clone, Copy)]
pub struct Story {
    /// Its name.
    pub name: &'static str,
    /// For how many machines there is room.
    pub(super) machines_max: usize,
    pub(super) tell: for<'w> fn(&'w World) -> LocalBoxFuture<'w, ()>,
}

/// Every story.
pub fn stories() -> Vec<Story> {
    macro_rules! story {
        ($name:literal, $tell:ident, room for $machines_max:literal) => {
            Story { name: $name, machines_max: $machines_max, tell: |world| Box::pin($tell(world)) }
        };
    }
    vec![
        story!("ephemeral", ephemeral, room for 200),
        story!("personal", personal, room for 200),
        story!("together", together, room for 200),
        story!("close behind", close_behind, room for 200),
        story!("in turn", in_turn, room for 1),
        story!("cancelled", cancelled, room for 200),
        story!("cancelled inside", cancelled_inside, room for 200),
    ]
}

impl Story {
    /// The story of this name.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn named(name: &str) -> Self {
        let found = stories().into_iter().find(|story| story.name == name);
        found.unwrap_or_else(|| panic!("there is no story {name:?}"))
    }
}

/// An ephemeral desktop comes and goes.
async fn ephemeral(world: &World) {
    let id = world.ask("one", Lifetime::Ephemeral).await;
    world.phase(&id, Phase::Ready).await;
    assert_eq!(world.backends.machines().await.len(), 1);
    world.destroy(&id).await;
    world.phase(&id, Phase::Ended).await;
}

/// A personal desktop is stopped, started and restarted before it goes.
async fn personal(world: &World) {
    let id = world.ask("one", Lifetime::Personal).await;
    world.phase(&id, Phase::Ready).await;
    world.insist("stop", async |engine| engine.stop(&alice(), &id).await).await;
    world.phase(&id, Phase::Stopped).await;
    assert_eq!(world.backends.machines().await.len(), 1, "its disk is kept");
    world.insist("start", async |engine| engine.start_session(&alice(), &id).await).await;
    world.phase(&id, Phase::Ready).await;
    let restart = async |engine: Engine| {
        match engine.restart(&alice(), &id).await {
            // The wish was written, its answer lost, and it is being granted already.
            Err(error) if error.kind() == Kind::Conflict => {
                engine.session(&alice(), &id).await.map(|s| assert!(s.restarts.wanted > 0))
            }
            asked => asked.map(|_| ()),
        }
    };
    world.insist("restart", restart).await;
    let back = |s: &Session| {
        s.restarts.done > 0 && s.restarts.done == s.restarts.wanted && s.phase == Phase::Ready
    };
    world.until(&id, "restarted", back).await;
    world.destroy(&id).await;
    world.phase(&id, Phase::Ended).await;
}

/// Two desktops at once want the first free machine id.
async fn together(world: &World) {
    let (one, two) =
        tokio::join!(world.ask("one", Lifetime::Ephemeral), world.ask("two", Lifetime::Ephemeral));
    tokio::join!(world.phase(&one, Phase::Ready), world.phase(&two, Phase::Ready));
    assert_eq!(world.backends.machines().await.len(), 2);
    tokio::join!(world.destroy(&one), world.destroy(&two));
    tokio::join!(world.phase(&one, Phase::Ended), world.phase(&two, Phase::Ended));
}

/// The second is asked for when the first has a reservation, but no machine yet.
async fn close_behind(world: &World) {
    let one = world.ask("one", Lifetime::Ephemeral).await;
    world.until(&one, "begun", |s| s.reservation.is_some()).await;
    let two = world.ask("two", Lifetime::Ephemeral).await;
    tokio::join!(world.phase(&one, Phase::Ready), world.phase(&two, Phase::Ready));
    tokio::join!(world.destroy(&one), world.destroy(&two));
    tokio::join!(world.phase(&one, Phase::Ended), world.phase(&two, Phase::Ended));
}

/// Where there is room for one, the second comes when the first has gone.
async fn in_turn(world: &World) {
    let one = world.ask("one", Lifetime::Ephemeral).await;
    world.phase(&one, Phase::Ready).await;
    let two = world.ask("two", Lifetime::Ephemeral).await;
    world.destroy(&one).await;
    world.phase(&one, Phase::Ended).await;
    world.phase(&two, Phase::Ready).await;
    assert_eq!(world.backends.machines().await.len(), 1);
    world.destroy(&two).await;
    world.phase(&two, Phase::Ended).await;
}

/// A desktop that is cancelled while its machine is being made.
async fn cancelled(world: &World) {
    let id = world.ask("one", Lifetime::Ephemeral).await;
    world.until(&id, "begun", |s| s.reservation.is_some()).await;
    world.destroy(&id).await;
    world.phase(&id, Phase::Ended).await;
}

/// A desktop that is cancelled while its guest is being configured.
async fn cancelled_inside(world: &World) {
    let id = world.ask("one", Lifetime::Ephemeral).await;
    world.until(&id, "being configured", |s| !s.ledger.is_empty()).await;
    world.destroy(&id).await;
    world.phase(&id, Phase::Ended).await;
}
