//! Real guests from end to end, each trial in a lab of its own, each with a leak check behind it.
//! Without root or programs the trials are ignored and say why; in CI that is a failure.

#![allow(clippy::unwrap_used, reason = "a trial may panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use daas_lab::trials::{self, Needs};
use daas_lab::{
    Lab, LabConfig, Leaks, NspawnGuest, NspawnGuests, RdpClient, RdpTarget, Recipe, Screen,
    Templates, sweep,
};
use daas_sim::guest::{AgentError, Guest, GuestError, GuestSpec, GuestState, Seed};
use serde_json::json;

/// Set for the child that [`a_killed_process_is_swept`] kills.
const VICTIM: &str = "DAAS_LAB_VICTIM";
const BOOT_DEADLINE: Duration = Duration::from_secs(60);

/// `openssl passwd -6 -salt lab correct-horse`
const PASSWORD: &str = "correct-horse";
const HASH: &str =
    "$6$lab$w7GlX2ddr4MXMwmNl.ZVmQNv1WFYNW/AKkY3Op0YtDDBmHdFh3.2GaGpTMNYIv9LIQLuJm6Ar0MG0bKoxpP7o0";

fn main() {
    if std::env::var_os(VICTIM).is_some() {
        return victim();
    }
    trials::run(vec![
        trials::trial("boots_with_a_lease_and_ssh", Needs::Guests, boots_with_a_lease_and_ssh),
        trials::trial("reboots_inside", Needs::Guests, reboots_inside),
        trials::trial("seeds_a_user", Needs::Guests, seeds_a_user),
        trials::trial("takes_a_fixed_address", Needs::Guests, takes_a_fixed_address),
        trials::trial("answers_as_a_guest_agent", Needs::Guests, answers_as_a_guest_agent),
        trials::trial("keeps_its_disk_through_power", Needs::Guests, keeps_its_disk_through_power),
        trials::trial("ends_in_order_and_by_itself", Needs::Guests, ends_in_order_and_by_itself),
        trials::trial("stops_at_any_moment", Needs::Guests, stops_at_any_moment),
        trials::trial("erase_leaves_nothing", Needs::Guests, erase_leaves_nothing),
        trials::trial("a_panic_leaves_nothing", Needs::Guests, a_panic_leaves_nothing),
        trials::trial("a_killed_process_is_swept", Needs::Guests, a_killed_process_is_swept),
        trials::trial("four_at_once", Needs::Guests, four_at_once),
        trials::trial(
            "a_packed_template_keeps_capabilities",
            Needs::Guests,
            a_packed_template_keeps_capabilities,
        ),
        trials::trial("screens_are_apart_and_stay", Needs::Desktop, screens_are_apart_and_stay),
        trials::trial("shows_a_desktop", Needs::Desktop, shows_a_desktop),
    ]);
}

fn boots_with_a_lease_and_ssh() {
    trials::with_guests(&[Recipe::base()], async |guests| {
        let seed = seed("desktop-2222222", 1);
        let guest = boot(&guests, "base", &seed).await;
        let address = guests.lab().lease(&seed.mac).unwrap();
        assert!(address.to_string().starts_with("10.77.0."), "{address}");
        assert_eq!(text(&guest, &["hostname"]).await, "desktop-2222222");
        assert_eq!(text(&guest, &["systemctl", "is-system-running"]).await, "running");
        let own = text(&guest, &["cat", "/etc/machine-id"]).await;
        let other = boot(&guests, "base", &self::seed("desktop-3333333", 2)).await;
        assert_ne!(own, text(&other, &["cat", "/etc/machine-id"]).await, "clones are not twins");
        let key = ["cat", "/etc/ssh/ssh_host_ed25519_key.pub"];
        assert_ne!(text(&guest, &key).await, text(&other, &key).await);
        // Two guests share a network, as two machines on a bridge do.
        let banner = format!("exec 3<>/dev/tcp/{address}/22; head -c 4 <&3");
        assert_eq!(text(&other, &["bash", "-c", &banner]).await, "SSH-");
    });
}

