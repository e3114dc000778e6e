//! The provisioner against the simulated cluster, over TLS.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod bench;

use std::time::Duration;

use bench::{Bench, make, remove, reserve};
use daas_core::Kind;
use daas_core::machine::{Observation, Power};
use daas_core::provisioner::{FindingState, Provisioner};
use daas_core::template::{AddressFrom, CloneMode, Template};
use daas_sim::{Effect, Fault, SimConfig, TemplateConfig, When};

#[tokio::test]
async fn a_machine_comes_and_goes() {
    let bench = Bench::new().await;
    let p = bench.provisioner();
    let spec = bench.spec();
    let mut reservation = reserve(&p, &spec).await.unwrap();
    assert_eq!(p.observe(&reservation).await, Observation::Absent);
    let machine = make(&p, &reservation, &spec, Power::Running).await.unwrap();
    assert_eq!(machine.session.as_ref(), Some(&spec.session));
    assert!(machine.address.is_some() && machine.uuid.is_some());
    reservation.uuid.clone_from(&machine.uuid);
    reservation.place.clone_from(&machine.place);

    let vmid: u32 = reservation.machine.as_str().parse().unwrap();
    let vm = bench.sim.cluster().vm(vmid).unwrap();
    assert_eq!(vm.options["name"], spec.session.as_str());
    assert_eq!(vm.options["memory"], "1024");
    assert!(vm.options["tags"].contains("daas-"), "{:?}", vm.options);

    let Observation::Present(seen) = p.observe(&reservation).await else { panic!("not there") };
    assert_eq!(seen.power, Power::Running);
    let again = make(&p, &reservation, &spec, Power::Running).await.unwrap();
    assert_eq!(again.uuid, machine.uuid);
    assert_eq!(bench.made(&reservation), (1, 1));
    let listed = p.list().await.unwrap();
    assert_eq!(listed.iter().map(|l| &l.session).collect::<Vec<_>>(), [&spec.session]);

    let stopped = make(&p, &reservation, &spec, Power::Stopped).await.unwrap();
    assert_eq!(stopped.power, Power::Stopped);
    make(&p, &reservation, &spec, Power::Running).await.unwrap();

    remove(&p, &reservation).await.unwrap();
    remove(&p, &reservation).await.unwrap();
    assert_eq!(p.observe(&reservation).await, Observation::Absent);
    let gone = make(&p, &reservation, &spec, Power::Running).await.unwrap_err();
    assert_eq!(gone.kind(), Kind::NotFound, "{gone}");
    bench.nothing_left();
}

/// Every order of a whole life, with every way to lose its answer: there is never a second machine,
/// and nothing is left.
#[tokio::test]
async fn orders_whose_answers_are_lost_are_never_doubled() {
    let orders = [
        ("POST", "/nodes/*/qemu/*/clone"),
        ("PUT", "/nodes/*/qemu/*/config"),
        ("POST", "/nodes/*/qemu/*/status/start"),
        ("POST", "/nodes/*/qemu/*/status/stop"),
        ("DELETE", "/nodes/*/qemu/*"),
    ];
    let proxy = |status: u16| Effect::ErrorAfter { status, reason: "Broken pipe".into() };
    let effects = [
        Effect::DropBefore,
        Effect::DropAfter,
        Effect::ErrorBefore { status: 595, reason: "Connection refused".into() },
        proxy(596),
        proxy(599),
        Effect::ErrorBefore { status: 500, reason: "got lock request timeout".into() },
        Effect::FailTask("can't lock file '/x' - got timeout".into()),
    ];
    let mut points = 0;
    for (method, path) in orders {
        for effect in &effects {
            if method == "PUT" && matches!(effect, Effect::FailTask(_)) {
                continue;
            }
            let bench = Bench::new().await;
            bench.sim.faults().add(Fault::once(method, path, effect.clone()));
            let p = bench.provisioner();
            let spec = bench.spec();
            let context = format!("{method} {path} {effect:?}");
            let mut reservation = reserve(&p, &spec).await.unwrap();
            let machine = make(&p, &reservation, &spec, Power::Running).await.expect(&context);
            reservation.uuid.clone_from(&machine.uuid);
            remove(&p, &reservation).await.expect(&context);
            let (made, there) = bench.made(&reservation);
            let undone =
                usize::from(path.ends_with("clone") && matches!(effect, Effect::FailTask(_)));
            assert_eq!((made, there), (1 + undone, 0), "{context}");
            bench.nothing_left();
            bench.sim.stop().await;
            points += 1;
        }
    }
    assert_eq!(points, 34);
}

