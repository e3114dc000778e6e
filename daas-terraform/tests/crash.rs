//! Terraform killed in the middle, we killed with it, and a successor on the same directory.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use std::path::PathBuf;

use daas_core::Kind;
use daas_core::machine::{Destroyed, MachineSpec, Observation, Reservation};
use daas_core::provisioner::Provisioner;
use daas_terraform::TerraformProvisioner;
use rustix::process::{Pid, Signal};
use world::trials::{always, run, trial};
use world::{
    Cluster, Files, begin, gate, group, half_made, left, make, members, named, remove, reserve,
    run_of, spec, take_away, until,
};

fn main() {
    run(vec![
        trial(
            "terraform_killed_alone_leaves_one_machine",
            terraform_killed_alone_leaves_one_machine(),
        ),
        trial(
            "everything_killed_at_once_leaves_one_machine",
            everything_killed_at_once_leaves_one_machine(),
        ),
        trial("we_gone_alone_leave_one_machine", we_gone_alone_leave_one_machine()),
        trial(
            "a_removal_killed_after_the_machine_is_gone_is_ended_by_a_successor",
            a_removal_killed_after_the_machine_is_gone_is_ended_by_a_successor(),
        ),
        trial(
            "without_a_platform_a_second_apply_collides_rather_than_doubles",
            without_a_platform_a_second_apply_collides_rather_than_doubles(),
        ),
        trial(
            "a_desktop_no_longer_wanted_is_not_waited_for",
            a_desktop_no_longer_wanted_is_not_waited_for(),
        ),
        trial(
            "an_apply_that_hangs_is_ended_and_says_where_to_look",
            an_apply_that_hangs_is_ended_and_says_where_to_look(),
        ),
        trial(
            "an_init_left_running_is_ended_before_another_begins",
            an_init_left_running_is_ended_before_another_begins(),
        ),
        always(
            "two_orchestrators_do_not_share_a_directory",
            two_orchestrators_do_not_share_a_directory(),
        ),
    ]);
}

/// A successor finds what a killed run left, and there is one machine in the end, and none after.
async fn successor_makes_one(cluster: &Cluster, held: &Reservation, spec: &MachineSpec, old: Pid) {
    take_away(&cluster.temp.path().join("gate"));
    let successor = cluster.provisioner(cluster.config());
    let Observation::Present(seen) = successor.observe(held).await else { panic!("it is there") };
    assert_eq!((seen.session, seen.uuid), (None, None), "nothing of it is to be recorded");
    let machine = make(&successor, held, spec).await.expect("made");
    assert_eq!(machine.session.as_ref(), Some(&held.session));
    assert_eq!(cluster.sim.cluster().vms().len(), 1);
    assert_eq!(members(old), 0, "the old run has ended");
    let held = Reservation { uuid: machine.uuid, ..held.clone() };
    assert_eq!(remove(&successor, &held).await.expect("removed"), Destroyed::Gone);
    assert_eq!(cluster.sim.cluster().vms().len(), 0);
    assert_eq!(left(&cluster.temp.path().join("runs")), Vec::<PathBuf>::new());
}

async fn terraform_killed_alone_leaves_one_machine() {
    let (cluster, provisioner, held, spec) = half_made().await;
    let old = group(&run_of(&cluster.temp.path().join("runs"), &held));
    rustix::process::kill_process(old, Signal::KILL).unwrap();
    make(&provisioner, &held, &spec).await.expect_err("it was killed");
    // The module's script lives on, and holds the lock: it could still make something.
    assert!(members(old) > 0, "its children are left");
    drop(provisioner);
    successor_makes_one(&cluster, &held, &spec, old).await;
}

async fn everything_killed_at_once_leaves_one_machine() {
    let (cluster, provisioner, held, spec) = half_made().await;
    let old = group(&run_of(&cluster.temp.path().join("runs"), &held));
    rustix::process::kill_process_group(old, Signal::KILL).unwrap();
    drop(provisioner);
    successor_makes_one(&cluster, &held, &spec, old).await;
}

async fn we_gone_alone_leave_one_machine() {
    let (cluster, provisioner, held, spec) = half_made().await;
    let old = group(&run_of(&cluster.temp.path().join("runs"), &held));
    drop(provisioner);
    successor_makes_one(&cluster, &held, &spec, old).await;
}