fn reboots_inside() {
    trials::with_guests(&[Recipe::base()], async |guests| {
        let seed = seed("desktop-2222222", 1);
        let guest = boot(&guests, "base", &seed).await;
        let boot_id = boot_of(&guest).await;
        let address = guests.lab().lease(&seed.mac);
        let mut state = guest.state();
        state.mark_unchanged();
        guest.exec(&["systemctl", "reboot"]).await.unwrap();
        reach(&guest, &mut state, GuestState::Booting).await;
        reach(&guest, &mut state, GuestState::AgentUp).await;
        assert_ne!(boot_of(&guest).await, boot_id, "it did boot again");
        assert_eq!(guests.lab().lease(&seed.mac), address, "it keeps its address");
    });
}

fn seeds_a_user() {
    trials::with_guests(&[Recipe::base()], async |guests| {
        let seed = Seed {
            user: Some("alice".to_owned()),
            password_hash: Some(HASH.to_owned()),
            ssh_keys: vec!["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample alice".to_owned()],
            ..seed("desktop-2222222", 1)
        };
        let guest = boot(&guests, "base", &seed).await;
        let id = text(&guest, &["id", "alice"]).await;
        assert!(id.starts_with("uid=1000(alice)"), "{id}");
        let shadow = text(&guest, &["getent", "shadow", "alice"]).await;
        assert!(shadow.contains(HASH), "the hash is kept as it came");
        let keys = ["stat", "-c", "%U %a", "/home/alice/.ssh/authorized_keys"];
        assert_eq!(text(&guest, &keys).await, "alice 600");
        assert_eq!(text(&guest, &["su", "alice", "-c", "sudo id -un"]).await, "root");
        let entered = guest.log_in("alice", PASSWORD, &["printf", "%s|", "a b", "$(id)"]).await;
        assert_eq!(entered.unwrap().stdout, b"a b|$(id)|");
        let refused = guest.log_in("alice", "another", &["true"]).await.unwrap();
        assert_eq!(refused.code, Some(1), "{refused:?}");
    });
}

fn takes_a_fixed_address() {
    trials::with_guests(&[Recipe::base()], async |guests| {
        let address = "10.77.0.40".parse().unwrap();
        let seed = Seed { address: Some(address), ..seed("desktop-2222222", 1) };
        let guest = boot(&guests, "base", &seed).await;
        assert_eq!(guests.lab().lease(&seed.mac), None);
        let links = guest.agent("guest-network-get-interfaces", json!({})).await.unwrap();
        assert!(links.to_string().contains("10.77.0.40"), "{links}");
    });
}

fn answers_as_a_guest_agent() {
    trials::with_guests(&[Recipe::base()], async |guests| {
        let seed = seed("desktop-2222222", 1);
        let guest = make(&guests, "base").await;
        let call = async |command: &str, arguments| guest.agent(command, arguments).await;
        assert!(matches!(call("guest-ping", json!({})).await, Err(AgentError::NotRunning)));
        guest.start(&seed).await.unwrap();
        // Asked while the guest boots, the agent answers when it can.
        let links = call("guest-network-get-interfaces", json!({})).await.unwrap();
        let card = links.as_array().unwrap().iter().find(|link| link["name"] == "eth0").unwrap();
        let mac = card["hardware-address"].as_str().unwrap();
        assert!(mac.eq_ignore_ascii_case(&seed.mac), "{card}");
        assert_eq!(card["ip-addresses"][0]["ip-address-type"], "ipv4");
        let name = call("guest-get-host-name", json!({})).await.unwrap();
        assert_eq!(name, json!({"host-name": "desktop-2222222"}));
        assert_eq!(call("guest-get-osinfo", json!({})).await.unwrap()["id"], "debian");

        let words = json!({"path": "printf", "arg": ["%s|", "a b", "$(id)", ";"]});
        assert_eq!(run_job(&guest, words).await["out-data"], "YSBifCQoaWQpfDt8");
        let failing = run_job(&guest, json!({"path": "false"})).await;
        assert_eq!(failing, json!({"exited": true, "exitcode": 1}));
        let echoed = run_job(&guest, json!({"path": "cat", "input-data": "aGk="})).await;
        assert_eq!(echoed["out-data"], "aGk=");

        // What the guest sees at this path, also when a link tries to lead out.
        let read = async |path: &str| call("guest-file-read", json!({"path": path})).await;
        guest.exec(&["ln", "-s", "../../../../../../etc/hostname", "/root/link"]).await.unwrap();
        assert_eq!(read("/root/link").await.unwrap()["buf-b64"], "ZGVza3RvcC0yMjIyMjIyCg==");
        guest.exec(&["ln", "-s", "/proc/1/root/etc/hostname", "/root/magic"]).await.unwrap();
        assert!(matches!(read("/root/magic").await, Err(AgentError::Refused(_))));
        assert!(matches!(read("/no/such/file").await, Err(AgentError::Refused(_))));
        assert!(matches!(call("guest-nonsense", json!({})).await, Err(AgentError::Refused(_))));
        assert!(guest.screen().await.is_err());
    });
}

