//! Waiting for a guest's address: asked in the background, so that no slot of the engine is held
//! while Proxmox itself waits for the agent.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use daas_core::machine::{AgentState, Wake};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::api::AgentAnswer;
use crate::client::Client;

/// The pause after an answer that came at once and told nothing.
const PAUSE: Duration = Duration::from_millis(150);
/// The pause after a failure on the way.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);
/// How much a new duration counts against what was known, out of 1.
const LEARNING: f64 = 0.2;

/// What is known of a guest's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) agent: AgentState,
    pub(crate) address: Option<IpAddr>,
}

/// A wait for one guest's address. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct AddressWait {
    heard: Arc<Mutex<Heard>>,
    pub(crate) wake: Wake,
}

impl AddressWait {
    pub(crate) fn heard(&self) -> Heard {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long guests usually take from power to address, whatever they are.
#[derive(Debug, Default)]
pub(crate) struct Usual(Mutex<Option<Duration>>);

impl Usual {
    fn learn(&self, took: Duration) {
        let mut usual = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = usual.unwrap_or(took);
        *usual = Some(known.mul_f64(1.0 - LEARNING) + took.mul_f64(LEARNING));
    }

    /// When it is worth asking for the first time.
    fn worth_asking(&self) -> Duration {
        let usual = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        usual.unwrap_or_default().mul_f64(0.7)
    }
}

/// What to ask for.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) node: String,
    pub(crate) vmid: u32,
    pub(crate) mac: Option<String>,
    /// When the guest got its power, if that was just now.
    pub(crate) started: Option<Instant>,
}

/// Starts asking; `room` bounds how many ask on that node.
pub(crate) fn ask(
    client: Client,
    question: Question,
    room: Arc<Semaphore>,
    usual: Arc<Usual>,
) -> AddressWait {
    let heard = Arc::new(Mutex::new(Heard { agent: AgentState::NotAsked, address: None }));
    let wait = AddressWait { heard: Arc::clone(&heard), wake: Wake::default() };
    let told = Arc::downgrade(&heard);
    tokio::spawn(keep_asking(client, question, room, usual, told, wait.wake.clone()));
    wait
}

async fn keep_asking(
    client: Client,
    question: Question,
    room: Arc<Semaphore>,
    usual: Arc<Usual>,
    told: Weak<Mutex<Heard>>,
    wake: Wake,
) {
    if let Some(started) = question.started {
        tokio::time::sleep_until(started + usual.worth_asking()).await;
    }
    // Whoever dropped the wait no longer wants the answer.
    while told.strong_count() > 0 {
        let answer = {
            let Ok(_place) = room.acquire().await else { return };
            client.address_of(&question.node, question.vmid, question.mac.as_deref()).await
        };
        let Some(heard) = told.upgrade() else { return };
        let (agent, address, pause) = match answer {
            Ok(AgentAnswer::Address(address)) => (AgentState::Address, Some(address), PAUSE),
            Ok(AgentAnswer::NoAddress) => (AgentState::NoAddress, None, PAUSE),
            Ok(AgentAnswer::Silent) => (AgentState::Silent, None, PAUSE / 10),
            Ok(AgentAnswer::Off) => (AgentState::MachineOff, None, PAUSE_AFTER_ERROR),
            Ok(AgentAnswer::NotConfigured) => (AgentState::NotConfigured, None, PAUSE),
            Err(_) => (AgentState::NotAsked, None, PAUSE_AFTER_ERROR),
        };
        *heard.lock().unwrap_or_else(PoisonError::into_inner) = Heard { agent, address };
        drop(heard);
        match agent {
            AgentState::Address => {
                if let Some(started) = question.started {
                    usual.learn(started.elapsed());
                }
                wake.ring();
                return;
            }
            AgentState::NotConfigured | AgentState::MachineOff => {
                wake.ring();
                return;
            }
            _ => tokio::time::sleep(pause).await,
        }
    }
}
