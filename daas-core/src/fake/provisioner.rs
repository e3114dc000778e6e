//! Machines in memory.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::error::{Error, Kind, Operation, Result};
use crate::ids::{BackendName, DeploymentId, MachineId, SessionId};
use crate::machine::{
    AgentState, Destroyed, Ensured, Listed, Machine, MachineSpec, MarkSeen, Observation, Power,
    Reservation, Taken, Underway,
};
use crate::progress::Progress;
use crate::provisioner::{Extras, Provisioner};

/// The first machine id that is given out.
const FIRST_ID: u32 = 1_000;

/// How long the platform takes, on tokio's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timing {
    /// From the order of a machine until it is there.
    pub create: Duration,
    /// From power-on until its address is known.
    pub boot: Duration,
}

/// Something that really happened to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlatformAct {
    /// A machine was made.
    Made(MachineId, SessionId),
    /// It got power.
    Started(MachineId),
    /// It lost power.
    Stopped(MachineId),
    /// It was destroyed.
    Destroyed(MachineId, SessionId),
}

/// The machines, and what happened to them.
#[derive(Debug, Default)]
pub struct FakePlatform {
    timing: Timing,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    machines: BTreeMap<MachineId, Made>,
    log: Vec<PlatformAct>,
    away: bool,
    made: u64,
}

#[derive(Debug)]
struct Made {
    /// Deployment and session of the mark; absent for a stranger's machine.
    mark: Option<(DeploymentId, SessionId)>,
    /// Whether the mark was taken away, and only the machine's name tells of us.
    unmarked: bool,
    /// Whether its mark was read since: as on Proxmox, a look at a desktop at rest reads names only.
    examined: bool,
    uuid: String,
    power: Power,
    there_at: Instant,
    up_at: Instant,
}

impl FakePlatform {
    /// A platform that takes no time.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A platform that takes its time.
    pub fn with(timing: Timing) -> Arc<Self> {
        Arc::new(Self { timing, state: Mutex::default() })
    }

    /// What really happened, oldest first.
    pub fn log(&self) -> Vec<PlatformAct> {
        self.state().log.clone()
    }

    /// The machines there are, with the session in their marks.
    pub fn machines(&self) -> Vec<(MachineId, Option<SessionId>)> {
        let state = self.state();
        let machines = state.machines.iter();
        machines.map(|(id, m)| (id.clone(), m.mark.as_ref().map(|(_, s)| s.clone()))).collect()
    }

    /// Cuts the platform off, or brings it back.
    pub fn set_away(&self, away: bool) {
        self.state().away = away;
    }

    /// Puts a stranger's machine under this id.
    pub fn put_stranger(&self, id: &MachineId) {
        let mut state = self.state();
        let made = state.new_machine(None, Instant::now());
        state.machines.insert(id.clone(), made);
    }

    /// Takes a machine away, as an administrator does by hand.
    pub fn remove_by_hand(&self, id: &MachineId) {
        self.state().machines.remove(id);
    }

    /// Takes a machine's mark away, as an administrator does who edits its notes.
    pub fn take_mark_away(&self, id: &MachineId) {
        if let Some(made) = self.state().machines.get_mut(id) {
            made.unmarked = true;
        }
    }

    /// Cuts a machine's power, as its user does from inside.
    pub fn power_off_by_hand(&self, id: &MachineId) {
        if let Some(made) = self.state().machines.get_mut(id) {
            made.power = Power::Stopped;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reached(&self) -> Result<MutexGuard<'_, State>, String> {
        let state = self.state();
        if state.away { Err("the platform is away".to_owned()) } else { Ok(state) }
    }
}

impl State {
    fn new_machine(&mut self, mark: Option<(DeploymentId, SessionId)>, there_at: Instant) -> Made {
        self.made += 1;
        let uuid = format!("uuid-{}", self.made);
        let (unmarked, examined) = (false, false);
        let power = Power::Stopped;
        Made { mark, unmarked, examined, uuid, power, there_at, up_at: there_at }
    }
}

impl Made {
    fn address(&self, id: &MachineId) -> Option<IpAddr> {
        let number: u32 = id.as_str().parse().ok()?;
        (self.power == Power::Running && self.up_at <= Instant::now())
            .then(|| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number)))
    }

    fn machine(&self, id: &MachineId) -> Machine {
        let there = self.there_at <= Instant::now();
        let address = self.address(id);
        Machine {
            machine: id.clone(),
            place: "fake".to_owned(),
            // As on Proxmox: no mark can be read while the machine is being made.
            session: self.mark.as_ref().filter(|_| there).map(|(_, session)| session.clone()),
            uuid: there.then(|| self.uuid.clone()),
            power: self.power,
            address,
            agent: if address.is_some() { AgentState::Address } else { AgentState::Silent },
            lock: (!there).then(|| "clone".to_owned()),
        }
    }
}

/// Makes machines on a [`FakePlatform`].
#[derive(Debug)]
pub struct FakeProvisioner {
    name: BackendName,
    deployment: DeploymentId,
    platform: Arc<FakePlatform>,
}

impl FakeProvisioner {
    /// A provisioner of `deployment` on `platform`.
    pub fn new(name: BackendName, deployment: DeploymentId, platform: Arc<FakePlatform>) -> Self {
        Self { name, deployment, platform }
    }

