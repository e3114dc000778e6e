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
use daas_lab::domain::facts;
use daas_lab::tools::{MACHINE_TOOLS, Missing};
use daas_lab::trials::Needs;
use daas_lab::{Recipe, VirtualMachine};
use daas_sim::guest::Guest;
use libtest_mimic::{Arguments, Trial};

/// Set to 1, virtual machines are booted: they take minutes, and a template of their own.
const ASKED: &str = "DAAS_TEST_VM";
/// How long the guest may take to end by itself.
const SHUTDOWN: Duration = Duration::from_secs(60);

fn main() {
    let arguments = Arguments::from_args();
    let asked = std::env::var(ASKED).is_ok_and(|value| value == "1");
    let lacks = || Missing::of(MACHINE_TOOLS).map(|missing| missing.to_string());
    let needs = Needs::Guests.refusal().or_else(lacks);
    let mut trials: Vec<Trial> = Vec::new();
    if asked {
        let name = "the_kernel_mounts_the_share";
        trials.push(support::trial(name, needs, the_kernel_mounts_the_share));
    } else if !arguments.list {
        // Not even in continuous integration, unless it is asked for there.
        say(&format!(
            "not run: a virtual machine takes minutes; {ASKED}=1 DAAS_TEST_LAB=1 runs it"
        ));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

#[expect(clippy::print_stdout, reason = "a test runner's report, and figures for people")]
fn say(line: &str) {
    println!("{line}");
}

fn the_kernel_mounts_the_share() {
    desk::in_domain_on(Recipe::machine(), facts::OU, async |world| {
        let begun = Instant::now();
        let told = |what: &str| say(&format!("{what} after {:.1?}", begun.elapsed()));
        let desk = &world.desk;
        desk.apply(&Stage::Prepare).await.unwrap();
        let changed = desk.text(&["dpkg", "--verify", "cifs-utils"]).await;
        assert_eq!(changed, "", "the package's own mount.cifs");
        let modules = desk.text(&["sh", "-c", "find /lib/modules -name 'cifs.ko*'"]).await;
        assert!(modules.lines().count() == 1, "{modules}");
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
        assert!(mounts.contains("/dev/vda") && !mounts.contains(" cifs "), "left: {mounts}");
        machine.close().await.unwrap();
    });
}
