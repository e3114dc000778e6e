//! The lab's Active Directory: it comes up at once, it is private, and people in it can sign in and
//! write to their homes.

#![allow(clippy::unwrap_used, reason = "a trial may panic")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use daas_lab::domain::facts;
use daas_lab::trials::{self, Needs};
use daas_lab::{Domain, Lab};

fn main() {
    trials::run(vec![
        trials::trial("a_fresh_domain_at_once", Needs::Guests, a_fresh_domain_at_once),
        trials::trial("people_write_to_their_homes", Needs::Guests, people_write_to_their_homes),
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
