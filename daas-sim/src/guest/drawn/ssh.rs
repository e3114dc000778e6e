//! The guest's SSH server: keys and passwords, `exec` through the guest's shell.
//!
//! No terminal and no SFTP. Power is cut through `super::cut`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use russh::keys::ssh_key::PublicKey;
use russh::server::{
    Auth, ChannelOpenHandle, Config, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelWriteHalf, Preferred, SshId};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::DrawnGuest;
use super::cut::Cut;
use super::disk::{LogKind, Who};
use super::live::{Live, accept};
use super::password;
use super::shell::{Input, Output, Process, Shell};

/// Wrong keys and passwords on one connection before it is ended.
const ATTEMPTS_MAX: usize = 6;

/// A connection that says nothing for this long is ended.
const SILENCE_MAX: Duration = Duration::from_secs(600);

/// Channels open at once on one connection.
const CHANNELS_MAX: usize = 32;

/// Packets of standard input that wait for the script to read them (32 KiB at most each).
const INPUT_PACKETS_MAX: usize = 4096;

/// Pieces of output that wait for the client.
const OUTPUT_PIECES_MAX: usize = 16;

/// Serves SSH until power goes.
pub(super) fn serve(guest: &Arc<DrawnGuest>, live: &Arc<Live>, listener: TcpListener) {
    let config = Arc::new(Config {
        server_id: SshId::Standard("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3".into()),
        keys: vec![live.applied.host_key.key().clone()],
        auth_rejection_time: Duration::from_millis(20),
        auth_rejection_time_initial: Some(Duration::ZERO),
        max_auth_attempts: ATTEMPTS_MAX,
        inactivity_timeout: Some(SILENCE_MAX),
        nodelay: true,
        preferred: Preferred {
            // One cheap exchange that every client knows: hundreds of guests share two cores.
            kex: vec![russh::kex::CURVE25519, russh::kex::CURVE25519_PRE_RFC_8731].into(),
            ..Preferred::default()
        },
        ..Config::default()
    });
    let (guest, live) = (guest.clone(), live.clone());
    let connections = guest.config().ssh_connections_max;
    let spawner = live.clone();
    spawner.spawn(async move {
        accept(listener, connections, |stream, peer, slot| {
            let (config, guest) = (config.clone(), guest.clone());
            let connection = Connection {
                guest,
                live: live.clone(),
                peer,
                user: None,
                channels: HashMap::new(),
            };
            let off = live.off.clone();
            live.spawn_to_end(async move {
                let stream = Cut::new(stream, &off);
                // russh runs the session in a task of its own; cutting the stream ends it.
                let started = tokio::select! {
                    biased;
                    () = off.cancelled() => return,
                    started = russh::server::run_stream(config, stream, connection) => started,
                };
                let ended = match started {
                    Ok(session) => session.await,
                    Err(error) => Err(error),
                };
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "an SSH connection ended");
                }
                drop(slot);
            });
        })
        .await;
    });
}

/// One client.
struct Connection {
    guest: Arc<DrawnGuest>,
    live: Arc<Live>,
    peer: std::net::SocketAddr,
    user: Option<String>,
    channels: HashMap<ChannelId, Open>,
}

/// A channel that is open: before a command it waits, then it feeds the command.
enum Open {
    Waiting { writer: ChannelWriteHalf<Msg>, environment: Vec<(String, String)> },
    Running { input: Option<mpsc::Sender<Bytes>> },
}

impl Connection {
    fn is_authorized(&self, user: &str, key: &PublicKey) -> bool {
        let text = self.guest.with_disk(|disk| {
            let home = disk.accounts.get(user)?.home.clone();
            disk.read(&Who::root(), &format!("{home}/.ssh/authorized_keys")).ok()
        });
        let text =
            text.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        text.lines()
            .filter_map(|line| PublicKey::from_openssh(line.trim()).ok())
            .any(|known| known.key_data() == key.key_data())
    }

    fn admit(&mut self, user: &str, way: &str) -> Auth {
        self.user = Some(user.into());
        self.guest.note(LogKind::Login, user, format!("ssh {way} from {}", self.peer));
        Auth::Accept
    }

    fn refuse(&self, user: &str, why: &str) -> Auth {
        self.guest.note(LogKind::Refused, user, format!("ssh {why} from {}", self.peer));
        Auth::reject()
    }

