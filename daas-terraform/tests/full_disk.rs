//! A disk without room: told as that, and nothing made twice or left over once there is room again.
//!
//! The disk is a small one in a mount namespace, in which this program runs itself once more.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use daas_core::Kind;
use daas_core::machine::{Destroyed, Reservation};
use world::trials::{run, trial};
use world::{Cluster, left, make, remove, reserve, spec, stands_still, take_away};

fn main() {
    run(vec![
        trial("one_that_is_full_at_the_end_of_an_apply", one_that_is_full_at_the_end_of_an_apply()),
        trial("one_that_is_full_from_the_beginning", one_that_is_full_from_the_beginning()),
    ]);
}

const INSIDE: &str = "DAAS_TEST_SMALL_DISK";

/// Runs this test again where mounts are its own; true there.
fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    let ran = unshare
        .args(["--mount", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare of util-linux");
    assert!(ran.success(), "{ran}");
    false
}

/// A mounted disk, until it is dropped.
struct SmallDisk(PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: what is still open on it shall not keep its directory from being removed.
        let ended = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(std::thread::panicking() || ended.is_ok_and(|ended| ended.success()));
    }
}

/// A disk of one MiB at `runs`.
fn small_disk(runs: &Path) -> SmallDisk {
    std::fs::create_dir(runs).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "none"])
        .arg(runs)
        .status()
        .unwrap();
    assert!(mounted.success(), "{mounted}");
    SmallDisk(runs.to_owned())
}

/// Takes all the room there is.
fn fill(runs: &Path) -> PathBuf {
    let filler = runs.join(".filler");
    let mut file = File::create(&filler).unwrap();
    for size in [4096, 1] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
    filler
}

async fn one_that_is_full_at_the_end_of_an_apply() {
    if !inside("one_that_is_full_at_the_end_of_an_apply") {
        return;
    }
    let cluster = Cluster::new().await;
    let runs = cluster.temp.path().join("runs");
    let _disk = small_disk(&runs);
    let (provisioner, held, spec) = stands_still(&cluster, cluster.config()).await;
    let filler = fill(&runs);
    // Opened for writing, it lets pass who reads from it, and waits for one who is about to.
    let gate = cluster.temp.path().join("gate");
    drop(File::options().write(true).open(&gate).unwrap());
    take_away(&gate);
    // The machine is made, and there is no room to write that down.
    let error = make(&provisioner, &held, &spec).await.expect_err("there is no room");
    assert_eq!(error.kind(), Kind::Exhausted, "{error}");
    assert!(error.to_string().contains("free some room"), "{error}");
    // Terraform prints the state that it cannot write: that is for nobody's eyes.
    assert!(!error.to_string().contains("\"lineage\""), "{error}");
    assert_eq!(cluster.sim.cluster().vms().len(), 1);
    std::fs::remove_file(filler).unwrap();
    let machine = make(&provisioner, &held, &spec).await.expect("made");
    assert_eq!(cluster.sim.cluster().vms().len(), 1);
    let held = Reservation { uuid: machine.uuid, ..held };
    assert_eq!(remove(&provisioner, &held).await.expect("removed"), Destroyed::Gone);
    assert_eq!(cluster.sim.cluster().vms().len(), 0);
    assert_eq!(left(&runs), Vec::<PathBuf>::new());
}

async fn one_that_is_full_from_the_beginning() {
    if !inside("one_that_is_full_from_the_beginning") {
        return;
    }
    let cluster = Cluster::new().await;
    let runs = cluster.temp.path().join("runs");
    let _disk = small_disk(&runs);
    let provisioner = cluster.provisioner(cluster.config());
    let spec = spec(&cluster.deployment);
    let held = reserve(&provisioner, &spec).await;
    let filler = fill(&runs);
    let error = make(&provisioner, &held, &spec).await.expect_err("there is no room");
    assert_eq!(error.kind(), Kind::Exhausted, "{error}");
    assert!(error.to_string().to_lowercase().contains("no space left"), "{error}");
    assert_eq!(cluster.sim.cluster().vms().len(), 0);
    std::fs::remove_file(filler).unwrap();
    make(&provisioner, &held, &spec).await.expect("made");
    assert_eq!(cluster.sim.cluster().vms().len(), 1);
}
