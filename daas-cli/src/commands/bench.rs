//! `daas bench herd`: many desktops asked for at once, through HTTP, on a world of its own.
//!
//! What the hypervisor itself took is read from the simulator's own log, so that what is left is
//! ours.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use daas_core::event::What;
use daas_core::ids::{Cursor, SessionId};
use daas_core::session::Phase;
use daas_core::store::EventFilter;
use daas_sim::Event;
use daas_sim::guest::GuestState;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::Semaphore;

use super::onlooker::Onlooker;
use super::session::idempotency_key;
use crate::args::{BenchConfigurator, HerdArgs};
use crate::exit::{Code, Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::output::{Output, print, tell};
use crate::wire::Ask;
use crate::world::{TEMPLATE, World, WorldArgs};

/// How long the whole herd may take.
const DEADLINE: Duration = Duration::from_secs(15 * 60);

/// What was measured. Times are in milliseconds.
#[derive(Debug, Serialize)]
struct Report {
    sessions: usize,
    warm_up: usize,
    at_once: usize,
    scale: f64,
    configurator: String,
    nodes: usize,
    seed: u64,
    debug_build: bool,
    processors: usize,
    wall_seconds: f64,
    sessions_per_second: f64,
    to_ready: Spread,
    hypervisor: Option<Spread>,
    configuration: Option<Spread>,
    ours: Option<Spread>,
    /// By how much the time told with the answer to the request was wrong, whichever way.
    estimate_error: Option<Spread>,
    destroy_wall_seconds: f64,
    machines_left: usize,
}

/// A distribution, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
struct Spread {
    min: f64,
    median: f64,
    p95: f64,
    max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| {
            let last = values.len().checked_sub(1)?;
            values.get((last as f64 * share).round() as usize).copied()
        };
        Some(Self { min: at(0.0)?, median: at(0.5)?, p95: at(0.95)?, max: at(1.0)? })
    }
}

pub(crate) async fn herd(output: Output, args: HerdArgs) -> Outcome {
    let at_once = args.at_once.unwrap_or(args.sessions).max(1);
    let mut interrupt = Interrupt::listen()?;
    let world = World::start(WorldArgs {
        scale: args.scale,
        nodes: args.nodes,
        seed: args.seed,
        configurator: args.configurator,
        machines: args.sessions.max(args.warm_up) + 64,
        ..WorldArgs::default()
    })
    .await?;
    let measured = tokio::select! {
        measured = measure(&world, &args, at_once) => measured,
        () = interrupt.pressed() => {
            world.end().await?;
            return Err(Failure::new(Code::Interrupted, "interrupted; nothing was left behind"));
        }
    };
    let stopped = world.stop().await;
    let report = measured?;
    stopped?;
    if output.json { output.print_json(&report) } else { print(&text(&report)) }
}

async fn measure(world: &World, args: &HerdArgs, at_once: usize) -> Outcome<Report> {
    let onlooker = Arc::new(Onlooker::of(world.engine()));
    if args.warm_up > 0 {
        tell(&format!("warming up with {} desktops", args.warm_up));
        let asked = ask_all(world, &onlooker, args.warm_up, args.warm_up).await?;
        destroy_all(world, &onlooker, &asked).await?;
    }
    tell(&format!("asking for {} desktops", args.sessions));
    let begun = Instant::now();
    let asked = ask_all(world, &onlooker, args.sessions, at_once).await?;
    let wall = begun.elapsed();
    let lives = lives(world, &asked).await?;
    tell("destroying them");
    let begun_end = Instant::now();
    destroy_all(world, &onlooker, &asked).await?;
    let destroy_wall = begun_end.elapsed();

    let column =
        |pick: fn(&Life) -> Option<f64>| Spread::of(lives.iter().filter_map(pick).collect());
    let to_ready = column(|life| Some(life.to_ready))
        .ok_or_else(|| Failure::new(Code::Failed, "no session became ready"))?;
    Ok(Report {
        sessions: args.sessions,
        warm_up: args.warm_up,
        at_once,
        scale: args.scale,
        configurator: match args.configurator {
            BenchConfigurator::Fake => "fake".to_owned(),
            BenchConfigurator::Ssh => "ssh".to_owned(),
        },
        nodes: args.nodes,
        seed: args.seed,
        debug_build: cfg!(debug_assertions),
        processors: std::thread::available_parallelism().map_or(0, usize::from),
        wall_seconds: wall.as_secs_f64(),
        sessions_per_second: args.sessions as f64 / wall.as_secs_f64(),
        to_ready,
        hypervisor: column(|life| life.hypervisor),
        configuration: column(|life| life.configuration),
        ours: column(Life::ours),
        estimate_error: column(Life::estimate_error),
        destroy_wall_seconds: destroy_wall.as_secs_f64(),
        machines_left: world.sim().cluster().vms().len(),
    })
}