fn keeps_its_disk_through_power() {
    trials::with_guests(&[Recipe::base()], async |guests| {
        let seed = seed("desktop-2222222", 1);
        let guest = boot(&guests, "base", &seed).await;
        guest.exec(&["sh", "-c", "echo mine > /root/kept; sync"]).await.unwrap();
        guest.stop().await.unwrap();
        assert_eq!(*guest.state().borrow(), GuestState::Off);
        assert!(matches!(guest.exec(&["true"]).await, Err(GuestError::Off)));
        guest.stop().await.unwrap();
        start(&guest, &seed).await;
        guest.start(&seed).await.unwrap();
        assert_eq!(text(&guest, &["cat", "/root/kept"]).await, "mine");
        let fresh = boot(&guests, "base", &self::seed("desktop-3333333", 2)).await;
        assert_eq!(fresh.exec(&["cat", "/root/kept"]).await.unwrap().code, Some(1));
    });
}

fn ends_in_order_and_by_itself() {
    trials::with_guests(&[Recipe::base()], async |guests| {
        let seed = seed("desktop-2222222", 1);
        let guest = boot(&guests, "base", &seed).await;
        guest.shutdown(Duration::from_secs(20)).await.unwrap();
        assert_eq!(*guest.state().borrow(), GuestState::Off);
        start(&guest, &seed).await;
        let mut state = guest.state();
        guest.exec(&["systemctl", "poweroff"]).await.unwrap();
        reach(&guest, &mut state, GuestState::Off).await;
        start(&guest, &seed).await;
        let late = guest.shutdown(Duration::ZERO).await;
        assert!(matches!(late, Err(GuestError::Deadline(_))), "{late:?}");
    });
}

fn stops_at_any_moment() {
    trials::with_guests(&[Recipe::base()], async |guests| {
        let lab = Arc::clone(guests.lab());
        let seed = seed("desktop-2222222", 1);
        let guest = boot(&guests, "base", &seed).await;
        guest.stop().await.unwrap();
        let leaks = Leaks::of(lab.config(), lab.id());
        for millis in (0..400).step_by(25) {
            guest.start(&seed).await.unwrap();
            let mut state = guest.state();
            let up = state.wait_for(|state| *state == GuestState::AgentUp);
            // Either is fine: the point is where the boot is cut.
            let _ = tokio::time::timeout(Duration::from_millis(millis), up).await;
            guest.stop().await.unwrap();
            assert_eq!(*guest.state().borrow(), GuestState::Off);
            assert_eq!(leaks.check(), Vec::<String>::new(), "cut after {millis} ms");
        }
        start(&guest, &seed).await;
    });
}

fn erase_leaves_nothing() {
    trials::with_guests(&[Recipe::base()], async |guests| {
        let lab = Arc::clone(guests.lab());
        let leaks = Leaks::of(lab.config(), lab.id());
        let guest = boot(&guests, "base", &seed("desktop-2222222", 1)).await;
        let idle = make(&guests, "base").await;
        assert!(!leaks.check().is_empty(), "the check sees a guest");
        guest.erase().await.unwrap();
        idle.erase().await.unwrap();
        assert_eq!(leaks.check(), Vec::<String>::new());
        assert!(matches!(guest.start(&seed("x", 1)).await, Err(GuestError::Erased)));
        guest.erase().await.unwrap();
    });
}

fn a_panic_leaves_nothing() {
    let config = LabConfig::from_env();
    let (tell, told) = std::sync::mpsc::channel();
    let ended = std::thread::spawn(move || {
        trials::with_guests(&[Recipe::base()], async |guests| {
            let guest = boot(&guests, "base", &seed("desktop-2222222", 1)).await;
            tell.send(guests.lab().id().to_owned()).unwrap();
            panic!("on purpose, with {} up", guest.name());
        });
    })
    .join();
    assert!(ended.is_err());
    let id = told.recv().unwrap();
    assert_eq!(left_of(&config, &id), Vec::<String>::new());
}

