//! Where a machine goes: by free memory and processors, what is on its way counted.

use std::collections::HashMap;

use daas_core::machine::{MachineSpec, Taken};

use crate::api::Resource;
use crate::overview::Overview;

const MIB: u64 = 1024 * 1024;

/// How full a node would be.
#[derive(Debug, Clone, PartialEq)]
struct Fill {
    memory: f64,
    processors: f64,
}

/// The node that would be least full with `spec` on it, among `candidates`; `Err` tells why none.
///
/// A node's memory counts as used by what it says or by what its running guests were promised,
/// whichever is more, and by reservations that the overview does not show yet.
pub(crate) fn choose<'a>(
    overview: &Overview,
    candidates: &[&'a str],
    spec: &MachineSpec,
    taken: &Taken,
    overcommit: f64,
) -> Result<&'a str, String> {
    let promised = promised(overview);
    let coming = coming(overview, taken);
    let mut fills: Vec<(&'a str, Fill)> = Vec::new();
    let mut refusals = Vec::new();
    for name in candidates {
        let Some(node) = overview.nodes.iter().find(|n| n.node.as_deref() == Some(name)) else {
            continue;
        };
        if node.status.as_deref() != Some("online") {
            refusals.push(format!("{name} is {}", node.status.as_deref().unwrap_or("unknown")));
            continue;
        }
        let capacity = (node.maxmem.unwrap_or(0) as f64 * overcommit) / MIB as f64;
        let used = node.mem.unwrap_or(0).max(promised.get(name).copied().unwrap_or(0)) / MIB;
        let (more_memory, more_cores) = coming.get(name).copied().unwrap_or_default();
        let memory = (used + more_memory + spec.memory_mib) as f64;
        if memory > capacity {
            let free = (capacity - (used + more_memory) as f64).max(0.0);
            refusals.push(format!("{name} has {free:.0} MiB free of memory"));
            continue;
        }
        let processors = node.maxcpu.unwrap_or(1.0).max(1.0);
        let busy = node.cpu.unwrap_or(0.0) * processors + more_cores + f64::from(spec.cores);
        fills.push((name, Fill { memory: memory / capacity, processors: busy / processors }));
    }
    let least = fills.into_iter().min_by(|(a, x), (b, y)| {
        let score = |fill: &Fill| fill.memory.max(fill.processors);
        score(x).total_cmp(&score(y)).then_with(|| a.cmp(b))
    });
    least.map(|(name, _)| name).ok_or_else(|| {
        let why = if refusals.is_empty() { "no node is known".into() } else { refusals.join(", ") };
        format!("no node has room for {} MiB: {why}", spec.memory_mib)
    })
}

/// Memory promised to running guests, by node, in bytes.
fn promised(overview: &Overview) -> HashMap<&str, u64> {
    let mut promised = HashMap::new();
    let running = overview.machines.values().filter(|m| m.status.as_deref() == Some("running"));
    for machine in running {
        if let Some(node) = machine.node.as_deref() {
            *promised.entry(node).or_insert(0) += machine.maxmem.unwrap_or(0);
        }
    }
    promised
}

/// Memory (MiB) and cores of reservations that do not show among the running guests yet.
fn coming<'a>(overview: &Overview, taken: &'a Taken) -> HashMap<&'a str, (u64, f64)> {
    let mut coming: HashMap<&str, (u64, f64)> = HashMap::new();
    for reservation in taken.iter() {
        let shown = reservation
            .machine
            .as_str()
            .parse()
            .ok()
            .and_then(|vmid: u32| overview.machines.get(&vmid))
            .is_some_and(shows_its_use);
        if !shown {
            let entry = coming.entry(reservation.place.as_str()).or_default();
            entry.0 += reservation.memory_mib;
            entry.1 += f64::from(reservation.cores);
        }
    }
    coming
}

fn shows_its_use(machine: &Resource) -> bool {
    machine.status.as_deref() == Some("running") && machine.maxmem.is_some_and(|m| m > 0)
}
