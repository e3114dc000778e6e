//! The shipped roles on other systems than the one that all trials have: a desktop for a local user, by
//! RDP. Each system is a template of its own to fetch and build, so only those are tried that are
//! asked for: `DAAS_TEST_SYSTEMS=trixie,noble,jammy`.

#![allow(clippy::unwrap_used, reason = "a trial may panic")]

#[path = "../real/desk.rs"]
#[allow(dead_code, reason = "shared with the other trials on real guests")]
mod desk;
#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use daas_core::configurator::Stage;
use daas_core::secret::{Secret, crypt_password};
use daas_lab::trials::{self, Needs};
use daas_lab::{RdpClient, RdpTarget, Recipe, secrecy};
use desk::Desk;

/// Names the suites to try.
const ASKED: &str = "DAAS_TEST_SYSTEMS";
const SUITES: [&str; 4] = ["bookworm", "trixie", "jammy", "noble"];
const DESKTOP: Duration = Duration::from_secs(60);
const PASSWORD: &str = "it's $(a) pass\"word";

fn main() {
    let asked = std::env::var(ASKED).unwrap_or_default();
    let wanted = asked.split(',').filter(|name| !name.is_empty());
    let trials = wanted.map(|name| {
        let suite = SUITES.into_iter().find(|suite| *suite == name);
        let unknown = || format!("{ASKED}: {name:?} is none of {}", SUITES.join(", "));
        // One that nobody knows must not pass for one that was tried.
        let suite = suite.unwrap_or_else(|| panic!("{}", unknown()));
        let refusal = Needs::Desktop.refusal();
        support::trial(&format!("a_desktop_on_{suite}"), refusal, || a_desktop_on(suite))
    });
    let reason = Needs::Desktop.refusal().unwrap_or_else(|| "needs Ansible".to_owned());
    let way_out = "DAAS_TEST_LAB=1, and cargo xtask test --install";
    trials::run_or_explain(trials.collect(), &format!("{reason}; to run them: {way_out}"));
}

fn a_desktop_on(suite: &'static str) {
    trials::with_guests(&[Recipe::desk().of_suite(suite)], async |guests| {
        let mut desk = Desk::boot(&guests, "desk", "prepare = {}\nassign = {}", None).await;
        let release = desk.text(&["cat", "/etc/os-release"]).await;
        assert!(release.contains(&format!("VERSION_CODENAME={suite}")), "{release}");
        let first = desk.apply(&Stage::Prepare).await.unwrap();
        assert_eq!(first.warnings, Vec::<String>::new());
        desk.context.host_key = first.facts.host_key.clone();
        let again = desk.apply(&Stage::Prepare).await.unwrap();
        assert_eq!(again.changed, 0, "{again:?}");
        assert_eq!(again.facts, first.facts);
        let hash = crypt_password(&Secret::from(PASSWORD)).unwrap();
        let stage = support::assign("alice", &hash);
        assert_eq!(desk.apply(&stage).await.unwrap().changed, 2);
        assert_eq!(desk.apply(&stage).await.unwrap().changed, 0);
        let target = RdpTarget {
            address: SocketAddr::new(desk.context.address.unwrap(), 3389),
            user: "alice".to_owned(),
            password: PASSWORD.to_owned(),
        };
        if let Err(error) = secrecy::lets_in(guests.lab(), &desk.guest, &target).await {
            panic!("{error}\n{}", desk.logs().await);
        }
        let mut client = RdpClient::connect(guests.lab(), &target).await.unwrap();
        client.wait_colours(1000, DESKTOP).await.unwrap();
        // So many colours could be another desktop's, or a login screen's.
        let running = ["pgrep", "--exact", "--euid", "alice", "xfwm4"];
        assert_ne!(desk.text(&running).await, "", "her session");
        client.close().await.unwrap();
        for unit in ["xrdp", "xrdp-sesman", "daas-activity"] {
            assert_eq!(desk.text(&["systemctl", "is-active", unit]).await, "active", "{unit}");
        }
        let mut failed = desk.text(&["systemctl", "--failed", "--plain", "--no-legend"]).await;
        failed.truncate(500);
        assert_eq!(failed, "", "units that failed");
    });
}
