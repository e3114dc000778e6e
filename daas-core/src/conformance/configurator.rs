//! The clauses of [`Configurator`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Clause, clauses};
use crate::configurator::{Account, Applied, Configurator, EffectThere, GuestContext, Stage};
use crate::error::{Error, Kind, Result};
use crate::ledger::Effect;
use crate::owner::Owner;
use crate::progress::Progress;

/// Fresh guests with their configurator, and a judge who looks at the directory from outside.
#[async_trait]
pub trait ConfiguratorBench: Send + Sync {
    /// The configurator under judgement.
    fn configurator(&self) -> Arc<dyn Configurator>;

    /// A fresh guest that answers.
    async fn guest(&self) -> GuestContext;

    /// A guest whose template names a profile that does not exist; absent when this configurator
    /// has no profiles.
    async fn guest_without_profile(&self) -> Option<GuestContext>;

    /// The local account that the second stage asks for; by default none. A configurator for which
    /// a user without one is nothing to do names one, so that the stage has something to change.
    fn account(&self) -> Option<Account> {
        None
    }

    /// The keys of all effects there are outside the guests, whoever caused them.
    async fn effects_there(&self) -> Vec<String>;

    /// Causes an effect of the same kind that is somebody else's, without our mark; only asked of a
    /// configurator that can list its effects.
    async fn put_strange_effect(&self) {}

    /// Cuts guests and directory off, or brings them back.
    async fn set_away(&self, away: bool);
}

type Bench = Arc<dyn ConfiguratorBench>;

/// Every clause of [`Configurator`].
pub fn configurator_clauses() -> Vec<Clause<Bench>> {
    clauses![
        effects_are_told_the_same_each_time_and_caused_by_nobody,
        effects_of_a_missing_profile_are_invalid,
        apply_does_each_stage_and_says_so,
        apply_again_changes_nothing,
        apply_causes_only_what_was_told,
        apply_while_away_is_unavailable,
        apply_interrupted_completes,
        retract_makes_it_gone,
        retract_of_what_is_gone_is_success,
        retract_needs_no_guest,
        retract_while_away_is_unavailable,
        inventory_tells_every_effect_with_its_session,
        inventory_leaves_out_what_is_retracted,
        inventory_leaves_out_strangers,
        inventory_while_away_is_an_error,
    ]
}

fn assign(bench: &Bench) -> Stage {
    let owner = Owner { realm: "lab".to_owned(), name: "alice".to_owned() };
    Stage::Assign { owner, account: bench.account() }
}

async fn apply(bench: &Bench, guest: &GuestContext, stage: &Stage) -> Result<Applied> {
    bench.configurator().apply(guest, stage, &Progress::silent()).await
}

async fn applied(bench: &Bench) -> (GuestContext, Vec<Effect>) {
    let guest = bench.guest().await;
    let effects = bench.configurator().effects(&guest).expect("told");
    for stage in [Stage::Prepare, assign(bench)] {
        apply(bench, &guest, &stage).await.expect("applied");
    }
    (guest, effects)
}

fn kind<T: std::fmt::Debug>(answer: &Result<T>) -> Option<Kind> {
    answer.as_ref().err().map(Error::kind)
}

async fn effects_are_told_the_same_each_time_and_caused_by_nobody(bench: Bench) {
    let guest = bench.guest().await;
    let configurator = bench.configurator();
    let told = configurator.effects(&guest).expect("told");
    assert_eq!(configurator.effects(&guest).expect("told"), told);
    assert!(told.iter().all(|effect| &effect.configurator == configurator.name()), "{told:?}");
    assert_eq!(bench.effects_there().await, Vec::<String>::new());
}

async fn effects_of_a_missing_profile_are_invalid(bench: Bench) {
    if let Some(guest) = bench.guest_without_profile().await {
        let answer = bench.configurator().effects(&guest);
        assert_eq!(kind(&answer), Some(Kind::Invalid), "{answer:?}");
    }
}

async fn apply_does_each_stage_and_says_so(bench: Bench) {
    let guest = bench.guest().await;
    for stage in [Stage::Prepare, assign(&bench)] {
        let done = apply(&bench, &guest, &stage).await.expect("applied");
        assert!(done.changed > 0, "{stage:?} of a fresh guest: {done:?}");
    }
}

async fn apply_again_changes_nothing(bench: Bench) {
    let (guest, _) = applied(&bench).await;
    let before = bench.effects_there().await;
    for stage in [Stage::Prepare, assign(&bench)] {
        let again = apply(&bench, &guest, &stage).await.expect("applied");
        assert_eq!(again.changed, 0, "{stage:?}: {again:?}");
    }
    assert_eq!(bench.effects_there().await, before);
}

