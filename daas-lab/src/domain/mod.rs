//! A real Active Directory for a test: Samba as domain controller, private to its lab, provisioned
//! once and fresh for everybody.
//!
//! `facts` says who is in it, `layer` makes what is kept, `provision.sh` is what the guest does then.

pub mod facts;
mod layer;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use daas_sim::guest::{Guest, GuestError, GuestMaker, GuestSpec, GuestState, Seed};

use crate::error::LabError;
use crate::guest::{NspawnGuest, NspawnGuests, Output};
use crate::lab::Lab;
use crate::process::{self, poll_async};

/// How long a domain controller may take to start; 2 seconds where this was written.
const START_DEADLINE: Duration = Duration::from_secs(90);
/// How long one program in it may take.
const RUN_DEADLINE: Duration = Duration::from_secs(60);
const DIAL_DEADLINE: Duration = Duration::from_secs(2);
const LDAPS_PORT: u16 = 636;
/// A machine id that no template or desktop of a test has.
const VMID: u32 = 99;
const MAC: &str = "BC:24:11:DC:00:01";

/// A running domain. One to a lab: its address is fixed.
#[derive(Debug)]
pub struct Domain {
    guests: NspawnGuests,
    guest: Arc<NspawnGuest>,
    ca_file: PathBuf,
}

impl Domain {
    /// Starts a fresh domain in the lab, and gives it when it answers LDAPS. Template and layer are
    /// made first if they are not in the cache, which takes a minute.
    ///
    /// # Errors
    /// The template cannot be built, provisioning fails, or the domain does not come up in time.
    pub async fn open(lab: &Arc<Lab>) -> Result<Domain, LabError> {
        let trees = layer::ensure(lab).await?;
        let guests = NspawnGuests::on_trees(Arc::clone(lab), "domain", trees);
        let guest = boot(&guests, "domain").await?;
        let listening = async {
            let to = SocketAddr::from((facts::ADDRESS, LDAPS_PORT));
            let mut ticks = tokio::time::interval(Duration::from_millis(20));
            while lab.dial(to, DIAL_DEADLINE).await.is_err() {
                ticks.tick().await;
            }
        };
        if tokio::time::timeout(START_DEADLINE, listening).await.is_err() {
            return Err(silent(&guest));
        }
        let ca_file = lab.base().join("domain-ca.pem");
        let domain = Domain { guests, guest, ca_file };
        // The share asks winbind who somebody is, and it is up a moment later than LDAP.
        let ready = "until getent passwd \"$1\" > /dev/null; do sleep 0.05; done";
        let someone = format!("{}\\{}", facts::NETBIOS, facts::USERS[0].0);
        domain.run(&["sh", "-c", ready, "ready", &someone]).await?;
        let ca = domain.run(&["cat", "/var/lib/samba/private/lab-tls/ca.pem"]).await?;
        std::fs::write(&domain.ca_file, ca).map_err(LabError::io("write the domain's CA"))?;
        Ok(domain)
    }

    /// Its LDAP server by address, which its certificate names: no resolver is asked.
    pub fn url(&self) -> String {
        format!("ldaps://{}", facts::ADDRESS)
    }

    /// A file with its certificate authority, in PEM.
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// The domain controller.
    pub fn guest(&self) -> &Arc<NspawnGuest> {
        &self.guest
    }

    /// Runs a program on the domain controller, `samba-tool` say, and gives what it wrote.
    ///
    /// # Errors
    /// It fails, or takes longer than a minute.
    pub async fn run(&self, argv: &[&str]) -> Result<String, LabError> {
        let doing = argv.iter().take(3).copied().collect::<Vec<_>>().join(" ");
        let run = tokio::time::timeout(RUN_DEADLINE, self.guest.exec(argv)).await;
        let output =
            run.map_err(|_| LabError::Deadline { doing: doing.clone(), after: RUN_DEADLINE })?;
        let output = output.map_err(guest_error(&doing))?;
        checked(&doing, &output)
    }