/// The process dies after each order and another takes over: the durable reservation is enough.
#[tokio::test]
async fn a_successor_goes_on_where_its_predecessor_died() {
    for steps in 0..8 {
        let bench = Bench::new().await;
        let spec = bench.spec();
        let first = bench.provisioner();
        let reservation = reserve(&first, &spec).await.unwrap();
        for _ in 0..steps {
            let progress = daas_core::progress::Progress::silent();
            let call = first.ensure(&reservation, &spec, Power::Running, &progress);
            // Cut short at some await, as by a kill.
            let _ = tokio::time::timeout(Duration::from_millis(3 * steps), call).await;
        }
        drop(first);
        let second = bench.provisioner();
        make(&second, &reservation, &spec, Power::Running).await.unwrap();
        assert_eq!(bench.made(&reservation), (1, 1), "after {steps} steps");
        remove(&bench.provisioner(), &reservation).await.unwrap();
        bench.nothing_left();
        bench.sim.stop().await;
    }
}

#[tokio::test]
async fn somebody_elses_machine_is_never_touched() {
    let bench = Bench::new().await;
    let (p, spec) = (bench.provisioner(), bench.spec());
    let reservation = reserve(&p, &spec).await.unwrap();
    // Another deployment on the same cluster takes the same id.
    let other = Bench { deployment: daas_core::ids::DeploymentId::mint(), ..bench };
    let (theirs, their_spec) = (other.provisioner(), other.spec());
    let their_reservation = daas_core::machine::Reservation {
        session: their_spec.session.clone(),
        ..reservation.clone()
    };
    make(&theirs, &their_reservation, &their_spec, Power::Running).await.unwrap();

    let refused = make(&p, &reservation, &spec, Power::Running).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Conflict, "{refused}");
    assert_eq!(p.observe(&reservation).await, Observation::Absent);
    remove(&p, &reservation).await.unwrap();
    assert_eq!(other.made(&their_reservation), (1, 1));
    assert!(p.list().await.unwrap().is_empty(), "others' machines are not listed");
    assert_eq!(theirs.list().await.unwrap().len(), 1);
    remove(&theirs, &their_reservation).await.unwrap();
}

#[tokio::test]
async fn doubt_is_never_absence() {
    let bench = Bench::new().await;
    let (p, spec) = (bench.provisioner(), bench.spec());
    let mut reservation = reserve(&p, &spec).await.unwrap();
    let machine = make(&p, &reservation, &spec, Power::Running).await.unwrap();
    reservation.uuid.clone_from(&machine.uuid);
    bench.sim.faults().node_away(&machine.place);
    let fresh = bench.provisioner();
    let seen = fresh.observe(&reservation).await;
    assert!(!matches!(seen, Observation::Absent), "{seen:?}");
    let refused = fresh.destroy(&reservation).await;
    assert!(refused.is_err(), "{refused:?}");
    bench.sim.faults().node_back(&machine.place);
    remove(&fresh, &reservation).await.unwrap();
    bench.nothing_left();
}

