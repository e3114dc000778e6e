//! A drawn guest that has booted, and a configurator that may enter it.

#![allow(clippy::unwrap_used, reason = "a test that unwraps an error has failed")]
#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use daas_core::configurator::{
    Account, ActivityTarget, Applied, Configurator, GuestContext, PasswordHash, Stage,
};
use daas_core::owner::Owner;
use daas_core::progress::Progress;
use daas_core::secret::Secret;
use daas_core::template::{Ports, Template};
use daas_sim::guest::drawn::{DrawnConfig, DrawnGuest, DrawnGuests};
use daas_sim::guest::{Guest, GuestSpec, GuestState, Seed};
use daas_ssh::{Action, Profile, SshConfig, SshConfigurator, Step, When};

/// No wait in these tests takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What no log may hold.
pub(crate) const TOKEN: &str = "tok-0a1b2c3d4e";

/// A guest, and what configures it.
pub(crate) struct Bench {
    pub(crate) maker: DrawnGuests,
    pub(crate) guest: Arc<DrawnGuest>,
    pub(crate) ssh: SshConfigurator,
    pub(crate) context: GuestContext,
    pub(crate) keys: tempfile::TempDir,
}

/// Short waits, and a key of its own.
pub(crate) fn config(keys: &tempfile::TempDir) -> SshConfig {
    SshConfig {
        connect_deadline: Duration::from_secs(2),
        refusal_grace: Duration::from_millis(200),
        step_deadline: PATIENCE,
        ..SshConfig::default()
    }
    .in_directory(keys.path())
}

impl Bench {
    /// A guest of that image that is up, entered as `admin`.
    pub(crate) async fn new(image: &str, admin: &str, profiles: &[(&str, Vec<Step>)]) -> Bench {
        let keys = tempfile::tempdir().unwrap();
        let mut config = config(&keys);
        config.profiles = profiles
            .iter()
            .map(|(name, steps)| {
                ((*name).to_owned(), Profile { steps: steps.clone(), reporter: false })
            })
            .collect();
        let ssh = SshConfigurator::new(config).unwrap();
        let maker = DrawnGuests::new(own_network());
        let guest = maker.make_drawn(&GuestSpec { vmid: 101, image: image.to_owned() }).unwrap();
        guest.start(&seed(admin, ssh.public_key())).await.unwrap();
        let mut state = guest.state();
        let up = state.wait_for(|state| *state == GuestState::AgentUp);
        tokio::time::timeout(PATIENCE, up).await.expect("boots in time").unwrap();
        let mut template =
            Template::new("lab".parse().unwrap(), "proxmox".parse().unwrap(), "9000");
        template.admin_user = admin.to_owned();
        template.ports = Ports { rdp: guest.ports().rdp, ssh: guest.ports().ssh };
        let context = GuestContext {
            session: "desktop-7f3k2mq".parse().unwrap(),
            template,
            address: Some(guest.address()),
            host_key: None,
            activity: None,
        };
        Bench { maker, guest, ssh, context, keys }
    }

    /// The same with a profile.
    pub(crate) fn with_profile(mut self, name: &str) -> Bench {
        self.context.template.profile = Some(name.to_owned());
        self
    }

    pub(crate) async fn apply(&self, stage: &Stage) -> daas_core::Result<Applied> {
        self.apply_telling(stage, &Progress::silent()).await
    }

    pub(crate) async fn apply_telling(
        &self,
        stage: &Stage,
        progress: &Progress,
    ) -> daas_core::Result<Applied> {
        let applying = self.ssh.apply(&self.context, stage, progress);
        tokio::time::timeout(PATIENCE, applying).await.expect("an answer in time")
    }

    /// Runs a script in the guest as root; what it printed.
    pub(crate) async fn text(&self, script: &str) -> String {
        let ran = self.guest.run("root", script, "").await.unwrap();
        assert_eq!(ran.status, 0, "{script}: {ran:?}");
        ran.stdout
    }

    /// Everything that a list of processes or a log of the guest would have shown.
    pub(crate) fn log(&self) -> String {
        self.guest.with_disk(|disk| {
            disk.log().map(|entry| format!("{:?} {}\n", entry.kind, entry.text)).collect()
        })
    }

    pub(crate) async fn close(self) {
        use daas_sim::guest::GuestMaker;
        self.maker.close().await;
    }
}

/// A network that no other test uses.
pub(crate) fn own_network() -> DrawnConfig {
    static TESTS: AtomicU8 = AtomicU8::new(0);
    let test = TESTS.fetch_add(1, Ordering::Relaxed) % 60;
    let process = (std::process::id() % 256) as u8;
    DrawnConfig {
        network: Ipv4Addr::new(127, 180 + test, process, 0),
        prefix: 24,
        ..DrawnConfig::default()
    }
}

pub(crate) fn seed(admin: &str, key: &str) -> Seed {
    Seed {
        hostname: "desktop-7f3k2mq".to_owned(),
        user: (admin != "root").then(|| admin.to_owned()),
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

/// A step of the first stage.
pub(crate) fn step(name: &str, action: Action) -> Step {
    Step { name: name.to_owned(), when: When::Prepare, deadline: None, action }
}

/// A command that is never done already.
pub(crate) fn command(name: &str, run: &str) -> Step {
    step(name, Action::Command { run: run.to_owned(), check: "false".to_owned() })
}

/// The second stage, for a local user.
pub(crate) fn assign(user: &str, hash: Option<&str>) -> Stage {
    Stage::Assign {
        owner: Owner { realm: "lab".to_owned(), name: user.to_owned() },
        account: Some(Account {
            user: user.to_owned(),
            password_hash: hash.map(|hash| PasswordHash(hash.to_owned())),
        }),
    }
}

/// Reports to that address.
pub(crate) fn activity(url: String, period: Duration) -> ActivityTarget {
    ActivityTarget { url, token: Secret::new(TOKEN.to_owned()), ca_pem: None, period }
}

/// A progress that keeps what it is told.
pub(crate) fn heard() -> (Progress, Arc<Mutex<Vec<String>>>) {
    let words = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&words);
    (Progress::to(move |step| into.lock().unwrap().push(step.what)), words)
}

/// A progress that signals when `wanted` begins.
pub(crate) fn signal(wanted: &str) -> (Progress, Arc<tokio::sync::Notify>) {
    let (wanted, begun) = (wanted.to_owned(), Arc::new(tokio::sync::Notify::new()));
    let tell = Arc::clone(&begun);
    let progress = Progress::to(move |step| {
        if step.what == wanted {
            tell.notify_one();
        }
    });
    (progress, begun)
}
