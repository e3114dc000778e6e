//! The configurator against drawn guests: real SSH, a disk that can be looked at.

#![allow(clippy::unwrap_used, reason = "a test that unwraps an error has failed")]

mod support;

use std::time::Duration;

use daas_core::Kind;
use daas_core::configurator::{Configurator, Stage};
use daas_core::ledger::Effect;
use daas_core::progress::Progress;
use daas_core::secret::{Secret, crypt_password};
use daas_sim::guest::Guest;
use daas_sim::guest::drawn::{LogKind, Who};
use daas_ssh::{Action, SshConfigurator};
use sha_crypt::{PasswordVerifier, ShaCrypt};
use support::{Bench, PATIENCE, TOKEN, activity, assign, command, config, heard, signal, step};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A listener for reports, and its address.
async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/activity", listener.local_addr().unwrap());
    (listener, url)
}

/// The next report: its head, and what it tells.
async fn report(listener: &TcpListener) -> (String, serde_json::Value) {
    let (mut stream, _) =
        tokio::time::timeout(PATIENCE, listener.accept()).await.expect("in time").unwrap();
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(report) = serde_json::from_str(body)
        {
            stream
                .write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
                .await
                .unwrap();
            return (head.to_owned(), report);
        }
        let mut more = [0; 4096];
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut more));
        let read = read.await.expect("a whole report in time").unwrap();
        assert!(read > 0, "a report that ends early: {text}");
        bytes.extend_from_slice(&more[..read]);
    }
}

#[tokio::test]
async fn a_second_apply_changes_nothing() {
    for (image, admin) in [("debian-xfce", "root"), ("debian-base", "admin")] {
        let mut bench = Bench::new(image, admin, &[]).await;
        let (listener, url) = listener().await;
        bench.context.activity = Some(activity(url, Duration::from_secs(30)));
        bench.context.template.keyboard = Some("fr".to_owned());
        bench.context.template.locale = Some("fr_FR.UTF-8".to_owned());
        let first = bench.apply(&Stage::Prepare).await.unwrap();
        assert!(first.changed > 5, "{image}: {first:?}");
        assert_eq!(first.warnings, Vec::<String>::new());
        assert_eq!(first.facts.rdp_certificate.as_ref().unwrap().len(), 64);
        let (head, told) = report(&listener).await;
        assert!(head.contains(&format!("Bearer {TOKEN}")), "{head}");
        assert_eq!(told["sessions"], serde_json::json!([]));

        bench.context.host_key = first.facts.host_key.clone();
        let second = bench.apply(&Stage::Prepare).await.unwrap();
        assert_eq!(second.changed, 0, "{image}");
        assert_eq!(second.facts, first.facts);
        assert_eq!(
            bench.text("stat -c '%a %U:%G' /etc/daas/activity.token").await,
            "600 root:root\n"
        );
        assert_eq!(bench.text("cat /etc/default/locale").await, "LANG=fr_FR.UTF-8\n");
        assert_eq!(bench.text("systemctl is-active xrdp daas-activity").await, "active\nactive\n");
        bench.close().await;
    }
}

#[tokio::test]
async fn the_account_can_sign_in() {
    let bench = Bench::new("debian-xfce", "root", &[]).await;
    bench.apply(&Stage::Prepare).await.unwrap();
    let word = "Grüße, \"it's\" $(id) `x` \\ 100% ;|& :";
    let hash = crypt_password(&Secret::new(word.to_owned())).unwrap();
    let stage = assign("alice", Some(&hash));
    assert_eq!(bench.apply(&stage).await.unwrap().changed, 2);
    assert_eq!(bench.apply(&stage).await.unwrap().changed, 0);
    let kept = bench.guest.with_disk(|disk| disk.accounts["alice"].password.clone());
    assert!(ShaCrypt::default().verify_password(word.as_bytes(), kept.as_str()).is_ok(), "{kept}");
    assert_eq!(bench.text("cat /home/alice/.xsession").await, "exec xfce4-session\n");
    assert_eq!(bench.text("stat -c %U /home/alice").await, "alice\n");
    assert!(!bench.log().contains(&hash), "a hash on a command line");

    // Another password for the same account is one change.
    let other = crypt_password(&Secret::new("another".to_owned())).unwrap();
    assert_eq!(bench.apply(&assign("alice", Some(&other))).await.unwrap().changed, 1);
    // A user of a directory needs no local account.
    let owner = daas_core::owner::Owner { realm: "lab".into(), name: "bob".into() };
    let none = Stage::Assign { owner, account: None };
    assert_eq!(bench.apply(&none).await.unwrap().changed, 0);
    bench.close().await;
}

