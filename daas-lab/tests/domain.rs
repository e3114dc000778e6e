//! The lab's Active Directory: it comes up at once, it is private, and people in it can sign in and
//! write to their homes.

#![allow(clippy::unwrap_used, reason = "a trial may panic")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use daas_lab::domain::facts;
use daas_lab::trials::{self, Needs};
use daas_lab::{Domain, Lab, NspawnGuest, NspawnGuests, Recipe};
use daas_sim::guest::{Guest, GuestSpec, GuestState, Seed};

fn main() {
    trials::run(vec![
        trials::trial("a_fresh_domain_at_once", Needs::Guests, a_fresh_domain_at_once),
        trials::trial("people_write_to_their_homes", Needs::Guests, people_write_to_their_homes),
        trials::trial("a_workstation_mounts_a_home", Needs::Guests, a_workstation_mounts_a_home),
        trials::trial("a_domain_ends_with_its_lab", Needs::Guests, a_domain_ends_with_its_lab),
    ]);
}

fn a_fresh_domain_at_once() {
    trials::in_lab(async |lab| {
        // The first one may have had to be provisioned.
        Domain::open(&lab).await.unwrap().close().await;
        let started = Instant::now();
        let domain = Domain::open(&lab).await.unwrap();
        search(&domain, "alice").await;
        say(&format!("a fresh domain answers LDAPS after {:.1?}", started.elapsed()));
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());

        // What is done to one domain is not done to the next.
        domain.run(&["samba-tool", "user", "create", "carol", "Passw0rd.Carol1"]).await.unwrap();
        domain.close().await;
        let fresh = Domain::open(&lab).await.unwrap();
        let users = fresh.run(&["samba-tool", "user", "list"]).await.unwrap();
        assert!(users.contains("bob") && !users.contains("carol"), "{users}");
        let name = ["getent", "hosts", facts::HOST];
        assert!(fresh.run(&name).await.unwrap().contains(&facts::ADDRESS.to_string()));
        let pem = std::fs::read_to_string(fresh.ca_file()).unwrap();
        assert!(pem.contains("BEGIN CERTIFICATE"), "{pem}");
        fresh.close().await;
    });
}

fn people_write_to_their_homes() {
    trials::in_lab(async |lab| {
        let domain = Domain::open(&lab).await.unwrap();
        let put = async |user: &str, password: &str, home: &str| {
            let share = format!("//{}/users", facts::HOST);
            let user = format!("{}\\{user}%{password}", facts::NETBIOS);
            let words = format!("cd {home}; put /etc/hostname note");
            domain.run(&["smbclient", &share, "-U", &user, "-c", &words]).await
        };
        let [(alice, word), (bob, other)] = facts::USERS;
        put(alice, word, alice).await.unwrap();
        let owner = ["stat", "-c", "%U", "/srv/users/alice/note"];
        assert_eq!(domain.run(&owner).await.unwrap().trim(), "LAB\\alice");
        assert!(put(bob, other, alice).await.is_err(), "a home is its owner's");
        assert!(put(alice, other, alice).await.is_err(), "a wrong password is refused");
        domain.close().await;
    });
}

/// By what stands in for the kernel's cifs, called as `mount -t cifs` calls the package's own.
fn a_workstation_mounts_a_home() {
    trials::with_guests(&[Recipe::workstation()], async |guests| {
        let domain = Domain::open(guests.lab()).await.unwrap();
        let (user, password) = ("anne o'neil", "Passw0rd \\\"$x, ü");
        domain.add_user(user, password).await.unwrap();
        let guest = boot(&guests, "desktop-2222222").await;
        assert!(
            guests.named("desktop-2222222").await.is_some_and(|found| found.name() == guest.name())
        );
        assert!(guests.named("desktop-3333333").await.is_none());
        let source = format!("//{}/{}/{user}", facts::HOST, facts::SHARE);
        let options = format!("username={user},domain={},uid=1234,gid=5678", facts::DOMAIN);
        let mount = ["mount", "-t", "cifs", &source, "/mnt", "-o", &options];
        let wrong = guest.exec_with(&[&["env", "PASSWD=no"], mount.as_slice()].concat(), b"").await;
        assert_eq!(wrong.unwrap().code, Some(32), "a wrong password is refused");
        let argv = [&["env", "PASSWD_FD=0"], mount.as_slice()].concat();
        let mounted = guest.exec_with(&argv, password.as_bytes()).await.unwrap();
        assert_eq!(mounted.code, Some(0), "{mounted:?}");

        let owner = guest.exec(&["stat", "-c", "%u:%g %a", "/mnt"]).await.unwrap();
        assert_eq!(owner.stdout, b"1234:5678 700\n");
        guest.exec(&["sh", "-c", "printf hello > /mnt/note"]).await.unwrap();
        let seen = domain.home_file(user, "note").await.unwrap();
        assert_eq!(seen, ("hello".to_owned(), format!("LAB\\{user}")));
        // With the place, all behind it goes.
        guest.exec(&["umount", "/mnt"]).await.unwrap();
        let gone = "for i in $(seq 100); do pgrep smbnetfs || exit 0; sleep 0.1; done; exit 1";
        assert_eq!(guest.exec(&["sh", "-c", gone]).await.unwrap().code, Some(0));
        domain.close().await;
    });
}

async fn boot(guests: &NspawnGuests, name: &str) -> Arc<NspawnGuest> {
    let spec = GuestSpec { vmid: 100, image: "workstation".to_owned() };
    let guest = guests.guest(&spec).await.unwrap();
    let seed = Seed {
        hostname: name.to_owned(),
        user: None,
        password_hash: None,
        ssh_keys: Vec::new(),
        mac: "BC:24:11:00:00:07".to_owned(),
        address: None,
        cores: 1,
        memory_mib: 1024,
        agent: true,
        boot: Duration::ZERO,
        agent_start: Duration::ZERO,
    };
    guest.start(&seed).await.unwrap();
    let mut state = guest.state();
    let up = state.wait_for(|state| *state == GuestState::AgentUp);
    let up = tokio::time::timeout(Duration::from_secs(60), up).await.is_ok_and(|up| up.is_ok());
    assert!(up, "the guest does not come up:\n{}", guest.console());
    guest
}

fn a_domain_ends_with_its_lab() {
    // It is not closed: the lab clears it, and `in_lab` looks for what is left.
    trials::in_lab(async |lab| {
        let domain = Domain::open(&lab).await.unwrap();
        assert!(listens(&lab).await);
        drop(domain);
    });
}

async fn listens(lab: &Arc<Lab>) -> bool {
    let to = SocketAddr::from((facts::ADDRESS, 636));
    lab.dial(to, Duration::from_secs(2)).await.is_ok()
}

/// Asks the directory over TLS for a user, as that user.
async fn search(domain: &Domain, user: &str) {
    let (_, password) = facts::USERS.into_iter().find(|(name, _)| *name == user).unwrap();
    let (url, filter) = (domain.url(), format!("(sAMAccountName={user})"));
    let bind = format!("{user}@{}", facts::DOMAIN);
    let ca = "LDAPTLS_CACERT=/var/lib/samba/private/lab-tls/ca.pem";
    let words = ["env", ca, "ldapsearch", "-LLL", "-x", "-H", &url, "-D", &bind, "-w", password];
    let argv = [words.as_slice(), &["-b", facts::SUFFIX, &filter, "memberOf"]].concat();
    let found = domain.run(&argv).await.unwrap();
    assert!(found.contains(facts::GROUP), "{found}");
}

#[expect(clippy::print_stdout, reason = "a figure for people")]
fn say(line: &str) {
    println!("{line}");
}
