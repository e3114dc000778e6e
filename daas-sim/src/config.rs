//! What a simulated cluster is made of: nodes, storages, templates, users, and the knobs.
//!
//! Everything here can be read from a TOML file; what a file leaves out has the value of
//! [`SimConfig::default`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::durations::Durations;

/// The whole cluster. `Default` is one node `pve` with a local and a shared storage, template 9000,
/// `root@pam` with password `simulated`, and the least-privilege user `daas@pve` with a token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimConfig {
    /// Which release's texts, privileges and console tickets to use.
    pub version: Version,
    /// The cluster's name, as `/cluster/status` tells it.
    pub name: String,
    /// The nodes; at least one, names unique.
    pub nodes: Vec<NodeConfig>,
    /// The storages.
    pub storages: Vec<StorageConfig>,
    /// The templates that exist from the start.
    pub templates: Vec<TemplateConfig>,
    /// The users. Passwords are only ever compared with what a client sends.
    pub users: Vec<UserConfig>,
    /// The API tokens, with secrets known beforehand.
    pub tokens: Vec<TokenConfig>,
    /// Roles beside the built-in ones.
    pub roles: Vec<RoleConfig>,
    /// Access control entries.
    pub acl: Vec<Grant>,
    /// Resource pools that exist from the start.
    pub pools: Vec<String>,
    /// The range `/cluster/nextid` looks in, both ends included.
    pub next_id: (u32, u32),
    /// How long each operation takes on a cluster at scale 1.
    pub durations: Durations,
    /// What simulated durations are multiplied with; 0 makes the cluster instantaneous.
    pub scale: f64,
    /// What every random choice (durations, MACs, UUIDs, faults) is drawn from.
    pub seed: u64,
    /// The least time a lock is waited for, however small `scale` makes the real limit.
    #[serde(with = "humantime_serde")]
    pub lock_wait_min: Duration,
    /// The least time a guest, or another node, is waited for, however small `scale` is: real guests
    /// do not scale.
    #[serde(with = "humantime_serde")]
    pub guest_wait_min: Duration,
    /// How long a ticket is good for; Proxmox says 7200 s. Not scaled.
    #[serde(with = "humantime_serde")]
    pub ticket_lifetime: Duration,
    /// How long a 401 is held back; Proxmox says 3 s. Not scaled.
    #[serde(with = "humantime_serde")]
    pub unauthorized_delay: Duration,
    /// How often `/cluster/resources` learns of changes; scaled. Zero: at once.
    #[serde(with = "humantime_serde")]
    pub statd_period: Duration,
    /// Whether every request is logged. Off, only faults and the cluster's own events are.
    pub log_requests: bool,
}

/// A Proxmox VE release line, as first published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Version {
    /// 8.4: `VM.Monitor` guards the guest agent.
    #[serde(rename = "8.4")]
    V8_4,
    /// 9.0: `VM.GuestAgent.*` guard it.
    #[serde(rename = "9.0")]
    V9_0,
    /// 9.1.
    #[serde(rename = "9.1")]
    V9_1,
    /// 9.2: one text for every failed sign-in, console tickets that carry their password.
    #[serde(rename = "9.2")]
    V9_2,
}

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Its name.
    pub name: String,
    /// Where its API listens; absent: a free port of 127.0.0.1.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// Processors.
    #[serde(default = "sixteen")]
    pub cpus: u32,
    /// Memory in MiB.
    #[serde(default = "memory_64_gib")]
    pub memory_mib: u64,
}

/// A storage, present on every node unless `nodes` says otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageConfig {
    /// Its id.
    pub id: String,
    /// What it is; decides how volumes are called and whether nodes share it.
    pub kind: StorageKind,
    /// Room in bytes, per node when it is local.
    pub capacity: u64,
    /// The nodes that have it; empty: all.
    #[serde(default)]
    pub nodes: Vec<String>,
}

/// Storage plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageKind {
    /// A directory with qcow2 files; local.
    Dir,
    /// LVM-thin; local. A linked clone's volume name does not tell its base.
    LvmThin,
    /// ZFS; local.
    ZfsPool,
    /// NFS with qcow2 files; shared.
    Nfs,
    /// Ceph RBD; shared.
    Rbd,
}