#[tokio::test]
async fn every_allowed_name_and_password_passes_unharmed() {
    let bench = Bench::new("debian-xfce", "admin", &[]).await;
    let names = ["a", "_", "_x-y_9", "a2345678901234567890123456789012", "x-"];
    let words = ["' or '", "a\tb", "-e", "\u{FFFD}", &"é".repeat(52)];
    for (name, word) in names.into_iter().zip(words) {
        let hash = crypt_password(&Secret::new(word.to_owned())).unwrap();
        bench.apply(&assign(name, Some(&hash))).await.unwrap();
        let kept = bench.guest.with_disk(|disk| disk.accounts[name].password.clone());
        assert!(
            ShaCrypt::default().verify_password(word.as_bytes(), kept.as_str()).is_ok(),
            "{name}"
        );
    }
    bench.close().await;
}

#[tokio::test]
async fn an_account_of_the_system_becomes_nobodys() {
    let bench = Bench::new("debian-xfce", "admin", &[]).await;
    let hash = crypt_password(&Secret::new("secret".to_owned())).unwrap();
    for name in ["root", "xrdp", "admin"] {
        let before = bench.guest.with_disk(|disk| disk.accounts[name].password.clone());
        let error = bench.apply(&assign(name, Some(&hash))).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
        assert!(error.to_string().contains(name), "{error}");
        let after = bench.guest.with_disk(|disk| disk.accounts[name].password.clone());
        assert_eq!(after, before);
    }
    bench.close().await;
}

#[tokio::test]
async fn texts_of_a_profile_are_data() {
    let nasty = "'; touch /tmp/harm; echo '$(touch /tmp/harm)`touch /tmp/harm`\\\"%s\nEOF\n";
    let file = Action::File {
        path: "/srv/it's a file".to_owned(),
        content: nasty.to_owned(),
        mode: "0640".to_owned(),
        owner: "root:users".to_owned(),
    };
    let keyboard = command("keyboard", "printf %s {keyboard} > /srv/keyboard");
    let steps = vec![step("a file", file), keyboard];
    let mut bench = Bench::new("debian-base", "root", &[("lab", steps)]).await.with_profile("lab");
    bench.context.template.keyboard = Some(nasty.to_owned());
    assert_eq!(bench.apply(&Stage::Prepare).await.unwrap().changed, 2);
    assert_eq!(bench.apply(&Stage::Prepare).await.unwrap().changed, 1, "the command has no check");
    assert_eq!(bench.text("cat \"/srv/it's a file\"").await, nasty);
    assert_eq!(bench.text("stat -c '%a %U:%G' \"/srv/it's a file\"").await, "640 root:users\n");
    assert_eq!(bench.text("cat /srv/keyboard").await, nasty);
    assert!(bench.guest.with_disk(|disk| disk.read(&Who::root(), "/tmp/harm").is_err()));
    bench.close().await;
}

#[tokio::test]
async fn no_secret_is_told() {
    let leak = command("leaks", "cat /etc/daas/activity.token >&2; exit 9");
    let mut bench = Bench::new("debian-xfce", "admin", &[("leaky", vec![leak])]).await;
    let (listener, url) = listener().await;
    bench.context.activity = Some(activity(url, Duration::from_secs(30)));
    let (progress, told) = heard();
    bench.apply_telling(&Stage::Prepare, &progress).await.unwrap();
    report(&listener).await;
    let told = told.lock().unwrap().join("\n");
    let log = bench.log();
    assert!(log.contains("dpkg-query"), "the log is not empty:\n{log}");
    // The script itself came over the connection: what it ran is what others could see.
    for text in [&log, &told, &format!("{:?} {:?}", bench.ssh, bench.context)] {
        assert!(!text.contains(TOKEN), "{text}");
    }
    let bench = bench.with_profile("leaky");
    let error = bench.apply(&Stage::Prepare).await.unwrap_err();
    assert!(error.to_string().contains("[redacted]"), "{error}");
    assert!(!format!("{error} {error:?}").contains(TOKEN), "{error:?}");
    bench.close().await;
}

