//! The share mounted by the kernel's cifs, which no container has: the shipped roles configure a real
//! guest of the real domain, and its disk is then booted in a virtual machine with a kernel of its
//! own. The lab's stand-in for `mount.cifs` has no part in it.

#![allow(clippy::unwrap_used, reason = "a trial may panic")]

#[path = "../real/desk.rs"]
#[allow(dead_code, reason = "shared with the other trials on real guests")]
mod desk;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use daas_core::configurator::Stage;
use daas_core::owner::Owner;
use daas_lab::VirtualMachine;
use daas_lab::domain::facts;
use daas_lab::trials::{self, Needs};
use daas_sim::guest::Guest;

/// How long the guest may take to end by itself.
const SHUTDOWN: Duration = Duration::from_secs(60);
/// Puts the package's own `mount.cifs` into its place, where the lab has its stand-in.
const NO_STAND_IN: &str =
    "rm /usr/sbin/mount.cifs && dpkg-divert --rename --remove /usr/sbin/mount.cifs";

fn main() {
    let refusal = Needs::Machine.refusal();
    let reason = refusal.clone().unwrap_or_else(|| "needs Ansible".to_owned());
    let trial = support::trial("the_kernel_mounts_the_share", refusal, the_kernel_mounts_the_share);
    let way_out = "sudo -E cargo xtask test --install --package daas-ansible";
    trials::run_or_explain(vec![trial], &format!("{reason}; to run it: {way_out}"));
}

#[expect(clippy::print_stdout, reason = "a test runner's report, and figures for people")]
fn say(line: &str) {
    println!("{line}");
}

fn the_kernel_mounts_the_share() {
    desk::in_domain(facts::OU, async |world| {
        let begun = Instant::now();
        let told = |what: &str| say(&format!("{what} after {:.1?}", begun.elapsed()));
        let desk = &world.desk;
        desk.text(&["sh", "-c", NO_STAND_IN]).await;
        desk.apply(&Stage::Prepare).await.unwrap();
        let owner = Owner { realm: "lab".to_owned(), name: facts::USERS[0].0.to_owned() };
        desk.apply(&Stage::Assign { owner, account: None }).await.unwrap();
        let changed = desk.text(&["dpkg", "--verify", "cifs-utils"]).await;
        assert_eq!(changed, "", "the package's own mount.cifs");
        told("joined and configured");

        desk.guest.shutdown(SHUTDOWN).await.unwrap();
        let key = desk.place.path("ssh_key");
        let lab = world.guests.lab();
        let machine = VirtualMachine::boot(lab, &desk.guest, desk::MAC, &key).await.unwrap();
        told("booted with its own kernel");

        let (alice, word) = facts::USERS[0];
        let known = "until getent passwd \"$1\"; do sleep 1; done";
        let argv = ["timeout", "90", "sh", "-c", known, "known", alice];
        let known = machine.exec_with(&argv, b"").await.unwrap();
        assert_eq!(known.code, Some(0), "{}{}", desk::said(&known), machine.console());
        let script = "findmnt --noheadings --output FSTYPE,SOURCE ~/Partage && cd ~/Partage && \
                      printf 'by the kernel' > kernel.txt && cat kernel.txt && grep cifs /proc/mounts";
        let output = machine.log_in(alice, word, &["sh", "-c", script]).await.unwrap();
        let said = desk::said(&output);
        let journal = machine.exec_with(&["journalctl", "--no-pager", "-n", "60"], b"").await;
        let journal = journal.map(|output| desk::said(&output)).unwrap_or_default();
        assert_eq!(output.code, Some(0), "{said}\n{journal}");
        let source = format!("//{}/{}/{alice}", facts::HOST, facts::SHARE);
        let mount = said.lines().next().unwrap_or_default();
        assert!(mount.starts_with("cifs ") && mount.contains(&source), "{source}: {said}");
        told("logged in with the share");

        let seen = world.domain.home_file(alice, "kernel.txt").await.unwrap();
        assert_eq!(seen, ("by the kernel".to_owned(), format!("{}\\{alice}", facts::NETBIOS)));
        let mounts = machine.exec_with(&["cat", "/proc/mounts"], b"").await.unwrap();
        let mounts = desk::said(&mounts);
        assert!(
            mounts.contains("/dev/root / ext4") && !mounts.contains(" cifs "),
            "left: {mounts}"
        );
        machine.close().await.unwrap();
    });
}