/// A request for a desktop.
#[derive(Debug, Clone, Copy)]
struct Asked {
    at: Timestamp,
    /// In how many seconds it would be ready, as far as the answer told.
    told: Option<f64>,
}

/// Asks for all, at most `at_once` on their way at a time, and waits until all are ready. Answers
/// when each was asked for.
async fn ask_all(
    world: &World,
    onlooker: &Arc<Onlooker>,
    sessions: usize,
    at_once: usize,
) -> Outcome<HashMap<SessionId, Asked>> {
    let client = world.client()?;
    let room = Arc::new(Semaphore::new(at_once));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..sessions {
        let (client, room) = (client.clone(), Arc::clone(&room));
        let onlooker = Arc::clone(onlooker);
        tasks.spawn(async move {
            let place = room.acquire_owned().await;
            let at = Timestamp::now();
            let ask = Ask { template: TEMPLATE.to_owned(), ..Ask::default() };
            let session = client.ask(&ask, &idempotency_key()).await?;
            let id: SessionId = session
                .id
                .parse()
                .map_err(|e: daas_core::Error| Failure::new(Code::Failed, e.to_string()))?;
            onlooker.until(&id, Phase::Ready).await?;
            drop(place);
            let told = session.estimate.and_then(|estimate| estimate.ready_in_seconds);
            Ok::<_, Failure>((id, Asked { at, told }))
        });
    }
    let mut asked = HashMap::new();
    let all = async {
        while let Some(one) = tasks.join_next().await {
            let (id, one) = one.map_err(|e| Failure::new(Code::Failed, e.to_string()))??;
            asked.insert(id, one);
        }
        Ok::<_, Failure>(())
    };
    match tokio::time::timeout(DEADLINE, all).await {
        Ok(done) => done?,
        Err(_) => return Err(Failure::new(Code::Failed, "not all became ready in time")),
    }
    Ok(asked)
}

async fn destroy_all(
    world: &World,
    onlooker: &Onlooker,
    asked: &HashMap<SessionId, Asked>,
) -> Outcome {
    let client = world.client()?;
    let mut orders = tokio::task::JoinSet::new();
    for id in asked.keys() {
        let (client, id) = (client.clone(), id.to_string());
        orders.spawn(async move { client.destroy(&id).await });
    }
    while let Some(one) = orders.join_next().await {
        one.map_err(|e| Failure::new(Code::Failed, e.to_string()))??;
    }
    let all = async {
        for id in asked.keys() {
            onlooker.until(id, Phase::Ended).await?;
        }
        Ok(())
    };
    match tokio::time::timeout(DEADLINE, all).await {
        Ok(done) => done,
        Err(_) => Err(Failure::new(Code::Failed, "not all were destroyed in time")),
    }
}

/// What one session took, in milliseconds.
#[derive(Debug)]
struct Life {
    to_ready: f64,
    /// The session's own critical path in the simulator's log, lock waits included: its clone
    /// task, and from the start task's beginning until its agent answers.
    hypervisor: Option<f64>,
    configuration: Option<f64>,
    told: Option<f64>,
}

impl Life {
    fn estimate_error(&self) -> Option<f64> {
        Some((self.to_ready - self.told? * 1000.0).abs())
    }

    fn ours(&self) -> Option<f64> {
        Some(self.to_ready - self.hypervisor? - self.configuration.unwrap_or(0.0))
    }
}

