//! `daas quarantine`: machines, and what is outside them, that the sweep found and that only an operator may judge.

use super::session::WAIT;
use crate::args::QuarantineCommand;
use crate::client::Client;
use crate::exit::Outcome;
use crate::output::{Output, tell};
use crate::wire::{Effects, FoundEffect, FoundMachine, Quarantine, Session};

pub(crate) async fn run(client: &Client, output: Output, command: QuarantineCommand) -> Outcome {
    match command {
        QuarantineCommand::List => list(output, &client.quarantine().await?),
        QuarantineCommand::Destroy { id, wait } => {
            let mut session = client.end_quarantined(&id).await?;
            if wait {
                session = client.until(&id, WAIT, |_| {}, Session::has_ended).await?;
            }
            output.session(&session)
        }
    }
}

fn list(output: Output, found: &Quarantine) -> Outcome {
    if found.at.is_none() {
        tell("the server has not compared its records with the hypervisors yet; ask again soon");
    }
    for failure in &found.failures {
        tell(&format!("warning: not everything could be listed: {failure}"));
    }
    if found.braked {
        tell("warning: too many orphans at once: none was removed; see brakes.sweep_removals_free");
    }
    let kinds = [
        ("quarantined", "no record: `daas quarantine destroy` ends it", &found.quarantined),
        ("orphan", "its session has ended: it is going to be removed", &found.orphans),
        ("duplicate", "another machine bears its mark: judge it by hand", &found.duplicates),
        ("left alone", "its mark was taken away: judge it by hand", &found.left_alone),
    ];
    let machines = kinds.iter().flat_map(|(kind, means, machines)| {
        machines.iter().map(move |machine| row(kind, machine, means))
    });
    let rows: Vec<_> = machines.chain(found.effects.iter().flat_map(effects)).collect();
    output.rows(found, &["kind", "session", "machine", "place", "meaning"], rows.into_iter())
}

/// The rows of what is outside the guests, and what is to be said of it.
fn effects(found: &Effects) -> Vec<Vec<String>> {
    for failure in &found.failures {
        tell(&format!("warning: not everything outside the guests could be listed: {failure}"));
    }
    if found.braked {
        tell("warning: too many orphans outside the guests at once: none was removed");
    }
    let kinds = [
        ("orphan", "its session has ended: it is going to be removed", &found.orphans),
        ("unknown", "no record: remove it by hand", &found.unknown),
    ];
    let row = |kind: &str, effect: &FoundEffect, means: &str| {
        let FoundEffect { configurator, kind: what, key, session } = effect;
        let what = format!("{configurator} {what}");
        vec![kind.to_owned(), session.clone(), what, key.clone(), means.to_owned()]
    };
    let all = kinds.iter();
    all.flat_map(|(kind, means, found)| found.iter().map(|effect| row(kind, effect, means)))
        .collect()
}

fn row(kind: &str, machine: &FoundMachine, means: &str) -> Vec<String> {
    let FoundMachine { provisioner, machine, place, session } = machine;
    let machine = format!("{provisioner} {machine}");
    vec![kind.to_owned(), session.clone(), machine, place.clone(), means.to_owned()]
}
