//! Variables that a real `ansible-vault` encrypted: opened by a password's file and by a command, and
//! what is said when neither does.

#![allow(clippy::unwrap_used, reason = "a trial may panic")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use daas_ansible::AnsibleConfigurator;
use daas_core::configurator::{Applied, Configurator, GuestContext, Stage};
use daas_core::progress::Progress;
use daas_core::{Error, Kind};
use daas_sim::guest::GuestMaker;
use daas_sim::guest::drawn::DrawnGuests;
use support::{Place, block_on, context, guest, own_network, processes};

const LIMIT: Duration = Duration::from_secs(300);
const PASSWORD: &str = "Vp4 right";
/// What the vault holds.
const WORD: &str = "Vw8: 'in' the \"vault\"";
/// In both of them and in wrong passwords, and in no error.
const MARKS: [&str; 3] = ["Vp4", "Vw8", "Vc2"];

fn main() {
    let trials = vec![
        support::trial("a_vault_is_opened", None, || block_on(LIMIT, a_vault_is_opened())),
        support::trial("a_vault_that_stays_closed_says_why", None, || {
            block_on(LIMIT, a_vault_that_stays_closed_says_why());
        }),
    ];
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), trials).exit();
}

/// A guest, and two files of variables that the vault's password opens: one encrypted as a whole, one
/// with an encrypted variable.
struct Bench {
    place: Place,
    maker: DrawnGuests,
    context: GuestContext,
}

impl Bench {
    async fn new() -> Self {
        let place = Place::new();
        let maker = DrawnGuests::new(own_network());
        let guest = guest(&maker, 101, &place.public_key).await;
        let context = context(&guest, "desktop-7f3k2mq");
        let bench = Self { place, maker, context };
        let password = bench.file("password", PASSWORD, 0o600);
        let word = serde_json::to_string(WORD).unwrap();
        let whole = bench.file("whole.yml", &format!("vault_word: {word}\n"), 0o600);
        bench.vault(&["encrypt"], &password, &[whole.to_str().unwrap()]);
        let one = bench.vault(&["encrypt_string"], &password, &["--name", "vault_word", WORD]);
        bench.file("one.yml", &one, 0o600);
        for name in ["whole.yml", "one.yml"] {
            let text = fs::read_to_string(bench.place.path(name)).unwrap();
            assert!(text.contains("$ANSIBLE_VAULT") && !text.contains("Vw8"), "{text}");
        }
        bench
    }

    /// What `ansible-vault` prints.
    fn vault(&self, first: &[&str], password: &Path, rest: &[&str]) -> String {
        let mut vault = Command::new(support::beside_ansible("ansible-vault"));
        vault.args(first).arg("--vault-password-file").arg(password).args(rest);
        let output = vault.current_dir(self.place.directory.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.place.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// Applies a play that writes what the vault holds.
    async fn apply(&self, variables: &str, password: Option<PathBuf>) -> Result<Applied, Error> {
        let mut config = self.place.config("vault.yml");
        config.vault_password_file = password;
        let profile = config.profiles.get_mut("lab").unwrap();
        let file = self.place.path(variables).display().to_string();
        profile.variables.insert("vault_file".to_owned(), file.into());
        let ansible = AnsibleConfigurator::new(config, None).unwrap();
        ansible.apply(&self.context, &Stage::Prepare, &Progress::silent()).await
    }
}

async fn a_vault_is_opened() {
    let bench = Bench::new().await;
    let script = format!("#!/bin/sh\necho '{PASSWORD}'\n");
    let command = bench.file("command", &script, 0o700);
    for (variables, password) in [
        ("whole.yml", bench.place.path("password")),
        ("one.yml", bench.place.path("password")),
        ("one.yml", command.clone()),
        ("whole.yml", command),
    ] {
        bench.apply(variables, Some(password)).await.unwrap();
        assert_eq!(bench.place.left(&bench.context, "word"), WORD, "{variables}");
        fs::remove_file(bench.place.path("guests/desktop-7f3k2mq/word")).unwrap();
    }
    bench.maker.close().await;
}

async fn a_vault_that_stays_closed_says_why() {
    let bench = Bench::new().await;
    let wrong = bench.file("wrong", "Vc2 wrong", 0o600);
    let prints = bench.file("prints", "#!/bin/sh\necho 'Vc2 wrong'\n", 0o700);
    let fails = bench.file("fails", "#!/bin/sh\necho 'Vc2 key' >&2\nexit 3\n", 0o700);
    let empty = bench.file("empty", "", 0o600);
    let another = "Decryption failed (no vault secrets were found that could decrypt)";
    for (variables, password, kind, expect, way_out) in [
        ("whole.yml", Some(&wrong), Kind::Invalid, another, "holds, or prints, another password"),
        ("one.yml", Some(&wrong), Kind::Invalid, another, "holds, or prints, another password"),
        ("whole.yml", Some(&prints), Kind::Invalid, another, "holds, or prints, another password"),
        ("whole.yml", None, Kind::Invalid, "no vault secrets found", "set ansible.vault_password"),
        ("one.yml", None, Kind::Invalid, "no vault secrets found", "set ansible.vault_password"),
        ("one.yml", Some(&fails), Kind::Unavailable, "returned non-zero (3)", "mend what"),
        ("one.yml", Some(&empty), Kind::Invalid, "Invalid vault password", "mend what"),
    ] {
        let error = bench.apply(variables, password.cloned()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let text = error.chain();
        for expect in ["the vault stays closed: ", expect, way_out, "ansible.vault_password_file"] {
            assert!(text.contains(expect), "{expect:?} is not in: {text}");
        }
        assert!(!MARKS.iter().any(|mark| text.contains(mark)), "a secret is in: {text}");
        assert!(!text.contains('\n'), "more than its line: {text}");
        assert!(!bench.place.path("guests/desktop-7f3k2mq/word").exists(), "{variables}");
        let run = bench.place.run_of(&bench.context);
        assert_eq!(processes(&run), Vec::<String>::new());
        assert_eq!(fs::read_dir(bench.place.path("ansible")).unwrap().count(), 0, "files of runs");
    }
    bench.maker.close().await;
}
