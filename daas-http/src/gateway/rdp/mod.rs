//! Remote Desktop for browsers, by RDCleanPath: a browser cannot open the guest's TLS itself, so the
//! gateway does it, against the certificate that was pinned when the guest was configured, and hands
//! on what is inside. Where it leads is the ticket's affair; what the client writes as destination is
//! not looked at.

mod opening;
mod reader;
mod tls;

use std::net::{IpAddr, SocketAddr};

use daas_core::engine::Caller;
use daas_core::ids::SessionId;
use daas_core::session::{Phase, Session};
use daas_core::template::ReadyWhen;
use daas_core::{Error, Kind, Operation};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::warn;

pub(super) use self::opening::Opening;
use super::carry::{Client, carry};
use super::connections::Connection;
use super::ended::Ended;
use crate::app::App;

/// The longest answer to a connection request that is read, in bytes; the usual one has 19.
const CONFIRM_BYTES_MAX: usize = 1_024;
/// In a connection confirm: the answer to what was offered, and the refusal of it
/// ([MS-RDPBCGR] 2.2.1.2).
const NEGOTIATED: u8 = 2;
const REFUSED: u8 = 3;

/// Where a session's Remote Desktop is, and how it proves itself.
#[derive(Debug)]
pub(super) struct Target {
    address: SocketAddr,
    /// SHA-256 of its certificate.
    certificate: [u8; 32],
}

impl Target {
    /// The target of a session, if it can be shown now.
    pub(super) fn of(session: &Session) -> Result<Self, Error> {
        let not_now =
            |why: String| Err(Error::new(Kind::Conflict, Operation::Request, &session.id, why));
        if session.phase != Phase::Ready {
            return not_now(format!("it is {}; wait until it is ready", session.phase));
        }
        if session.template.ready_when == ReadyWhen::Console {
            return not_now("it has a console only".to_owned());
        }
        let Some(address) = session.address else {
            return not_now("its address is not known".to_owned());
        };
        let sum = session.facts.rdp_certificate.as_deref().and_then(tls::sum);
        let Some(certificate) = sum else {
            let why = "the certificate of its Remote Desktop was not recorded when it was \
                       configured, so nothing proves that it is the one that would answer";
            return not_now(why.to_owned());
        };
        Ok(Self { address: SocketAddr::new(address, session.template.ports.rdp), certificate })
    }

    /// The target of the caller's session.
    pub(super) async fn find(app: &App, caller: &Caller, id: &SessionId) -> Result<Self, Error> {
        Self::of(&app.engine.session(caller, id).await?)
    }
}

/// Shows the desktop until it or its client ends; why. Also tells the client why it cannot be.
pub(super) async fn show(
    app: &App,
    caller: &Caller,
    client: &mut Client,
    connection: &Connection,
    request: &[u8],
) -> Ended {
    let session = &connection.session;
    let opened = timeout(app.gateway.config.open_time, async {
        let target = Target::find(app, caller, session).await.map_err(Ended::from)?;
        let opened = open(&target, request).await;
        opened.map(|opened| (target.address.ip(), opened)).map_err(|why| {
            warn!(%session, why, "Remote Desktop cannot be opened");
            Ended::Away(why)
        })
    });
    let opened = opened.await.unwrap_or_else(|_| {
        Err(Ended::Away("the desktop did not answer in time; try again".to_owned()))
    });
    let (address, (stream, confirm)) = match opened {
        Ok(opened) => opened,
        Err(ended) => return ended,
    };
    if let Err(ended) = answer(client, address, confirm, &stream).await {
        return ended;
    }
    carry(app, client, Box::new(stream), &mut reader::Reader::default(), connection).await
}

type Opened = (tokio_rustls::client::TlsStream<TcpStream>, Vec<u8>);

/// Connects, passes the client's request on, and secures the connection.
async fn open(target: &Target, request: &[u8]) -> Result<Opened, String> {
    let lost = |error: std::io::Error| format!("the desktop does not answer: {error}");
    let mut tcp = TcpStream::connect(target.address).await.map_err(lost)?;
    tcp.set_nodelay(true).map_err(lost)?;
    tcp.write_all(request).await.map_err(lost)?;
    let confirm = confirm(&mut tcp).await?;
    let stream = tls::secure(tcp, target.address.ip(), target.certificate).await?;
    Ok((stream, confirm))
}

