//! The same profile on a real Debian with systemd, sshd, XFCE and XRDP, in a lab of its own.

#![allow(clippy::unwrap_used, reason = "a trial may panic")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use daas_core::Kind;
use daas_core::configurator::{
    Account, ActivityTarget, Configurator, GuestContext, PasswordHash, Stage,
};
use daas_core::owner::Owner;
use daas_core::progress::Progress;
use daas_core::secret::{Secret, crypt_password};
use daas_core::template::Template;
use daas_lab::secrecy::{self, Watch, odd_passwords};
use daas_lab::trials::{self, Needs};
use daas_lab::{Lab, NspawnGuest, NspawnGuests, RdpClient, RdpTarget, Recipe};
use daas_sim::guest::{Guest, GuestSpec, GuestState, Seed};
use daas_ssh::{SshConfig, SshConfigurator};
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

const BOOT_DEADLINE: Duration = Duration::from_secs(60);
const TOKEN: &str = "tok-0a1b2c3d4e";
const PASSWORD: &str = "it's $(a) pass\"word";
const MAC: &str = "BC:24:11:00:00:01";

fn main() {
    trials::run(vec![
        trials::trial("a_second_apply_changes_nothing", Needs::Guests, || {
            with_desks(a_second_apply_changes_nothing);
        }),
        trials::trial("a_guest_without_network_is_worth_another_try", Needs::Guests, || {
            with_desks(a_guest_without_network_is_worth_another_try);
        }),
        trials::trial("odd_passwords_arrive_unharmed_and_unseen", Needs::Desktop, || {
            with_desks(odd_passwords_arrive_unharmed_and_unseen);
        }),
        trials::trial("the_reporter_tells_who_is_there", Needs::Desktop, || {
            with_desks(the_reporter_tells_who_is_there);
        }),
    ]);
}

/// A configured guest and what came of it.
struct Desk {
    lab: Arc<Lab>,
    guest: Arc<NspawnGuest>,
    ssh: SshConfigurator,
    context: GuestContext,
    reports: UnboundedReceiver<Report>,
    /// What was seen of processes while reports came in.
    processes: String,
    _keys: tempfile::TempDir,
}

async fn a_second_apply_changes_nothing(guests: Arc<NspawnGuests>) {
    let mut desk = Desk::boot(&guests).await;
    let silent = Progress::silent();
    let first = desk.ssh.apply(&desk.context, &Stage::Prepare, &silent).await.unwrap();
    assert!(first.changed > 5, "{first:?}");
    desk.context.host_key = first.facts.host_key.clone();
    let again = desk.ssh.apply(&desk.context, &Stage::Prepare, &silent).await.unwrap();
    assert_eq!(again.changed, 0);
    assert_eq!(again.facts, first.facts);

    let openssl = ["openssl", "x509", "-in", "/etc/xrdp/cert.pem", "-noout"];
    let shown = text(&desk.guest, &[&openssl[..], &["-fingerprint", "-sha256"]].concat()).await;
    let shown = shown.rsplit('=').next().unwrap().replace(':', "").to_lowercase();
    assert_eq!(first.facts.rdp_certificate, Some(shown));
    let key = ["ssh-keygen", "-lf", "/etc/ssh/ssh_host_ed25519_key.pub"];
    assert!(text(&desk.guest, &key).await.contains(first.facts.host_key.as_deref().unwrap()));

    assert_eq!(desk.ssh.apply(&desk.context, &alice(), &silent).await.unwrap().changed, 2);
    assert_eq!(desk.ssh.apply(&desk.context, &alice(), &silent).await.unwrap().changed, 0);
    assert_eq!(text(&desk.guest, &["cat", "/home/alice/.xsession"]).await, "exec xfce4-session");
    let hash = crypt_password(&Secret::new(PASSWORD.to_owned())).unwrap();
    for name in ["_", "_x-y_9", "x-", "a2345678901234567890123456789012"] {
        let applied = desk.ssh.apply(&desk.context, &account(name, &hash), &silent).await.unwrap();
        assert_eq!(applied.changed, 2, "{name}");
        assert!(text(&desk.guest, &["getent", "shadow", name]).await.contains(&hash), "{name}");
    }
    let root = desk.ssh.apply(&desk.context, &account("xrdp", &hash), &silent).await;
    assert_eq!(root.unwrap_err().kind(), Kind::Invalid, "an account of the system");
    let keyboard = text(&desk.guest, &["cat", "/etc/default/keyboard"]).await;
    assert!(keyboard.contains("XKBLAYOUT=\"fr\""), "{keyboard}");
    assert_eq!(text(&desk.guest, &["systemctl", "is-system-running"]).await, "running");
}

