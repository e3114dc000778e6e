//! As much of an LDAP server as the tests need: TLS, and answers in BER (X.690) made by hand, so
//! that nothing of the client under test has a part in them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A certificate authority, and the file that holds it.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: tempfile::TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, dir }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    fn acceptor(&self) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// The account that the tests look things up as.
pub(crate) const SERVICE: &str = "svc@lab.test";

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// A bind as [`SERVICE`].
    Bind,
    /// A bind as anybody else.
    Prove,
    Search,
    Other,
}

/// What is answered.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Entries (each a whole `SearchResultEntry`) before the result; then result and controls.
    Answer {
        entries: Vec<u8>,
        result: Vec<u8>,
        controls: Vec<u8>,
    },
    Hang,
    Close,
    Rubbish,
}

impl Reply {
    pub(crate) fn success(op: Op) -> Self {
        Self::refused(op, 0)
    }

    pub(crate) fn refused(op: Op, code: u8) -> Self {
        Self::told(op, code, "as told")
    }

    pub(crate) fn told(op: Op, code: u8, text: &str) -> Self {
        let tag = match op {
            Op::Bind | Op::Prove => 0x61,
            Op::Search => 0x65,
            Op::Other => 0x69,
        };
        let fields = [tlv(0x0a, &[code]), tlv(4, b""), tlv(4, text.as_bytes())].concat();
        Self::Answer { entries: Vec::new(), result: tlv(tag, &fields), controls: Vec::new() }
    }

    /// One page of entries, and whether there are more (RFC 2696).
    pub(crate) fn page(entries: &[u8], more: bool) -> Self {
        let Self::Answer { result, .. } = Self::success(Op::Search) else { return Self::Close };
        let cookie: &[u8] = if more { b"next" } else { b"" };
        let value = tlv(0x30, &[tlv(2, &[0]), tlv(4, cookie)].concat());
        let control = tlv(0x30, &[tlv(4, b"1.2.840.113556.1.4.319"), tlv(4, &value)].concat());
        Self::Answer { entries: entries.to_vec(), result, controls: tlv(0xa0, &control) }
    }
}

/// An entry of a computer of this name with this description.
pub(crate) fn account(name: &str, description: &str) -> Vec<u8> {
    let account = format!("{}$", name.to_uppercase());
    let attributes: [(&str, &[u8]); 3] = [
        ("description", description.as_bytes()),
        ("objectGUID", &[0xfe; 16]),
        ("sAMAccountName", account.as_bytes()),
    ];
    entry(&format!("CN={name},OU=D,DC=lab,DC=test"), &attributes)
}

/// An entry with these attributes, of one value each.
pub(crate) fn entry(dn: &str, attributes: &[(&str, &[u8])]) -> Vec<u8> {
    let attribute = |(kind, value): &(&str, &[u8])| {
        tlv(0x30, &[tlv(4, kind.as_bytes()), tlv(0x31, &tlv(4, value))].concat())
    };
    let attributes: Vec<u8> = attributes.iter().flat_map(attribute).collect();
    tlv(0x64, &[tlv(4, dn.as_bytes()), tlv(0x30, &attributes)].concat())
}

/// A server that answers by a script. It ends when dropped.
pub(crate) struct Server {
    port: u16,
    heard: Heard,
    task: JoinHandle<()>,
}

/// What was asked: the connection's number, what, and as whom where it was a bind.
type Heard = Arc<Mutex<Vec<(usize, Op, String)>>>;

impl Server {
    /// `script` is given what is asked, and how many searches there were, this one included.
    pub(crate) async fn start(
        authority: &Authority,
        script: impl Fn(Op, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let acceptor = authority.acceptor();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Heard::default();
        let (script, hearing) = (Arc::new(script), Arc::clone(&heard));
        let task = tokio::spawn(async move {
            // Owned by this task: they end with it.
            let mut connections = tokio::task::JoinSet::new();
            let mut number = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let (script, hearing) = (Arc::clone(&script), Arc::clone(&hearing));
                let hear = move |op, name| hearing.lock().unwrap().push((number, op, name));
                connections.spawn(serve(acceptor.clone(), stream, script, hear));
                number += 1;
            }
        });
        Self { port, heard, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("ldaps://127.0.0.1:{}", self.port)
    }

    /// How often somebody tried to bind.
    pub(crate) fn binds(&self) -> usize {
        self.heard().iter().filter(|(_, op, _)| matches!(op, Op::Bind | Op::Prove)).count()
    }

    /// All that was asked, in order.
    pub(crate) fn heard(&self) -> Vec<(usize, Op, String)> {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve<S: Fn(Op, usize) -> Reply>(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    script: Arc<S>,
    hear: impl Fn(Op, String),
) {
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let mut searches = 0;
    while let Some((id, op, name)) = request(&mut stream).await {
        searches += usize::from(op == Op::Search);
        hear(op, name);
        let bytes = match script(op, searches) {
            Reply::Answer { entries, result, controls } => {
                let mut bytes: Vec<u8> =
                    each(&entries).flat_map(|e| message(&id, e, &[])).collect();
                bytes.extend(message(&id, &result, &controls));
                bytes
            }
            Reply::Hang => std::future::pending().await,
            Reply::Close => return,
            // Well-formed BER, and no LDAP.
            Reply::Rubbish => message(&id, &tlv(0x65, &tlv(0x0a, &[0])), &[]),
        };
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// One whole `LDAPMessage`: its id, what it asks, and the name of a bind.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<(Vec<u8>, Op, String)> {
    let (tag, body) = element(stream).await?;
    let mut rest = body.as_slice();
    let (_, id) = element(&mut rest).await?;
    let mut name = String::new();
    let op = match (tag, rest.first()?) {
        (0x30, 0x60) => {
            let (_, bind) = element(&mut rest).await?;
            let mut bind = bind.as_slice();
            element(&mut bind).await?;
            name = String::from_utf8(element(&mut bind).await?.1).ok()?;
            if name == SERVICE { Op::Bind } else { Op::Prove }
        }
        (0x30, 0x63) => Op::Search,
        // An unbind has no answer.
        (0x30, 0x42) => return None,
        _ => Op::Other,
    };
    Some((id, op, name))
}

async fn element(stream: &mut (impl AsyncRead + Unpin)) -> Option<(u8, Vec<u8>)> {
    let tag = stream.read_u8().await.ok()?;
    let first = stream.read_u8().await.ok()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        length = 0;
        for _ in 0..first & 0x7f {
            length = length << 8 | usize::from(stream.read_u8().await.ok()?);
        }
    }
    let mut body = vec![0; length.min(1 << 20)];
    stream.read_exact(&mut body).await.ok()?;
    Some((tag, body))
}

fn message(id: &[u8], op: &[u8], controls: &[u8]) -> Vec<u8> {
    tlv(0x30, &[&tlv(2, id), op, controls].concat())
}

/// The elements that lie one behind the other.
fn each(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let first = *bytes.get(1)?;
        let (head, length) = match first {
            0x82 => (4, usize::from(bytes[2]) << 8 | usize::from(bytes[3])),
            0x81 => (3, usize::from(bytes[2])),
            short => (2, usize::from(short)),
        };
        let (one, rest) = bytes.split_at(head + length);
        bytes = rest;
        Some(one)
    })
}

fn tlv(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut bytes = vec![tag];
    match u16::try_from(length).unwrap().to_be_bytes() {
        [0, low] if low < 0x80 => bytes.push(low),
        [0, low] => bytes.extend([0x81, low]),
        [high, low] => bytes.extend([0x82, high, low]),
    }
    bytes.extend_from_slice(body);
    bytes
}
