//! Doing one step: intent is written before a backend hears of it, proof before it is forgotten.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::Inner;
use super::brakes::Admission;
use super::decide::{Seen, Step, is_up};
use super::ready;
use super::worker::{Flow, Stop, Worker};
use crate::activity::{Activity, Probed};
use crate::clock::later;
use crate::configurator::{Applied, Stage};
use crate::error::{Error, Kind, Operation, Result};
use crate::event::{NewEvent, What};
use crate::idle::Verdict;
use crate::machine::{Destroyed, Ensured, Observation, Power, Reservation, Underway};
use crate::session::{Goal, Outcome, Phase};
use crate::store::Next;

/// How many of the queue are kept in hand while they wait for room.
const QUEUE_IN_HAND: usize = 32;

/// Does `step`, because of `reason`.
pub(super) async fn execute(
    worker: &mut Worker,
    step: Step,
    reason: String,
    verdict: &Verdict,
) -> Result<Flow, Stop> {
    match step {
        Step::Wait(until) => {
            let now = worker.inner.now();
            Ok(Flow::Leave(Some(until.max(now))))
        }
        Step::Rest => Ok(Flow::Leave(None)),
        Step::Reserve => reserve(worker).await,
        Step::Ensure(power, phase) => ensure(worker, power, phase, reason).await,
        Step::Prepare => configure(worker, Stage::Prepare, Phase::Preparing, reason).await,
        Step::Assign => assign(worker, reason).await,
        Step::Knock => knock(worker).await,
        Step::HandOver => hand_over(worker, reason).await,
        Step::Enter(phase) => enter(worker, phase, reason).await,
        Step::NotePowerOff => {
            worker.session.power_off_since = Some(worker.inner.now());
            worker.save(Vec::new(), Next::Hold).await?;
            Ok(Flow::Again)
        }
        Step::NoteRestarted => {
            worker.session.restarts.done = worker.session.restarts.wanted;
            enter(worker, Phase::Starting, reason).await
        }
        Step::Wish(goal, outcome) => wish(worker, goal, outcome, reason, verdict).await,
        Step::Warn => announce(worker, verdict).await,
        Step::Probe => probe(worker).await,
        Step::Destroy => destroy(worker, reason).await,
        Step::ClearPast => clear_past(worker).await,
        Step::Retract => retract(worker, reason).await,
        Step::End => end(worker, reason).await,
    }
}

async fn enter(worker: &mut Worker, phase: Phase, reason: String) -> Result<Flow, Stop> {
    write_phase(worker, phase, reason).await?;
    Ok(Flow::Again)
}

/// Writes that the session is in `phase`, if it is not there yet.
async fn write_phase(worker: &mut Worker, phase: Phase, reason: String) -> Result<(), Stop> {
    let now = worker.inner.now();
    let Some(event) = worker.session.enter(phase, reason, now)? else { return Ok(()) };
    info!(session = %worker.session.id, %phase, reason = worker.session.reason, "phase");
    worker.save(vec![event], Next::Hold).await
}

async fn reserve(worker: &mut Worker) -> Result<Flow, Stop> {
    let inner = Arc::clone(&worker.inner);
    let now = inner.now();
    let session = &worker.session;
    let name = session.template.provisioner.clone();
    let platform = inner.platforms.of(&name).clone();
    let (taken, held) = {
        let all = inner.taken();
        (all.get(&platform).cloned().unwrap_or_default(), all.values().map(|t| t.len()).sum())
    };
    match inner.brakes.admit(&session.id, session.created_at, held, now) {
        Admission::Admitted => {}
        Admission::Wait { place, why } => {
            worker.tell(&format!("place {place} in the queue: {why}"));
            let wait = Duration::from_secs(1);
            // Only those next in line are kept in hand; a long queue must not hold all hands.
            return Ok(if place <= QUEUE_IN_HAND {
                Flow::After(wait)
            } else {
                Flow::Leave(Some(later(now, wait * 2)))
            });
        }
    }
    let _settled = Settle(Arc::clone(&inner));
    let provisioner = Arc::clone(inner.provisioner(session)?);
    let spec = inner.spec(session);
    let id = session.id.clone();
    let deadline = inner.limits().ensure_deadline;
    let choose = tokio::time::timeout(deadline, provisioner.reserve(&id, &spec, &taken));
    let reservation =
        worker.unless_overtaken(choose).await?.map_err(|_| slow(Operation::Reserve, &id))??;
    // Noted in memory first, so that no other session of this process is offered it meanwhile.
    let free = {
        let mut all = inner.taken();
        let taken = all.entry(platform.clone()).or_default();
        let free = !taken.contains(&reservation.machine);
        if free {
            taken.insert(reservation.clone());
        }
        free
    };
    if !free {
        return Ok(Flow::Again);
    }
    let machine = reservation.machine.clone();
    let place = reservation.place.clone();
    worker.session.reservation = Some(reservation);
    worker.session.started_at = worker.session.started_at.or(Some(now));
    let reason = format!("machine {machine} on {place} is being made");
    match write_phase(worker, Phase::Creating, reason).await {
        Ok(()) => {
            // Nobody has been told of this id yet: nothing needs to be looked at.
            worker.seen = Some(Seen::Observed(Observation::Absent));
            Ok(Flow::Again)
        }
        // Whether it was written is not known; the record tells when the session is next taken.
        Err(Stop::Lost) => Err(Stop::Lost),
        Err(stop) => {
            forget(worker, &machine, &platform);
            // The record was changed, or the machine is held by one that we do not know of.
            let held = inner.store().reserved(&name).await?;
            if let Some(taken) = inner.taken().get_mut(&platform) {
                let ours = held.iter().flat_map(|s| s.reservations());
                ours.filter(|r| r.provisioner == name).for_each(|r| taken.insert(r.clone()));
            }
            Err(stop)
        }
    }
}

