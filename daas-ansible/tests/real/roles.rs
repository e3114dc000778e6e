//! The roles that ship, on a real Debian with systemd, sshd and XRDP in a lab of its own.

#![allow(clippy::unwrap_used, reason = "a trial may panic")]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use daas_ansible::{AnsibleConfig, AnsibleConfigurator, AnsibleProfile};
use daas_core::Kind;
use daas_core::configurator::{ActivityTarget, Configurator, GuestContext, Stage};
use daas_core::progress::Progress;
use daas_core::secret::{Secret, crypt_password};
use daas_core::template::Template;
use daas_lab::trials::{self, Needs};
use daas_lab::{NspawnGuest, NspawnGuests, Recipe};
use daas_sim::guest::{Guest, GuestSpec, GuestState, Seed};
use support::{Place, TOKEN, assign};
use tokio::time::timeout;

const BOOT_DEADLINE: Duration = Duration::from_secs(60);
const MAC: &str = "BC:24:11:00:00:01";

fn main() {
    let trials = vec![
        support::trial("the_roles_are_clean", None, the_roles_are_clean),
        support::trial("a_second_apply_changes_nothing", Needs::Guests.missing(), || {
            with_desks(a_second_apply_changes_nothing);
        }),
    ];
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), trials).exit();
}

/// By ansible-lint's strictest profile.
fn the_roles_are_clean() {
    let lint = support::ansible().unwrap().with_file_name("ansible-lint");
    let path = std::env::var("PATH").unwrap();
    let output = Command::new(&lint)
        .args(["--offline", "--strict", "--profile", "production", "--nocolor", "desktop.yml"])
        .args(["desktop_config", "ad_join"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("roles"))
        .env("PATH", format!("{}:{path}", lint.parent().unwrap().display()))
        .env("ANSIBLE_HOME", tempfile::tempdir().unwrap().path())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stderr.contains("Passed: 0 failure(s), 0 warning(s)"), "{stdout}{stderr}");
}

async fn a_second_apply_changes_nothing(guests: Arc<NspawnGuests>) {
    let mut desk = Desk::boot(&guests).await;
    let first = desk.apply(&Stage::Prepare).await.unwrap();
    assert!(first.changed > 5, "{first:?}");
    assert_eq!(first.warnings, Vec::<String>::new());
    desk.context.host_key = first.facts.host_key.clone();
    let again = desk.apply(&Stage::Prepare).await.unwrap();
    assert_eq!(again.changed, 0, "{again:?}");
    assert_eq!(again.facts, first.facts);
    let key = ["ssh-keygen", "-lf", "/etc/ssh/ssh_host_ed25519_key.pub"];
    assert!(desk.text(&key).await.contains(first.facts.host_key.as_deref().unwrap()));
    let openssl = ["openssl", "x509", "-in", "/etc/xrdp/desktop-7f3k2mq.pem", "-noout"];
    let shown = desk.text(&[&openssl[..], &["-fingerprint", "-sha256"]].concat()).await;
    let shown = shown.rsplit('=').next().unwrap().replace(':', "").to_lowercase();
    assert_eq!(first.facts.rdp_certificate, Some(shown));

    let hash = crypt_password(&Secret::from("it's $(a) pass\"word")).unwrap();
    for name in ["alice", "_", "_x-y_9", "a2345678901234567890123456789012"] {
        let applied = desk.apply(&assign(name, &hash)).await.unwrap();
        assert_eq!(applied.changed, 1, "{name}");
        assert!(desk.text(&["getent", "shadow", name]).await.contains(&hash), "{name}");
    }
    assert_eq!(desk.apply(&assign("alice", &hash)).await.unwrap().changed, 0);
    assert_eq!(desk.text(&["cat", "/home/alice/.xsession"]).await, "exec xfce4-session");
    let system = desk.apply(&assign("xrdp", &hash)).await.unwrap_err();
    assert_eq!(system.kind(), Kind::Invalid, "{system}");
    assert!(system.to_string().contains("is an account of the system"), "{system}");

    let keyboard = desk.text(&["cat", "/etc/default/keyboard"]).await;
    assert!(keyboard.contains("XKBLAYOUT=\"fr\""), "{keyboard}");
    for unit in ["xrdp", "daas-activity"] {
        assert_eq!(desk.text(&["systemctl", "is-active", unit]).await, "active", "{unit}");
    }
    let script = desk.text(&["cat", "/usr/local/lib/daas/activity"]).await;
    assert_eq!(script, daas_core::reporter::SCRIPT.trim());
    assert_eq!(desk.text(&["stat", "-c", "%a", "/etc/daas/activity.token"]).await, "600");
    let journal = desk.text(&["journalctl", "--no-pager"]).await;
    assert!(journal.contains("daas-activity"), "{journal}");
    assert!(!journal.contains(TOKEN) && !journal.contains(&hash), "a secret in the journal");
}

/// A guest, and what configures it.
struct Desk {
    guest: Arc<NspawnGuest>,
    ansible: AnsibleConfigurator,
    context: GuestContext,
    _place: Place,
}

impl Desk {
    /// A desktop guest that has booted; nothing is configured yet.
    async fn boot(guests: &NspawnGuests) -> Desk {
        let place = Place::new();
        let profile: AnsibleProfile = toml::from_str("prepare = {}\nassign = {}").unwrap();
        let mut config = AnsibleConfig {
            program: support::ansible().unwrap(),
            deadline: Duration::from_secs(300),
            ..AnsibleConfig::default()
        }
        .in_directory(place.directory.path());
        config.profiles.insert("lab".to_owned(), profile);
        let ansible = AnsibleConfigurator::new(config, None).unwrap();
        let spec = GuestSpec { vmid: 100, image: "desk".to_owned() };
        let guest = guests.guest(&spec).await.unwrap();
        guest.start(&seed(&place.public_key)).await.unwrap();
        let mut state = guest.state();
        let up = state.wait_for(|state| *state == GuestState::AgentUp);
        assert!(timeout(BOOT_DEADLINE, up).await.is_ok(), "no boot:\n{}", guest.console());
        let mut template =
            Template::new("lab".parse().unwrap(), "proxmox".parse().unwrap(), "desk");
        template.profile = Some("lab".to_owned());
        template.keyboard = Some("fr".to_owned());
        template.locale = Some("C.UTF-8".to_owned());
        let context = GuestContext {
            session: "desktop-7f3k2mq".parse().unwrap(),
            template,
            address: guests.lab().lease(MAC),
            host_key: None,
            activity: Some(ActivityTarget {
                url: format!("http://{}:9/activity", daas_lab::GATEWAY),
                token: Secret::from(TOKEN),
                ca_pem: None,
                period: Duration::from_secs(30),
            }),
        };
        Desk { guest, ansible, context, _place: place }
    }

    async fn apply(&self, stage: &Stage) -> daas_core::Result<daas_core::configurator::Applied> {
        self.ansible.apply(&self.context, stage, &Progress::silent()).await
    }

    /// What a program in the guest prints.
    async fn text(&self, argv: &[&str]) -> String {
        let output = self.guest.exec(argv).await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        assert_eq!(output.code, Some(0), "{argv:?}: {}", text(&output.stderr));
        text(&output.stdout)
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