    /// Starts the command of a channel; `false` when it has one already.
    fn run(&mut self, id: ChannelId, command: Option<&str>) -> bool {
        let Some(Open::Waiting { .. }) = self.channels.get(&id) else { return false };
        let Some(user) = self.user.clone() else { return false };
        let Some(process) = Process::login(&self.guest, &user) else { return false };
        let (input, packets) = mpsc::channel(INPUT_PACKETS_MAX);
        let running = Open::Running { input: Some(input) };
        let Some(Open::Waiting { writer, environment }) = self.channels.insert(id, running) else {
            return false;
        };
        let process = process.with_environment(environment);
        let shell = Shell::new(self.guest.clone());
        match command.map(String::from) {
            Some(command) => self.live.spawn(async move {
                let (out, pieces) = mpsc::channel(OUTPUT_PIECES_MAX);
                let (err, errors) = mpsc::channel(OUTPUT_PIECES_MAX);
                let (input, out) = (Input::stream(packets), Output::Stream(out));
                let run = shell.script(process, &command, input, out, Output::Stream(err));
                let (status, ()) = tokio::join!(run, send(&writer, pieces, errors));
                end(&writer, status).await;
            }),
            None => self.live.spawn(async move {
                let text = "a drawn guest has no terminal: run a command (ssh host command)\n";
                // A client that is gone needs no explanation.
                let _ = writer.extended_data_bytes(1, text).await;
                end(&writer, 1).await;
            }),
        }
        true
    }
}

/// Carries output to the client until the script has closed both streams.
async fn send(
    writer: &ChannelWriteHalf<Msg>,
    mut pieces: mpsc::Receiver<Bytes>,
    mut errors: mpsc::Receiver<Bytes>,
) {
    loop {
        let sent = tokio::select! {
            Some(piece) = pieces.recv() => writer.data_bytes(piece).await,
            Some(piece) = errors.recv() => writer.extended_data_bytes(1, piece).await,
            else => return,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Tells the exit status and closes; a client that is gone does not hear it.
async fn end(writer: &ChannelWriteHalf<Msg>, status: i32) {
    let _ = writer.exit_status(status as u32 & 255).await;
    let _ = writer.eof().await;
    let _ = writer.close().await;
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        let known = self.is_authorized(user, offer.public_key);
        Ok(if known { Auth::Accept } else { self.refuse(user, "unknown key") })
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        let known = self.is_authorized(user, key.public_key);
        Ok(if known { self.admit(user, "key") } else { self.refuse(user, "unknown key") })
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        // As Debian has it: root comes in with a key only.
        let hash = self.guest.with_disk(|disk| disk.accounts.get(user).map(|a| a.password.clone()));
        let Some(hash) = hash.filter(|_| user != "root") else {
            return Ok(self.refuse(user, "no such account for a password"));
        };
        let password = password.to_owned();
        let fits = tokio::task::spawn_blocking(move || password::fits(&password, &hash)).await;
        Ok(match fits {
            Ok(true) => self.admit(user, "password"),
            _ => self.refuse(user, "wrong password"),
        })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.channels.len() >= CHANNELS_MAX {
            reply.reject(russh::ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        let id = channel.id();
        let (_, writer) = channel.split();
        self.channels.insert(id, Open::Waiting { writer, environment: Vec::new() });
        reply.accept().await;
        Ok(())
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        // What Debian's sshd takes (AcceptEnv).
        if let Some(Open::Waiting { environment, .. }) = self.channels.get_mut(&channel)
            && (name == "LANG" || name.starts_with("LC_"))
        {
            environment.push((name.into(), value.into()));
            return session.channel_success(channel);
        }
        session.channel_failure(channel)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match std::str::from_utf8(data) {
            Ok(command) if self.run(channel, Some(command)) => session.channel_success(channel),
            _ => session.channel_failure(channel),
        }
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.run(channel, None) {
            session.channel_success(channel)
        } else {
            session.channel_failure(channel)
        }
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(russh::Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        // Commands run as well without one, and whoever asks for it (`ssh -tt`, Ansible) may take a
        // refusal for a lost connection.
        session.channel_success(channel)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Some(Open::Running { input: Some(input) }) = self.channels.get(&channel) else {
            return Ok(());
        };
        if let Err(mpsc::error::TrySendError::Full(_)) =
            input.try_send(Bytes::copy_from_slice(data))
        {
            // Waiting here would hold up the other channels of the connection.
            self.channels.remove(&channel);
            session.close(channel)?;
        }
        Ok(())
    }

    async fn channel_eof(
        &mut self,
        channel: ChannelId,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(Open::Running { input }) = self.channels.get_mut(&channel) {
            input.take();
        }
        Ok(())
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.remove(&channel);
        Ok(())
    }
}