/// Ends an admission by the brakes however the reservation ends.
struct Settle(Arc<Inner>);

impl Drop for Settle {
    fn drop(&mut self) {
        self.0.brakes.settle();
    }
}

fn forget(worker: &Worker, machine: &crate::ids::MachineId, platform: &crate::ids::BackendName) {
    if let Some(taken) = worker.inner.taken().get_mut(platform) {
        taken.remove(machine, &worker.session.id);
    }
}

async fn ensure(
    worker: &mut Worker,
    power: Power,
    phase: Phase,
    reason: String,
) -> Result<Flow, Stop> {
    write_phase(worker, phase, reason).await?;
    let inner = Arc::clone(&worker.inner);
    let provisioner = Arc::clone(inner.provisioner(&worker.session)?);
    let Some(reservation) = worker.session.reservation.clone() else { return Ok(Flow::Again) };
    let spec = inner.spec(&worker.session);
    let progress = worker.progress();
    let deadline = inner.limits().ensure_deadline;
    worker.ordered = true;
    let call = async {
        let _slot = inner.ensure_calls.acquire().await;
        let making = provisioner.ensure(&reservation, &spec, power, &progress);
        tokio::time::timeout(deadline, making).await
    };
    let made = worker.unless_overtaken(call).await?;
    match made.map_err(|_| slow(Operation::Ensure, &worker.session.id))? {
        Ok(Ensured::Done(machine)) => {
            if power == Power::Running && !is_up(&worker.session, &machine) {
                let message = "the backend called a machine done that has no power or no address";
                let id = &worker.session.id;
                return Err(Error::new(Kind::Internal, Operation::Ensure, id, message).into());
            }
            worker.seen = Some(Seen::Observed(Observation::Present(machine)));
            worker.note_sight().await?;
            Ok(Flow::Again)
        }
        Ok(Ensured::Underway(underway)) => Ok(wait_for(worker, underway)),
        Err(error) if error.kind() == Kind::Conflict && !worker.session.seen => {
            give_way(worker, &error).await
        }
        Err(error) => Err(error.into()),
    }
}

fn wait_for(worker: &Worker, underway: Underway) -> Flow {
    worker.tell(&underway.what);
    Flow::Underway(underway)
}

/// The reserved id is somebody else's: another is reserved, this one kept in the record.
async fn give_way(worker: &mut Worker, error: &Error) -> Result<Flow, Stop> {
    let now = worker.inner.now();
    let failed = worker.session.attempts.failed + 1;
    let Some(reservation) = worker.session.reservation.take() else { return Ok(Flow::Again) };
    worker.session.past_reservations.push(reservation);
    worker.seen = None;
    let reason = error.chain();
    let event = worker.session.enter(Phase::Queued, reason.clone(), now)?;
    // Kept across the change of phase: an id range that is all taken must come to an end.
    worker.session.attempts.failed = failed;
    worker.session.attempts.last_error = Some(reason);
    worker.save(event.into_iter().collect(), Next::Hold).await?;
    Ok(Flow::Again)
}

async fn assign(worker: &mut Worker, reason: String) -> Result<Flow, Stop> {
    let Some(owner) = worker.session.owner.clone() else {
        let message = "nobody owns it";
        let id = &worker.session.id;
        return Err(Error::new(Kind::Internal, Operation::Configure, id, message).into());
    };
    let account = worker.session.account.clone();
    configure(worker, Stage::Assign { owner, account }, Phase::Assigning, reason).await
}

