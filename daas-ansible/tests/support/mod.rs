//! Trials with a real Ansible, and drawn guests whose SSH servers they meet.

#![allow(clippy::unwrap_used, reason = "a trial may panic")]
#![allow(dead_code, reason = "each test binary uses its part")]

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use daas_ansible::{AnsibleConfig, AnsibleProfile};
use daas_core::configurator::{Account, ActivityTarget, GuestContext, PasswordHash, Stage};
use daas_core::owner::Owner;
use daas_core::progress::Progress;
use daas_core::secret::Secret;
use daas_core::template::{Ports, Template};
use daas_sim::guest::drawn::{DrawnConfig, DrawnGuest, DrawnGuests};
use daas_sim::guest::{Guest, GuestSpec, GuestState, Seed};
use libtest_mimic::Trial;

/// No wait in these trials takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// What nobody may see.
pub(crate) const TOKEN: &str = "tok-0a1b2c3d4e";
pub(crate) const HASH: &str = "$6$saltsaltsaltsalt$NeverToBeSeenByAnybodyAtAll";

/// The program, if it is there.
pub(crate) fn ansible() -> Option<PathBuf> {
    daas_lab::tools::ansible_playbook(Path::new(env!("CARGO_TARGET_TMPDIR")))
}

/// A trial that needs Ansible, and maybe more: ignored with its reason where that is not there, but
/// in continuous integration a failure.
pub(crate) fn trial(
    name: &str,
    more: Option<String>,
    run: impl FnOnce() + Send + 'static,
) -> Trial {
    let no_ansible = || "needs Ansible: cargo xtask test --install".to_owned();
    let missing = more.or_else(|| ansible().is_none().then(no_ansible));
    daas_lab::trials::trial_unless(missing, name, run)
}

/// Another program of the same Ansible.
pub(crate) fn beside_ansible(name: &str) -> PathBuf {
    ansible().unwrap().with_file_name(name)
}

/// Runs an async trial, which may take as long as `limit`.
pub(crate) fn block_on(limit: Duration, trial: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(limit, trial).await.expect("in time") });
}

/// A place for runs, keys and what plays leave.
pub(crate) struct Place {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) public_key: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("da").tempdir_in("/tmp").unwrap();
        let key = directory.path().join("ssh_key");
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key);
        assert!(command.status().unwrap().success());
        let public_key = fs::read_to_string(key.with_extension("pub")).unwrap().trim().to_owned();
        Self { directory, public_key }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Short waits, and the profile `lab` with a playbook of the tests.
    pub(crate) fn config(&self, playbook: &str) -> AnsibleConfig {
        let mut config = AnsibleConfig {
            program: ansible().unwrap(),
            connect_deadline: Duration::from_secs(2),
            deadline: PATIENCE,
            ..AnsibleConfig::default()
        }
        .in_directory(self.directory.path());
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plays").join(playbook);
        config.profiles.insert("lab".to_owned(), self.profile(&file));
        config
    }

    pub(crate) fn profile(&self, playbook: &Path) -> AnsibleProfile {
        let text = format!(
            "prepare.playbook = '{0}'\nassign.playbook = '{0}'\n\
             variables.place = '{1}/{{{{ daas_session }}}}'\n",
            playbook.display(),
            self.path("guests").display()
        );
        toml::from_str(&text).unwrap()
    }

    /// What a play has left for the session of `context`.
    pub(crate) fn left(&self, context: &GuestContext, name: &str) -> String {
        let path = self.path("guests").join(context.session.as_str()).join(name);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// The directory of a run, while there is one.
    pub(crate) fn run_of(&self, context: &GuestContext) -> PathBuf {
        self.path("ansible").join(context.session.as_str())
    }
}

/// A drawn guest that is up and knows the key.
pub(crate) async fn guest(maker: &DrawnGuests, vmid: u32, key: &str) -> Arc<DrawnGuest> {
    let spec = GuestSpec { vmid, image: "debian-base".to_owned() };
    let guest = maker.make_drawn(&spec).unwrap();
    start(&guest, key).await;
    guest
}

