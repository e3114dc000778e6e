//! `daas quarantine`: machines that the sweep found and that only an operator may judge.

use super::session::WAIT;
use crate::args::QuarantineCommand;
use crate::client::Client;
use crate::exit::Outcome;
use crate::output::{Output, tell};
use crate::wire::{FoundMachine, Quarantine, Session};

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
    let rows = kinds.iter().flat_map(|(kind, means, machines)| {
        machines.iter().map(move |machine| row(kind, machine, means))
    });
    output.rows(found, &["kind", "session", "machine", "place", "meaning"], rows)
}

fn row(kind: &str, machine: &FoundMachine, means: &str) -> Vec<String> {
    let FoundMachine { provisioner, machine, place, session } = machine;
    let machine = format!("{provisioner} {machine}");
    vec![kind.to_owned(), session.clone(), machine, place.clone(), means.to_owned()]
}