#[tokio::test]
async fn progress_tells_each_step() {
    let bench = Bench::new("debian-xfce", "root", &[]).await;
    let (progress, told) = heard();
    bench.apply_telling(&Stage::Prepare, &progress).await.unwrap();
    let told = told.lock().unwrap().clone();
    let expected = [
        "waiting for the guest",
        "desktop packages",
        "access to the TLS key",
        "session",
        "remote desktop service",
    ];
    assert_eq!(told, expected);
    bench.close().await;
}

#[tokio::test]
async fn a_key_that_the_guest_does_not_know_is_denied() {
    let bench = Bench::new("debian-base", "root", &[]).await;
    let keys = tempfile::tempdir().unwrap();
    let stranger = SshConfigurator::new(config(&keys)).unwrap();
    let silent = Progress::silent();
    let applying = stranger.apply(&bench.context, &Stage::Prepare, &silent);
    let error = applying.await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.to_string().contains("cloud-init"), "{error}");
    bench.close().await;
}

#[tokio::test]
async fn another_host_key_than_the_pinned_one_is_denied() {
    let mut bench = Bench::new("debian-base", "root", &[("lab", vec![])]).await.with_profile("lab");
    let shown = bench.apply(&Stage::Prepare).await.unwrap().facts.host_key.unwrap();
    let pinned = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    bench.context.host_key = Some(pinned.to_owned());
    let error = bench.apply(&Stage::Prepare).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    let text = error.to_string();
    assert!(text.contains(pinned) && text.contains(&shown), "{text}");
    bench.close().await;
}

#[tokio::test]
async fn a_guest_that_is_away_is_unavailable() {
    let bench = Bench::new("debian-base", "root", &[]).await;
    bench.guest.stop().await.unwrap();
    let error = bench.apply(&Stage::Prepare).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    let mut bench = bench;
    bench.context.address = None;
    assert_eq!(bench.apply(&Stage::Prepare).await.unwrap_err().kind(), Kind::Unavailable);
    bench.close().await;
}

#[tokio::test]
async fn a_guest_that_goes_away_is_unavailable() {
    let steps = vec![command("long work", "sleep 60")];
    let bench = Bench::new("debian-base", "root", &[("lab", steps)]).await.with_profile("lab");
    let (progress, begun) = signal("long work");
    let stop = async {
        begun.notified().await;
        bench.guest.stop().await.unwrap();
    };
    let (applied, ()) = tokio::join!(bench.apply_telling(&Stage::Prepare, &progress), stop);
    let error = applied.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    bench.close().await;
}

#[tokio::test]
async fn a_slow_step_is_given_up() {
    let mut slow = command("long work", "sleep 60");
    slow.deadline = Some(Duration::from_millis(200));
    let steps = vec![slow];
    let bench = Bench::new("debian-base", "root", &[("lab", steps)]).await.with_profile("lab");
    let error = bench.apply(&Stage::Prepare).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("step long work took longer than"), "{error}");
    bench.close().await;
}

#[tokio::test]
async fn an_apply_that_is_cut_anywhere_is_completed_by_the_next() {
    let (listener, url) = listener().await;
    let count = Bench::new("debian-base", "root", &[]).await;
    let (progress, told) = heard();
    let mut context = count.context.clone();
    context.activity = Some(activity(url.clone(), Duration::from_secs(30)));
    count.ssh.apply(&context, &Stage::Prepare, &progress).await.unwrap();
    let names = told.lock().unwrap().clone();
    assert!(names.len() > 8, "{names:?}");
    count.close().await;
    drop(listener);
    for name in names {
        let mut bench = Bench::new("debian-base", "root", &[]).await;
        bench.context.activity = Some(activity(url.clone(), Duration::from_secs(30)));
        let (progress, begun) = signal(&name);
        tokio::select! {
            _ = bench.apply_telling(&Stage::Prepare, &progress) => {}
            () = begun.notified() => {}
        }
        bench.apply(&Stage::Prepare).await.unwrap();
        assert_eq!(bench.apply(&Stage::Prepare).await.unwrap().changed, 0, "cut at {name}");
        bench.close().await;
    }
}