#[tokio::test]
async fn what_is_wrong_is_named_with_the_way_out() {
    let bench = Bench::new().await;
    let (p, spec) = (bench.provisioner(), bench.spec());
    let check = |error: daas_core::Error, kind: Kind, words: &[&str]| {
        assert_eq!(error.kind(), kind, "{error}");
        for word in words {
            assert!(error.to_string().contains(word), "{word:?} is not in: {error}");
        }
    };
    let mut unknown = spec.clone();
    unknown.source = "no-such".into();
    check(reserve(&p, &unknown).await.unwrap_err(), Kind::Invalid, &["no-such", "9000"]);

    let mut config = bench.config();
    config.token = Some("daas@pve!daas=wrong".into());
    let wrong = daas_proxmox::ProxmoxProvisioner::new(config, bench.deployment.clone()).unwrap();
    check(reserve(&wrong, &spec).await.unwrap_err(), Kind::Denied, &["401", "proxmox.token"]);

    let mut config = bench.config();
    config.fingerprint = Some("00:".repeat(31) + "00");
    let wrong = daas_proxmox::ProxmoxProvisioner::new(config, bench.deployment.clone()).unwrap();
    let error = reserve(&wrong, &spec).await.unwrap_err();
    check(error, Kind::Denied, &["not trusted", "proxmox.fingerprint"]);

    let mut config = bench.config();
    config.fingerprint = None;
    let wrong = daas_proxmox::ProxmoxProvisioner::new(config, bench.deployment.clone()).unwrap();
    let error = reserve(&wrong, &spec).await.unwrap_err();
    check(error, Kind::Denied, &["not trusted", "proxmox.ca_file"]);

    let mut config = bench.config();
    config.url = "https://127.0.0.1:9".parse().unwrap();
    let away = daas_proxmox::ProxmoxProvisioner::new(config, bench.deployment.clone()).unwrap();
    let error = reserve(&away, &spec).await.unwrap_err();
    check(error, Kind::Unavailable, &["cannot reach", "proxmox.url"]);

    bench.sim.faults().fill("shared");
    let reservation = reserve(&p, &spec).await.unwrap();
    let error = make(&p, &reservation, &spec, Power::Running).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Exhausted, "{error}");
    bench.sim.faults().drain("shared");
    remove(&p, &reservation).await.unwrap();
    bench.nothing_left();
}

#[tokio::test]
async fn a_ca_file_and_a_password_work_too() {
    let bench = Bench::new().await;
    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), bench.sim.ca_pem()).unwrap();
    let mut config = bench.config();
    config.fingerprint = None;
    config.ca_file = Some(ca.path().to_owned());
    config.token = None;
    config.user = Some("daas@pve".into());
    config.password = Some("simulated".into());
    let p = daas_proxmox::ProxmoxProvisioner::new(config, bench.deployment.clone()).unwrap();
    let spec = bench.spec();
    let reservation = reserve(&p, &spec).await.unwrap();
    make(&p, &reservation, &spec, Power::Running).await.unwrap();
    remove(&p, &reservation).await.unwrap();
    bench.nothing_left();
}

#[tokio::test]
async fn a_ticket_that_ran_out_is_renewed() {
    let config = SimConfig { ticket_lifetime: Duration::from_secs(1), ..SimConfig::nodes(3) };
    let bench = Bench::with(config).await;
    let mut config = bench.config();
    config.token = None;
    config.user = Some("daas@pve".into());
    config.password = Some("simulated".into());
    let p = daas_proxmox::ProxmoxProvisioner::new(config, bench.deployment.clone()).unwrap();
    let spec = bench.spec();
    let reservation = reserve(&p, &spec).await.unwrap();
    // The ticket is void on the server's side before we would renew it.
    bench.sim.faults().add(Fault {
        when: When::Nth(1),
        ..Fault::always(
            "POST",
            "/nodes/*/qemu/*/clone",
            Effect::ErrorBefore {
                status: 401,
                reason: "permission denied - invalid PVE ticket".into(),
            },
        )
    });
    make(&p, &reservation, &spec, Power::Running).await.unwrap();
    remove(&p, &reservation).await.unwrap();
    bench.nothing_left();
}

