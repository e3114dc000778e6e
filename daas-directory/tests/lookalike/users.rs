//! Sign-in by a server that says what no real one says, and what a server gets to hear of it.

use std::time::{Duration, Instant};

use daas_core::Kind;
use daas_core::identity::{PasswordSource, Refusal, Verdict};
use daas_core::secret::Secret;
use daas_directory::{DirectoryKind, Users, UsersConfig};

use crate::server::{Op, Reply, Server, entry};
use crate::{SHORT, World, assert_hidden};

const ALICE: &str = r"CN=Alice\, A.,OU=People,DC=lab,DC=test";

impl World {
    fn users_config(&self, servers: &[&Server]) -> UsersConfig {
        let urls = servers.iter().map(|server| server.url().parse().unwrap()).collect();
        UsersConfig {
            domains: vec!["LAB".to_owned()],
            refuse_after: Duration::ZERO,
            ..UsersConfig::new(self.reach(urls), "lab", "DC=lab,DC=test")
        }
    }

    fn users(&self, servers: &[&Server]) -> Users {
        Users::new(self.users_config(servers)).unwrap()
    }
}

fn alice() -> Vec<u8> {
    let attributes: [(&str, &[u8]); 3] = [
        ("sAMAccountName", b"Alice"),
        ("displayName", b"Alice A."),
        ("userAccountControl", b"512"),
    ];
    entry(ALICE, &attributes)
}

/// A server that knows alice, and answers her bind so.
async fn knowing(world: &World, to_proof: impl Fn() -> Reply + Send + Sync + 'static) -> Server {
    Server::start(&world.authority, move |op, turn| match (op, turn) {
        (Op::Search, 1) => Reply::page(&alice(), false),
        (Op::Search, _) => Reply::page(&[], false),
        (Op::Prove, _) => to_proof(),
        _ => Reply::success(op),
    })
    .await
}

fn word() -> Secret<String> {
    Secret::from("s3cret of alice")
}

fn ops(server: &Server) -> Vec<(usize, Op)> {
    server.heard().into_iter().map(|(connection, op, _)| (connection, op)).collect()
}

#[tokio::test]
async fn a_password_is_proved_on_a_connection_of_its_own() {
    let world = World::new();
    let server = knowing(&world, || Reply::success(Op::Prove)).await;
    let Verdict::Known(person) = world.users(&[&server]).sign_in("alice", &word()).await.unwrap()
    else {
        panic!("alice is known")
    };
    assert_eq!((person.owner.realm.as_str(), person.owner.name.as_str()), ("lab", "alice"));
    assert_eq!(person.display_name.as_deref(), Some("Alice A."));
    // Her groups are looked for on the connection that was ours all the time.
    let wished = [(0, Op::Bind), (0, Op::Search), (1, Op::Prove), (0, Op::Search)];
    assert_eq!(ops(&server), wished);
    assert_eq!(server.heard()[2].2, ALICE);
}

#[tokio::test]
async fn somebody_unknown_costs_what_a_wrong_password_costs() {
    let world = World::new();
    let wrong = knowing(&world, || Reply::refused(Op::Prove, 49)).await;
    let unknown = Server::start(&world.authority, |op, _| match op {
        Op::Search => Reply::page(&[], false),
        Op::Prove => Reply::refused(op, 49),
        _ => Reply::success(op),
    });
    let unknown = unknown.await;
    let of = async |server: &Server| {
        world.users(&[server]).sign_in("LAB\\alice", &word()).await.unwrap()
    };
    assert_eq!(of(&wrong).await, Verdict::Refused(Refusal::Password));
    assert_eq!(of(&unknown).await, Verdict::Refused(Refusal::Unknown));
    let way = [(0, Op::Bind), (0, Op::Search), (1, Op::Prove)];
    assert_eq!((ops(&wrong).as_slice(), ops(&unknown).as_slice()), (&way[..], &way[..]));
    // Nobody is another one each time, so that no account can be made for them.
    assert_eq!(of(&unknown).await, Verdict::Refused(Refusal::Unknown));
    let names: Vec<String> =
        unknown.heard().into_iter().filter(|h| h.1 == Op::Prove).map(|h| h.2).collect();
    assert!(names.len() == 2 && names[0] != names[1], "{names:?}");
    assert!(names[0].starts_with("CN=") && names[0].ends_with(",DC=lab,DC=test"), "{names:?}");
}

