//! Certificates: from files, or made here at the first start and kept.

mod reload;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use tokio_rustls::TlsAcceptor;
use tracing::warn;

use self::reload::{Current, Files};
use crate::config::Tls;
use crate::listeners::ServeError;

/// How long a certificate made here is valid, in years.
const YEARS: i16 = 10;

/// A listener's certificate, loaded.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) acceptor: TlsAcceptor,
    /// SHA-256 of the certificate, `AA:BB:…`.
    pub(crate) fingerprint: String,
    /// The certificate, when it is its own authority.
    pub(crate) own_authority_pem: Option<String>,
    /// The files that others replace; absent: nobody does.
    pub(crate) files: Option<Files>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

/// Loads what `tls` names; absent for plain HTTP. Reads and may write files.
pub(crate) fn load(tls: &Tls) -> Result<Option<Identity>, ServeError> {
    match tls {
        Tls::None => Ok(None),
        Tls::Files { certificate, key } => {
            let (pem, key_pem) = (read(certificate)?, read(key)?);
            let (mut identity, current) = identity(&pem, &key_pem, certificate, false)?;
            identity.files = Some(Files {
                certificate: certificate.clone(),
                key: key.clone(),
                current,
                seen: reload::digest(&pem, &key_pem),
            });
            Ok(Some(identity))
        }
        Tls::SelfSigned { directory, names } => {
            let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
            // Kept beside it, because a certificate must be made anew when its names change.
            let kept_names = directory.join("names");
            let named = std::fs::read_to_string(&kept_names).is_ok_and(|n| n == names.join("\n"));
            if !certificate.exists() || !key.exists() || !named {
                make(directory, &certificate, &key, names)?;
                std::fs::write(&kept_names, names.join("\n"))
                    .map_err(|source| ServeError::File { path: kept_names, source })?;
                warn!(directory = %directory.display(), "made a new certificate");
            }
            let (identity, _) = identity(&read(&certificate)?, &read(&key)?, &certificate, true)?;
            Ok(Some(identity))
        }
    }
}

fn identity(
    certificate_pem: &str,
    key_pem: &str,
    path: &Path,
    own_authority: bool,
) -> Result<(Identity, Arc<Current>), ServeError> {
    let bad = |why: String| ServeError::Certificate { path: path.to_owned(), why };
    let key = certified(certificate_pem, key_pem, path)?;
    let fingerprint = fingerprint(&key);
    let current = Current::new(key);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| bad(e.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&current) as _);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let identity = Identity {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        fingerprint,
        own_authority_pem: own_authority.then(|| certificate_pem.to_owned()),
        files: None,
    };
    Ok((identity, current))
}

/// A certificate with the key that belongs to it.
fn certified(
    certificate_pem: &str,
    key_pem: &str,
    path: &Path,
) -> Result<CertifiedKey, ServeError> {
    let bad = |why: String| ServeError::Certificate { path: path.to_owned(), why };
    let chain = CertificateDer::pem_slice_iter(certificate_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| bad(e.to_string()))?;
    if chain.is_empty() {
        return Err(bad("the file holds no certificate".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|e| bad(e.to_string()))?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|e| bad(e.to_string()))
}

/// SHA-256 of a certificate, `AA:BB:…`.
fn fingerprint(key: &CertifiedKey) -> String {
    let first = key.cert.first().map(Sha256::digest);
    let parts = first.iter().flatten().map(|b| format!("{b:02X}"));
    parts.collect::<Vec<_>>().join(":")
}

/// Makes a certificate that is its own authority. The key is written first, so that a start cut
/// short leaves no certificate without one.
fn make(
    directory: &Path,
    certificate: &Path,
    key: &Path,
    names: &[String],
) -> Result<(), ServeError> {
    let bad = |e: rcgen::Error| ServeError::Certificate {
        path: certificate.to_owned(),
        why: format!("it cannot be made: {e}"),
    };
    let mut subjects: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    subjects.extend(names.iter().filter(|n| !n.is_empty()).cloned());
    let mut params = CertificateParams::new(subjects).map_err(bad)?;
    params.distinguished_name.push(DnType::CommonName, "daas");
    params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    let today = jiff::Zoned::now().date();
    // A day early: the clocks of those who connect may be behind.
    params.not_before = rcgen::date_time_ymd(i32::from(today.year()) - 1, 12, 31);
    params.not_after = rcgen::date_time_ymd(i32::from(today.year() + YEARS), 1, 1);
    let pair = KeyPair::generate().map_err(bad)?;
    let made = params.self_signed(&pair).map_err(bad)?;
    let wrote = std::fs::create_dir_all(directory)
        .and_then(|()| write_private(key, pair.serialize_pem().as_bytes()))
        .and_then(|()| std::fs::write(certificate, made.pem()));
    wrote.map_err(|source| ServeError::File { path: directory.to_owned(), source })
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(bytes)
}

fn read(path: &Path) -> Result<String, ServeError> {
    let read = std::fs::read_to_string(path);
    read.map_err(|source| ServeError::File { path: path.to_owned(), source })
}
