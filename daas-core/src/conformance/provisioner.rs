//! The clauses of [`Provisioner`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Clause, clauses};
use crate::error::{Error, Kind, Result};
use crate::ids::{MachineId, SessionId, SessionPrefix};
use crate::machine::{
    Destroyed, Ensured, Machine, MachineSpec, MarkSeen, Observation, Power, Reservation, Taken,
    Underway,
};
use crate::progress::Progress;
use crate::provisioner::Provisioner;

/// How often a clause asks a platform that says it is underway.
const ASKS_MAX: usize = 1_000;

/// A fresh platform with its provisioner, and a judge who looks at it from outside.
#[async_trait]
pub trait ProvisionerBench: Send + Sync {
    /// The provisioner under judgement.
    fn provisioner(&self) -> Arc<dyn Provisioner>;

    /// What to make for `session`, from an image that exists.
    fn spec(&self, session: &SessionId) -> MachineSpec;

    /// The same from an image that does not.
    fn spec_without_image(&self, session: &SessionId) -> MachineSpec;

    /// How many machines the platform ever made for `session`.
    async fn made(&self, session: &SessionId) -> usize;

    /// Whether the platform has a machine, whoever's, under this id.
    async fn exists(&self, machine: &MachineId) -> bool;

    /// Puts a stranger's machine under this id.
    async fn put_stranger(&self, machine: &MachineId);

    /// Takes a machine away, as an administrator does by hand.
    async fn remove_by_hand(&self, machine: &MachineId);

    /// Cuts the platform off, or brings it back.
    async fn set_away(&self, away: bool);
}

type Bench = Arc<dyn ProvisionerBench>;

/// Every clause of [`Provisioner`].
pub fn provisioner_clauses() -> Vec<Clause<Bench>> {
    clauses![
        reserve_touches_nothing,
        reserve_chooses_an_id_that_nobody_uses,
        reserve_of_a_missing_image_is_invalid,
        reserve_while_away_is_unavailable,
        ensure_makes_one_marked_machine_under_the_reserved_id,
        ensure_of_what_is_as_wished_changes_nothing,
        ensure_takes_and_gives_power,
        ensure_never_makes_again_what_has_been,
        ensure_interrupted_goes_on_with_one_machine,
        ensure_leaves_a_stranger_alone,
        ensure_while_away_is_unavailable,
        observe_tells_present_and_absent,
        observe_of_a_stranger_is_absent,
        observe_of_another_uuid_is_absent,
        observe_while_away_is_unknown,
        destroy_leaves_nothing,
        destroy_of_nothing_is_gone,
        destroy_leaves_a_stranger_alone,
        destroy_leaves_another_uuid_alone,
        destroy_interrupted_goes_on,
        destroy_while_away_is_unavailable,
        list_tells_ours_only,
        list_while_away_is_an_error,
    ]
}

fn id() -> SessionId {
    SessionId::mint(&SessionPrefix::default())
}

async fn reserve(bench: &Bench, id: &SessionId) -> Reservation {
    let spec = bench.spec(id);
    bench.provisioner().reserve(id, &spec, &Taken::default()).await.expect("room")
}

async fn try_ensure(bench: &Bench, held: &Reservation, power: Power) -> Result<Machine> {
    let spec = bench.spec(&held.session);
    for _ in 0..ASKS_MAX {
        let answer = bench.provisioner().ensure(held, &spec, power, &Progress::silent()).await?;
        match answer {
            Ensured::Done(machine) => return Ok(machine),
            Ensured::Underway(underway) => wait(&underway).await,
        }
    }
    panic!("underway for ever");
}

async fn ensure(bench: &Bench, held: &Reservation, power: Power) -> Machine {
    try_ensure(bench, held, power).await.expect("as wished")
}

/// A running machine and its reservation, its uuid recorded as the engine does.
async fn running(bench: &Bench) -> (Reservation, Machine) {
    let mut held = reserve(bench, &id()).await;
    let machine = ensure(bench, &held, Power::Running).await;
    held.uuid.clone_from(&machine.uuid);
    (held, machine)
}

async fn destroy(bench: &Bench, held: &Reservation) -> Result<()> {
    for _ in 0..ASKS_MAX {
        match bench.provisioner().destroy(held).await? {
            Destroyed::Gone => return Ok(()),
            Destroyed::LeftAlone(why) => panic!("left alone: {why}"),
            Destroyed::Underway(underway) => wait(&underway).await,
        }
    }
    panic!("underway for ever");
}

async fn is_left_alone(bench: &Bench, held: &Reservation) {
    let answer = bench.provisioner().destroy(held).await;
    assert!(matches!(answer, Ok(Destroyed::LeftAlone(_))), "{answer:?}");
    assert!(bench.exists(&held.machine).await);
}

async fn wait(underway: &Underway) {
    // Woken or not: asking again must be right at any time.
    let _ = tokio::time::timeout(underway.check_after, underway.wake.heard()).await;
}

