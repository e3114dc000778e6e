//! The SSH server of drawn guests, seen by a real client.

#![allow(clippy::unwrap_used)]

mod drawn_support;

use std::sync::Arc;

use daas_sim::guest::drawn::{DrawnGuest, LogKind};
use daas_sim::guest::{Guest, GuestError, GuestMaker, GuestState};
use drawn_support::{PATIENCE, booted, own_network, reached, seed, until};
use russh::ChannelMsg;
use russh::client::{self, AuthResult, Handle};
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};

/// Takes any host key and remembers its fingerprint.
#[derive(Default)]
struct Client {
    fingerprint: Arc<std::sync::Mutex<String>>,
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        if let PublicKeyOrCertificate::PublicKey { key, .. } = key {
            *self.fingerprint.lock().unwrap() = key.fingerprint(HashAlg::Sha256).to_string();
        }
        Ok(true)
    }
}

fn key(number: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[number; 32]))
}

fn public(key: &PrivateKey) -> String {
    key.public_key().to_openssh().unwrap()
}

async fn connect(guest: &DrawnGuest) -> (Handle<Client>, String) {
    let client = Client::default();
    let fingerprint = client.fingerprint.clone();
    let address = (guest.address(), guest.ports().ssh);
    let connecting = client::connect(Arc::default(), address, client);
    let handle = tokio::time::timeout(PATIENCE, connecting).await.unwrap().unwrap();
    let fingerprint = fingerprint.lock().unwrap().clone();
    (handle, fingerprint)
}

async fn with_key(handle: &mut Handle<Client>, user: &str, key: PrivateKey) -> bool {
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
    matches!(handle.authenticate_publickey(user, key).await.unwrap(), AuthResult::Success)
}

/// Runs a command: standard output, standard error and the exit status.
async fn exec(handle: &Handle<Client>, command: &str, stdin: &[u8]) -> (String, String, u32) {
    let work = async {
        let mut channel = handle.channel_open_session().await.unwrap();
        channel.exec(true, command).await.unwrap();
        channel.data(stdin).await.unwrap();
        channel.eof().await.unwrap();
        let (mut out, mut err, mut status) = (Vec::new(), Vec::new(), None);
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Data { data } => out.extend_from_slice(&data),
                ChannelMsg::ExtendedData { data, .. } => err.extend_from_slice(&data),
                ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
                _ => {}
            }
        }
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(out), text(err), status.expect("an exit status"))
    };
    tokio::time::timeout(PATIENCE, work).await.expect("the command ends in time")
}

#[tokio::test]
async fn a_key_opens_and_commands_run() {
    let (maker, guest) = booted(own_network(), &[public(&key(1))]).await;
    let (mut handle, fingerprint) = connect(&guest).await;
    assert!(with_key(&mut handle, "alice", key(1)).await);
    let table: &[(&str, &[u8], &str, &str, u32)] = &[
        ("echo out; echo err >&2; exit 7", b"", "out\n", "err\n", 7),
        ("cat > ~/note && cat ~/note", b"from outside", "from outside", "", 0),
        ("whoami; sudo whoami", b"", "alice\nroot\n", "", 0),
        ("nonesuch", b"", "", "sh: 1: nonesuch: not found\n", 127),
        ("echo 'half", b"", "", "sh: 1: Syntax error: Unterminated quoted string\n", 2),
    ];
    for (command, stdin, out, err, status) in table {
        let ran = exec(&handle, command, stdin).await;
        assert_eq!((ran.0.as_str(), ran.1.as_str(), ran.2), (*out, *err, *status), "{command}");
    }
    let megabytes = vec![b'x'; 3 << 20];
    let (size, ..) = exec(&handle, "cat > /tmp/big; wc -c < /tmp/big", &megabytes).await;
    assert_eq!(size, format!("{}\n", megabytes.len()));
    let (one, two, three) = tokio::join!(
        exec(&handle, "sleep 0.2; echo 1", b""),
        exec(&handle, "cat; echo 2", b"in "),
        exec(&handle, "echo 3", b""),
    );
    assert_eq!((one.0.as_str(), two.0.as_str(), three.0.as_str()), ("1\n", "in 2\n", "3\n"));
    let host_key = guest.run("root", "cat /etc/ssh/ssh_host_ed25519_key.pub", "").await.unwrap();
    let host_key = russh::keys::PublicKey::from_openssh(host_key.stdout.trim()).unwrap();
    assert_eq!(host_key.fingerprint(HashAlg::Sha256).to_string(), fingerprint);
    maker.close().await;
}