async fn a_guest_without_network_is_worth_another_try(guests: Arc<NspawnGuests>) {
    let desk = Desk::boot(&guests).await;
    // An image whose package lists were never read, with one package missing.
    text(&desk.guest, &["sh", "-c", "rm -rf /var/lib/apt/lists/*; dpkg -P thunar"]).await;
    let silent = Progress::silent();
    let error = desk.ssh.apply(&desk.context, &Stage::Prepare, &silent).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("step desktop packages failed (exit 100)"), "{error}");
}

async fn odd_passwords_arrive_unharmed_and_unseen(guests: Arc<NspawnGuests>) {
    let desk = Desk::boot(&guests).await;
    let watch = Watch::begin();
    let silent = Progress::silent();
    desk.ssh.apply(&desk.context, &Stage::Prepare, &silent).await.unwrap();
    let mut hashes = Vec::new();
    // What XRDP loses is refused before anything exists.
    for password in odd_passwords() {
        let hash = crypt_password(&Secret::new(password.clone())).unwrap();
        watch.add(&hash);
        hashes.push(hash.clone());
        let applied = desk.ssh.apply(&desk.context, &account("alice", &hash), &silent).await;
        assert!(applied.as_ref().is_ok_and(|applied| applied.changed >= 1), "{applied:?}");
        let entered = secrecy::lets_in(&desk.lab, &desk.guest, &desk.target(password)).await;
        if let Err(error) = entered {
            panic!("{error}\n{}", desk.logs().await);
        }
    }
    assert_eq!(watch.end().unwrap(), BTreeSet::new(), "seen in the list of processes, or logged");
    let kept = secrecy::kept_in(&desk.guest, &hashes).await.unwrap();
    assert_eq!(kept, Vec::<String>::new(), "hold a password or a hash");
}

async fn the_reporter_tells_who_is_there(guests: Arc<NspawnGuests>) {
    let mut desk = Desk::boot(&guests).await;
    let silent = Progress::silent();
    desk.ssh.apply(&desk.context, &Stage::Prepare, &silent).await.unwrap();
    desk.ssh.apply(&desk.context, &alice(), &silent).await.unwrap();
    let nobody = desk
        .report("nobody is there", |report| report["sessions"] == Value::from(Vec::<Value>::new()))
        .await;
    assert_eq!(nobody["boot_id"].as_str().unwrap().len(), 36, "{nobody}");

    let mut client = desk.connect().await;
    desk.one("alice is connected", |session| session["state"] == "connected").await;
    let idle = desk.one("alice does nothing", |s| s["idle_seconds"].as_u64() >= Some(4)).await;
    assert!(idle["display"].as_str().unwrap().starts_with(':'), "{idle}");
    client.cut().await.unwrap();
    client.close().await.unwrap();
    let gone = desk.one("alice is gone", |session| session["state"] == "disconnected").await;
    assert!(gone["state_seconds"].as_u64().unwrap() <= 2, "{gone}");
    let long = |session: &Value| session["state_seconds"].as_u64() >= Some(5);
    // It still knows when it began, after a restart of its own.
    text(&desk.guest, &["systemctl", "restart", "daas-activity"]).await;
    let long = desk.one("alice is gone for long", long).await;
    assert_eq!(long["state"], "disconnected");

    let client = desk.connect().await;
    let back = desk.one("alice is back", |session| session["state"] == "connected").await;
    assert_eq!(back["user"], "alice");
    client.close().await.unwrap();
    text(&desk.guest, &["loginctl", "terminate-user", "alice"]).await;
    desk.report("her session is over", |report| report["sessions"].as_array().unwrap().is_empty())
        .await;

    let (sent, seen) = (desk.processes.matches("curl --disable").count(), desk.processes);
    assert!(sent > 5, "the reporter was seen at work:\n{seen}");
    assert!(!seen.contains(TOKEN), "{seen}");
    let journal = text(&desk.guest, &["journalctl", "--no-pager"]).await;
    assert!(journal.contains("daas-activity"), "{journal}");
    assert!(!journal.contains(TOKEN) && !journal.contains(PASSWORD), "a secret in the journal");
}