/// A template that exists from the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateConfig {
    /// Its machine id.
    pub vmid: u32,
    /// Its name.
    pub name: String,
    /// The node it is on.
    pub node: String,
    /// What guests made from it run (see `GuestSpec::image`).
    pub image: String,
    /// The storage of its disk.
    pub storage: String,
    /// Its disk in GiB.
    #[serde(default = "eight")]
    pub disk_gib: u64,
    /// Cores.
    #[serde(default = "two")]
    pub cores: u32,
    /// Memory in MiB.
    #[serde(default = "memory_2_gib")]
    pub memory_mib: u64,
    /// Whether the guest agent is configured.
    #[serde(default = "yes")]
    pub agent: bool,
    /// The pool it is in.
    #[serde(default)]
    pub pool: Option<String>,
    /// Further options of its configuration, as Proxmox writes them.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserConfig {
    /// `name@realm`.
    pub id: String,
    /// The password; absent: the user cannot sign in by password.
    #[serde(default)]
    pub password: Option<String>,
    /// The groups the user is in.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Whether the account may be used.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// When it ends, in seconds since 1970; 0: never.
    #[serde(default)]
    pub expire: i64,
    /// Whether a second factor is asked for after the password. Nothing here can give one.
    #[serde(default)]
    pub second_factor: bool,
    /// The first name.
    #[serde(default)]
    pub firstname: Option<String>,
    /// The last name.
    #[serde(default)]
    pub lastname: Option<String>,
}

/// An API token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// The user it belongs to.
    pub user: String,
    /// Its name.
    pub name: String,
    /// Its secret, normally a UUID.
    pub secret: String,
    /// Whether it has only the rights given to it by name *and* to its user.
    #[serde(default = "yes")]
    pub privsep: bool,
    /// When it ends, in seconds since 1970; 0: never.
    #[serde(default)]
    pub expire: i64,
}

/// A role of our own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleConfig {
    /// Its name.
    pub name: String,
    /// Its privileges; an unknown one is refused at start.
    pub privileges: Vec<String>,
}

/// One access control entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The path, such as `/vms` or `/pool/students`.
    pub path: String,
    /// A user `u@realm`, a token `u@realm!t`, or a group `@g`.
    pub to: String,
    /// The role.
    pub role: String,
    /// Whether it also holds below `path`.
    #[serde(default = "yes")]
    pub propagate: bool,
}

/// What the guests of the default template run, if they are drawn ones.
const DEFAULT_IMAGE: &str = "debian-xfce";

impl SimConfig {
    /// A cluster of `count` nodes `pve1`.., each with the storages of the default; template 9000 is
    /// on the first node and on the shared storage, so that it can be cloned to any node.
    pub fn nodes(count: usize) -> Self {
        let nodes = (1..=count).map(|n| NodeConfig::new(&format!("pve{n}"))).collect();
        let template = TemplateConfig {
            storage: "shared".to_owned(),
            image: DEFAULT_IMAGE.to_owned(),
            ..TemplateConfig::new(9000, "debian-12", "pve1")
        };
        Self { nodes, templates: vec![template], ..Self::default() }
    }
}

impl Default for SimConfig {
    fn default() -> Self {
        let gib = 1u64 << 30;
        Self {
            version: Version::V9_1,
            name: "sim".to_owned(),
            nodes: vec![NodeConfig::new("pve")],
            storages: vec![
                StorageConfig::new("local", StorageKind::Dir, 100 * gib),
                StorageConfig::new("local-zfs", StorageKind::ZfsPool, 2000 * gib),
                StorageConfig::new("shared", StorageKind::Nfs, 4000 * gib),
            ],
            templates: vec![TemplateConfig {
                image: DEFAULT_IMAGE.to_owned(),
                ..TemplateConfig::new(9000, "debian-12", "pve")
            }],
            users: vec![
                UserConfig::new("root@pam", Some("simulated")),
                UserConfig::new("daas@pve", Some("simulated")),
            ],
            tokens: vec![TokenConfig {
                user: "daas@pve".to_owned(),
                name: "daas".to_owned(),
                secret: "5a1f0c3e-77b1-4c1d-9a51-2f6d8e3b4c70".to_owned(),
                privsep: false,
                expire: 0,
            }],
            roles: default_roles(),
            acl: default_acl(),
            pools: vec!["daas".to_owned()],
            next_id: (100, 999_999),
            durations: Durations::zero(),
            scale: 1.0,
            seed: 1,
            lock_wait_min: Duration::from_millis(500),
            guest_wait_min: Duration::from_secs(10),
            ticket_lifetime: Duration::from_secs(7200),
            unauthorized_delay: Duration::ZERO,
            statd_period: Duration::from_secs(10),
            log_requests: true,
        }
    }
}

impl Version {
    /// `9.1`
    pub fn release(self) -> &'static str {
        match self {
            Self::V8_4 => "8.4",
            Self::V9_0 => "9.0",
            Self::V9_1 => "9.1",
            Self::V9_2 => "9.2",
        }
    }

    /// `9.1.1`, the version of pve-manager.
    pub fn full(self) -> &'static str {
        match self {
            Self::V8_4 => "8.4.1",
            Self::V9_0 => "9.0.3",
            Self::V9_1 => "9.1.1",
            Self::V9_2 => "9.2.2",
        }
    }
}

