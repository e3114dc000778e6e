//! A real `ansible-playbook`: its events, failures, hangs and ends, and the configurator's contract.
//! The plays work on this machine; the guests are drawn ones, of which SSH servers are enough.

#![allow(clippy::unwrap_used, reason = "a trial may panic")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use daas_ansible::{AnsibleConfig, AnsibleConfigurator, Join, Logins};
use daas_core::configurator::{Configurator, GuestContext, Stage};
use daas_core::conformance::ConfiguratorBench;
use daas_core::directory::ComputerAccounts;
use daas_core::ids::{SessionId, SessionPrefix};
use daas_core::progress::Progress;
use daas_core::secret::{Secret, random_token};
use daas_core::{Error, Kind, Operation};
use daas_sim::guest::drawn::{DrawnGuest, DrawnGuests};
use daas_sim::guest::{Guest, GuestMaker};
use support::{
    HASH, Place, TOKEN, assign, block_on, context, guest, heard, hears, own_network, processes,
    signal, until,
};

/// How long a trial may take; the contract has many clauses, of several playbooks each.
const LIMIT: Duration = Duration::from_secs(600);
const SESSION: &str = "desktop-7f3k2mq";

fn main() {
    macro_rules! trials {
        ($($name:ident),* $(,)?) => {
            vec![$(support::trial(stringify!($name), None, || block_on(LIMIT, $name()))),*]
        };
    }
    let trials = trials![
        the_configurator_keeps_its_contract,
        changes_warnings_and_facts_are_told,
        a_failure_names_its_task_and_no_secret,
        what_no_log_hides_stays_hidden,
        the_shared_connection_of_ssh_ends_with_the_run,
        a_guest_that_is_another_or_refuses_us_is_told,
        a_guest_that_is_lost_is_worth_another_try,
        a_playbook_that_hangs_is_ended_at_its_deadline,
        a_dropped_run_leaves_no_process_and_no_file,
        a_killed_ansible_is_worth_another_try,
        nobody_sees_a_secret_while_it_runs,
        texts_are_data_whatever_they_hold,
        what_cannot_work_says_why,
    ];
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), trials).exit();
}

/// One guest, and what configures it.
struct Bench {
    place: Place,
    maker: DrawnGuests,
    guest: Arc<DrawnGuest>,
    context: GuestContext,
}

impl Bench {
    async fn new() -> Self {
        let place = Place::new();
        let maker = DrawnGuests::new(own_network());
        let guest = guest(&maker, 101, &place.public_key).await;
        let context = context(&guest, SESSION);
        Self { place, maker, guest, context }
    }

    fn ansible(&self, playbook: &str) -> AnsibleConfigurator {
        self.ansible_with(playbook, |_| {})
    }

    fn ansible_with(
        &self,
        playbook: &str,
        change: impl FnOnce(&mut AnsibleConfig),
    ) -> AnsibleConfigurator {
        let mut config = self.place.config(playbook);
        change(&mut config);
        AnsibleConfigurator::new(config, None).unwrap()
    }

    async fn fail(&self, playbook: &str) -> Error {
        let ansible = self.ansible(playbook);
        ansible.apply(&self.context, &Stage::Prepare, &Progress::silent()).await.unwrap_err()
    }

    /// Nothing of a run is left.
    fn check_clean(&self) {
        let run = self.place.run_of(&self.context);
        assert_eq!(processes(&run), Vec::<String>::new());
        let left = fs::read_dir(self.place.path("ansible")).map_or(0, |files| files.count());
        assert_eq!(left, 0, "files of runs");
    }

    async fn close(self) {
        self.check_clean();
        self.maker.close().await;
    }
}

async fn changes_warnings_and_facts_are_told() {
    let bench = Bench::new().await;
    let (progress, words) = heard();
    let ansible = bench.ansible("warns.yml");
    let applied = ansible.apply(&bench.context, &Stage::Prepare, &progress).await.unwrap();
    assert_eq!(applied.changed, 1, "{applied:?}");
    assert_eq!(
        applied.warnings,
        ["task \"Fail and go on\" failed, which is ignored: a small thing"]
    );
    assert_eq!(applied.facts.rdp_certificate, Some("ab".repeat(32)));
    assert!(applied.facts.host_key.unwrap().starts_with("SHA256:"));
    let words = words.lock().unwrap().clone();
    let expect = ["waiting for the guest", "Fail and go on", "Change", "Tell a fingerprint"];
    assert_eq!(words, expect);
    bench.close().await;
}

async fn a_failure_names_its_task_and_no_secret() {
    let bench = Bench::new().await;
    let error = bench.fail("fails.yml").await;
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    let text = error.chain();
    assert!(
        text.contains("configure desktop-7f3k2mq: task \"Refuse [redacted]\" failed"),
        "{text}"
    );
    assert!(text.contains("the reason: [redacted]"), "{text}");
    bench.close().await;
}

