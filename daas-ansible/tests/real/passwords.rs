//! Every password that is allowed arrives unharmed and is seen nowhere on its way: not in a list of
//! processes, a log, an event, a run directory or an error, on either side.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use daas_core::configurator::{Configurator, Stage};
use daas_core::owner::Owner;
use daas_core::secret::{Secret, crypt_password};
use daas_lab::domain::facts;
use daas_lab::secrecy::{MARK, Watch, kept_in, lets_in, odd_passwords};
use daas_lab::{RdpTarget, Recipe, trials};

use crate::desk::{self, Desk};
use crate::domain::shows_a_desktop;
use crate::support::{assign, heard};

pub(crate) fn local() {
    trials::with_guests(&[Recipe::desk()], async |guests| {
        let desk = Desk::boot(&guests, "desk", "prepare = {}\nassign = {}", None).await;
        let watch = Watch::begin();
        desk.apply(&Stage::Prepare).await.unwrap();
        let mut hashes = Vec::new();
        for password in odd_passwords() {
            let hash = crypt_password(&Secret::new(password.clone())).unwrap();
            watch.add(&hash);
            hashes.push(hash.clone());
            let (progress, words) = heard();
            let stage = assign("alice", &hash);
            let applied = desk.ansible.apply(&desk.context, &stage, &progress).await.unwrap();
            assert!(applied.changed >= 1, "{password:?}: {applied:?}");
            let told = format!("{applied:?} {:?}", words.lock().unwrap());
            assert!(!told.contains(MARK) && !told.contains(&hash), "{told}");
            arrives(&desk, guests.lab(), &password).await;
        }
        assert_eq!(watch.end().unwrap(), BTreeSet::new(), "seen in the list of processes");
        hidden(&desk, &hashes).await;
    });
}

/// This password lets alice in by PAM and by RDP, and no other does.
async fn arrives(desk: &Desk, lab: &Arc<daas_lab::Lab>, password: &str) {
    let target = RdpTarget {
        address: SocketAddr::new(desk.context.address.unwrap(), 3389),
        user: "alice".to_owned(),
        password: password.to_owned(),
    };
    if let Err(error) = lets_in(lab, &desk.guest, &target).await {
        panic!("{error}\n{}", desk.logs().await);
    }
}

/// Nothing in the guest holds a password, and nothing but its shadow file a hash.
async fn hidden(desk: &Desk, hashes: &[String]) {
    assert_eq!(kept_in(&desk.guest, hashes).await.unwrap(), Vec::<String>::new());
    assert_eq!(fs::read_dir(desk.place.path("ansible")).unwrap().count(), 0, "files of runs");
}

pub(crate) fn of_domain_users() {
    desk::in_domain(facts::OU, async |world| {
        let desk = &world.desk;
        let watch = Watch::begin();
        desk.apply(&Stage::Prepare).await.unwrap();
        let long = format!("{MARK}0 {}", "é".repeat((104 - MARK.len() - 2) / 2));
        for (user, password) in [
            ("anne o'neil", format!(" {MARK}0 $HOME `id` \"it's\" back\\slash\\ ")),
            ("jürgen.é", format!("-{MARK}0:colon, comma %(USER) & <x> 日本")),
            // Not with a dash in front: Debian's pam_unix takes no such name, and asks nothing.
            ("do-la $x", long),
        ] {
            world.domain.add_user(user, &password).await.unwrap();
            let owner = Owner { realm: "lab".to_owned(), name: user.to_owned() };
            desk.apply(&Stage::Assign { owner, account: None }).await.unwrap();
            let mounted = "findmnt --noheadings --output FSTYPE ~/Partage";
            let (entered, said) = desk.log_in(user, &password, mounted).await;
            assert!(entered && said.contains("fuse"), "{user}: {said}\n{}", desk.logs().await);
            let (entered, _) = desk.log_in(user, &format!("{password}x"), "true").await;
            assert!(!entered, "{user}: another password");
            shows_a_desktop(&world, user, &password).await;
        }
        assert_eq!(watch.end().unwrap(), BTreeSet::new(), "seen in the list of processes");
        hidden(desk, &[]).await;
    });
}
