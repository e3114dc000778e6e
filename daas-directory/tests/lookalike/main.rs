//! What a real domain controller cannot be made to do: hang, drop the line in the middle of a list,
//! answer rubbish. `server` looks like one on the wire, and answers what each test says.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod server;
mod users;

use std::time::{Duration, Instant};

use daas_core::directory::ComputerAccounts;
use daas_core::ids::DeploymentId;
use daas_core::{Error, Kind};
use daas_directory::{Computers, DirectoryConfig, Reach};
use url::Url;

use crate::server::{Authority, Op, Reply, SERVICE, Server, account};

/// Long enough for a hand-shake on a busy machine, short enough for a test.
pub(crate) const SHORT: Duration = Duration::from_millis(1500);

pub(crate) struct World {
    pub(crate) authority: Authority,
    deployment: DeploymentId,
    password: tempfile::NamedTempFile,
}

impl World {
    pub(crate) fn new() -> Self {
        let password = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(password.path(), "s3cret word\n").unwrap();
        Self { authority: Authority::new(), deployment: DeploymentId::mint(), password }
    }

    fn config(&self, servers: &[&Server]) -> DirectoryConfig {
        let urls = servers.iter().map(|server| server.url().parse().unwrap()).collect();
        DirectoryConfig { reach: self.reach(urls), ou: "OU=D,DC=lab,DC=test".to_owned() }
    }

    pub(crate) fn reach(&self, servers: Vec<Url>) -> Reach {
        Reach {
            ca_file: Some(self.authority.file()),
            connect_deadline: SHORT,
            request_deadline: SHORT,
            page_size: 2,
            ..Reach::new(servers, SERVICE, self.password.path())
        }
    }

    fn computers(&self, servers: &[&Server]) -> Computers {
        Computers::new(self.config(servers), self.deployment.clone()).unwrap()
    }

    /// An account with our mark, by its number.
    fn ours(&self, number: u8) -> Vec<u8> {
        let session = format!("desktop-222222{number}");
        account(&session, &format!("daas-mark: {} {session}", self.deployment))
    }
}

#[tokio::test]
async fn pages_are_put_together() {
    let world = World::new();
    let copied = format!("daas-mark: {} desktop-2222222", world.deployment);
    let pages = [
        [world.ours(2), world.ours(3)].concat(),
        // Somebody copied a mark to a computer of theirs.
        [world.ours(4), account("reception", &copied)].concat(),
        world.ours(5),
    ];
    let server = Server::start(&world.authority, move |op, turn| match op {
        Op::Search => Reply::page(&pages[turn - 1], turn < pages.len()),
        _ => Reply::success(op),
    });
    let server = server.await;
    let all = world.computers(&[&server]).list().await.unwrap();
    let names: Vec<&str> = all.iter().map(|(session, _)| session.as_str()).collect();
    assert_eq!(names, ["desktop-2222222", "desktop-2222223", "desktop-2222224", "desktop-2222225"]);
    assert_eq!(all[0].1, "CN=desktop-2222222,OU=D,DC=lab,DC=test");
}

#[tokio::test]
async fn a_list_that_breaks_off_is_no_shorter_list() {
    let world = World::new();
    let first = [world.ours(2), world.ours(3)].concat();
    for broken in [Reply::Close, Reply::Rubbish, Reply::refused(Op::Search, 51)] {
        let (first, doing) = (first.clone(), format!("{broken:?}"));
        let server = Server::start(&world.authority, move |op, turn| match (op, turn) {
            (Op::Search, 1) => Reply::page(&first, true),
            (Op::Search, _) => broken.clone(),
            _ => Reply::success(op),
        });
        let server = server.await;
        let error = world.computers(&[&server]).list().await.unwrap_err();
        assert!(matches!(error.kind(), Kind::Unavailable | Kind::Internal), "{doing}: {error}");
    }
}

#[tokio::test]
async fn pages_without_end_are_ended() {
    let world = World::new();
    let page = world.ours(2);
    let server = Server::start(&world.authority, move |op, _| match op {
        Op::Search => Reply::page(&page, true),
        _ => Reply::success(op),
    });
    let server = server.await;
    let error = world.computers(&[&server]).list().await.unwrap_err();
    assert!(error.to_string().contains("pages"), "{error}");

    let flood = (0..9).flat_map(|_| world.ours(2)).collect::<Vec<u8>>();
    let server = Server::start(&world.authority, move |op, _| match op {
        Op::Search => Reply::page(&flood, false),
        _ => Reply::success(op),
    });
    let server = server.await;
    let error = world.computers(&[&server]).list().await.unwrap_err();
    assert!(error.to_string().contains("more than the 2"), "{error}");
}