async fn what_no_log_hides_stays_hidden() {
    let bench = Bench::new().await;
    let text = bench.fail("hidden.yml").await.chain();
    assert!(text.ends_with("task \"Hide\" failed: hidden by no_log"), "{text}");
    bench.close().await;
}

async fn the_shared_connection_of_ssh_ends_with_the_run() {
    let bench = Bench::new().await;
    let ansible = bench.ansible("raw.yml");
    ansible.apply(&bench.context, &Stage::Prepare, &Progress::silent()).await.unwrap();
    let log = bench.guest.with_disk(|disk| {
        disk.log().map(|entry| format!("{:?} {}\n", entry.kind, entry.text)).collect::<String>()
    });
    assert!(log.contains("Login") && log.contains("hostname"), "{log}");
    bench.close().await;
}

async fn a_guest_that_is_another_or_refuses_us_is_told() {
    let mut bench = Bench::new().await;
    fs::remove_file(bench.place.path("ssh_key")).unwrap();
    let other = Place::new();
    fs::copy(other.path("ssh_key"), bench.place.path("ssh_key")).unwrap();
    let error = bench.fail("raw.yml").await;
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    assert!(error.to_string().contains("refuses our key for root"), "{error}");
    bench.context.host_key = Some("SHA256:another".to_owned());
    let error = bench.fail("raw.yml").await;
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    assert!(error.to_string().contains("SHA256:another was seen first"), "{error}");
    bench.close().await;
}

async fn a_guest_that_is_lost_is_worth_another_try() {
    let bench = Bench::new().await;
    let error = bench.fail("elsewhere.yml").await;
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("cannot be reached"), "{error}");
    bench.guest.stop().await.unwrap();
    let error = bench.fail("raw.yml").await;
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("no SSH answer at"), "{error}");
    bench.close().await;
}

async fn a_playbook_that_hangs_is_ended_at_its_deadline() {
    let bench = Bench::new().await;
    let ansible = bench.ansible_with("hangs.yml", |c| c.deadline = Duration::from_secs(20));
    let silent = Progress::silent();
    let error = ansible.apply(&bench.context, &Stage::Prepare, &silent).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("did not end within 20 s (at \"Hang\")"), "{error}");
    // At once: `apply` has answered.
    bench.close().await;
}

async fn a_dropped_run_leaves_no_process_and_no_file() {
    let bench = Bench::new().await;
    let ansible = bench.ansible("hangs.yml");
    let (progress, begun) = signal("Hang");
    let run = bench.place.run_of(&bench.context);
    {
        let applying = ansible.apply(&bench.context, &Stage::Prepare, &progress);
        tokio::pin!(applying);
        tokio::select! {
            ended = &mut applying => panic!("it ended: {ended:?}"),
            () = begun.notified() => {}
        }
        let asleep = || processes(&run).iter().any(|text| text.contains("sleep 600"));
        tokio::select! {
            ended = &mut applying => panic!("it ended: {ended:?}"),
            () = until("it sleeps", asleep) => {}
        }
    }
    until("the processes are gone", || processes(&run).is_empty()).await;
    until("the files are gone", || !run.with_extension("lock").exists()).await;
    // And another can begin.
    let ansible = bench.ansible("warns.yml");
    ansible.apply(&bench.context, &Stage::Prepare, &Progress::silent()).await.unwrap();
    bench.close().await;
}

async fn a_killed_ansible_is_worth_another_try() {
    let bench = Bench::new().await;
    let ansible = bench.ansible("hangs.yml");
    let (progress, begun) = signal("Hang");
    let run = bench.place.run_of(&bench.context);
    let killing = async {
        hears(&begun).await;
        // The process group's leader: the only one whose parent is this process.
        let own = std::process::id().to_string();
        let parent = |pid: &str| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
            line.map(|text| text.trim().to_owned())
        };
        let all = processes(&run);
        let mut pids = all.iter().filter_map(|text| text.split(' ').next());
        let leader = pids.find(|pid| parent(pid).as_ref() == Some(&own)).unwrap();
        let pid = rustix::process::Pid::from_raw(leader.parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    };
    let applying = ansible.apply(&bench.context, &Stage::Prepare, &progress);
    let (applied, ()) = tokio::join!(applying, killing);
    let error = applied.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("signal: 9"), "{error}");
    bench.close().await;
}

