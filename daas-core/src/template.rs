//! What a desktop is made from. A session keeps a snapshot, so later edits change no running one.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Operation, Result};
use crate::idle::IdleRules;
use crate::ids::{BackendName, Organisation, TemplateName};
use crate::owner::Owner;

/// The guest's family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Os {
    /// Any Linux.
    #[default]
    Linux,
    /// Any Windows.
    Windows,
    /// Something else: only its console is used.
    Other,
}

/// When a desktop counts as ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadyWhen {
    /// The guest answers an RDP negotiation.
    #[default]
    Rdp,
    /// The guest sends an SSH banner.
    Ssh,
    /// The machine has power; people use its console.
    Console,
    /// The guest agent has told an address.
    Agent,
}

/// Where a machine's address comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressFrom {
    /// The platform's guest agent.
    #[default]
    Agent,
    /// Nowhere: console only.
    None,
}

/// How a machine's disk is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloneMode {
    /// Linked where the template allows it, else full.
    #[default]
    Auto,
    /// Linked only.
    Linked,
    /// Full only.
    Full,
}

/// Whether a desktop outlives its use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifetime {
    /// Gone without a trace when its user has left.
    #[default]
    Ephemeral,
    /// Kept until its owner or an operator deletes it; may be stopped and started.
    Personal,
}

/// What becomes of a desktop whose configuration fails for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// An ephemeral one is destroyed, a personal one kept.
    #[default]
    Destroy,
    /// It is kept as it is, for an operator to look at and to end.
    Keep,
    /// Its owner gets its address all the same and is told what failed; one that nobody owns yet is
    /// destroyed.
    HandOver,
}

/// The guest's listening ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ports {
    /// Remote Desktop Protocol, TCP.
    pub rdp: u16,
    /// Secure Shell, TCP.
    pub ssh: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { rdp: 3389, ssh: 22 }
    }
}

/// A template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// Its name, which requests use.
    pub name: TemplateName,
    /// What people read; the name when empty.
    #[serde(default)]
    pub title: String,
    /// The organisations that may use it; empty: all.
    #[serde(default)]
    pub organisations: Vec<Organisation>,
    /// The groups whose members may use it, `group@realm`, whatever the case; empty: everybody.
    /// Operators may in any case.
    #[serde(default)]
    pub groups: Vec<String>,
    /// The guest's family.
    #[serde(default)]
    pub os: Os,
    /// The backend that makes the machine.
    pub provisioner: BackendName,
    /// The image on that platform: on Proxmox the template's vmid or name.
    pub source: String,
    /// Linked or full.
    #[serde(default)]
    pub clone: CloneMode,
    /// Where the disk goes; absent: where the template's is.
    #[serde(default)]
    pub storage: Option<String>,
    /// The resource pool to make it in, where the platform has such.
    #[serde(default)]
    pub pool: Option<String>,
    /// Virtual processors.
    #[serde(default = "default_cores")]
    pub cores: u32,
    /// Memory in MiB.
    #[serde(default = "default_memory_mib")]
    pub memory_mib: u64,
    /// Disk in GiB; absent: the image's own size.
    #[serde(default)]
    pub disk_gib: Option<u64>,
    /// The network bridge; absent: the image's own.
    #[serde(default)]
    pub network: Option<String>,
    /// Where its address comes from.
    #[serde(default)]
    pub address_from: AddressFrom,
    /// When it counts as ready.
    #[serde(default)]
    pub ready_when: ReadyWhen,
    /// The guest's ports.
    #[serde(default)]
    pub ports: Ports,
    /// The backend that configures the guest; absent: none.
    #[serde(default)]
    pub configurator: Option<BackendName>,
    /// The configurator's profile; absent: its default.
    #[serde(default)]
    pub profile: Option<String>,
    /// What becomes of it when the configurator fails for good.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// The administrator's account in the guest, for SSH.
    #[serde(default = "default_admin")]
    pub admin_user: String,
    /// Keyboard layout (`fr`, `us`); absent: the image's.
    #[serde(default)]
    pub keyboard: Option<String>,
    /// Locale (`fr_FR.UTF-8`); absent: the image's.
    #[serde(default)]
    pub locale: Option<String>,
    /// Whether a desktop outlives its use.
    #[serde(default)]
    pub lifetime: Lifetime,
    /// When an unused desktop ends.
    #[serde(default)]
    pub idle: IdleRules,
    /// How long the making of a desktop may take before it is given up.
    #[serde(default = "default_creation_deadline", with = "humantime_serde")]
    pub creation_deadline: Duration,
}

