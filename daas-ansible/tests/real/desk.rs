//! A real desktop guest, what configures it, and the domain beside it.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use daas_ansible::{AnsibleConfig, AnsibleConfigurator, AnsibleProfile};
use daas_core::configurator::{ActivityTarget, Applied, Configurator, GuestContext, Stage};
use daas_core::directory::ComputerAccounts;
use daas_core::ids::{DeploymentId, SessionId};
use daas_core::progress::Progress;
use daas_core::secret::Secret;
use daas_core::template::Template;
use daas_directory::{Computers, DirectoryConfig};
use daas_lab::domain::facts;
use daas_lab::{Domain, NspawnGuest, NspawnGuests, Output, Recipe, trials};
use daas_sim::guest::{Guest, GuestSpec, GuestState, Seed};
use tokio::time::timeout;

use crate::support::{self, Place, TOKEN};

pub(crate) const SESSION: &str = "desktop-7f3k2mq";
const BOOT_DEADLINE: Duration = Duration::from_secs(60);
pub(crate) const MAC: &str = "BC:24:11:00:00:01";

/// A guest, and what configures it.
pub(crate) struct Desk {
    pub(crate) guest: Arc<NspawnGuest>,
    pub(crate) ansible: AnsibleConfigurator,
    pub(crate) context: GuestContext,
    pub(crate) place: Place,
}

impl Desk {
    /// A guest of this image that has booted and is configured by the profile `lab`; nothing is
    /// done yet.
    pub(crate) async fn boot(
        guests: &NspawnGuests,
        image: &str,
        profile: &str,
        directory: Option<Arc<dyn ComputerAccounts>>,
    ) -> Desk {
        let place = Place::new();
        let mut config = AnsibleConfig {
            program: support::ansible().unwrap(),
            deadline: Duration::from_secs(300),
            ..AnsibleConfig::default()
        }
        .in_directory(place.directory.path());
        let profile: AnsibleProfile = toml::from_str(profile).unwrap();
        config.profiles.insert("lab".to_owned(), profile);
        let play = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plays/leave.yml");
        let leave = format!("assign.playbook = '{}'", play.display());
        config.profiles.insert("leave".to_owned(), toml::from_str(&leave).unwrap());
        let ansible = AnsibleConfigurator::new(config, directory).unwrap();
        let spec = GuestSpec { vmid: 100, image: image.to_owned() };
        let guest = guests.guest(&spec).await.unwrap();
        guest.start(&seed(&place.public_key)).await.unwrap();
        let mut state = guest.state();
        let up = state.wait_for(|state| *state == GuestState::AgentUp);
        assert!(timeout(BOOT_DEADLINE, up).await.is_ok(), "no boot:\n{}", guest.console());
        let context = context(guests);
        Desk { guest, ansible, context, place }
    }

    pub(crate) async fn apply(&self, stage: &Stage) -> daas_core::Result<Applied> {
        self.ansible.apply(&self.context, stage, &Progress::silent()).await
    }