fn a_killed_process_is_swept() {
    // Records of its own: another trial that opens a lab must not sweep this one first.
    let state = tempfile::tempdir().unwrap();
    let config = LabConfig { state: state.path().to_owned(), ..LabConfig::from_env() };
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(VICTIM, "1")
        .env("DAAS_LAB_STATE", state.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(sweep(&config.state).unwrap().is_empty(), "a living run is not swept");
    child.kill().unwrap();
    child.wait().unwrap();
    let id = line.trim();
    assert_eq!(id.len(), 7, "the victim came up: {line:?}");
    let left = left_of(&config, id).join("\n");
    for kind in ["namespace", "process", "mount", "dir", "group"] {
        assert!(left.contains(kind), "a killed run leaves a {kind}:\n{left}");
    }
    assert_eq!(sweep(&config.state).unwrap(), [id]);
    assert_eq!(left_of(&config, id), Vec::<String>::new());
}

/// Opens a lab, boots a guest, says so, and waits to be killed.
fn victim() {
    trials::with_guests(&[Recipe::base()], async |guests| {
        let _guest = boot(&guests, "base", &seed("desktop-2222222", 1)).await;
        say(guests.lab().id());
        // Ends too when the parent does, so that no victim stays behind.
        let mut rest = String::new();
        std::io::stdin().read_line(&mut rest).unwrap();
    });
}

fn four_at_once() {
    trials::with_guests(&[Recipe::base()], async |guests| {
        let one = async |number: u8| {
            let seed = seed(&format!("desktop-222222{number}"), number);
            boot(&guests, "base", &seed).await;
            guests.lab().lease(&seed.mac).unwrap()
        };
        let (a, b, c, d) = tokio::join!(one(1), one(2), one(3), one(4));
        let mut addresses = vec![a, b, c, d];
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 4, "{addresses:?}");
    });
}

/// A template that came from another machine, packed, is the one that was packed.
fn a_packed_template_keeps_capabilities() {
    const NAME: &str = "security.capability";
    // `cap_net_raw=ep`, revision 2 (`linux/capability.h`).
    const VALUE: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let (tree, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ping = tree.path().join("ping");
    std::fs::write(&ping, "").unwrap();
    rustix::fs::setxattr(&ping, NAME, &VALUE, rustix::fs::XattrFlags::empty()).unwrap();
    let (templates, recipe) = (Templates::new(cache.path()), Recipe::base());
    let mut tar = Command::new("tar");
    tar.args(["--zstd", "--xattrs", "-C"]).arg(tree.path()).arg("-cf").arg(templates.pack(&recipe));
    assert!(tar.arg(".").status().unwrap().success());
    let unpacked = templates.ensure(&recipe).unwrap().join("ping");
    let mut found = [0; 64];
    let length = rustix::fs::getxattr(&unpacked, NAME, &mut found).unwrap();
    assert_eq!(found[..length], VALUE);
}

/// Who comes while the last one goes is let in, and two labs have two screens.
fn screens_are_apart_and_stay() {
    trials::in_lab(async |lab| {
        let other = Arc::new(Lab::open(LabConfig::from_env()).unwrap());
        let screens = [Screen::open(&lab).await.unwrap(), Screen::open(&other).await.unwrap()];
        let sockets = std::fs::read_to_string("/proc/thread-self/net/unix").unwrap();
        let socket = format!("/tmp/.X11-unix/X{}", screens[0].display());
        let own = sockets.lines().filter(|line| line.ends_with(&format!(" @{socket}"))).count();
        assert!(own > 0 && !sockets.contains(&format!(" {socket}")), "{socket} in\n{sockets}");
        let visit = || {
            // A connection's set-up, version 11, least significant byte first; 1 is success.
            let name = std::os::unix::net::SocketAddr::from_abstract_name(&socket).unwrap();
            let mut connection = UnixStream::connect_addr(&name).unwrap();
            connection.write_all(&[b'l', 0, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
            let mut answer = [0];
            connection.read_exact(&mut answer).unwrap();
            assert_eq!(answer, [1], "the screen refuses");
        };
        std::thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| (0..500).for_each(|_| visit()));
            }
        });
        for screen in screens {
            assert_eq!(screen.colours().await.unwrap(), 1);
            screen.close().await.unwrap();
        }
        other.close().unwrap();
    });
}

