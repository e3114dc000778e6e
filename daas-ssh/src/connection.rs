//! One connection to a guest: its host key checked, our key shown, a script run.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::{self, AuthResult, Handle, Msg};
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg};
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::SshError;

/// The pause between two tries to connect.
const PAUSE: Duration = Duration::from_millis(100);
/// How long one try may take, key exchange included.
const TRY: Duration = Duration::from_secs(10);

/// Where to connect, as whom, and whom to expect.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    pub(crate) at: SocketAddr,
    pub(crate) user: String,
    /// The host key seen first, `SHA256:…`.
    pub(crate) pinned: Option<String>,
    pub(crate) connect_deadline: Duration,
    pub(crate) refusal_grace: Duration,
}

/// An open, authenticated connection.
pub(crate) struct Connection {
    handle: Handle<HostKeys>,
    at: SocketAddr,
    /// The host key that was shown, `SHA256:…`.
    pub(crate) host_key: String,
}

/// A piece of a running script's output.
#[derive(Debug)]
pub(crate) enum Output {
    Out(Vec<u8>),
    Err(Vec<u8>),
}

/// Hears a running script.
pub(crate) trait Follow {
    /// Takes a piece of output; answers how much time there is from now on, when that changes.
    fn hear(&mut self, output: Output) -> Result<Option<Duration>, SshError>;
    /// What to say when that time is over.
    fn slow(&self) -> SshError;
}

/// Notes the host key that is shown, and refuses any but the pinned one.
struct HostKeys {
    pinned: Option<String>,
    shown: Arc<Mutex<Option<String>>>,
}

impl client::Handler for HostKeys {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else { return Ok(false) };
        let shown = key.fingerprint(HashAlg::Sha256).to_string();
        let known = self.pinned.as_ref().is_none_or(|pinned| *pinned == shown);
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        Ok(known)
    }
}

impl Connection {
    /// Connects as soon as the guest answers.
    pub(crate) async fn open(
        destination: &Destination,
        key: Arc<PrivateKey>,
    ) -> Result<Self, SshError> {
        let begun = Instant::now();
        let mut refused_since = None;
        loop {
            let error = match Self::try_open(destination, Arc::clone(&key)).await {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            match error {
                SshError::HostKey { .. } | SshError::Key { .. } => return Err(error),
                // The first boot may not have put our key there yet.
                SshError::Refused { .. } => {
                    let since = *refused_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= destination.refusal_grace {
                        return Err(error);
                    }
                }
                _ if begun.elapsed() >= destination.connect_deadline => {
                    return Err(SshError::NoAnswer {
                        at: destination.at.to_string(),
                        within: destination.connect_deadline,
                        why: error.to_string(),
                    });
                }
                _ => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn try_open(destination: &Destination, key: Arc<PrivateKey>) -> Result<Self, SshError> {
        let at = destination.at;
        let broken = |why: String| SshError::Broken { at: at.to_string(), why };
        let shown = Arc::new(Mutex::new(None));
        let handler = HostKeys { pinned: destination.pinned.clone(), shown: Arc::clone(&shown) };
        let config = Arc::new(client::Config {
            keepalive_interval: Some(Duration::from_secs(15)),
            keepalive_max: 3,
            nodelay: true,
            ..client::Config::default()
        });
        let connected = timeout(TRY, client::connect(config, at, handler)).await;
        let shown = || shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut handle = match connected {
            Ok(Ok(handle)) => handle,
            Ok(Err(error)) => {
                return Err(match (&destination.pinned, shown()) {
                    (Some(pinned), Some(shown)) if *pinned != shown => {
                        SshError::HostKey { at: at.to_string(), shown, pinned: pinned.clone() }
                    }
                    _ => broken(error.to_string()),
                });
            }
            Err(_) => return Err(broken("no answer".to_owned())),
        };
        let hash = timeout(TRY, handle.best_supported_rsa_hash())
            .await
            .map_err(|_| broken("no answer".to_owned()))?
            .map_err(|e| broken(e.to_string()))?
            .flatten();
        let key = PrivateKeyWithHashAlg::new(key, hash);
        let authenticating = handle.authenticate_publickey(destination.user.clone(), key);
        match timeout(TRY, authenticating).await {
            Ok(Ok(AuthResult::Success)) => {
                Ok(Self { handle, at, host_key: shown().unwrap_or_default() })
            }
            Ok(Ok(AuthResult::Failure { .. })) => {
                Err(SshError::Refused { at: at.to_string(), user: destination.user.clone() })
            }
            Ok(Err(error)) => Err(broken(error.to_string())),
            Err(_) => Err(broken("no answer".to_owned())),
        }
    }

    /// Runs `script` by a shell that reads it from its standard input; `follower` hears its output
    /// as it comes. Its first mark may take `patience`. Answers the shell's exit status, if it told.
    pub(crate) async fn run(
        &self,
        shell: &str,
        script: &str,
        follower: &mut (impl Follow + Send),
        patience: Duration,
    ) -> Result<Option<u32>, SshError> {
        let mut until = Instant::now() + patience;
        let starting = timeout(TRY, self.start(shell, script)).await;
        let mut channel = starting
            .map_err(|_| "no answer".to_owned())
            .and_then(|started| started.map_err(|e| e.to_string()))
            .map_err(|why| SshError::Broken { at: self.at.to_string(), why })?;
        let mut exit = None;
        loop {
            let Ok(message) = timeout_at(until, channel.wait()).await else {
                return Err(follower.slow());
            };
            let output = match message {
                Some(ChannelMsg::Data { data }) => Output::Out(data.to_vec()),
                Some(ChannelMsg::ExtendedData { data, .. }) => Output::Err(data.to_vec()),
                Some(ChannelMsg::ExitStatus { exit_status }) => {
                    exit = Some(exit_status);
                    continue;
                }
                Some(_) => continue,
                None => return Ok(exit),
            };
            if let Some(patience) = follower.hear(output)? {
                until = Instant::now() + patience;
            }
        }
    }

    async fn start(&self, shell: &str, script: &str) -> Result<Channel<Msg>, russh::Error> {
        let channel = self.handle.channel_open_session().await?;
        channel.exec(true, shell).await?;
        channel.data(script.as_bytes()).await?;
        channel.eof().await?;
        Ok(channel)
    }

    /// Says good-bye.
    pub(crate) async fn close(self) {
        let goodbye = self.handle.disconnect(russh::Disconnect::ByApplication, "", "en");
        // Whether it is heard changes nothing.
        let _ = timeout(Duration::from_secs(1), goodbye).await;
    }
}