/// Reads the answer to a connection request: it must have chosen a secured protocol.
async fn confirm(tcp: &mut TcpStream) -> Result<Vec<u8>, String> {
    let lost = |error: std::io::Error| format!("the desktop ended the connection: {error}");
    let mut header = [0; 4];
    tcp.read_exact(&mut header).await.map_err(lost)?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] != 3 || !(11..=CONFIRM_BYTES_MAX).contains(&length) {
        return Err("the desktop does not speak Remote Desktop".to_owned());
    }
    let mut confirm = vec![0; length];
    confirm[..4].copy_from_slice(&header);
    tcp.read_exact(&mut confirm[4..]).await.map_err(lost)?;
    let chosen = confirm.get(15..19).map(|p| u32::from_le_bytes([p[0], p[1], p[2], p[3]]));
    match (confirm.get(11), chosen) {
        (Some(&NEGOTIATED), Some(chosen)) if chosen != 0 => Ok(confirm),
        (Some(&REFUSED), Some(code)) => {
            Err(format!("the desktop refuses every secured connection (code {code})"))
        }
        _ => Err("the desktop offers Remote Desktop without TLS only".to_owned()),
    }
}

async fn answer(
    client: &mut Client,
    address: IpAddr,
    confirm: Vec<u8>,
    stream: &tokio_rustls::client::TlsStream<TcpStream>,
) -> Result<(), Ended> {
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let chain = chain.iter().map(|certificate| certificate.as_ref().to_vec());
    let answer = opening::accepted(address, confirm, chain).ok_or_else(|| {
        Ended::Away("the desktop's answer cannot be passed on; the log tells why".to_owned())
    })?;
    client.send(answer).await
}

/// Tells a client that waits for an answer why there is none.
pub(super) async fn refuse(client: &mut Client, why: &Ended) {
    let status = match why {
        Ended::Ticket | Ended::SignedOut => 401,
        Ended::NotYours => 403,
        Ended::Gone => 404,
        Ended::NotReady(_) => 409,
        Ended::Full(_) => 429,
        _ => 503,
    };
    if let Some(refusal) = opening::refused(status) {
        // It may be gone already.
        let _ = client.send(refusal).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::pki_types::PrivateKeyDer;
    use sha2::{Digest as _, Sha256};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    const REQUEST: [u8; 4] = [3, 0, 0, 4];
    /// A confirm that chose TLS, one that chose none, and one that refuses all.
    const TLS: [u8; 19] = [3, 0, 0, 19, 14, 0xd0, 0, 0, 0, 0, 0, 2, 0, 8, 0, 1, 0, 0, 0];
    const PLAIN: [u8; 11] = [3, 0, 0, 11, 6, 0xd0, 0, 0, 0, 0, 0];
    const NO: [u8; 19] = [3, 0, 0, 19, 14, 0xd0, 0, 0, 0, 0, 0, 3, 0, 8, 0, 5, 0, 0, 0];

    /// What comes of opening a desktop that answers so; `known` is whether its certificate is.
    async fn opened(confirm: &'static [u8], known: bool) -> Result<Opened, String> {
        let made = generate_simple_self_signed(["desk".to_owned()]).expect("a certificate");
        let CertifiedKey { cert, signing_key } = made;
        let mut certificate: [u8; 32] = Sha256::digest(cert.der()).into();
        if !known {
            certificate[0] ^= 1;
        }
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("a configuration");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let desk = async {
            let (mut tcp, _) = listener.accept().await.expect("a client");
            let mut request = [0; REQUEST.len()];
            tcp.read_exact(&mut request).await.expect("a request");
            assert_eq!(request, REQUEST);
            tcp.write_all(confirm).await.expect("it listens");
            // A client that does not trust us goes here.
            TlsAcceptor::from(Arc::new(config)).accept(tcp).await.ok()
        };
        let target = Target { address, certificate };
        let (opened, _desk) = tokio::join!(async { open(&target, &REQUEST).await }, async {
            timeout(std::time::Duration::from_secs(20), desk).await
        });
        opened
    }

    #[tokio::test]
    async fn a_desktop_is_secured_with_the_certificate_it_was_configured_with() {
        let (_, confirm) = opened(&TLS, true).await.expect("opened");
        assert_eq!(confirm, TLS);
        let why = opened(&TLS, false).await.expect_err("somebody else's certificate");
        assert!(why.contains("another than when it was configured"), "{why}");
    }

    #[tokio::test]
    async fn what_is_not_secured_is_refused() {
        let check = async |confirm: &'static [u8], what: &str| {
            let why = opened(confirm, true).await.expect_err(what);
            assert!(why.contains(what), "{why}");
        };
        check(&PLAIN, "without TLS only").await;
        check(&NO, "refuses every secured connection (code 5)").await;
        check(b"HTTP/1.1 400 Bad Request\r\n", "does not speak Remote Desktop").await;
        check(&[3, 0, 0xff, 0xff, 0], "does not speak Remote Desktop").await;
    }
}