#[tokio::test]
async fn no_refusal_is_told_at_once() {
    let world = World::new();
    let wrong = knowing(&world, || Reply::refused(Op::Prove, 49)).await;
    let good = knowing(&world, || Reply::success(Op::Prove)).await;
    let floor = Duration::from_secs(2);
    let took = async |server: &Server, name: &str, password: Secret<String>| {
        let config = UsersConfig { refuse_after: floor, ..world.users_config(&[server]) };
        let users = Users::new(config).unwrap();
        let started = Instant::now();
        let verdict = users.sign_in(name, &password).await.unwrap();
        (matches!(verdict, Verdict::Known(_)), started.elapsed())
    };
    let refused = tokio::join!(
        took(&wrong, "alice", word()),
        took(&wrong, "nobody", word()),
        took(&wrong, "OTHER\\alice", word()),
        took(&wrong, "alice", Secret::from("")),
    );
    for (known, time) in [refused.0, refused.1, refused.2, refused.3] {
        assert!(!known && time >= floor, "{time:?}");
    }
    let (known, time) = took(&good, "alice", word()).await;
    assert!(known && time < floor, "who is right does not wait: {time:?}");
}

#[tokio::test]
async fn what_cannot_be_right_is_not_asked_about() {
    let world = World::new();
    let server = knowing(&world, || Reply::success(Op::Prove)).await;
    let users = world.users(&[&server]);
    let long = "x".repeat(1025);
    for password in ["", "\0", "\0right", "right\0", long.as_str()] {
        let verdict = users.sign_in("alice", &Secret::from(password)).await.unwrap();
        assert_eq!(verdict, Verdict::Refused(Refusal::Password), "{password:?}");
    }
    for name in ["", " ", "OTHER\\alice", "LAB\\", "a\0b", long.as_str()] {
        let verdict = users.sign_in(name, &word()).await.unwrap();
        assert_eq!(verdict, Verdict::Refused(Refusal::Unknown), "{name:?}");
    }
    assert_eq!(server.heard(), []);
}

#[tokio::test]
async fn each_refusal_has_its_reason() {
    let world = World::new();
    for (code, text, wished) in [
        (49, "80090308: comment: AcceptSecurityContext error, data 52e, v1db1", Refusal::Password),
        (49, "AcceptSecurityContext error, data 525, v1db1", Refusal::Unknown),
        (49, "AcceptSecurityContext error, data 775, v1db1", Refusal::Locked),
        (49, "AcceptSecurityContext error, data 773, v1db1", Refusal::Expired),
        (49, "", Refusal::Password),
        (53, "Account inactivated. Contact system administrator.", Refusal::Disabled),
        (19, "Exceed password retry limit. Please try later.", Refusal::Locked),
        (32, "", Refusal::Unknown),
    ] {
        let server = knowing(&world, move || Reply::told(Op::Prove, code, text)).await;
        let verdict = world.users(&[&server]).sign_in("alice", &word()).await.unwrap();
        assert_eq!(verdict, Verdict::Refused(wished), "{code} {text}");
        assert_eq!(server.binds(), 2, "a wrong password is tried once");
    }
}

/// INVARIANT: whatever a server answers, nobody is let in but by a success for their own entry.
#[tokio::test]
async fn nobody_is_let_in_by_an_answer_that_makes_no_sense() {
    let world = World::new();
    let flood = || (0..9).flat_map(|_| alice()).collect::<Vec<u8>>();
    let nameless = || entry("", &[("sAMAccountName", b"alice")]);
    for (doing, page, kinds) in [
        ("success for who does not exist", Vec::new(), [Kind::Internal]),
        ("more entries than a page", flood(), [Kind::Internal]),
        ("no distinguished name", nameless(), [Kind::Internal]),
    ] {
        let server = Server::start(&world.authority, move |op, _| match op {
            Op::Search => Reply::page(&page, false),
            _ => Reply::success(op),
        });
        let server = server.await;
        let error = world.users(&[&server]).sign_in("alice", &word()).await.unwrap_err();
        assert!(kinds.contains(&error.kind()), "{doing}: {error}");
        assert_hidden(&error);
    }
    for answer in [Reply::Rubbish, Reply::Close, Reply::refused(Op::Prove, 51)] {
        let doing = format!("{answer:?}");
        let server = knowing(&world, move || answer.clone()).await;
        let error = world.users(&[&server]).sign_in("alice", &word()).await.unwrap_err();
        assert!(matches!(error.kind(), Kind::Unavailable | Kind::Internal), "{doing}: {error}");
        assert_hidden(&error);
    }
    // Neither a word on the user nor on the server.
    let server = knowing(&world, || Reply::refused(Op::Prove, 8)).await;
    let error = world.users(&[&server]).sign_in("alice", &word()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Internal, "{error}");
}