async fn lives(world: &World, asked: &HashMap<SessionId, Asked>) -> Outcome<Vec<Life>> {
    let failed = |e: daas_core::Error| Failure::new(Code::Failed, e.to_string());
    let store = world.engine().store();
    let mut phases: HashMap<SessionId, HashMap<Phase, Timestamp>> = HashMap::new();
    let mut cursor = Cursor(0);
    loop {
        let events = store.events(cursor, &EventFilter::default(), 1000).await.map_err(failed)?;
        let Some(last) = events.last() else { break };
        cursor = last.cursor;
        for event in events {
            if let What::Phase { to, .. } = event.what {
                phases.entry(event.session).or_default().entry(to).or_insert(event.at);
            }
        }
    }
    let paths = critical_paths(world);
    let mut lives = Vec::with_capacity(asked.len());
    for (id, Asked { at, told }) in asked {
        let Some(entered) = phases.get(id) else { continue };
        let Some(ready) = entered.get(&Phase::Ready) else { continue };
        let session = store.get(id).await.map_err(failed)?;
        let vmid =
            session.and_then(|s| s.reservation).and_then(|r| r.machine.as_str().parse().ok());
        let configured = entered.get(&Phase::Preparing).or(entered.get(&Phase::Assigning));
        lives.push(Life {
            to_ready: milliseconds(*at, *ready),
            hypervisor: vmid.and_then(|vmid: u32| paths.get(&vmid).copied()),
            configuration: configured.map(|begun| milliseconds(*begun, *ready)),
            told: *told,
        });
    }
    Ok(lives)
}

/// By machine: how long the hypervisor was at work for it until its guest could be reached.
fn critical_paths(world: &World) -> HashMap<u32, f64> {
    let mut created: HashMap<u32, f64> = HashMap::new();
    let mut named: HashMap<u32, f64> = HashMap::new();
    let mut starting: HashMap<u32, f64> = HashMap::new();
    let mut reachable: HashMap<u32, f64> = HashMap::new();
    for entry in world.sim().log().entries() {
        let at = entry.at.as_secs_f64() * 1000.0;
        match entry.event {
            Event::VmCreated { vmid, .. } => {
                created.entry(vmid).or_insert(at);
            }
            Event::VmNamed { vmid, .. } => {
                named.entry(vmid).or_insert(at);
            }
            Event::TaskStart { kind: "qmstart", vmid, .. } => {
                starting.entry(vmid).or_insert(at);
            }
            Event::GuestState { vmid, state: GuestState::AgentUp } => {
                reachable.entry(vmid).or_insert(at);
            }
            _ => {}
        }
    }
    let path = |vmid: &u32| {
        let clone = named.get(vmid)? - created.get(vmid)?;
        let start = reachable.get(vmid)? - starting.get(vmid)?;
        Some(clone + start)
    };
    created.keys().filter_map(|vmid| Some((*vmid, path(vmid)?))).collect()
}

fn milliseconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64() * 1000.0
}

fn text(report: &Report) -> String {
    let line = |name: &str, spread: &Option<Spread>| {
        spread.as_ref().map_or_else(String::new, |s| {
            format!("{name:<28}{:>10.0}{:>10.0}{:>10.0}{:>10.0}\n", s.min, s.median, s.p95, s.max)
        })
    };
    let build =
        if report.debug_build { "debug build: not for comparison" } else { "release build" };
    format!(
        "herd of {} sessions, {} at once, after a warm-up with {}; hypervisor durations x {}; configurator {}; {} nodes, \
         seed {}; SQLite, durable; {} processors, {build}\n\n\
         all ready in {:.2} s: {:.1} sessions/s; all gone in {:.2} s; {} machines left\n\n\
         {:<28}{:>10}{:>10}{:>10}{:>10}\n{}{}{}{}{}",
        report.sessions,
        report.at_once,
        report.warm_up,
        report.scale,
        report.configurator,
        report.nodes,
        report.seed,
        report.processors,
        report.wall_seconds,
        report.sessions_per_second,
        report.destroy_wall_seconds,
        report.machines_left,
        "milliseconds",
        "min",
        "median",
        "p95",
        "max",
        line("request to ready", &Some(report.to_ready)),
        line("  the hypervisor's own path", &report.hypervisor),
        line("  configuration", &report.configuration),
        line("  ours", &report.ours),
        line("error of the estimate", &report.estimate_error),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_its_median_in_the_middle() {
        let spread = Spread::of(vec![5.0, 1.0, 3.0]).expect("three values");
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 3.0, 5.0));
        assert!(Spread::of(vec![]).is_none());
    }
}