async fn configure(
    worker: &mut Worker,
    stage: Stage,
    phase: Phase,
    reason: String,
) -> Result<Flow, Stop> {
    let inner = Arc::clone(&worker.inner);
    let configurator = Arc::clone(inner.configurator(&worker.session)?);
    let guest = inner.guest(&worker.session);
    let now = inner.now();
    // The effects are in the ledger, and the phase is in the record, before anything is caused.
    let news = worker.session.ledger.intend(configurator.effects(&guest)?);
    let event = worker.session.enter(phase, reason, now)?;
    if news || event.is_some() {
        worker.save(event.into_iter().collect(), Next::Hold).await?;
    }
    let progress = worker.progress();
    let deadline = inner.limits().configure_deadline;
    let call = async {
        let _slot = inner.configure_calls.acquire().await;
        tokio::time::timeout(deadline, configurator.apply(&guest, &stage, &progress)).await
    };
    let applied = worker.unless_overtaken(call).await?;
    let Applied { changed, warnings, facts } =
        applied.map_err(|_| slow(Operation::Configure, &worker.session.id))??;
    info!(session = %worker.session.id, %phase, changed, "configured");
    worker.session.facts.learn(facts);
    match stage {
        Stage::Prepare => worker.session.prepared = true,
        Stage::Assign { .. } => {
            worker.session.assigned = true;
            worker.session.unconfigured = None;
        }
    }
    let at = inner.now();
    let notes = warnings.into_iter().map(|text| NewEvent { at, what: What::Note { text } });
    worker.save(notes.collect(), Next::Hold).await?;
    Ok(Flow::Again)
}

async fn knock(worker: &mut Worker) -> Result<Flow, Stop> {
    let inner = Arc::clone(&worker.inner);
    let template = worker.session.template.clone();
    let address = worker.session.address;
    match worker.unless_overtaken(ready::knock(&template, address)).await? {
        Ok(()) => {
            let first = worker.session.ready_at.is_none();
            let now = inner.now();
            let event = worker.session.enter(Phase::Ready, "ready to be used", now)?;
            worker.save(event.into_iter().collect(), Next::Hold).await?;
            if first && let Some(started) = worker.session.started_at {
                let took = crate::clock::between(started, now);
                inner.estimates.learn(&worker.session.id, &template.name, took);
            }
            Ok(Flow::Again)
        }
        Err(why) => {
            worker.tell(&why);
            // What was seen may be over: the machine may have lost power meanwhile.
            worker.seen = None;
            Ok(Flow::After(inner.limits().knock_period))
        }
    }
}

async fn hand_over(worker: &mut Worker, why: String) -> Result<Flow, Stop> {
    let at = worker.inner.now();
    warn!(session = %worker.session.id, why, "handed over without its configuration");
    let reason = format!("handed over though it could not be configured: {why}");
    let note = NewEvent { at, what: What::Note { text: reason.clone() } };
    let event = worker.session.enter(Phase::Ready, reason, at)?;
    worker.session.unconfigured = Some(why);
    worker.save(event.into_iter().chain([note]).collect(), Next::Hold).await?;
    Ok(Flow::Again)
}

async fn wish(
    worker: &mut Worker,
    goal: Goal,
    outcome: Option<Outcome>,
    reason: String,
    verdict: &Verdict,
) -> Result<Flow, Stop> {
    let now = worker.inner.now();
    let by = if outcome.is_some() { "engine" } else { "idle" };
    let evidence = outcome.is_none().then(|| verdict.evidence.clone());
    info!(session = %worker.session.id, ?goal, reason, "wished");
    let event = worker.session.wish(goal, by, reason, evidence, now);
    worker.session.outcome = worker.session.outcome.take().or(outcome);
    worker.save(event.into_iter().collect(), Next::Hold).await?;
    Ok(Flow::Again)
}

async fn announce(worker: &mut Worker, verdict: &Verdict) -> Result<Flow, Stop> {
    let now = worker.inner.now();
    worker.session.evidence = Some(verdict.evidence.clone());
    let what = What::Warning { at: verdict.until, evidence: verdict.evidence.clone() };
    worker.save(vec![NewEvent { at: now, what }], Next::Hold).await?;
    Ok(Flow::Again)
}

async fn probe(worker: &mut Worker) -> Result<Flow, Stop> {
    let inner = Arc::clone(&worker.inner);
    let template = worker.session.template.clone();
    let reachable = match worker.session.address {
        Some(address) => worker.unless_overtaken(ready::is_reachable(&template, address)).await?,
        None => false,
    };
    let id = worker.session.id.clone();
    let probed = if reachable { Probed::Reachable } else { Probed::Unreachable };
    let probe = Some((inner.now(), probed));
    inner.learn(&id, |known| Activity { probe, ..known.clone() }).await?;
    Ok(Flow::Leave(Some(later(inner.now(), inner.limits().observe_period))))
}