fn kind<T: std::fmt::Debug>(answer: &Result<T>) -> Option<Kind> {
    answer.as_ref().err().map(Error::kind)
}

async fn reserve_touches_nothing(bench: Bench) {
    let held = reserve(&bench, &id()).await;
    assert_eq!(&held.provisioner, bench.provisioner().name());
    assert_eq!(held.uuid, None);
    assert!(!bench.exists(&held.machine).await);
    assert_eq!(bench.made(&held.session).await, 0);
}

async fn reserve_chooses_an_id_that_nobody_uses(bench: Bench) {
    let (there, _) = running(&bench).await;
    let noted = reserve(&bench, &id()).await;
    assert_ne!(noted.machine, there.machine, "the platform uses it");
    let mut taken = Taken::default();
    taken.insert(noted.clone());
    let another = id();
    let spec = bench.spec(&another);
    let held = bench.provisioner().reserve(&another, &spec, &taken).await.expect("room");
    assert_ne!(held.machine, noted.machine, "it is taken");
    assert_ne!(held.machine, there.machine, "the platform uses it");
}

async fn reserve_of_a_missing_image_is_invalid(bench: Bench) {
    let id = id();
    let spec = bench.spec_without_image(&id);
    let answer = bench.provisioner().reserve(&id, &spec, &Taken::default()).await;
    assert_eq!(kind(&answer), Some(Kind::Invalid), "{answer:?}");
}

async fn reserve_while_away_is_unavailable(bench: Bench) {
    bench.set_away(true).await;
    let id = id();
    let answer = bench.provisioner().reserve(&id, &bench.spec(&id), &Taken::default()).await;
    assert_eq!(kind(&answer), Some(Kind::Unavailable), "{answer:?}");
}

async fn ensure_makes_one_marked_machine_under_the_reserved_id(bench: Bench) {
    let held = reserve(&bench, &id()).await;
    let machine = ensure(&bench, &held, Power::Running).await;
    assert_eq!(machine.machine, held.machine);
    assert_eq!(machine.session.as_ref(), Some(&held.session), "its mark");
    assert_eq!(machine.power, Power::Running);
    assert!(machine.uuid.is_some(), "its own uuid");
    assert!(bench.exists(&held.machine).await);
    assert_eq!(bench.made(&held.session).await, 1);
}

async fn ensure_of_what_is_as_wished_changes_nothing(bench: Bench) {
    let (held, machine) = running(&bench).await;
    assert_eq!(ensure(&bench, &held, Power::Running).await, machine);
    let unrecorded = Reservation { uuid: None, ..held.clone() };
    assert_eq!(ensure(&bench, &unrecorded, Power::Running).await, machine);
    assert_eq!(bench.made(&held.session).await, 1);
}

async fn ensure_takes_and_gives_power(bench: Bench) {
    let (held, machine) = running(&bench).await;
    let stopped = ensure(&bench, &held, Power::Stopped).await;
    assert_eq!((stopped.power, &stopped.uuid), (Power::Stopped, &machine.uuid));
    let started = ensure(&bench, &held, Power::Running).await;
    assert_eq!((started.power, &started.uuid), (Power::Running, &machine.uuid));
    assert_eq!(bench.made(&held.session).await, 1);
}

async fn ensure_never_makes_again_what_has_been(bench: Bench) {
    let (held, _) = running(&bench).await;
    bench.remove_by_hand(&held.machine).await;
    let answer = try_ensure(&bench, &held, Power::Running).await;
    assert_eq!(kind(&answer), Some(Kind::NotFound), "{answer:?}");
    assert!(!bench.exists(&held.machine).await);
}

async fn ensure_interrupted_goes_on_with_one_machine(bench: Bench) {
    let held = reserve(&bench, &id()).await;
    let spec = bench.spec(&held.session);
    for microseconds in [0, 10, 1_000, 100_000] {
        let provisioner = bench.provisioner();
        let silent = Progress::silent();
        let try_once = provisioner.ensure(&held, &spec, Power::Running, &silent);
        // Whether it came to an answer or was dropped: the next call must find its way.
        let _ = tokio::time::timeout(Duration::from_micros(microseconds), try_once).await;
    }
    let both = tokio::join!(
        try_ensure(&bench, &held, Power::Running),
        try_ensure(&bench, &held, Power::Running)
    );
    assert!(both.0.is_ok() || both.1.is_ok(), "{both:?}");
    ensure(&bench, &held, Power::Running).await;
    assert_eq!(bench.made(&held.session).await, 1);
}

async fn ensure_leaves_a_stranger_alone(bench: Bench) {
    let held = reserve(&bench, &id()).await;
    bench.put_stranger(&held.machine).await;
    let answer = try_ensure(&bench, &held, Power::Running).await;
    assert_eq!(kind(&answer), Some(Kind::Conflict), "{answer:?}");
    assert!(bench.exists(&held.machine).await, "the stranger's machine is there");
    assert_eq!(bench.made(&held.session).await, 0);
}

