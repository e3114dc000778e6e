//! The contract of a configurator, judged on drawn guests from their disks.

#![allow(clippy::unwrap_used, reason = "a test that unwraps an error has failed")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use daas_core::configurator::{Account, Applied, Configurator, GuestContext, PasswordHash, Stage};
use daas_core::conformance::ConfiguratorBench;
use daas_core::ids::{SessionId, SessionPrefix};
use daas_core::layer::{ConfiguratorLayer, Layer, Layered};
use daas_core::progress::Progress;
use daas_core::secret::{Secret, crypt_password};
use daas_core::template::{Ports, Template};
use daas_sim::guest::drawn::{Disk, DrawnGuest, DrawnGuests, LogKind};
use daas_sim::guest::{Guest, GuestMaker, GuestSpec, GuestState};
use daas_ssh::SshConfigurator;
use support::{PATIENCE, activity, config, own_network, seed};
use tokio::net::TcpListener;

/// The administrator of the guests: one who needs sudo.
const ADMIN: &str = "admin";

#[tokio::test]
async fn the_configurator_keeps_its_contract() {
    let benches = Arc::new(Mutex::new(Vec::new()));
    let made = Arc::clone(&benches);
    daas_core::conformance::configurator(move || {
        let made = Arc::clone(&made);
        async move {
            let bench = Arc::new(DrawnBench::new().await);
            made.lock().unwrap().push(Arc::clone(&bench));
            bench as Arc<dyn ConfiguratorBench>
        }
    })
    .await;
    let benches = std::mem::take(&mut *benches.lock().unwrap());
    for bench in benches {
        bench.guests.maker.close().await;
    }
}

/// Guests of one network, one of them a bystander that nobody is asked to configure.
struct DrawnBench {
    configurator: Arc<Layered<Watched>>,
    guests: Arc<Guests>,
    bystander: Arc<DrawnGuest>,
    untouched: Vec<String>,
    account: Account,
    /// Where the guests report to; nobody needs to answer.
    reports: TcpListener,
    _keys: tempfile::TempDir,
}

struct Guests {
    maker: DrawnGuests,
    public_key: String,
    /// Whoever is not held is gone once it stops.
    made: Mutex<Vec<Arc<DrawnGuest>>>,
}

impl Guests {
    /// Another guest, up.
    async fn make(&self) -> Arc<DrawnGuest> {
        let guest = {
            let mut made = self.made.lock().unwrap();
            let vmid = 101 + u32::try_from(made.len()).unwrap();
            let spec = GuestSpec { vmid, image: "debian-base".to_owned() };
            made.push(self.maker.make_drawn(&spec).unwrap());
            Arc::clone(made.last().unwrap())
        };
        self.start(&guest).await;
        guest
    }

    async fn start(&self, guest: &DrawnGuest) {
        guest.start(&seed(ADMIN, &self.public_key)).await.unwrap();
        let mut state = guest.state();
        let up = state.wait_for(|state| *state == GuestState::AgentUp);
        tokio::time::timeout(PATIENCE, up).await.expect("boots in time").unwrap();
    }

    fn all(&self) -> Vec<Arc<DrawnGuest>> {
        self.made.lock().unwrap().clone()
    }
}

impl DrawnBench {
    async fn new() -> Self {
        let keys = tempfile::tempdir().unwrap();
        let ssh = SshConfigurator::new(config(&keys)).unwrap();
        let guests = Arc::new(Guests {
            maker: DrawnGuests::new(own_network()),
            public_key: ssh.public_key().to_owned(),
            made: Mutex::new(Vec::new()),
        });
        let bystander = guests.make().await;
        let untouched = bystander.with_disk(|disk| lasting(disk));
        let hash = crypt_password(&Secret::new("secret".to_owned())).unwrap();
        let account = Account { user: "alice".to_owned(), password_hash: Some(PasswordHash(hash)) };
        let configurator = Arc::new(Layered(Watched { ssh, guests: Arc::clone(&guests) }));
        let reports = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { configurator, guests, bystander, untouched, account, reports, _keys: keys }
    }
}