    /// What a program in the guest prints.
    pub(crate) async fn text(&self, argv: &[&str]) -> String {
        let output = self.guest.exec(argv).await.unwrap();
        assert_eq!(output.code, Some(0), "{argv:?}: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Logs in by PAM and runs a shell's text; whether the login was let in, and what was said.
    pub(crate) async fn log_in(&self, user: &str, password: &str, script: &str) -> (bool, String) {
        let output = self.guest.log_in(user, password, &["sh", "-c", script]).await.unwrap();
        (output.code == Some(0), said(&output))
    }

    /// What the guest wrote of this desktop, for people to read when a trial fails.
    pub(crate) async fn logs(&self) -> String {
        let read = "tail -n 60 /var/log/xrdp.log /var/log/xrdp-sesman.log; \
                    journalctl --no-pager -n 80";
        said(&self.guest.exec(&["sh", "-c", read]).await.unwrap())
    }
}

pub(crate) fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

fn context(guests: &NspawnGuests) -> GuestContext {
    let mut template = Template::new("lab".parse().unwrap(), "proxmox".parse().unwrap(), "desk");
    template.profile = Some("lab".to_owned());
    template.keyboard = Some("fr".to_owned());
    template.locale = Some("C.UTF-8".to_owned());
    GuestContext {
        session: SESSION.parse().unwrap(),
        template,
        address: guests.lab().lease(MAC),
        host_key: None,
        activity: Some(ActivityTarget {
            url: format!("http://{}:9/activity", daas_lab::GATEWAY),
            token: Secret::from(TOKEN),
            ca_pem: None,
            period: Duration::from_secs(30),
        }),
    }
}

fn seed(key: &str) -> Seed {
    Seed {
        hostname: SESSION.to_owned(),
        user: None,
        password_hash: None,
        ssh_keys: vec![key.to_owned()],
        mac: MAC.to_owned(),
        address: None,
        cores: 1,
        memory_mib: 1024,
        agent: true,
        boot: Duration::ZERO,
        agent_start: Duration::ZERO,
    }
}

/// A domain, and a desktop that may join it.
pub(crate) struct Joining {
    pub(crate) domain: Domain,
    pub(crate) accounts: Arc<Watched>,
    pub(crate) desk: Desk,
    pub(crate) guests: Arc<NspawnGuests>,
}

/// The profile of a desktop in the domain, with the users' homes.
pub(crate) fn joining_profile() -> String {
    format!(
        "prepare = {{}}\nassign = {{}}\njoin.domain = '{}'\njoin.allowed_groups = ['{}']\n\
         [variables]\ndesktop_config_home_server = '{}'\ndesktop_config_home_share = '{}'\n",
        facts::DOMAIN,
        facts::GROUP,
        facts::HOST,
        facts::home_share(),
    )
}

/// Runs a trial in a domain of its own; accounts are made in `ou`.
pub(crate) fn in_domain<F: Future<Output = ()>>(ou: &str, trial: impl FnOnce(Arc<Joining>) -> F) {
    let ou = ou.to_owned();
    let recipe = Recipe::workstation();
    let image = recipe.name;
    trials::with_guests(&[recipe], async |guests| {
        let domain = Domain::open(guests.lab()).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let password = directory.path().join("password");
        std::fs::write(&password, facts::JOIN_PASSWORD).unwrap();
        let user = format!("{}@{}", facts::JOIN_USER, facts::DOMAIN);
        let servers = vec![domain.url().parse().unwrap()];
        let mut config = DirectoryConfig::new(servers, ou, user, password);
        config.reach.ca_file = Some(domain.ca_file().to_owned());
        let computers = Computers::new(config, DeploymentId::mint()).unwrap();
        let accounts =
            Arc::new(Watched { computers, given: Mutex::default(), spoil: false.into() });
        let shared = Arc::clone(&accounts) as Arc<dyn ComputerAccounts>;
        let profile = joining_profile();
        let desk = Desk::boot(&guests, image, &profile, Some(shared)).await;
        let world = Joining { domain, accounts, desk, guests: Arc::clone(&guests) };
        let world = Arc::new(world);
        trial(Arc::clone(&world)).await;
        world.domain.close().await;
    });
}

/// The real directory, of which it is known which passwords it gave; they can be spoilt on the way.
#[derive(Debug)]
pub(crate) struct Watched {
    computers: Computers,
    given: Mutex<Vec<String>>,
    spoil: std::sync::atomic::AtomicBool,
}

impl Watched {
    /// The passwords given so far, the last one last.
    pub(crate) fn given(&self) -> Vec<String> {
        self.given.lock().unwrap().clone()
    }

    /// From now on gives passwords that the directory does not know.
    pub(crate) fn spoil(&self) {
        self.spoil.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

#[async_trait]
impl ComputerAccounts for Watched {
    fn account(&self, session: &SessionId) -> String {
        self.computers.account(session)
    }

    async fn stage(&self, session: &SessionId) -> daas_core::Result<Secret<String>> {
        let password = self.computers.stage(session).await?;
        let mut password = password.expose().clone();
        if self.spoil.load(std::sync::atomic::Ordering::SeqCst) {
            password.push('x');
        }
        self.given.lock().unwrap().push(password.clone());
        Ok(Secret::new(password))
    }

    async fn remove(&self, account: &str) -> daas_core::Result<()> {
        self.computers.remove(account).await
    }

    async fn list(&self) -> daas_core::Result<Vec<(SessionId, String)>> {
        self.computers.list().await
    }
}
