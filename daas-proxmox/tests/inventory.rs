//! Whose machines are listed, when administrators copy, rename and edit them by hand.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod bench;

use bench::{Administrator, Bench, make, remove, reserve};
use daas_core::machine::{Destroyed, Listed, MarkSeen, Observation, Power, Reservation};
use daas_core::provisioner::Provisioner;
use daas_proxmox::ProxmoxProvisioner;
use reqwest::Method;

/// A running desktop, its identity recorded as the engine does.
async fn desktop(bench: &Bench, p: &ProxmoxProvisioner) -> Reservation {
    let spec = bench.spec();
    let mut reservation = reserve(p, &spec).await.unwrap();
    let machine = make(p, &reservation, &spec, Power::Running).await.unwrap();
    reservation.uuid.clone_from(&machine.uuid);
    reservation.place.clone_from(&machine.place);
    reservation
}

async fn list(bench: &Bench, p: &ProxmoxProvisioner) -> Vec<Listed> {
    bench.sim.cluster().publish();
    let mut listed = p.list().await.unwrap();
    listed.sort_by(|a, b| a.machine.cmp(&b.machine));
    listed
}

fn path(held: &Reservation) -> String {
    format!("/nodes/{}/qemu/{}", held.place, held.machine)
}

#[tokio::test]
async fn the_list_tells_each_machines_own_uuid() {
    let bench = Bench::new().await;
    let p = bench.provisioner();
    let held = desktop(&bench, &p).await;
    let listed = list(&bench, &p).await;
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].uuid, listed[0].mark), (&held.uuid, MarkSeen::Own));
}

#[tokio::test]
async fn a_manual_clone_is_a_copy_whatever_its_name() {
    let bench = Bench::new().await;
    let p = bench.provisioner();
    let administrator = Administrator::of(&bench);
    let held = desktop(&bench, &p).await;
    // In our own range and under the very name of the desktop: only the mark tells.
    let form = [("newid", "5998"), ("name", held.session.as_str()), ("full", "1")];
    administrator.order(&bench, Method::POST, &format!("{}/clone", path(&held)), &form).await;
    let marks: Vec<_> = list(&bench, &p).await.into_iter().map(|l| (l.machine, l.mark)).collect();
    let copy = "5998".parse().unwrap();
    let mut expected = vec![(held.machine.clone(), MarkSeen::Own), (copy, MarkSeen::Copied)];
    expected.sort();
    assert_eq!(marks, expected);

    let taken_for_ours = Reservation { machine: "5998".parse().unwrap(), uuid: None, ..held };
    let answer = p.destroy(&taken_for_ours).await.unwrap();
    assert!(matches!(answer, Destroyed::LeftAlone(_)), "{answer:?}");
    assert!(bench.sim.cluster().vm(5998).is_some());
}

#[tokio::test]
async fn a_mark_taken_away_by_hand_is_noticed_and_the_machine_left_alone() {
    let bench = Bench::new().await;
    let p = bench.provisioner();
    let administrator = Administrator::of(&bench);
    let held = desktop(&bench, &p).await;
    assert_eq!(list(&bench, &p).await[0].mark, MarkSeen::Own);
    let notes = [("description", "mine now. Jean")];
    administrator.ask(&bench, Method::PUT, &format!("{}/config", path(&held)), &notes).await;
    // Its line of the overview is unchanged; a listing reads it again all the same.
    assert_eq!(list(&bench, &p).await[0].mark, MarkSeen::Missing);
    let answer = p.destroy(&held).await.unwrap();
    assert!(matches!(answer, Destroyed::LeftAlone(_)), "{answer:?}");
    assert_eq!(bench.made(&held), (1, 1), "nobody can prove that it is ours");
}

#[tokio::test]
async fn another_machine_under_the_same_name_and_id_is_not_taken_for_the_desktop() {
    let bench = Bench::new().await;
    let p = bench.provisioner();
    let administrator = Administrator::of(&bench);
    let held = desktop(&bench, &p).await;
    list(&bench, &p).await;
    let fresh = bench.provisioner();
    // Somebody gives it another uuid, as a restore of a backup does: name, tags and id are the same.
    let uuid = [("smbios1", "uuid=11111111-2222-3333-4444-555555555555")];
    administrator.ask(&bench, Method::PUT, &format!("{}/config", path(&held)), &uuid).await;
    list(&bench, &fresh).await;
    assert_eq!(fresh.observe(&held).await, Observation::Absent);
    let answer = fresh.destroy(&held).await.unwrap();
    assert!(matches!(answer, Destroyed::LeftAlone(_)), "{answer:?}");
}

/// A restart with many desktops reads each once, a portion at a time, and is never without a list.
#[tokio::test]
async fn many_machines_are_read_in_portions() {
    let bench = Bench::new().await;
    let p = bench.provisioner();
    let mut held = Vec::new();
    for _ in 0..55 {
        held.push(desktop(&bench, &p).await);
    }
    let fresh = bench.provisioner();
    let read = |listed: &[Listed]| listed.iter().filter(|l| l.uuid.is_some()).count();
    let first = list(&bench, &fresh).await;
    assert_eq!((first.len(), read(&first)), (55, 50));
    let second = list(&bench, &fresh).await;
    assert_eq!((second.len(), read(&second)), (55, 55));
    for reservation in &held {
        remove(&p, reservation).await.unwrap();
    }
    bench.nothing_left();
}
