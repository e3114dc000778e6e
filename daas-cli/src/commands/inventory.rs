//! `daas inventory`: the desktops there are, in the JSON that Ansible asks of an inventory program.
//!
//! `ansible -i` runs a program with `--list` or `--host NAME`: a script of one line that runs
//! `daas inventory "$@"` is one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::args::InventoryArgs;
use crate::client::Client;
use crate::exit::{Code, Failure, Outcome};
use crate::output;
use crate::wire::Session;

/// Every desktop.
const ALL: &str = "daas";
/// The groups of the earlier orchestrator's playbooks.
const EARLIER: [&str; 2] = ["domain_vms", "ephemeral_desktop"];
/// How long `terraform output` may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// What is known of a host, under the names that Ansible and its playbooks use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Host {
    ansible_host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    daas_template: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    daas_phase: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    daas_owner: Option<String>,
}

/// Hosts by group, and what is known of each.
#[derive(Debug, Default)]
struct Inventory {
    groups: BTreeMap<String, BTreeSet<String>>,
    hosts: BTreeMap<String, Host>,
}

/// An output of a Terraform state.
#[derive(Debug, Deserialize)]
struct StateOutput {
    value: Value,
}

pub(crate) async fn run(client: impl FnOnce() -> Outcome<Client>, args: InventoryArgs) -> Outcome {
    let mut inventory = Inventory::default();
    for directory in &args.terraform_dir {
        inventory.add_state(directory, &outputs(&args.terraform, directory).await?)?;
    }
    if !args.no_sessions {
        for session in client()?.sessions(&[("live", "true".to_owned())]).await? {
            inventory.add_session(session);
        }
    }
    let answer = match &args.host {
        Some(host) => inventory.host(host),
        None => inventory.list(),
    };
    output::print(&answer.to_string())
}

impl Inventory {
    fn add(&mut self, name: &str, host: Host, groups: &[&str]) {
        for group in groups {
            self.groups.entry(group_name(group)).or_default().insert(name.to_owned());
        }
        self.hosts.insert(name.to_owned(), host);
    }

    fn add_session(&mut self, session: Session) {
        // Without an address there is nothing to enter.
        let Some(address) = session.address else { return };
        let of_template = format!("template_{}", session.template);
        let host = Host {
            ansible_host: address,
            daas_template: Some(session.template),
            daas_phase: Some(session.phase),
            // Ansible takes braces in a variable for a template, and names are people's.
            daas_owner: session.owner.filter(|owner| !owner.contains('{')),
        };
        let groups = [&[ALL, of_template.as_str()], EARLIER.as_slice()].concat();
        self.add(&session.id, host, &groups);
    }

    /// Adds the machine of a state, if it has one.
    fn add_state(&mut self, directory: &Path, outputs: &BTreeMap<String, StateOutput>) -> Outcome {
        let text = |name: &str| {
            outputs.get(name).and_then(|output| output.value.as_str()).filter(|t| !t.is_empty())
        };
        let (Some(name), Some(address)) = (text("vm_name"), text("vm_ip")) else { return Ok(()) };
        let plain = |c: char| c.is_ascii_alphanumeric() || ".:_-".contains(c);
        if !(name.chars().all(plain) && address.chars().all(plain)) {
            let why = format!("{}: vm_name or vm_ip is no name or address", directory.display());
            return Err(Failure::new(Code::Failed, why));
        }
        let host = Host { ansible_host: address.to_owned(), ..Host::default() };
        self.add(name, host, &EARLIER);
        Ok(())
    }

    fn list(&self) -> Value {
        let mut answer = serde_json::Map::new();
        answer.insert("_meta".to_owned(), serde_json::json!({ "hostvars": self.hosts }));
        for (group, hosts) in &self.groups {
            answer.insert(group.clone(), serde_json::json!({ "hosts": hosts }));
        }
        Value::Object(answer)
    }

    fn host(&self, name: &str) -> Value {
        self.hosts.get(name).map_or_else(|| serde_json::json!({}), |host| serde_json::json!(host))
    }
}