#[tokio::test]
async fn a_server_that_hangs_is_passed_over() {
    let world = World::new();
    let hung = Server::start(&world.authority, |_, _| Reply::Hang).await;
    let page = world.ours(2);
    let good = Server::start(&world.authority, move |op, _| match op {
        Op::Search => Reply::page(&page, false),
        _ => Reply::success(op),
    });
    let good = good.await;
    let computers = world.computers(&[&hung, &good]);
    assert_eq!(computers.list().await.unwrap().len(), 1);
    // The one that answered is asked first from now on.
    let hung_before = hung.binds();
    assert_eq!(computers.list().await.unwrap().len(), 1);
    assert_eq!(hung.binds(), hung_before);

    let started = Instant::now();
    let error = world.computers(&[&hung]).list().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("does not answer within"), "{error}");
    assert!(started.elapsed() < 4 * SHORT);
}

#[tokio::test]
async fn a_server_that_falls_silent_is_not_asked_first_again() {
    let world = World::new();
    let silent = Server::start(&world.authority, |op, _| match op {
        Op::Search => Reply::Hang,
        _ => Reply::success(op),
    });
    let (silent, page) = (silent.await, world.ours(2));
    let good = Server::start(&world.authority, move |op, _| match op {
        Op::Search => Reply::page(&page, false),
        _ => Reply::success(op),
    });
    let good = good.await;
    let computers = world.computers(&[&silent, &good]);
    let error = computers.list().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("whether it was done is unknown"), "{error}");
    assert_eq!(computers.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_whatever_the_number_of_servers_and_sessions() {
    let world = World::new();
    let refuses = || Server::start(&world.authority, |op, _| Reply::refused(op, 49));
    let (one, other) = (refuses().await, refuses().await);
    let computers = world.computers(&[&one, &other]);
    let all = futures::future::join_all((0..20).map(|_| computers.list())).await;
    for answer in all {
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), Kind::Denied);
        assert!(error.to_string().contains("bind_password_file"), "{error}");
        assert_hidden(&error);
    }
    assert_eq!((one.binds(), other.binds()), (1, 0));
    // A new password in the file is tried at once.
    std::fs::write(world.password.path(), "another\n").unwrap();
    computers.list().await.unwrap_err();
    assert_eq!(one.binds(), 2);
}

#[tokio::test]
async fn rubbish_is_an_error_and_no_panic() {
    let world = World::new();
    let server = Server::start(&world.authority, |_, _| Reply::Rubbish).await;
    let error = world.computers(&[&server]).list().await.unwrap_err();
    assert!(matches!(error.kind(), Kind::Unavailable | Kind::Internal), "{error}");
    assert_hidden(&error);
}

#[tokio::test]
async fn absence_is_not_read_from_a_refusal() {
    let world = World::new();
    for code in [1, 50, 51, 53, 80] {
        let server = Server::start(&world.authority, move |op, _| match op {
            Op::Search => Reply::refused(op, code),
            _ => Reply::success(op),
        });
        let server = server.await;
        let computers = world.computers(&[&server]);
        let removed = computers.remove("CN=desktop-2222222,OU=D,DC=lab,DC=test").await;
        assert!(removed.is_err(), "{code}");
    }
    // Nothing comes back though it is there: hidden from us is not gone.
    let server = Server::start(&world.authority, |op, _| Reply::success(op)).await;
    let computers = world.computers(&[&server]);
    let removed = computers.remove("CN=desktop-2222222,OU=D,DC=lab,DC=test").await;
    assert_eq!(removed.unwrap_err().kind(), Kind::Denied);
}

#[tokio::test]
async fn whom_we_do_not_trust_gets_no_password() {
    let (world, others) = (World::new(), Authority::new());
    let server = Server::start(&others, |op, _| Reply::success(op)).await;
    let error = world.computers(&[&server]).list().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.to_string().contains("directory.ca_file"), "{error}");
    assert_eq!(server.binds(), 0);
}

#[tokio::test]
async fn nobody_there_is_said_with_every_server_tried() {
    let world = World::new();
    let config = DirectoryConfig {
        reach: world.reach(
            ["ldaps://127.0.0.1:1", "ldaps://127.0.0.1:2"].map(|u| u.parse().unwrap()).into(),
        ),
        ..world.config(&[])
    };
    let computers = Computers::new(config, world.deployment.clone()).unwrap();
    let error = computers.list().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    let text = error.to_string();
    for part in ["127.0.0.1:1", "127.0.0.1:2", "directory.servers"] {
        assert!(text.contains(part), "{text}");
    }
}

pub(crate) fn assert_hidden(error: &Error) {
    assert!(!error.chain().contains("s3cret"), "{}", error.chain());
}