fn shows_a_desktop() {
    trials::with_guests(&[Recipe::desk()], async |guests| {
        let seed = Seed {
            user: Some("alice".to_owned()),
            password_hash: Some(HASH.to_owned()),
            ..seed("desktop-2222222", 1)
        };
        let guest = boot(&guests, "desk", &seed).await;
        let address = (guests.lab().lease(&seed.mac).unwrap(), 3389).into();
        let target = |password: &str| RdpTarget {
            address,
            user: "alice".to_owned(),
            password: password.to_owned(),
        };
        let mut client = RdpClient::connect(guests.lab(), &target(PASSWORD)).await.unwrap();
        if let Err(error) = client.wait_colours(1000, Duration::from_secs(60)).await {
            let logs = ["sh", "-c", "tail -n 40 /var/log/xrdp.log /var/log/xrdp-sesman.log"];
            panic!("{error}\n{}", text(&guest, &logs).await);
        }
        if let Some(file) = std::env::var_os("DAAS_LAB_SCREENSHOT") {
            client.screen().screenshot(std::path::Path::new(&file)).await.unwrap();
        }
        let who = text(&guest, &["loginctl", "list-sessions", "--no-legend"]).await;
        assert!(who.contains("alice"), "{who}");
        client.cut().await.unwrap();
        client.close().await.unwrap();

        let mut wrong = RdpClient::connect(guests.lab(), &target("wrong")).await.unwrap();
        let refused = wrong.wait_colours(1000, Duration::from_secs(6)).await;
        assert!(refused.is_err(), "a wrong password shows no desktop: {refused:?}");
        wrong.close().await.unwrap();
    });
}

/// What there is of a lab that ought to be gone.
fn left_of(config: &LabConfig, id: &str) -> Vec<String> {
    Leaks::of_absent(config, id).check()
}

async fn make(guests: &NspawnGuests, image: &str) -> Arc<NspawnGuest> {
    guests.guest(&GuestSpec { vmid: 100, image: image.to_owned() }).await.unwrap()
}

async fn boot(guests: &NspawnGuests, image: &str, seed: &Seed) -> Arc<NspawnGuest> {
    let guest = make(guests, image).await;
    start(&guest, seed).await;
    guest
}

async fn start(guest: &NspawnGuest, seed: &Seed) {
    guest.start(seed).await.unwrap();
    reach(guest, &mut guest.state(), GuestState::AgentUp).await;
}

async fn reach(
    guest: &NspawnGuest,
    state: &mut tokio::sync::watch::Receiver<GuestState>,
    wanted: GuestState,
) {
    let reached = tokio::time::timeout(BOOT_DEADLINE, state.wait_for(|state| *state == wanted));
    if reached.await.is_err() {
        panic!("{guest:?} did not reach {wanted:?}:\n{}", guest.console());
    }
}

async fn boot_of(guest: &NspawnGuest) -> String {
    // The kernel's boot_id is the host's; systemd's start time is the guest's own.
    let words = ["systemctl", "show", "--property=UserspaceTimestampMonotonic", "--value"];
    text(guest, &words).await
}

async fn text(guest: &NspawnGuest, argv: &[&str]) -> String {
    let output = guest.exec(argv).await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.code, Some(0), "{argv:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Runs a program through the agent's protocol, to its end.
async fn run_job(guest: &NspawnGuest, arguments: serde_json::Value) -> serde_json::Value {
    let job = guest.agent("guest-exec", arguments).await.unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    loop {
        ticks.tick().await;
        let status = guest.agent("guest-exec-status", job.clone()).await.unwrap();
        if status["exited"] == true {
            return status;
        }
        assert!(Instant::now() < end, "the program does not end");
    }
}

fn seed(hostname: &str, number: u8) -> Seed {
    Seed {
        hostname: hostname.to_owned(),
        user: None,
        password_hash: None,
        ssh_keys: Vec::new(),
        mac: format!("BC:24:11:00:00:{number:02X}"),
        address: None,
        cores: 1,
        memory_mib: 512,
        agent: true,
        boot: Duration::ZERO,
        agent_start: Duration::ZERO,
    }
}

#[expect(clippy::print_stdout, reason = "the victim speaks to its parent")]
fn say(line: &str) {
    println!("{line}");
}
