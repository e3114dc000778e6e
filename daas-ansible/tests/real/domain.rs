//! The whole inside of a domain user's desktop: joined, logged in by PAM and by RDP, with the home
//! mounted; and left without a trace in the domain.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use daas_core::configurator::{Configurator, Stage};
use daas_core::directory::ComputerAccounts;
use daas_core::owner::Owner;
use daas_lab::domain::facts;
use daas_lab::{RdpClient, RdpTarget};

use crate::desk::{self, Joining, SESSION};

/// How long a desktop may take to appear; 5 s where this was written.
const DESKTOP_DEADLINE: Duration = Duration::from_secs(60);
/// A picture with more is a desktop.
const COLOURS: u64 = 1000;

pub(crate) fn a_whole_desktop() {
    desk::in_domain(facts::OU, async |world| {
        let begun = Instant::now();
        joins_once(&world).await;
        say("joined, twice", begun);
        lets_in_whom_it_should(&world).await;
        say("logged in by PAM", begun);
        shows_a_desktop(&world, "alice", facts::USERS[0].1).await;
        say("logged in by RDP", begun);
        leaves_nothing(&world).await;
        say("left", begun);
    });
}

#[expect(clippy::print_stdout, reason = "a figure for people")]
fn say(what: &str, begun: Instant) {
    println!("{what} after {:.1?}", begun.elapsed());
}

async fn joins_once(world: &Joining) {
    let desk = &world.desk;
    let effects = desk.ansible.effects(&desk.context).unwrap();
    assert_eq!(effects.len(), 1, "{effects:?}");
    let begun = Instant::now();
    let first = desk.apply(&Stage::Prepare).await.unwrap();
    say("joined", begun);
    assert!(first.changed > 5, "{first:?}");
    assert_eq!(first.warnings, Vec::<String>::new());
    assert_eq!(world.accounts.given().len(), 1);
    let there = world.accounts.list().await.unwrap();
    assert_eq!(there, [(SESSION.parse().unwrap(), effects[0].key.clone())]);

    let again = desk.apply(&Stage::Prepare).await.unwrap();
    assert_eq!(again.changed, 0, "{again:?}");
    assert_eq!(world.accounts.given().len(), 1, "a new password would put the guest out");
    opens_to_its_user(world).await;

    let failed =
        desk.text(&["systemctl", "list-units", "--failed", "--plain", "--no-legend"]).await;
    assert_eq!(failed, "", "units out of order");
    let journal = desk.text(&["journalctl", "--no-pager"]).await;
    assert!(!journal.contains(&world.accounts.given()[0]), "the password in the journal");
    let passwd = desk.text(&["getent", "passwd", "alice"]).await;
    assert!(passwd.ends_with(":/home/alice:/bin/bash"), "{passwd}");
    let id = desk.text(&["id", "alice"]).await;
    assert!(id.contains(facts::GROUP) && id.contains("domain users"), "{id}");
    // No name is left in the domain's DNS when the desktop is gone.
    let password = format!("{}%{}", facts::ADMIN, facts::ADMIN_PASSWORD);
    let zone = ["samba-tool", "dns", "query", facts::HOST, facts::DOMAIN, "@", "ALL", "-U"];
    let names = world.domain.run(&[zone.as_slice(), &[&password]].concat()).await.unwrap();
    assert!(names.contains("dc1") && !names.contains(SESSION), "{names}");
}

/// Shut while it is nobody's; a second time changes nothing.
async fn opens_to_its_user(world: &Joining) {
    let (desk, [(alice, word), _]) = (&world.desk, facts::USERS);
    let (entered, said) = desk.log_in(alice, word, "true").await;
    assert!(!entered, "before it is hers: {said}");
    let owned_by = async |name: &str| {
        let owner = Owner { realm: "lab".to_owned(), name: name.to_owned() };
        desk.apply(&Stage::Assign { owner, account: None }).await
    };
    assert_eq!(owned_by(alice).await.unwrap().changed, 1);
    assert_eq!(owned_by(alice).await.unwrap().changed, 0);
    assert_eq!(desk.apply(&Stage::Prepare).await.unwrap().changed, 0);
    // Local accounts are nobody in the domain, whatever they are called.
    for name in ["nobody-of-the-domain", "daemon"] {
        let error = owned_by(name).await.unwrap_err();
        let told = format!("has no user {name}, whose desktop this is");
        assert!(error.to_string().contains(&told), "{error}");
    }
}