impl Desk {
    /// A desktop guest that has booted; nothing is configured yet.
    async fn boot(guests: &NspawnGuests) -> Desk {
        let keys = tempfile::tempdir().unwrap();
        let ssh = SshConfigurator::new(SshConfig::default().in_directory(keys.path())).unwrap();
        let spec = GuestSpec { vmid: 100, image: "desk".to_owned() };
        let guest = guests.guest(&spec).await.unwrap();
        guest.start(&seed(ssh.public_key())).await.unwrap();
        let mut state = guest.state();
        let up = state.wait_for(|state| *state == GuestState::AgentUp);
        assert!(timeout(BOOT_DEADLINE, up).await.is_ok(), "no boot:\n{}", guest.console());
        let listener = TcpListener::bind((daas_lab::GATEWAY, 0)).await.unwrap();
        let url = format!("https://{}/activity", listener.local_addr().unwrap());
        let (tls, ca_pem) = own_tls();
        let mut template =
            Template::new("lab".parse().unwrap(), "proxmox".parse().unwrap(), "desk");
        template.keyboard = Some("fr".to_owned());
        template.locale = Some("C.UTF-8".to_owned());
        let context = GuestContext {
            session: "desktop-7f3k2mq".parse().unwrap(),
            template,
            address: guests.lab().lease(MAC),
            host_key: None,
            activity: Some(ActivityTarget {
                url,
                token: Secret::new(TOKEN.to_owned()),
                ca_pem: Some(ca_pem),
                period: Duration::from_secs(3),
            }),
        };
        let lab = Arc::clone(guests.lab());
        let address = listener.local_addr().unwrap();
        drop(listener);
        let reports = collect(address, tls, Arc::clone(&guest));
        Desk { lab, guest, ssh, context, reports, processes: String::new(), _keys: keys }
    }

    async fn connect(&self) -> RdpClient {
        let target = self.target(PASSWORD.to_owned());
        let mut client = RdpClient::connect(&self.lab, &target).await.unwrap();
        if let Err(error) = client.wait_colours(1000, Duration::from_secs(30)).await {
            panic!("{error}\n{}", self.logs().await);
        }
        client
    }

    /// Her desktop, with this password.
    fn target(&self, password: String) -> RdpTarget {
        let address: SocketAddr = (self.context.address.unwrap(), 3389).into();
        RdpTarget { address, user: "alice".to_owned(), password }
    }

    /// What the guest wrote of the desktop, for people to read when a trial fails.
    async fn logs(&self) -> String {
        let logs = "tail -n 30 /var/log/xrdp.log /var/log/xrdp-sesman.log \
                    /home/alice/.xsession-errors; ps -eo user,args | tail -n 40";
        let logs = self.guest.exec(&["sh", "-c", logs]).await.unwrap();
        String::from_utf8_lossy(&logs.stdout).into_owned()
    }

    /// Waits for a report that is as wanted.
    async fn report(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let wait = async {
            loop {
                let Report { head, body, processes } =
                    self.reports.recv().await.expect("the listener runs");
                assert!(head.contains(&format!("Authorization: Bearer {TOKEN}\r\n")), "{head}");
                self.processes.push_str(&processes);
                last = body;
                if is(&last) {
                    return;
                }
            }
        };
        if timeout(Duration::from_secs(30), wait).await.is_err() {
            let unit = ["systemctl", "status", "--no-pager", "-n", "30", "daas-activity"];
            let status = self.guest.exec(&unit).await.unwrap();
            let status = String::from_utf8_lossy(&status.stdout).into_owned();
            panic!("not in time: {what}; last: {last}\n{status}");
        }
        last
    }

