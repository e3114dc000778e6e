//! The roles by themselves: clean, idempotent, and what they leave in a guest.

use std::path::Path;
use std::process::Command;

use daas_core::Kind;
use daas_core::configurator::Stage;
use daas_core::secret::{Secret, crypt_password};
use daas_lab::{Recipe, trials};

use crate::desk::Desk;
use crate::support::{self, TOKEN, assign};

/// By ansible-lint's strictest profile.
pub(crate) fn the_roles_are_clean() {
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

pub(crate) fn a_second_apply_changes_nothing() {
    trials::with_guests(&[Recipe::desk()], async |guests| {
        let desk = Desk::boot(&guests, "desk", "prepare = {}\nassign = {}", None).await;
        the_second_changes_nothing(desk).await;
    });
}

async fn the_second_changes_nothing(mut desk: Desk) {
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
        // The account, and its password.
        assert_eq!(applied.changed, 2, "{name}");
        assert!(desk.text(&["getent", "shadow", name]).await.contains(&hash), "{name}");
    }
    assert_eq!(desk.apply(&assign("alice", &hash)).await.unwrap().changed, 0);
    let session = desk.text(&["readlink", "--canonicalize", "/usr/bin/x-session-manager"]).await;
    assert_eq!(session, "/usr/bin/xfce4-session");
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
