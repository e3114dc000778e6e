//! Every password that is allowed arrives unharmed and is seen nowhere on its way: not in a list of
//! processes, a log, an event, a run directory or an error, on either side.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use daas_core::configurator::{Configurator, Stage};
use daas_core::owner::Owner;
use daas_core::secret::{Secret, crypt_password};
use daas_lab::domain::facts;
use daas_lab::{RdpClient, RdpTarget, Recipe, trials};

use crate::desk::{self, Desk, said};
use crate::domain::shows_a_desktop;
use crate::support::{assign, heard};

/// In every password of these trials, and nowhere else.
const MARK: &str = "Zq7Wk";

/// What DESIGN allows: any UTF-8 without NUL, CR and LF, up to 104 bytes.
fn odd_passwords() -> Vec<String> {
    let mut odd = vec![
        format!(" {MARK} blanks around "),
        format!("{MARK} it's \"quoted\" 'twice'"),
        format!("{MARK} $HOME $(id) `id` ${{x}}"),
        format!("\\{MARK}\\n back \\\\ slash\\"),
        format!("{MARK}:co:lon::"),
        format!("-{MARK} --leading"),
        format!("{MARK} pässwörd 日本 🦀"),
        format!("{MARK} {{{{ 7 * 7 }}}} {{% if %}} {{# x #}}"),
        format!("{MARK} %(USER) <a>&amp; ; | # !vault \t tab"),
    ];
    odd.push(format!("{MARK}{}", "x".repeat(104 - MARK.len())));
    odd.push(format!("{MARK}x{}", "é".repeat((104 - MARK.len() - 1) / 2)));
    odd
}

pub(crate) fn local() {
    trials::with_guests(&[Recipe::desk()], async |guests| {
        let desk = Desk::boot(&guests, "desk", "prepare = {}\nassign = {}", None).await;
        let watch = Watch::begin();
        desk.apply(&Stage::Prepare).await.unwrap();
        for password in odd_passwords() {
            let hash = crypt_password(&Secret::new(password.clone())).unwrap();
            watch.add(&hash);
            let (progress, words) = heard();
            let stage = assign("alice", &hash);
            let applied = desk.ansible.apply(&desk.context, &stage, &progress).await.unwrap();
            assert!(applied.changed >= 1, "{password:?}: {applied:?}");
            let told = format!("{applied:?} {:?}", words.lock().unwrap());
            assert!(!told.contains(MARK) && !told.contains(&hash), "{told}");
            arrives(&desk, guests.lab(), &password).await;
        }
        let hashes = watch.needles();
        assert_eq!(watch.end(), BTreeSet::new(), "seen in the list of processes");
        hidden(&desk, &hashes).await;
    });
}

/// This password lets alice in by PAM and by RDP, and no other does.
async fn arrives(desk: &Desk, lab: &Arc<daas_lab::Lab>, password: &str) {
    let (entered, said) = desk.log_in("alice", password, "true").await;
    assert!(entered, "{password:?}: {said}");
    for other in [format!("{password}x"), format!("x{password}"), password.trim().to_owned()] {
        let (entered, _) = desk.log_in("alice", &other, "true").await;
        assert!(!entered || other == password, "{other:?} for {password:?}");
    }
    let target = RdpTarget {
        address: SocketAddr::new(desk.context.address.unwrap(), 3389),
        user: "alice".to_owned(),
        password: password.to_owned(),
    };
    let mut client = RdpClient::connect(lab, &target).await.unwrap();
    if let Err(error) = client.wait_colours(1000, Duration::from_secs(60)).await {
        panic!("{password:?}: {error}\n{}", desk.logs().await);
    }
    client.close().await.unwrap();
}

/// Nothing in the guest holds a password, and nothing but its shadow file a hash.
async fn hidden(desk: &Desk, hashes: &[String]) {
    let places = ["/etc", "/home", "/root", "/run", "/tmp", "/var"];
    let grep = ["grep", "--recursive", "--text", "--files-with-matches", "--fixed-strings", "-s"];
    let own = MARK.to_owned();
    for needle in hashes.iter().chain([&own]) {
        let argv = [grep.as_slice(), &["-e", needle], &places].concat();
        let found = desk.guest.exec(&argv).await.unwrap();
        let found = String::from_utf8_lossy(&found.stdout).into_owned();
        let allowed = ["/etc/shadow", "/etc/shadow-"];
        let rest: Vec<&str> = found.lines().filter(|file| !allowed.contains(file)).collect();
        assert_eq!(rest, Vec::<&str>::new(), "hold {needle:?}");
    }
    let journal = desk.text(&["journalctl", "--no-pager"]).await;
    for needle in hashes.iter().chain([&own]) {
        assert!(!journal.contains(needle.as_str()), "{needle:?} in the journal");
    }
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
            ("jürgen.é", format!("-{MARK}0:colon, comma %(USER) & <x> 日本 🦀")),
            ("-dash $x", long),
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
        assert_eq!(watch.end(), BTreeSet::new(), "seen in the list of processes");
        let journal = said(&desk.guest.exec(&["journalctl", "--no-pager"]).await.unwrap());
        assert!(!journal.contains(MARK), "a password in the journal");
        let logs = ["grep", "-rlaF", MARK, "/var", "/etc", "/home", "/tmp"];
        let found = desk.guest.exec(&logs).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "hold a password");
    });
}

/// Looks at every process of the machine, those in guests among them, over and over.
struct Watch {
    needles: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
    looking: JoinHandle<BTreeSet<String>>,
}

impl Watch {
    fn begin() -> Self {
        let needles = Arc::new(Mutex::new(vec![MARK.to_owned()]));
        let over = Arc::new(AtomicBool::new(false));
        let (wanted, end) = (Arc::clone(&needles), Arc::clone(&over));
        let looking = std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while !end.load(Ordering::SeqCst) {
                let wanted = wanted.lock().unwrap().clone();
                seen.extend(shown().filter(|line| wanted.iter().any(|n| line.contains(n))));
                std::thread::sleep(Duration::from_millis(5));
            }
            seen
        });
        Self { needles, over, looking }
    }

    /// One more text that nobody may see.
    fn add(&self, needle: &str) {
        self.needles.lock().unwrap().push(needle.to_owned());
    }

    fn needles(&self) -> Vec<String> {
        self.needles.lock().unwrap()[1..].to_vec()
    }

    /// The command lines that held one.
    fn end(self) -> BTreeSet<String> {
        self.over.store(true, Ordering::SeqCst);
        self.looking.join().unwrap()
    }
}

/// The command line of every process.
fn shown() -> impl Iterator<Item = String> {
    let numbers = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let lines = numbers.filter_map(|path| fs::read(path.join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
}