    /// The same for the only session in a report.
    async fn one(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let only = |report: &Value| match report["sessions"].as_array().unwrap().as_slice() {
            [session] => Some(session.clone()),
            _ => None,
        };
        let report = self.report(what, |report| only(report).is_some_and(|s| is(&s))).await;
        only(&report).unwrap()
    }
}

async fn text(guest: &NspawnGuest, argv: &[&str]) -> String {
    text_or(guest, argv).await.unwrap_or_else(|error| panic!("{argv:?}: {error}"))
}

/// What a program prints, or why it does not.
async fn text_or(guest: &NspawnGuest, argv: &[&str]) -> Result<String, String> {
    let output = guest.exec(argv).await.map_err(|e| e.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.code == Some(0) { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// A report: its head, what it tells, and the processes that everybody could see meanwhile.
struct Report {
    head: String,
    body: Value,
    processes: String,
}

/// Takes reports until the trial is over, but is away until two of them have failed.
fn collect(
    address: SocketAddr,
    tls: TlsAcceptor,
    guest: Arc<NspawnGuest>,
) -> UnboundedReceiver<Report> {
    let (sender, reports) = unbounded_channel();
    tokio::spawn(async move {
        let tries = "journalctl --no-pager -u daas-activity | grep -c 'curl: (7)'";
        let mut ticks = tokio::time::interval(Duration::from_millis(500));
        let failed = |count: String| count.parse::<u32>().is_ok_and(|count| count > 1);
        while !text_or(&guest, &["sh", "-c", tries]).await.is_ok_and(failed) {
            ticks.tick().await;
        }
        let listener = TcpListener::bind(address).await.unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            let stream = tls.accept(stream).await.unwrap();
            if sender.send(take(stream, &guest).await).is_err() {
                return;
            }
        }
    });
    reports
}

async fn take(mut stream: TlsStream<TcpStream>, guest: &NspawnGuest) -> Report {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            // Before the answer: who reports is still there to be seen.
            let processes = self::text(guest, &["ps", "-eo", "args"]).await;
            let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
            return Report { head: format!("{head}\r\n"), body, processes };
        }
        let mut more = [0; 4096];
        let read = stream.read(&mut more).await.unwrap();
        assert!(read > 0, "a report that ends early: {text}");
        bytes.extend_from_slice(&more[..read]);
    }
}

/// TLS by a certificate for the lab's gateway, and what to trust for it.
fn own_tls() -> (TlsAcceptor, String) {
    // Another trial may have chosen it already; it is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let made = rcgen::generate_simple_self_signed([daas_lab::GATEWAY.to_string()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), made.cert.pem())
}

fn alice() -> Stage {
    let hash = crypt_password(&Secret::new(PASSWORD.to_owned())).unwrap();
    // The same every time, as the orchestrator keeps it.
    static HASH: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    account("alice", HASH.get_or_init(|| hash))
}

fn account(user: &str, hash: &str) -> Stage {
    Stage::Assign {
        owner: Owner { realm: "lab".to_owned(), name: user.to_owned() },
        account: Some(Account {
            user: user.to_owned(),
            password_hash: Some(PasswordHash(hash.to_owned())),
        }),
    }
}

fn seed(key: &str) -> Seed {
    Seed {
        hostname: "desktop-7f3k2mq".to_owned(),
        user: None,
        password_hash: None,
        ssh_keys: vec![key.to_owned()],
        mac: MAC.to_owned(),
        address: None,
        cores: 1,
        memory_mib: 1024,
        agent: true,
        boot: Duration::ZERO,
        agent_start: Duration::ZERO,
    }
}

/// Runs a trial with desktop guests.
fn with_desks<F: Future<Output = ()>>(trial: impl FnOnce(Arc<NspawnGuests>) -> F) {
    trials::with_guests(&[Recipe::desk()], trial);
}