#[tokio::test]
async fn who_is_there_twice_is_nobody() {
    let world = World::new();
    let twice = [alice(), entry("CN=b,DC=lab,DC=test", &[("sAMAccountName", b"alice")])].concat();
    let server = Server::start(&world.authority, move |op, _| match op {
        Op::Search => Reply::page(&twice, false),
        Op::Prove => Reply::refused(op, 49),
        _ => Reply::success(op),
    });
    let server = server.await;
    let verdict = world.users(&[&server]).sign_in("alice", &word()).await.unwrap();
    assert_eq!(verdict, Verdict::Refused(Refusal::Unknown));
    let wished = [(0, Op::Bind), (0, Op::Search), (1, Op::Prove)];
    assert_eq!(ops(&server), wished, "the same way as ever");
}

#[tokio::test]
async fn who_is_found_by_another_name_is_not_who_was_asked_for() {
    let world = World::new();
    let server = knowing(&world, || Reply::refused(Op::Prove, 49)).await;
    for name in ["alicé", "alice2", "LAB\\al ice"] {
        let verdict = world.users(&[&server]).sign_in(name, &word()).await.unwrap();
        assert_eq!(verdict, Verdict::Refused(Refusal::Unknown), "{name}");
    }
    assert!(server.heard().iter().all(|(_, _, name)| name != ALICE), "{:?}", server.heard());
}

#[tokio::test]
async fn a_principal_name_that_was_given_goes_before_one_that_follows() {
    let world = World::new();
    const CAROL: &str = "CN=carol,DC=lab,DC=test";
    let carol: [(&str, &[u8]); 2] =
        [("sAMAccountName", b"carol"), ("userPrincipalName", b"Alice@Lab")];
    let both = [alice(), entry(CAROL, &carol)].concat();
    let server = Server::start(&world.authority, move |op, turn| match (op, turn) {
        (Op::Search, 1) => Reply::page(&both, false),
        (Op::Search, _) => Reply::page(&[], false),
        _ => Reply::success(op),
    });
    let server = server.await;
    let verdict = world.users(&[&server]).sign_in("alice@lab", &word()).await.unwrap();
    assert!(matches!(verdict, Verdict::Known(who) if who.owner.name == "carol"));
    assert_eq!(server.heard()[2].2, CAROL);
}

#[tokio::test]
async fn another_server_proves_when_one_falls_silent() {
    let world = World::new();
    let silent = knowing(&world, || Reply::Hang).await;
    let good = knowing(&world, || Reply::success(Op::Prove)).await;
    let users = world.users(&[&silent, &good]);
    let verdict = users.sign_in("alice", &word()).await.unwrap();
    assert!(matches!(verdict, Verdict::Known(_)), "{verdict:?}");
    assert_eq!(good.heard().iter().map(|h| h.1).collect::<Vec<_>>(), [Op::Prove]);
    let before = silent.heard().len();
    users.sign_in("alice", &word()).await.unwrap();
    assert_eq!(silent.heard().len(), before, "it is not the first one to be asked any more");
}

#[tokio::test]
async fn a_sign_in_ends_in_its_time() {
    let world = World::new();
    let hung = Server::start(&world.authority, |_, _| Reply::Hang).await;
    let config = UsersConfig {
        deadline: Duration::from_millis(700),
        ..world.users_config(&[&hung, &hung, &hung])
    };
    let started = Instant::now();
    let error = Users::new(config).unwrap().sign_in("alice", &word()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("within 700ms"), "{error}");
    assert!(started.elapsed() < SHORT, "{:?}", started.elapsed());
}

#[tokio::test]
async fn groups_without_end_are_ended() {
    let world = World::new();
    // Each group is in a further one.
    let server = Server::start(&world.authority, |op, turn| match op {
        Op::Search => {
            let above = format!("CN=g{turn},DC=lab,DC=test");
            let at = format!("CN=g{},DC=lab,DC=test", turn - 1);
            let attributes: [(&str, &[u8]); 3] =
                [("uid", b"alice"), ("cn", at.as_bytes()), ("memberOf", above.as_bytes())];
            Reply::page(&entry(&at, &attributes), false)
        }
        _ => Reply::success(op),
    });
    let server = server.await;
    let config = UsersConfig { kind: DirectoryKind::Ldap, ..world.users_config(&[&server]) };
    let error = Users::new(config).unwrap().sign_in("alice", &word()).await.unwrap_err();
    assert!(error.to_string().contains("more than 2000 groups"), "{error}");
}

#[tokio::test]
async fn whom_we_do_not_trust_gets_nobodys_password() {
    let (world, others) = (World::new(), World::new());
    let server = knowing(&others, || Reply::success(Op::Prove)).await;
    let error = world.users(&[&server]).sign_in("alice", &word()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.to_string().contains("sign_in.directory.ca_file"), "{error}");
    assert_eq!(server.heard(), []);
}