impl Template {
    /// A template with every default.
    pub fn new(name: TemplateName, provisioner: BackendName, source: impl Into<String>) -> Self {
        Self {
            name,
            title: String::new(),
            organisations: Vec::new(),
            groups: Vec::new(),
            os: Os::default(),
            provisioner,
            source: source.into(),
            clone: CloneMode::default(),
            storage: None,
            pool: None,
            cores: default_cores(),
            memory_mib: default_memory_mib(),
            disk_gib: None,
            network: None,
            address_from: AddressFrom::default(),
            ready_when: ReadyWhen::default(),
            ports: Ports::default(),
            configurator: None,
            profile: None,
            on_failure: OnFailure::default(),
            admin_user: default_admin(),
            keyboard: None,
            locale: None,
            lifetime: Lifetime::default(),
            idle: IdleRules::default(),
            creation_deadline: default_creation_deadline(),
        }
    }

    /// What people read.
    pub fn title(&self) -> &str {
        if self.title.is_empty() { self.name.as_str() } else { &self.title }
    }

    /// Whether members of `organisation` may use it.
    pub fn allows(&self, organisation: &Organisation) -> bool {
        self.organisations.is_empty() || self.organisations.contains(organisation)
    }

    /// Whether `owner`, who is in `groups` of their realm, may use it.
    pub fn admits(&self, owner: &Owner, groups: &BTreeSet<String>) -> bool {
        let holds = |group: &String| {
            let group = group.to_lowercase();
            let parts = group.rsplit_once('@');
            parts.is_some_and(|(name, realm)| realm == owner.realm && groups.contains(name))
        };
        self.groups.is_empty() || self.groups.iter().any(holds)
    }

    /// Refuses a template that could never give a desktop.
    pub fn check(&self) -> Result<()> {
        let refuse = |field: &str, why: &str| {
            Err(Error::invalid(Operation::Check, format!("template {}: {field}", self.name), why))
        };
        if self.source.is_empty() {
            return refuse("source", "is empty; name the image it is made from");
        }
        let is_group = |group: &String| {
            group.rsplit_once('@').is_some_and(|(g, r)| !g.is_empty() && !r.is_empty())
        };
        if let Some(wrong) = self.groups.iter().find(|group| !is_group(group)) {
            return refuse("groups", &format!("{wrong:?} is not of the form group@realm"));
        }
        if !(1..=512).contains(&self.cores) {
            return refuse("cores", "is not between 1 and 512");
        }
        if !(16..=16 * 1024 * 1024).contains(&self.memory_mib) {
            return refuse("memory_mib", "is not between 16 MiB and 16 TiB");
        }
        if self.address_from == AddressFrom::None {
            if self.ready_when != ReadyWhen::Console {
                return refuse("ready_when", "needs an address; use \"console\" or an address");
            }
            if self.configurator.is_some() {
                return refuse("configurator", "needs an address; set address_from = \"agent\"");
            }
        }
        Ok(())
    }
}

fn default_cores() -> u32 {
    2
}

fn default_memory_mib() -> u64 {
    2048
}

fn default_admin() -> String {
    "root".to_owned()
}

fn default_creation_deadline() -> Duration {
    Duration::from_secs(15 * 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Template {
        Template::new("lab".parse().expect("name"), "proxmox".parse().expect("name"), "9000")
    }

    #[test]
    fn groups_are_of_a_realm_and_one_of_them_is_enough() {
        let mut t = template();
        let alice = Owner { realm: "lab".into(), name: "alice".into() };
        let mut check = |of: &[&str], has: &[&str], admitted: bool| {
            t.groups = of.iter().map(|&group| group.to_owned()).collect();
            let has = has.iter().map(|&group| group.to_owned()).collect();
            assert_eq!(t.admits(&alice, &has), admitted, "{of:?} of {has:?}");
        };
        check(&[], &[], true);
        check(&["It Staff@Lab"], &["it staff"], true);
        check(&["a@lab", "b@lab"], &["b", "c"], true);
        check(&["a@lab"], &[], false);
        check(&["a@lab"], &["b", "a@lab"], false);
        // A group of that name elsewhere is another group.
        check(&["a@pve"], &["a"], false);
        for (group, sound) in [("a@lab", true), ("a", false), ("@lab", false), ("a@", false)] {
            t.groups = vec![group.to_owned()];
            assert_eq!(t.check().is_ok(), sound, "{group}");
        }
    }

    #[test]
    fn a_console_only_template_needs_no_address_and_others_do() {
        let mut t = template();
        assert!(t.check().is_ok());
        t.address_from = AddressFrom::None;
        assert!(t.check().is_err());
        t.ready_when = ReadyWhen::Console;
        assert!(t.check().is_ok());
        t.configurator = Some("ssh".parse().expect("name"));
        assert!(t.check().expect_err("no address").to_string().contains("configurator"));
    }
}