impl NodeConfig {
    /// A node with 16 processors and 64 GiB, on a free port.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), listen: None, cpus: sixteen(), memory_mib: memory_64_gib() }
    }
}

impl StorageConfig {
    /// A storage on every node, of `capacity` bytes.
    pub fn new(id: &str, kind: StorageKind, capacity: u64) -> Self {
        Self { id: id.to_owned(), kind, capacity, nodes: Vec::new() }
    }
}

impl StorageKind {
    /// Whether all nodes see the same volumes.
    pub fn shared(self) -> bool {
        matches!(self, Self::Nfs | Self::Rbd)
    }

    /// The plugin's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dir => "dir",
            Self::LvmThin => "lvmthin",
            Self::ZfsPool => "zfspool",
            Self::Nfs => "nfs",
            Self::Rbd => "rbd",
        }
    }

    /// Whether volumes are qcow2 files in a directory.
    pub(crate) fn files(self) -> bool {
        matches!(self, Self::Dir | Self::Nfs)
    }
}

impl TemplateConfig {
    /// A template with an agent, 2 cores, 2 GiB and an 8 GiB disk on `local-zfs`; its image is its
    /// name.
    pub fn new(vmid: u32, name: &str, node: &str) -> Self {
        Self {
            vmid,
            name: name.to_owned(),
            node: node.to_owned(),
            image: name.to_owned(),
            storage: "local-zfs".to_owned(),
            disk_gib: eight(),
            cores: two(),
            memory_mib: memory_2_gib(),
            agent: true,
            pool: None,
            options: BTreeMap::new(),
        }
    }
}

impl UserConfig {
    /// An enabled user without groups.
    pub fn new(id: &str, password: Option<&str>) -> Self {
        Self {
            id: id.to_owned(),
            password: password.map(str::to_owned),
            groups: Vec::new(),
            enabled: true,
            expire: 0,
            second_factor: false,
            firstname: None,
            lastname: None,
        }
    }

    /// Whether it may be used at this time (`AccessControl.pm`, `check_user_enabled`).
    pub(crate) fn is_usable(&self, now: i64) -> bool {
        self.enabled && (self.expire == 0 || self.expire > now)
    }
}

impl Grant {
    /// A grant that holds below `path` too.
    pub fn new(path: &str, to: &str, role: &str) -> Self {
        Self { path: path.to_owned(), to: to.to_owned(), role: role.to_owned(), propagate: true }
    }
}

/// What an orchestrator needs on machines, and what it needs to see of the cluster.
fn default_roles() -> Vec<RoleConfig> {
    let machines = [
        "VM.Allocate",
        "VM.Audit",
        "VM.Clone",
        "VM.Config.CDROM",
        "VM.Config.CPU",
        "VM.Config.Cloudinit",
        "VM.Config.Disk",
        "VM.Config.HWType",
        "VM.Config.Memory",
        "VM.Config.Network",
        "VM.Config.Options",
        "VM.Console",
        "VM.GuestAgent.Audit",
        "VM.GuestAgent.FileRead",
        "VM.GuestAgent.Unrestricted",
        "VM.Monitor",
        "VM.PowerMgmt",
    ];
    let role = |name: &str, privileges: &[&str]| RoleConfig {
        name: name.to_owned(),
        privileges: privileges.iter().map(|p| (*p).to_owned()).collect(),
    };
    vec![
        role("DaasMachines", &machines),
        role("DaasStorage", &["Datastore.AllocateSpace", "Datastore.Audit"]),
        role("DaasAudit", &["Sys.Audit"]),
        role("DaasPool", &["Pool.Audit", "VM.Allocate"]),
    ]
}

fn default_acl() -> Vec<Grant> {
    let user = "daas@pve";
    vec![
        Grant { propagate: false, ..Grant::new("/", user, "DaasAudit") },
        Grant::new("/nodes", user, "DaasAudit"),
        Grant::new("/vms", user, "DaasMachines"),
        Grant::new("/storage", user, "DaasStorage"),
        Grant::new("/pool/daas", user, "DaasPool"),
    ]
}

fn yes() -> bool {
    true
}

fn two() -> u32 {
    2
}

fn sixteen() -> u32 {
    16
}

fn eight() -> u64 {
    8
}

fn memory_2_gib() -> u64 {
    2048
}

fn memory_64_gib() -> u64 {
    65_536
}