    fn reached(&self, operation: Operation, subject: &SessionId) -> Result<MutexGuard<'_, State>> {
        let unavailable = |why| Error::new(Kind::Unavailable, operation, subject, why);
        self.platform.reached().map_err(unavailable)
    }

    /// Whether a machine under the reserved id is ours: by mark, and by uuid once recorded.
    fn is_ours(&self, made: &Made, reservation: &Reservation) -> bool {
        !made.unmarked
            && made.mark.as_ref().is_some_and(|(deployment, session)| {
                *deployment == self.deployment && *session == reservation.session
            })
            && reservation.uuid.as_ref().is_none_or(|uuid| *uuid == made.uuid)
    }
}

#[async_trait]
impl Provisioner for FakeProvisioner {
    fn name(&self) -> &BackendName {
        &self.name
    }

    async fn reserve(
        &self,
        id: &SessionId,
        spec: &MachineSpec,
        taken: &Taken,
    ) -> Result<Reservation> {
        if spec.source.is_empty() || spec.source == "missing" {
            let why = format!("there is no image {:?}", spec.source);
            return Err(Error::invalid(Operation::Reserve, "template", why));
        }
        let state = self.reached(Operation::Reserve, id)?;
        let free = (FIRST_ID..u32::MAX)
            .filter_map(|n| MachineId::new(n.to_string()).ok())
            .find(|id| !state.machines.contains_key(id) && !taken.contains(id));
        let machine = free.ok_or_else(|| {
            Error::new(Kind::Exhausted, Operation::Reserve, id, "no machine id is free")
        })?;
        Ok(Reservation {
            session: id.clone(),
            provisioner: self.name.clone(),
            machine,
            place: "fake".to_owned(),
            memory_mib: spec.memory_mib,
            cores: spec.cores,
            uuid: None,
        })
    }

    async fn ensure(
        &self,
        reservation: &Reservation,
        spec: &MachineSpec,
        power: Power,
        progress: &Progress,
    ) -> Result<Ensured> {
        let timing = self.platform.timing;
        let mut state = self.reached(Operation::Ensure, &reservation.session)?;
        let id = &reservation.machine;
        let now = Instant::now();
        match state.machines.get(id) {
            Some(made) if !self.is_ours(made, reservation) => {
                let why = format!("machine {id} is somebody else's");
                return Err(Error::new(Kind::Conflict, Operation::Ensure, &spec.session, why));
            }
            None if reservation.uuid.is_some() => {
                let why = format!("machine {id} is no longer there");
                return Err(Error::new(Kind::NotFound, Operation::Ensure, &spec.session, why));
            }
            None => {
                progress.tell("the machine is being made", Some(0.0));
                let mark = Some((self.deployment.clone(), reservation.session.clone()));
                let made = state.new_machine(mark, now + timing.create);
                state.machines.insert(id.clone(), made);
                state.log.push(PlatformAct::Made(id.clone(), reservation.session.clone()));
            }
            Some(_) => {}
        }
        let State { machines, log, .. } = &mut *state;
        let Some(made) = machines.get_mut(id) else {
            let why = "the machine just made is not there";
            return Err(Error::new(Kind::Internal, Operation::Ensure, &spec.session, why));
        };
        if made.there_at > now {
            let wait = Underway::for_at_most(made.there_at - now, "the machine is being made");
            return Ok(Ensured::Underway(wait));
        }
        if made.power != power {
            made.power = power;
            made.up_at = now + timing.boot;
            log.push(match power {
                Power::Running => PlatformAct::Started(id.clone()),
                Power::Stopped => PlatformAct::Stopped(id.clone()),
            });
        }
        if power == Power::Running && made.up_at > now {
            let wait = Underway::for_at_most(made.up_at - now, "the machine is starting");
            return Ok(Ensured::Underway(wait));
        }
        Ok(Ensured::Done(made.machine(id)))
    }

    async fn observe(&self, reservation: &Reservation) -> Observation {
        match self.platform.reached() {
            Err(why) => Observation::Unknown(why),
            Ok(state) => match state.machines.get(&reservation.machine) {
                Some(made)
                    if self.is_ours(made, reservation) || (made.unmarked && !made.examined) =>
                {
                    Observation::Present(made.machine(&reservation.machine))
                }
                _ => Observation::Absent,
            },
        }
    }

    async fn destroy(&self, reservation: &Reservation) -> Result<Destroyed> {
        let mut state = self.reached(Operation::Destroy, &reservation.session)?;
        let machine = reservation.machine.clone();
        match state.machines.get_mut(&machine) {
            None => return Ok(Destroyed::Gone),
            Some(made) if !self.is_ours(made, reservation) => {
                made.examined = true;
                return Ok(Destroyed::LeftAlone(format!("machine {machine} is not ours")));
            }
            Some(_) => {}
        }
        state.machines.remove(&machine);
        state.log.push(PlatformAct::Destroyed(machine, reservation.session.clone()));
        Ok(Destroyed::Gone)
    }

    async fn list(&self) -> Result<Vec<Listed>> {
        let state = self.platform.reached().map_err(|why| {
            Error::new(Kind::Unavailable, Operation::List, self.name.as_str(), why)
        })?;
        let seen_at = Timestamp::now();
        let ours = state.machines.iter().filter_map(|(id, made)| {
            let (deployment, session) = made.mark.as_ref()?;
            (*deployment == self.deployment).then(|| Listed {
                machine: id.clone(),
                place: "fake".to_owned(),
                session: session.clone(),
                uuid: Some(made.uuid.clone()),
                power: made.power,
                mark: if made.unmarked { MarkSeen::Missing } else { MarkSeen::Own },
                seen_at,
            })
        });
        Ok(ours.collect())
    }

    fn extras(&self) -> Extras {
        Extras::default()
    }
}