async fn lets_in_whom_it_should(world: &Joining) {
    let (desk, [(alice, word), (bob, other)]) = (&world.desk, facts::USERS);
    let script = "pwd; id -un; findmnt --noheadings --output FSTYPE ~/Partage; ls -a";
    let (entered, said) = desk.log_in(alice, word, script).await;
    let parts = ["/home/alice\nalice\nfuse.", ".profile", ".bashrc"];
    assert!(
        entered && parts.iter().all(|part| said.contains(part)),
        "{said}\n{}",
        desk.logs().await
    );
    assert_eq!(desk.text(&["stat", "-c", "%U %a", "/home/alice"]).await, "alice 700");

    let spelt = ["ALICE", "alice@lab.test", "LAB\\alice"];
    for name in spelt {
        let (entered, said) = desk.log_in(name, word, "true").await;
        assert!(entered, "{name}: {said}");
    }
    world.domain.add_user("dora", word).await.unwrap();
    desk.text(&["getent", "passwd", "dora"]).await;
    for (who, user, password) in [
        ("a wrong password", alice, other),
        ("a user whose desktop it is not", "dora", word),
        ("a user outside the allowed groups", bob, other),
        ("nobody", "carol", word),
    ] {
        let (entered, said) = desk.log_in(user, password, "true").await;
        assert!(!entered, "{who}: {said}");
    }
    // Known and right, but not allowed.
    desk.text(&["getent", "passwd", bob]).await;
    world.domain.run(&["samba-tool", "user", "disable", alice]).await.unwrap();
    let (entered, said) = desk.log_in(alice, word, "true").await;
    assert!(!entered, "a disabled account: {said}");
    world.domain.run(&["samba-tool", "user", "enable", alice]).await.unwrap();
}

/// Logs the user in by RDP, and has a file written to the share from within that session.
pub(crate) async fn shows_a_desktop(world: &Joining, user: &str, password: &str) {
    let desk = &world.desk;
    let target = RdpTarget {
        address: SocketAddr::new(desk.context.address.unwrap(), 3389),
        user: user.to_owned(),
        password: password.to_owned(),
    };
    let mut client = RdpClient::connect(world.guests.lab(), &target).await.unwrap();
    if let Err(error) = client.wait_colours(COLOURS, DESKTOP_DEADLINE).await {
        panic!("{user}: {error}\n{}", desk.logs().await);
    }
    let write = r#"cd ~/Partage && printf "for $(id -un)" > note.txt && cat note.txt"#;
    let argv = ["runuser", "-u", user, "--", "env", "-u", "HOME"];
    let home =
        desk.text(&["sh", "-c", r#"getent passwd -- "$1" | cut -d: -f6"#, "home", user]).await;
    let home = format!("HOME={home}");
    let written = desk.text(&[argv.as_slice(), &[&home, "sh", "-c", write]].concat()).await;
    assert_eq!(written, format!("for {user}"));
    let seen = world.domain.home_file(user, "note.txt").await.unwrap();
    assert_eq!(seen, (format!("for {user}"), format!("{}\\{user}", facts::NETBIOS)));
    client.cut().await.unwrap();
    client.close().await.unwrap();
}

async fn leaves_nothing(world: &Arc<Joining>) {
    let desk = &world.desk;
    let mut context = desk.context.clone();
    context.template.profile = Some("leave".to_owned());
    let owner = Owner { realm: "lab".to_owned(), name: "alice".to_owned() };
    let stage = Stage::Assign { owner, account: None };
    let silent = daas_core::progress::Progress::silent();
    let left = desk.ansible.apply(&context, &stage, &silent).await.unwrap();
    assert!(left.changed > 0, "{left:?}");
    let again = desk.ansible.apply(&context, &stage, &silent).await.unwrap();
    assert_eq!(again.changed, 0, "{again:?}");
    for gone in [["getent", "passwd", "alice"], ["test", "-e", "/etc/krb5.keytab"]] {
        let output = desk.guest.exec(&gone).await.unwrap();
        assert_ne!(output.code, Some(0), "{gone:?}: {}", desk::said(&output));
    }

    let effect = desk.ansible.effects(&desk.context).unwrap().remove(0);
    desk.ansible.retract(&desk.context, &effect).await.unwrap();
    let computers = world.domain.run(&["samba-tool", "computer", "list"]).await.unwrap();
    assert_eq!(computers, "DC1$\n");
    desk.ansible.retract(&desk.context, &effect).await.unwrap();
}