#[tokio::test]
async fn a_template_without_an_agent_gives_consoles_only() {
    let mut config = SimConfig::nodes(3);
    let silent = TemplateConfig {
        agent: false,
        storage: "shared".into(),
        ..TemplateConfig::new(9001, "silent", "pve1")
    };
    config.templates.push(silent);
    let bench = Bench::with(config).await;
    let p = bench.provisioner();
    let mut spec = bench.spec();
    spec.source = "silent".into();
    let reservation = reserve(&p, &spec).await.unwrap();
    let error = make(&p, &reservation, &spec, Power::Running).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("agent: 1"), "{error}");
    spec.address_from = AddressFrom::None;
    let machine = make(&p, &reservation, &spec, Power::Running).await.unwrap();
    assert_eq!((machine.power, machine.address), (Power::Running, None));
    remove(&p, &reservation).await.unwrap();
}

#[tokio::test]
async fn full_clones_are_made_where_linked_ones_cannot() {
    let bench = Bench::new().await;
    let p = bench.provisioner();
    let mut spec = bench.spec();
    spec.clone = CloneMode::Full;
    spec.disk_gib = Some(16);
    let reservation = reserve(&p, &spec).await.unwrap();
    make(&p, &reservation, &spec, Power::Running).await.unwrap();
    let vmid: u32 = reservation.machine.as_str().parse().unwrap();
    let options = bench.sim.cluster().vm(vmid).unwrap().options;
    assert!(options.values().any(|v| v.contains("size=16G")), "{options:?}");
    remove(&p, &reservation).await.unwrap();
    bench.nothing_left();
}

#[tokio::test]
async fn a_locked_machine_is_waited_for() {
    let bench = Bench::new().await;
    let (p, spec) = (bench.provisioner(), bench.spec());
    let reservation = reserve(&p, &spec).await.unwrap();
    make(&p, &reservation, &spec, Power::Running).await.unwrap();
    let vmid: u32 = reservation.machine.as_str().parse().unwrap();
    bench.sim.faults().lock(vmid, "backup");
    let first = p.destroy(&reservation).await.unwrap();
    assert!(matches!(first, daas_core::machine::Destroyed::Underway(_)), "{first:?}");
    bench.sim.faults().unlock(vmid);
    remove(&p, &reservation).await.unwrap();
    bench.nothing_left();
}

#[tokio::test]
async fn the_doctor_tells_what_to_mend() {
    let bench = Bench::new().await;
    let p = bench.provisioner();
    let mut good = Template::new("lab".parse().unwrap(), "proxmox".parse().unwrap(), "9000");
    good.name = "good".parse().unwrap();
    let bad = Template::new("bad".parse().unwrap(), "proxmox".parse().unwrap(), "9999");
    let findings = p.extras().examine.unwrap().examine(&[good, bad]).await;
    let state = |what: &str| findings.iter().find(|f| f.what == what).map(|f| f.state);
    assert_eq!(state("connection"), Some(FindingState::Good), "{findings:#?}");
    assert_eq!(state("permissions"), Some(FindingState::Good), "{findings:#?}");
    assert_eq!(state("template good"), Some(FindingState::Good), "{findings:#?}");
    assert_eq!(state("template bad"), Some(FindingState::Bad), "{findings:#?}");
}

/// The overview lags behind: right after a removal it must not be believed.
#[tokio::test]
async fn a_machine_just_removed_is_absent_though_the_overview_still_shows_it() {
    let bench =
        Bench::with(SimConfig { statd_period: Duration::ZERO, ..SimConfig::nodes(3) }).await;
    let (p, spec) = (bench.provisioner(), bench.spec());
    let mut reservation = reserve(&p, &spec).await.unwrap();
    let machine = make(&p, &reservation, &spec, Power::Running).await.unwrap();
    reservation.uuid.clone_from(&machine.uuid);
    reservation.place.clone_from(&machine.place);
    assert_eq!(p.list().await.unwrap().len(), 1, "the overview is read while it is there");
    remove(&p, &reservation).await.unwrap();
    assert_eq!(p.observe(&reservation).await, Observation::Absent);
}