async fn ensure_while_away_is_unavailable(bench: Bench) {
    let held = reserve(&bench, &id()).await;
    bench.set_away(true).await;
    let answer = try_ensure(&bench, &held, Power::Running).await;
    assert_eq!(kind(&answer), Some(Kind::Unavailable), "{answer:?}");
}

async fn observe_tells_present_and_absent(bench: Bench) {
    let mut held = reserve(&bench, &id()).await;
    assert_eq!(bench.provisioner().observe(&held).await, Observation::Absent);
    let machine = ensure(&bench, &held, Power::Running).await;
    held.uuid.clone_from(&machine.uuid);
    let seen = bench.provisioner().observe(&held).await;
    let Observation::Present(seen) = seen else { panic!("{seen:?}") };
    assert_eq!((&seen.machine, &seen.session), (&held.machine, &Some(held.session.clone())));
    assert_eq!((seen.power, &seen.uuid), (Power::Running, &held.uuid));
    bench.remove_by_hand(&held.machine).await;
    assert_eq!(bench.provisioner().observe(&held).await, Observation::Absent);
}

async fn observe_of_a_stranger_is_absent(bench: Bench) {
    let held = reserve(&bench, &id()).await;
    bench.put_stranger(&held.machine).await;
    assert_eq!(bench.provisioner().observe(&held).await, Observation::Absent);
}

async fn observe_of_another_uuid_is_absent(bench: Bench) {
    let (held, _) = running(&bench).await;
    let other = Reservation { uuid: Some("another machine's".to_owned()), ..held };
    assert_eq!(bench.provisioner().observe(&other).await, Observation::Absent);
}

async fn observe_while_away_is_unknown(bench: Bench) {
    let (held, _) = running(&bench).await;
    bench.set_away(true).await;
    let seen = bench.provisioner().observe(&held).await;
    assert!(matches!(seen, Observation::Unknown(_)), "{seen:?}");
}

async fn destroy_leaves_nothing(bench: Bench) {
    let (held, _) = running(&bench).await;
    destroy(&bench, &held).await.expect("destroyed");
    assert!(!bench.exists(&held.machine).await);
    assert_eq!(bench.provisioner().observe(&held).await, Observation::Absent);
}

async fn destroy_of_nothing_is_gone(bench: Bench) {
    let held = reserve(&bench, &id()).await;
    destroy(&bench, &held).await.expect("gone");
    let (held, _) = running(&bench).await;
    destroy(&bench, &held).await.expect("destroyed");
    destroy(&bench, &held).await.expect("gone already");
}

async fn destroy_leaves_a_stranger_alone(bench: Bench) {
    let held = reserve(&bench, &id()).await;
    bench.put_stranger(&held.machine).await;
    is_left_alone(&bench, &held).await;
}

async fn destroy_leaves_another_uuid_alone(bench: Bench) {
    let (held, _) = running(&bench).await;
    let other = Reservation { uuid: Some("another machine's".to_owned()), ..held };
    is_left_alone(&bench, &other).await;
}

async fn destroy_interrupted_goes_on(bench: Bench) {
    let (held, _) = running(&bench).await;
    for microseconds in [0, 10, 1_000, 100_000] {
        let provisioner = bench.provisioner();
        let try_once = provisioner.destroy(&held);
        let _ = tokio::time::timeout(Duration::from_micros(microseconds), try_once).await;
    }
    destroy(&bench, &held).await.expect("destroyed");
    assert!(!bench.exists(&held.machine).await);
}

async fn destroy_while_away_is_unavailable(bench: Bench) {
    let (held, _) = running(&bench).await;
    bench.set_away(true).await;
    let answer = destroy(&bench, &held).await;
    assert_eq!(kind(&answer), Some(Kind::Unavailable), "{answer:?}");
    bench.set_away(false).await;
    assert!(bench.exists(&held.machine).await);
}

async fn list_tells_ours_only(bench: Bench) {
    assert_eq!(bench.provisioner().list().await.expect("listed"), []);
    let (one, _) = running(&bench).await;
    let (two, _) = running(&bench).await;
    let stranger = reserve(&bench, &id()).await;
    bench.put_stranger(&stranger.machine).await;
    let listed = bench.provisioner().list().await.expect("listed");
    let mut found: Vec<_> =
        listed.iter().map(|l| (l.machine.clone(), l.session.clone(), l.mark)).collect();
    found.sort();
    let own = MarkSeen::Own;
    let mut ours = vec![(one.machine, one.session, own), (two.machine, two.session, own)];
    ours.sort();
    assert_eq!(found, ours);
}

async fn list_while_away_is_an_error(bench: Bench) {
    running(&bench).await;
    bench.set_away(true).await;
    let answer = bench.provisioner().list().await;
    assert_eq!(kind(&answer), Some(Kind::Unavailable), "{answer:?}");
}