#[async_trait]
impl ConfiguratorBench for DrawnBench {
    fn configurator(&self) -> Arc<dyn Configurator> {
        Arc::clone(&self.configurator) as Arc<dyn Configurator>
    }

    async fn guest(&self) -> GuestContext {
        let guest = self.guests.make().await;
        let mut template =
            Template::new("lab".parse().unwrap(), "proxmox".parse().unwrap(), "9000");
        template.admin_user = ADMIN.to_owned();
        template.keyboard = Some("fr".to_owned());
        template.locale = Some("fr_FR.UTF-8".to_owned());
        template.ports = Ports { rdp: guest.ports().rdp, ssh: guest.ports().ssh };
        let url = format!("http://{}/activity", self.reports.local_addr().unwrap());
        GuestContext {
            session: SessionId::mint(&SessionPrefix::default()),
            template,
            address: Some(guest.address()),
            host_key: None,
            activity: Some(activity(url, Duration::from_secs(30))),
        }
    }

    async fn guest_without_profile(&self) -> Option<GuestContext> {
        let mut guest = self.guest().await;
        guest.template.profile = Some("missing".to_owned());
        Some(guest)
    }

    fn account(&self) -> Option<Account> {
        Some(self.account.clone())
    }

    /// What the bystander shows: whether it was entered, and what became of its disk.
    async fn effects_there(&self) -> Vec<String> {
        self.bystander.with_disk(|disk| {
            let ways = [LogKind::Login, LogKind::Refused, LogKind::Script];
            let visits = disk.log().filter(|entry| ways.contains(&entry.kind));
            let visits = visits.map(|entry| entry.text.clone());
            let news = lasting(disk).into_iter().filter(|line| !self.untouched.contains(line));
            visits.chain(news).collect()
        })
    }

    async fn set_away(&self, away: bool) {
        for guest in self.guests.all() {
            if away {
                guest.stop().await.unwrap();
            } else {
                self.guests.start(&guest).await;
            }
        }
    }
}

/// The configurator; what it says of its changes must be what the guest's disk shows.
#[derive(Debug)]
struct Watched {
    ssh: SshConfigurator,
    guests: Arc<Guests>,
}

impl std::fmt::Debug for Guests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guests").field("made", &self.made).finish_non_exhaustive()
    }
}

impl Layer for Watched {}

#[async_trait]
impl ConfiguratorLayer for Watched {
    fn below(&self) -> &dyn Configurator {
        &self.ssh
    }

    async fn apply(
        &self,
        guest: &GuestContext,
        stage: &Stage,
        progress: &Progress,
    ) -> daas_core::Result<Applied> {
        let all = self.guests.all();
        let drawn = all.iter().find(|drawn| Some(drawn.address()) == guest.address).unwrap();
        let before = drawn.with_disk(|disk| lasting(disk));
        let applied = self.ssh.apply(guest, stage, progress).await?;
        let after = drawn.with_disk(|disk| lasting(disk));
        let news: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
        let same = before == after;
        assert_eq!(applied.changed == 0, same, "{stage:?}: {applied:?}, but new is {news:#?}");
        Ok(applied)
    }
}

/// All that a disk keeps but its log, a line for each thing.
fn lasting(disk: &Disk) -> Vec<String> {
    let passing = |path: &str| path.starts_with("/tmp/") || path.starts_with("/run/");
    let paths = disk.below("/").filter(|path| !passing(path));
    let mut lines: Vec<_> = paths.map(|path| format!("{path} {:?}", disk.lstat(path))).collect();
    lines.extend(disk.accounts.iter().map(|account| format!("{account:?}")));
    lines.extend(disk.groups.iter().map(|group| format!("{group:?}")));
    lines.extend(disk.packages.iter().map(|package| format!("package {package}")));
    lines.extend(disk.units.iter().map(|unit| format!("{unit:?}")));
    lines.push(disk.hostname.clone());
    lines
}