/// A group's name as Ansible allows it: letters, digits and underscores.
fn group_name(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// The outputs of the state in `directory`.
async fn outputs(program: &Path, directory: &PathBuf) -> Outcome<BTreeMap<String, StateOutput>> {
    let failed = |code, why: String| {
        Failure::new(
            code,
            format!("{} output in {}: {why}", program.display(), directory.display()),
        )
    };
    if !directory.is_dir() {
        return Err(failed(Code::Usage, "there is no such directory".to_owned()));
    }
    let mut command = tokio::process::Command::new(program);
    command.current_dir(directory).args(["output", "-json", "-no-color"]);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(DEADLINE, command.output()).await;
    let ended = ended
        .map_err(|_| failed(Code::Unavailable, format!("no end within {} s", DEADLINE.as_secs())))?
        .map_err(|e| failed(Code::Failed, e.to_string()))?;
    if !ended.status.success() {
        let told = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        return Err(failed(Code::Failed, format!("{}: {told}", ended.status)));
    }
    serde_json::from_slice(&ended.stdout).map_err(|e| failed(Code::Failed, e.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]
    use super::*;
    use serde_json::json;

    fn session(id: &str, address: Option<&str>, owner: &str) -> Session {
        serde_json::from_value(json!({
            "id": id, "template": "debian-xfce", "goal": "running", "phase": "ready",
            "created_at": "2026-11-21T08:55:00Z", "address": address, "owner": owner,
        }))
        .unwrap()
    }

    #[test]
    fn desktops_are_listed_as_ansible_reads_them() {
        let mut inventory = Inventory::default();
        inventory.add_session(session("desktop-1", Some("10.0.0.7"), "alice@lab"));
        inventory.add_session(session("desktop-2", None, "bob@lab"));
        inventory.add_session(session("desktop-3", Some("10.0.0.8"), "{{ lookup }}@lab"));
        let listed = inventory.list();
        assert_eq!(listed["daas"]["hosts"], json!(["desktop-1", "desktop-3"]));
        assert_eq!(listed["template_debian_xfce"], listed["daas"]);
        assert_eq!(listed["ephemeral_desktop"], listed["domain_vms"]);
        let one = json!({
            "ansible_host": "10.0.0.7", "daas_template": "debian-xfce",
            "daas_phase": "ready", "daas_owner": "alice@lab",
        });
        assert_eq!(listed["_meta"]["hostvars"]["desktop-1"], one);
        assert_eq!(listed["_meta"]["hostvars"]["desktop-3"].get("daas_owner"), None);
        assert_eq!(inventory.host("desktop-1"), one);
        assert_eq!(inventory.host("desktop-2"), json!({}));
    }

    #[test]
    fn a_state_gives_its_machine_and_no_trick() {
        let outputs = |name: &str, address: &str| {
            let output = |value: &str| StateOutput { value: json!(value) };
            BTreeMap::from([("vm_name".into(), output(name)), ("vm_ip".into(), output(address))])
        };
        let mut inventory = Inventory::default();
        let directory = Path::new("/srv/vm-1");
        inventory.add_state(directory, &outputs("vm-1", "10.0.0.9")).unwrap();
        inventory.add_state(directory, &BTreeMap::new()).unwrap();
        inventory.add_state(directory, &outputs("vm-2", "")).unwrap();
        assert_eq!(inventory.list()["domain_vms"]["hosts"], json!(["vm-1"]));
        assert_eq!(inventory.host("vm-1"), json!({"ansible_host": "10.0.0.9"}));
        let tricked = inventory.add_state(directory, &outputs("{{ x }}", "10.0.0.9"));
        assert!(tricked.unwrap_err().to_string().contains("/srv/vm-1"));
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_named() {
        let said = |result: Outcome<BTreeMap<String, StateOutput>>| result.unwrap_err().to_string();
        let absent = PathBuf::from("/nowhere/at/all");
        let error = said(outputs(Path::new("terraform"), &absent).await);
        assert!(error.contains("/nowhere/at/all: there is no such directory"), "{error}");
        let here = tempfile::tempdir().unwrap();
        let error = said(outputs(Path::new("no-such-terraform"), &here.path().to_owned()).await);
        assert!(error.contains("no-such-terraform"), "{error}");
        let error = said(outputs(Path::new("false"), &here.path().to_owned()).await);
        assert!(error.contains("exit status: 1"), "{error}");
    }
}