async fn a_removal_killed_after_the_machine_is_gone_is_ended_by_a_successor() {
    let cluster = Cluster::new().await;
    let runs = cluster.temp.path().join("runs");
    let provisioner = cluster.provisioner(cluster.config());
    let spec = spec(&cluster.deployment);
    let held = reserve(&provisioner, &spec).await;
    let machine = make(&provisioner, &held, &spec).await.expect("made");
    let held = Reservation { uuid: machine.uuid, ..held };
    gate(cluster.temp.path());
    let begun = provisioner.destroy(&held).await.expect("begun");
    assert!(matches!(begun, Destroyed::Underway(_)), "{begun:?}");
    until("the machine is gone", || cluster.sim.cluster().vms().is_empty()).await;
    let seen = provisioner.observe(&held).await;
    assert!(matches!(seen, Observation::Unknown(_)), "terraform is still at work: {seen:?}");
    rustix::process::kill_process_group(group(&run_of(&runs, &held)), Signal::KILL).unwrap();
    drop(provisioner);
    take_away(&cluster.temp.path().join("gate"));
    let successor = cluster.provisioner(cluster.config());
    let listed = successor.list().await.expect("listed");
    assert_eq!(listed.len(), 1, "what is left of it is found: {listed:?}");
    assert_eq!(remove(&successor, &held).await.expect("removed"), Destroyed::Gone);
    assert_eq!(successor.list().await.expect("listed"), []);
    assert_eq!(left(&runs), Vec::<PathBuf>::new());
}

async fn without_a_platform_a_second_apply_collides_rather_than_doubles() {
    let files = Files::new();
    let mut config = files.config();
    let gate = gate(files.temp.path());
    config.variables.insert("gate".into(), gate.to_str().unwrap().into());
    let provisioner = files.provisioner(config);
    let spec = spec(&files.deployment);
    let held = reserve(&provisioner, &spec).await;
    begin(&provisioner, &held, &spec).await;
    until("it is made", || files.made(&held.session) == 1).await;
    let old = group(&run_of(&files.runs(), &held));
    rustix::process::kill_process_group(old, Signal::KILL).unwrap();
    drop(provisioner);
    take_away(&gate);
    let successor = files.provisioner(files.config());
    let error = make(&successor, &held, &spec).await.expect_err("it collides");
    assert_eq!(error.kind(), Kind::Conflict, "{error}");
    assert!(error.to_string().contains("already exists"), "{error}");
    assert_eq!(files.made(&held.session), 1);
}

async fn a_desktop_no_longer_wanted_is_not_waited_for() {
    let (cluster, provisioner, held, _) = half_made().await;
    let old = group(&run_of(&cluster.temp.path().join("runs"), &held));
    assert_eq!(remove(&provisioner, &held).await.expect("removed"), Destroyed::Gone);
    assert_eq!(members(old), 0);
    assert_eq!(cluster.sim.cluster().vms().len(), 0);
    assert_eq!(provisioner.observe(&held).await, Observation::Absent);
}

async fn an_apply_that_hangs_is_ended_and_says_where_to_look() {
    let files = Files::new();
    let mut config = files.config();
    let gate = gate(files.temp.path());
    config.variables.insert("gate".into(), gate.to_str().unwrap().into());
    config.deadline = std::time::Duration::from_secs(3);
    let provisioner = files.provisioner(config);
    let spec = spec(&files.deployment);
    let held = reserve(&provisioner, &spec).await;
    let error = make(&provisioner, &held, &spec).await.expect_err("it hangs");
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("terraform.deadline"), "{error}");
    assert!(error.to_string().contains("/log"), "{error}");
    assert_eq!(members(group(&run_of(&files.runs(), &held))), 0);
}

async fn an_init_left_running_is_ended_before_another_begins() {
    let files = Files::new();
    let gate = gate(files.temp.path());
    let program = files.temp.path().join("slow");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" != init ] || cat '{}'\nexec terraform \"$@\"\n",
        gate.display()
    );
    std::fs::write(&program, script).unwrap();
    let allowed = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, allowed).unwrap();
    let mut config = files.config();
    config.program = program;
    let provisioner = files.provisioner(config);
    let spec = spec(&files.deployment);
    let held = reserve(&provisioner, &spec).await;
    begin(&provisioner, &held, &spec).await;
    let prepared = files.runs().join(".prepared");
    until("init runs", || prepared.join("leader").exists()).await;
    until("init waits", || named(group(&prepared), "cat") == 1).await;
    let old = group(&prepared);
    // Killed, its shell leaves the child that waits; that still holds the lock.
    rustix::process::kill_process(old, Signal::KILL).unwrap();
    drop(provisioner);
    let successor = files.provisioner(files.config());
    make(&successor, &held, &spec).await.expect("made");
    assert_eq!(members(old), 0, "the old init has ended");
}

async fn two_orchestrators_do_not_share_a_directory() {
    let files = Files::new();
    let first = files.provisioner(files.config());
    let second = TerraformProvisioner::new(files.config(), files.deployment.clone(), None);
    let error = second.expect_err("refused");
    assert_eq!(error.kind(), Kind::Conflict);
    assert!(error.to_string().contains("terraform.directory"), "{error}");
    drop(first);
    files.provisioner(files.config());
}