async fn destroy(worker: &mut Worker, reason: String) -> Result<Flow, Stop> {
    let Some(reservation) = worker.session.reservation.clone() else { return Ok(Flow::Again) };
    if worker.session.phase != Phase::Destroying
        && !worker.inner.brakes.may_destroy(worker.inner.now())
    {
        worker.tell("waits: the brake on destructions holds");
        return Ok(Flow::After(Duration::from_secs(1)));
    }
    write_phase(worker, Phase::Destroying, reason).await?;
    let note = match call_destroy(worker, &reservation).await? {
        Destroyed::Underway(underway) => return Ok(wait_for(worker, underway)),
        Destroyed::Gone => None,
        // It lost its mark since it was last seen: nothing of ours is there, but people are told.
        Destroyed::LeftAlone(why) => {
            let (machine, place) = (&reservation.machine, &reservation.place);
            warn!(session = %worker.session.id, %machine, why, "left alone");
            Some(format!("machine {machine} on {place} is left alone: {why}"))
        }
    };
    // The proof is the observation's, not the destroyer's word.
    let seen = worker.look().await?;
    if let Seen::Observed(Observation::Present(_)) = seen {
        let message = "the machine is said to be gone or not ours, and is seen all the same";
        let id = &worker.session.id;
        return Err(Error::new(Kind::Unavailable, Operation::Destroy, id, message).into());
    }
    worker.seen = Some(seen);
    if let Some(text) = note {
        let at = worker.inner.now();
        worker.save(vec![NewEvent { at, what: What::Note { text } }], Next::Hold).await?;
    }
    Ok(Flow::Again)
}

async fn call_destroy(worker: &mut Worker, reservation: &Reservation) -> Result<Destroyed, Stop> {
    let inner = Arc::clone(&worker.inner);
    let provisioner = Arc::clone(inner.provisioner(&worker.session)?);
    let deadline = inner.limits().destroy_deadline;
    let call = async {
        let _slot = inner.destroy_calls.acquire().await;
        tokio::time::timeout(deadline, provisioner.destroy(reservation)).await
    };
    let done = worker.unless_overtaken(call).await?;
    Ok(done.map_err(|_| slow(Operation::Destroy, &worker.session.id))??)
}

async fn clear_past(worker: &mut Worker) -> Result<Flow, Stop> {
    let Some(past) = worker.session.past_reservations.first().cloned() else {
        return Ok(Flow::Again);
    };
    match call_destroy(worker, &past).await? {
        Destroyed::Gone | Destroyed::LeftAlone(_) => {
            worker.session.past_reservations.remove(0);
            worker.save(Vec::new(), Next::Hold).await?;
            forget(worker, &past.machine, &past.provisioner);
            Ok(Flow::Again)
        }
        Destroyed::Underway(underway) => Ok(wait_for(worker, underway)),
    }
}

async fn retract(worker: &mut Worker, reason: String) -> Result<Flow, Stop> {
    let Some(effect) = worker.session.ledger.next().cloned() else { return Ok(Flow::Again) };
    write_phase(worker, Phase::Destroying, reason).await?;
    let inner = Arc::clone(&worker.inner);
    let Some(configurator) = inner.configurators.get(&effect.configurator).map(Arc::clone) else {
        let message = format!("configurator {} is no longer configured", effect.configurator);
        let id = &worker.session.id;
        return Err(Error::new(Kind::Unavailable, Operation::Retract, id, message).into());
    };
    let guest = inner.guest(&worker.session);
    let deadline = inner.limits().configure_deadline;
    let call = tokio::time::timeout(deadline, configurator.retract(&guest, &effect));
    let done = worker.unless_overtaken(call).await?;
    done.map_err(|_| slow(Operation::Retract, &worker.session.id))??;
    worker.session.ledger.strike(&effect);
    worker.save(Vec::new(), Next::Hold).await?;
    Ok(Flow::Again)
}

async fn end(worker: &mut Worker, reason: String) -> Result<Flow, Stop> {
    let now = worker.inner.now();
    worker.session.outcome = worker.session.outcome.take().or(Some(Outcome::Destroyed));
    let event = worker.session.enter(Phase::Ended, reason, now)?;
    // Before the write: when its answer is lost, this session may never be in hand again.
    worker.inner.brakes.leave(&worker.session.id, worker.session.created_at);
    if let Some(reservation) = &worker.session.reservation {
        forget(worker, &reservation.machine, &reservation.provisioner);
    }
    worker.save(event.into_iter().collect(), Next::Release(None)).await?;
    info!(session = %worker.session.id, "ended");
    worker.inner.wake.notify_one();
    Ok(Flow::Leave(None))
}

fn slow(operation: Operation, id: &crate::ids::SessionId) -> Error {
    Error::new(Kind::Unavailable, operation, id, "took longer than its deadline; it is tried again")
}