    /// Makes a user with a home, a member of [`facts::GROUP`]. The name may hold what Active
    /// Directory allows in one; the password goes by standard input.
    ///
    /// # Errors
    /// The domain refuses.
    pub async fn add_user(&self, name: &str, password: &str) -> Result<(), LabError> {
        let doing = format!("add the user {name:?}");
        let input = format!("{password}\n{password}\n");
        let make = ["samba-tool", "user", "create", "--", name];
        let run = self.guest.exec_with(&make, input.as_bytes());
        let late = || LabError::Deadline { doing: doing.clone(), after: RUN_DEADLINE };
        let output = tokio::time::timeout(RUN_DEADLINE, run).await.map_err(|_| late())?;
        checked(&doing, &output.map_err(guest_error(&doing))?)?;
        self.run(&["samba-tool", "group", "addmembers", "--", facts::GROUP, name]).await?;
        let home = format!("{}/{name}", facts::SHARE_DIRECTORY);
        let owner = format!("{}\\{name}", facts::NETBIOS);
        self.run(&["install", "-d", "-m", "700", "-o", &owner, "--", &home]).await.map(drop)
    }

    /// What a file in a user's home holds, and whose it is (`LAB\alice`), seen on the server.
    ///
    /// # Errors
    /// There is no such file.
    pub async fn home_file(&self, user: &str, name: &str) -> Result<(String, String), LabError> {
        let path = format!("{}/{user}/{name}", facts::SHARE_DIRECTORY);
        let owner = self.run(&["stat", "-c", "%U", "--", &path]).await?;
        Ok((self.run(&["cat", "--", &path]).await?, owner.trim().to_owned()))
    }

    /// Ends the domain and all that was in it. The lab does so too when it is closed.
    pub async fn close(&self) {
        self.guests.close().await;
    }
}

/// Boots a domain controller on the image of this name.
async fn boot(guests: &NspawnGuests, image: &str) -> Result<Arc<NspawnGuest>, LabError> {
    let spec = GuestSpec { vmid: VMID, image: image.to_owned() };
    let guest = guests.guest(&spec).await.map_err(guest_error("make a domain controller"))?;
    guest.start(&seed()).await.map_err(guest_error("start a domain controller"))?;
    let state = guest.state();
    let up = poll_async(Duration::from_millis(5), || match *state.borrow() {
        GuestState::AgentUp => Some(true),
        GuestState::Off => Some(false),
        _ => None,
    });
    match tokio::time::timeout(START_DEADLINE, up).await {
        Ok(true) => Ok(guest),
        _ => Err(silent(&guest)),
    }
}

fn seed() -> Seed {
    Seed {
        hostname: facts::HOST.split('.').next().unwrap_or(facts::HOST).to_owned(),
        user: None,
        password_hash: None,
        ssh_keys: Vec::new(),
        mac: MAC.to_owned(),
        address: Some(facts::ADDRESS.into()),
        cores: 1,
        memory_mib: 1024,
        agent: true,
        boot: Duration::ZERO,
        agent_start: Duration::ZERO,
    }
}

fn silent(guest: &NspawnGuest) -> LabError {
    LabError::Failed {
        doing: "start a domain controller".to_owned(),
        status: "it does not answer".to_owned(),
        stderr: process::tail(&guest.console(), 2000),
    }
}

/// What a program wrote, when it ended well.
fn checked(doing: &str, output: &Output) -> Result<String, LabError> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.code == Some(0) {
        return Ok(text(&output.stdout));
    }
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    Err(LabError::Failed {
        doing: doing.to_owned(),
        status: format!("exit code {:?}", output.code),
        stderr: process::tail(&said, 2000),
    })
}

fn guest_error(doing: &str) -> impl FnOnce(GuestError) -> LabError {
    let doing = doing.to_owned();
    move |error| LabError::io(doing)(std::io::Error::other(error))
}