async fn apply_causes_only_what_was_told(bench: Bench) {
    let (_, told) = applied(&bench).await;
    for key in bench.effects_there().await {
        assert!(told.iter().any(|effect| effect.key == key), "{key} was not told of: {told:?}");
    }
}

async fn apply_while_away_is_unavailable(bench: Bench) {
    let guest = bench.guest().await;
    bench.set_away(true).await;
    let answer = apply(&bench, &guest, &Stage::Prepare).await;
    assert_eq!(kind(&answer), Some(Kind::Unavailable), "{answer:?}");
}

async fn apply_interrupted_completes(bench: Bench) {
    let guest = bench.guest().await;
    for stage in [Stage::Prepare, assign(&bench)] {
        for microseconds in [0, 10, 1_000, 100_000] {
            let once = apply(&bench, &guest, &stage);
            let _ = tokio::time::timeout(Duration::from_micros(microseconds), once).await;
        }
        apply(&bench, &guest, &stage).await.expect("completed");
        assert_eq!(apply(&bench, &guest, &stage).await.expect("applied").changed, 0);
    }
}

async fn retract_makes_it_gone(bench: Bench) {
    let (guest, effects) = applied(&bench).await;
    for effect in &effects {
        bench.configurator().retract(&guest, effect).await.expect("retracted");
    }
    assert_eq!(bench.effects_there().await, Vec::<String>::new());
}

async fn retract_of_what_is_gone_is_success(bench: Bench) {
    let fresh = bench.guest().await;
    for effect in bench.configurator().effects(&fresh).expect("told") {
        bench.configurator().retract(&fresh, &effect).await.expect("never caused");
    }
    let (guest, effects) = applied(&bench).await;
    for effect in effects.iter().chain(&effects) {
        bench.configurator().retract(&guest, effect).await.expect("retracted");
    }
}

async fn retract_needs_no_guest(bench: Bench) {
    let (guest, effects) = applied(&bench).await;
    let gone = GuestContext { address: None, host_key: None, activity: None, ..guest };
    for effect in &effects {
        bench.configurator().retract(&gone, effect).await.expect("retracted");
    }
    assert_eq!(bench.effects_there().await, Vec::<String>::new());
}

async fn retract_while_away_is_unavailable(bench: Bench) {
    let (guest, effects) = applied(&bench).await;
    bench.set_away(true).await;
    for effect in &effects {
        let answer = bench.configurator().retract(&guest, effect).await;
        assert_eq!(kind(&answer), Some(Kind::Unavailable), "{answer:?}");
    }
}

/// The effects in the inventory, or nothing for a configurator that has none.
async fn listed(bench: &Bench) -> Option<Result<Vec<EffectThere>>> {
    Some(bench.configurator().extras().effects?.effects_there().await)
}

async fn inventory_tells_every_effect_with_its_session(bench: Bench) {
    let mut caused = Vec::new();
    for _ in 0..2 {
        let (guest, effects) = applied(&bench).await;
        let session = guest.session;
        caused.extend(effects.into_iter().map(|effect| (session.clone(), effect)));
    }
    if let Some(there) = listed(&bench).await {
        let there = there.expect("listed");
        let mut found: Vec<_> = there.into_iter().map(|e| (e.session, e.effect)).collect();
        found.sort_by(|a, b| a.1.key.cmp(&b.1.key));
        caused.sort_by(|a, b| a.1.key.cmp(&b.1.key));
        assert_eq!(found, caused);
    }
}

async fn inventory_leaves_out_what_is_retracted(bench: Bench) {
    let (guest, effects) = applied(&bench).await;
    for effect in &effects {
        bench.configurator().retract(&guest, effect).await.expect("retracted");
    }
    if let Some(there) = listed(&bench).await {
        assert_eq!(there.expect("listed"), Vec::new());
    }
}

async fn inventory_leaves_out_strangers(bench: Bench) {
    if bench.configurator().extras().effects.is_some() {
        bench.put_strange_effect().await;
        assert_eq!(bench.effects_there().await.len(), 1, "the bench put one there");
    }
    if let Some(there) = listed(&bench).await {
        assert_eq!(there.expect("listed"), Vec::new());
    }
}

async fn inventory_while_away_is_an_error(bench: Bench) {
    applied(&bench).await;
    bench.set_away(true).await;
    if let Some(answer) = listed(&bench).await {
        assert_eq!(kind(&answer), Some(Kind::Unavailable), "{answer:?}");
    }
}