#[tokio::test]
async fn the_wrong_key_and_password_stay_outside() {
    let (maker, guest) = booted(own_network(), &[public(&key(1))]).await;
    let (mut handle, _) = connect(&guest).await;
    assert!(!with_key(&mut handle, "alice", key(2)).await, "an unknown key");
    assert!(!with_key(&mut handle, "root", key(1)).await, "root has no key");
    let wrong = handle.authenticate_password("alice", "s3cret").await.unwrap();
    assert!(!wrong.success(), "a wrong password");
    let nobody = handle.authenticate_password("mallory", "s3cret pass").await.unwrap();
    assert!(!nobody.success(), "nobody of that name");
    let right = handle.authenticate_password("alice", "s3cret pass").await.unwrap();
    assert!(right.success(), "the right password");
    assert_eq!(exec(&handle, "id -un", b"").await.0, "alice\n");
    let refused =
        guest.with_disk(|disk| disk.log().filter(|entry| entry.kind == LogKind::Refused).count());
    assert_eq!(refused, 4);
    maker.close().await;
}

#[tokio::test]
async fn a_terminal_and_sftp_are_refused() {
    let (maker, guest) = booted(own_network(), &[public(&key(1))]).await;
    let (mut handle, _) = connect(&guest).await;
    assert!(with_key(&mut handle, "alice", key(1)).await);
    let mut shell = handle.channel_open_session().await.unwrap();
    shell.request_shell(true).await.unwrap();
    let (mut said, mut status) = (Vec::new(), None);
    while let Some(message) = tokio::time::timeout(PATIENCE, shell.wait()).await.unwrap() {
        match message {
            ChannelMsg::ExtendedData { data, .. } => said.extend_from_slice(&data),
            ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
            _ => {}
        }
    }
    assert!(String::from_utf8_lossy(&said).contains("no terminal"));
    assert_eq!(status, Some(1));
    let mut sftp = handle.channel_open_session().await.unwrap();
    sftp.request_subsystem(true, "sftp").await.unwrap();
    let answer = tokio::time::timeout(PATIENCE, sftp.wait()).await.unwrap();
    assert!(matches!(answer, Some(ChannelMsg::Failure)), "{answer:?}");
    maker.close().await;
}

#[tokio::test]
async fn power_takes_everything_but_the_disk() {
    let (maker, guest) = booted(own_network(), &[public(&key(1))]).await;
    let (mut handle, before) = connect(&guest).await;
    assert!(with_key(&mut handle, "alice", key(1)).await);
    assert_eq!(exec(&handle, "echo kept > ~/f; echo lost > /tmp/f", b"").await.2, 0);
    let channel = handle.channel_open_session().await.unwrap();
    channel.exec(true, "sleep 1000; touch /never").await.unwrap();
    until("a sleeping script", || guest.tasks() >= 3).await;
    let address = (guest.address(), guest.ports().ssh);
    tokio::time::timeout(PATIENCE, guest.stop()).await.unwrap().unwrap();
    assert_eq!(guest.tasks(), 0);
    assert_eq!(*guest.state().borrow(), GuestState::Off);
    until("the client sees the cut", || handle.is_closed()).await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens");
    assert!(guest.screen().await.is_err());

    guest.start(&seed(&[public(&key(1))])).await.unwrap();
    reached(&guest, GuestState::Up).await;
    let (mut handle, after) = connect(&guest).await;
    assert_eq!(before, after, "the host key is kept");
    assert!(with_key(&mut handle, "alice", key(1)).await);
    let (files, ..) =
        exec(&handle, "cat ~/f; [ -e /tmp/f ] || [ -e /never ] || echo gone", b"").await;
    assert_eq!(files, "kept\ngone\n");

    guest.erase().await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens");
    let again = guest.start(&seed(&[])).await;
    assert!(matches!(again, Err(GuestError::Erased)), "{again:?}");
    assert!(guest.with_disk(|disk| disk.accounts.is_empty()));
    maker.close().await;
}

#[tokio::test]
async fn it_can_reboot_and_power_itself_off() {
    let (maker, guest) = booted(own_network(), &[public(&key(1))]).await;
    let mut state = guest.state();
    state.mark_unchanged();
    let (mut handle, _) = connect(&guest).await;
    assert!(with_key(&mut handle, "alice", key(1)).await);
    let channel = handle.channel_open_session().await.unwrap();
    channel.exec(true, "sudo reboot").await.unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&GuestState::AgentUp) {
        tokio::time::timeout(PATIENCE, state.changed()).await.unwrap().unwrap();
        seen.push(*state.borrow_and_update());
    }
    assert!(!seen.contains(&GuestState::Off), "power stays: {seen:?}");
    let (mut handle, _) = connect(&guest).await;
    assert!(with_key(&mut handle, "alice", key(1)).await);
    let channel = handle.channel_open_session().await.unwrap();
    channel.exec(true, "sudo systemctl poweroff").await.unwrap();
    reached(&guest, GuestState::Off).await;
    maker.close().await;
}