pub(crate) async fn start(guest: &DrawnGuest, key: &str) {
    guest.start(&seed(key)).await.unwrap();
    let mut state = guest.state();
    let up = state.wait_for(|state| *state == GuestState::AgentUp);
    tokio::time::timeout(PATIENCE, up).await.expect("boots in time").unwrap();
}

pub(crate) fn context(guest: &DrawnGuest, session: &str) -> GuestContext {
    let mut template = Template::new("lab".parse().unwrap(), "proxmox".parse().unwrap(), "9000");
    template.profile = Some("lab".to_owned());
    template.ports = Ports { rdp: guest.ports().rdp, ssh: guest.ports().ssh };
    GuestContext {
        session: session.parse().unwrap(),
        template,
        address: Some(guest.address()),
        host_key: None,
        activity: Some(ActivityTarget {
            url: "http://127.0.0.1:9/activity".to_owned(),
            token: Secret::new(TOKEN.to_owned()),
            ca_pem: None,
            period: Duration::from_secs(30),
        }),
    }
}

/// A network that no other test uses.
pub(crate) fn own_network() -> DrawnConfig {
    static TESTS: AtomicU8 = AtomicU8::new(0);
    let test = TESTS.fetch_add(1, Ordering::Relaxed) % 50;
    let process = (std::process::id() % 256) as u8;
    DrawnConfig {
        network: Ipv4Addr::new(127, 120 + test, process, 0),
        prefix: 24,
        ..DrawnConfig::default()
    }
}

fn seed(key: &str) -> Seed {
    Seed {
        hostname: "desktop-7f3k2mq".to_owned(),
        user: None,
        password_hash: None,
        ssh_keys: vec![key.to_owned()],
        mac: "BC:24:11:00:00:01".to_owned(),
        address: None,
        cores: 2,
        memory_mib: 2048,
        agent: true,
        boot: Duration::ZERO,
        agent_start: Duration::ZERO,
    }
}

/// The second stage, for a local user.
pub(crate) fn assign(user: &str, hash: &str) -> Stage {
    Stage::Assign {
        owner: Owner { realm: "lab".to_owned(), name: user.to_owned() },
        account: Some(Account {
            user: user.to_owned(),
            password_hash: Some(PasswordHash(hash.to_owned())),
        }),
    }
}

/// A progress that keeps what it is told.
pub(crate) fn heard() -> (Progress, Arc<Mutex<Vec<String>>>) {
    let words = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&words);
    (Progress::to(move |step| into.lock().unwrap().push(step.what)), words)
}

/// A progress that signals when `wanted` begins.
pub(crate) fn signal(wanted: &'static str) -> (Progress, Arc<tokio::sync::Notify>) {
    let begun = Arc::new(tokio::sync::Notify::new());
    let tell = Arc::clone(&begun);
    let progress = Progress::to(move |step| {
        if step.what == wanted {
            tell.notify_one();
        }
    });
    (progress, begun)
}

/// Waits for a signal, for a bounded time.
pub(crate) async fn hears(begun: &tokio::sync::Notify) {
    tokio::time::timeout(PATIENCE, begun.notified()).await.expect("it begins in time");
}

/// Environment and command line of every process but this one that names `path`.
pub(crate) fn processes(path: &Path) -> Vec<String> {
    let own = std::process::id().to_string();
    let numbers = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    let numbers = numbers.filter_map(|name| name.into_string().ok()).filter(|n| *n != own);
    let read = |number: &str, file: &str| {
        let bytes = fs::read(format!("/proc/{number}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    };
    let shown = numbers.filter(|n| n.bytes().all(|b| b.is_ascii_digit())).map(|number| {
        format!("{number} {} {}", read(&number, "cmdline"), read(&number, "environ"))
    });
    shown.filter(|text| text.contains(path.to_str().unwrap())).collect()
}

/// Waits until `done`, for a bounded time.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let wait = async {
        while !done() {
            ticks.tick().await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(20), wait).await.is_ok(),
        "not in time: {what}"
    );
}