async fn nobody_sees_a_secret_while_it_runs() {
    let bench = Bench::new().await;
    let ansible = bench.ansible_with("hangs.yml", |c| c.deadline = Duration::from_secs(20));
    let (progress, begun) = signal("Hang");
    let run = bench.place.run_of(&bench.context);
    let looking = async {
        hears(&begun).await;
        let shown = processes(&run).join("\n");
        assert!(shown.contains("hangs.yml"), "{shown}");
        for secret in [TOKEN, HASH, "alice"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
        assert_eq!(open_to_others(&bench.place.path("ansible")), Vec::<String>::new());
        let vars = fs::read_to_string(run.join("session.yml")).unwrap();
        assert!(vars.contains(HASH) && vars.contains(TOKEN), "the file that Ansible reads");
    };
    let stage = assign("alice", HASH);
    let applying = ansible.apply(&bench.context, &stage, &progress);
    let (applied, ()) = tokio::join!(applying, looking);
    let text = applied.unwrap_err().chain();
    assert!(!text.contains(TOKEN) && !text.contains(HASH), "{text}");
    bench.close().await;
}

/// Files below `path` that others than their owner may do anything with.
fn open_to_others(path: &Path) -> Vec<String> {
    let mode = path.symlink_metadata().unwrap().permissions().mode();
    let mut found = Vec::new();
    if mode & 0o077 != 0 {
        found.push(format!("{} {mode:o}", path.display()));
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        // Sockets and what is below Ansible's own directories are behind ours of mode 0700.
        if entry.file_type().unwrap().is_file() || entry.path().parent() == Some(path) {
            found.extend(open_to_others(&entry.path()));
        }
    }
    found
}

async fn texts_are_data_whatever_they_hold() {
    let mut bench = Bench::new().await;
    let odd = [
        ["anne marie o'neil", "{{ 7 * 7 }}", "{% if %} {# x #}", "!vault | - : # & *"],
        ["\"quoted\" \\ $HOME `id` $(id)", "-leading", "straße 日本 🦀", "yes"],
    ];
    let ansible = bench.ansible("data.yml");
    for [owner, user, hash, keyboard] in odd {
        bench.context.template.keyboard = Some(keyboard.to_owned());
        let mut stage = assign(user, hash);
        if let Stage::Assign { owner: whose, .. } = &mut stage {
            whose.name = owner.to_owned();
        }
        ansible.apply(&bench.context, &stage, &Progress::silent()).await.unwrap();
        let told = [("owner", owner), ("user", user), ("hash", hash), ("keyboard", keyboard)];
        for (name, text) in told {
            assert_eq!(bench.place.left(&bench.context, name), text, "{name}");
        }
    }
    bench.close().await;
}

async fn what_cannot_work_says_why() {
    let mut bench = Bench::new().await;
    let script = |name: &str, line: &str| {
        let path = bench.place.path(name);
        fs::write(&path, format!("#!/bin/sh\necho '{line}'\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let old = script("old", "ansible-playbook [core 2.13.9]");
    let silent = script("silent", "");
    for (program, expect) in [
        ("/nowhere/ansible-playbook".into(), "is not there; install ansible-core 2.14"),
        (old, "is ansible-playbook [core 2.13.9]; ansible-core 2.14 or later is needed"),
        (silent, "could not be run: --version says"),
    ] {
        let ansible = bench.ansible_with("warns.yml", |c| c.program = program);
        let applied = ansible.apply(&bench.context, &Stage::Prepare, &Progress::silent()).await;
        let text = applied.unwrap_err().to_string();
        assert!(text.contains(expect), "{text}");
    }
    let error = bench.fail("broken.yml").await;
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    assert!(error.to_string().contains("no_such_module"), "{error}");

    let missing = bench.place.config("no_such_playbook.yml");
    let error = AnsibleConfigurator::new(missing, None).unwrap_err();
    assert!(error.to_string().contains("no_such_playbook.yml is not there"), "{error}");

    let mut joins = bench.place.config("warns.yml");
    joins.profiles.get_mut("lab").unwrap().join = Some(joining(vec![]));
    let directory = Arc::new(Accounts::default());
    let ansible = AnsibleConfigurator::new(joins, Some(Arc::clone(&directory) as _)).unwrap();
    let applied = ansible.apply(&bench.context, &Stage::Prepare, &Progress::silent()).await;
    let text = applied.unwrap_err().to_string();
    assert!(text.contains("does not say whether the guest is joined"), "{text}");
    assert!(directory.state().accounts.is_empty(), "no account without need");

    let ansible = bench.ansible("warns.yml");
    let applied = ansible.apply(&bench.context, &assign("root", HASH), &Progress::silent()).await;
    assert!(applied.unwrap_err().to_string().contains("administrator's account"));
    bench.context.address = None;
    assert!(bench.fail("warns.yml").await.to_string().contains("no address"));
    bench.close().await;
}

async fn the_configurator_keeps_its_contract() {
    let benches = Arc::new(Mutex::new(Vec::new()));
    let made = Arc::clone(&benches);
    daas_core::conformance::configurator(move || {
        let bench = Arc::new(ContractBench::new());
        made.lock().unwrap().push(Arc::clone(&bench));
        async move { bench as Arc<dyn ConfiguratorBench> }
    })
    .await;
    let benches = std::mem::take(&mut *benches.lock().unwrap());
    for bench in benches {
        let runs = bench.place.path("ansible");
        until("no run is left", || processes(&runs).is_empty()).await;
        bench.maker.close().await;
    }
}

/// Guests that join: their accounts are the effects.
struct ContractBench {
    place: Place,
    maker: DrawnGuests,
    made: Mutex<Vec<Arc<DrawnGuest>>>,
    accounts: Arc<Accounts>,
    configurator: Arc<AnsibleConfigurator>,
}

impl ContractBench {
    fn new() -> Self {
        let place = Place::new();
        let accounts = Arc::new(Accounts::default());
        let mut config = place.config("site.yml");
        let tags = vec!["ad_join".to_owned()];
        config.profiles.get_mut("lab").unwrap().join = Some(joining(tags));
        let directory = Arc::clone(&accounts) as Arc<dyn ComputerAccounts>;
        let configurator = Arc::new(AnsibleConfigurator::new(config, Some(directory)).unwrap());
        let maker = DrawnGuests::new(own_network());
        Self { place, maker, made: Mutex::default(), accounts, configurator }
    }
}

#[async_trait]
impl ConfiguratorBench for ContractBench {
    fn configurator(&self) -> Arc<dyn Configurator> {
        Arc::clone(&self.configurator) as Arc<dyn Configurator>
    }

    async fn guest(&self) -> GuestContext {
        let vmid = 101 + u32::try_from(self.made.lock().unwrap().len()).unwrap();
        let guest = guest(&self.maker, vmid, &self.place.public_key).await;
        let session = SessionId::mint(&SessionPrefix::default());
        let context = context(&guest, session.as_str());
        self.made.lock().unwrap().push(guest);
        context
    }

    async fn guest_without_profile(&self) -> Option<GuestContext> {
        let mut guest = self.guest().await;
        guest.template.profile = Some("missing".to_owned());
        Some(guest)
    }

    async fn effects_there(&self) -> Vec<String> {
        self.accounts.state().accounts.keys().cloned().collect()
    }

    async fn put_strange_effect(&self) {
        self.accounts.state().accounts.insert("CN=STRANGER".to_owned(), None);
    }

    async fn set_away(&self, away: bool) {
        self.accounts.state().away = away;
        let guests = self.made.lock().unwrap().clone();
        for guest in guests {
            if away {
                guest.stop().await.unwrap();
            } else {
                support::start(&guest, &self.place.public_key).await;
            }
        }
    }
}

/// A directory in memory. A password that was replaced is worth nothing any more, as in a real one.
#[derive(Debug, Default)]
struct Accounts(Mutex<Directory>);

#[derive(Debug, Default)]
struct Directory {
    /// By name, with the session in the mark; absent for a stranger's.
    accounts: BTreeMap<String, Option<SessionId>>,
    away: bool,
}

impl Accounts {
    fn state(&self) -> std::sync::MutexGuard<'_, Directory> {
        self.0.lock().unwrap()
    }

    fn reached(&self) -> daas_core::Result<std::sync::MutexGuard<'_, Directory>> {
        let state = self.state();
        if state.away {
            let why = "the directory does not answer";
            return Err(Error::new(Kind::Unavailable, Operation::Configure, "directory", why));
        }
        Ok(state)
    }
}

#[async_trait]
impl ComputerAccounts for Accounts {
    fn account(&self, session: &SessionId) -> String {
        format!("CN={session}")
    }

    async fn stage(&self, session: &SessionId) -> daas_core::Result<Secret<String>> {
        let key = self.account(session);
        self.reached()?.accounts.insert(key, Some(session.clone()));
        Ok(random_token())
    }

    async fn remove(&self, account: &str) -> daas_core::Result<()> {
        self.reached()?.accounts.remove(account);
        Ok(())
    }

    async fn list(&self) -> daas_core::Result<Vec<(SessionId, String)>> {
        let state = self.reached()?;
        let ours = state.accounts.iter().filter_map(|(key, s)| Some((s.clone()?, key.clone())));
        Ok(ours.collect())
    }
}

fn joining(tags: Vec<String>) -> Join {
    Join { domain: "lab.test".into(), allowed_groups: vec![], logins: Logins::Owner, tags }
}