#[tokio::test]
async fn a_change_whose_restart_was_missed_restarts_later() {
    let settings = Action::File {
        path: "/etc/xrdp/own.ini".to_owned(),
        content: "x\n".to_owned(),
        mode: "644".to_owned(),
        owner: "root:root".to_owned(),
    };
    let gate =
        Action::Command { run: "test -e /gate".to_owned(), check: "test -e /gate".to_owned() };
    let service = Action::Service {
        unit: "xrdp.service".to_owned(),
        restart_on: vec!["/etc/xrdp/own.ini".to_owned()],
    };
    let steps = vec![step("settings", settings), step("gate", gate), step("service", service)];
    let bench = Bench::new("debian-xfce", "root", &[("lab", steps)]).await.with_profile("lab");
    let starts = || {
        bench.guest.with_disk(|disk| {
            let started = |text: &str| text == "started xrdp.service";
            disk.log().filter(|e| e.kind == LogKind::System && started(&e.text)).count()
        })
    };
    let before = starts();
    let error = bench.apply(&Stage::Prepare).await.unwrap_err();
    assert!(error.to_string().contains("step gate failed (exit 1)"), "{error}");
    assert_eq!(error.kind(), Kind::Unavailable);
    assert_eq!(starts(), before);
    bench.text("touch /gate").await;
    assert_eq!(bench.apply(&Stage::Prepare).await.unwrap().changed, 1);
    assert_eq!(starts(), before + 1, "the service took up its settings");
    assert_eq!(bench.apply(&Stage::Prepare).await.unwrap().changed, 0);
    bench.close().await;
}

#[tokio::test]
async fn what_cannot_be_meant_is_invalid() {
    let unknown = Action::Packages { packages: vec!["no-such-package".to_owned()] };
    let profiles = [("lab", vec![step("tools", unknown)])];
    let mut bench = Bench::new("debian-base", "root", &profiles).await.with_profile("lab");
    let error = bench.apply(&Stage::Prepare).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("no-such-package"), "{error}");

    bench.context.template.profile = Some("nothing".to_owned());
    for error in [
        bench.ssh.effects(&bench.context).unwrap_err(),
        bench.apply(&Stage::Prepare).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains("linux-base"), "{error}");
    }
    bench.context.template.profile = Some("linux-base".to_owned());
    assert_eq!(bench.ssh.effects(&bench.context).unwrap(), Vec::<Effect>::new());
    bench.close().await;
}

#[test]
fn a_profile_that_cannot_be_meant_is_refused_at_the_start() {
    let file = |path: &str, mode: &str| Action::File {
        path: path.to_owned(),
        content: String::new(),
        mode: mode.to_owned(),
        owner: "root:root".to_owned(),
    };
    let service = |unit: &str| Action::Service { unit: unit.to_owned(), restart_on: Vec::new() };
    for action in [
        Action::Packages { packages: Vec::new() },
        Action::Packages { packages: vec!["-o=x".to_owned()] },
        file("etc/motd", "644"),
        file("/etc/motd", "rw"),
        service("../x.service"),
        Action::Command { run: "echo {password_hash}".to_owned(), check: "false".to_owned() },
    ] {
        let keys = tempfile::tempdir().unwrap();
        let mut config = config(&keys);
        let steps = vec![step("wrong", action.clone())];
        let profile = daas_ssh::Profile { steps, reporter: false };
        config.profiles.insert("lab".to_owned(), profile);
        let error = SshConfigurator::new(config).expect_err("is refused");
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains("profile lab, step wrong"), "{error}");
    }
}

#[test]
fn the_key_is_made_once_and_only_for_us() {
    use std::os::unix::fs::PermissionsExt;
    let keys = tempfile::tempdir().unwrap();
    let first = SshConfigurator::new(config(&keys)).unwrap().public_key().to_owned();
    assert!(first.starts_with("ssh-ed25519 "), "{first}");
    assert_eq!(SshConfigurator::new(config(&keys)).unwrap().public_key(), first);
    let file = keys.path().join("ssh_key");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::write(&file, "no key").unwrap();
    let error = SshConfigurator::new(config(&keys)).expect_err("is refused");
    assert_eq!(error.kind(), Kind::Invalid);
}
