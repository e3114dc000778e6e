//! The RDP server's certificate: self-signed, made once and kept on the guest's disk.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::super::DrawnGuest;
use super::super::disk::{Disk, Who};

const CERTIFICATE: &str = "/etc/xrdp/cert.pem";
const KEY: &str = "/etc/xrdp/key.pem";

/// TLS with the guest's certificate.
pub(super) fn server(guest: &DrawnGuest) -> Result<TlsAcceptor, String> {
    let (certificate, key) = guest.with_disk(|disk| kept(disk).map_or_else(|| made(disk), Ok))?;
    let certificate =
        CertificateDer::from_pem_slice(&certificate).map_err(|e| format!("{CERTIFICATE}: {e}"))?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|e| format!("{KEY}: {e}"))?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate], key))
        .map_err(|error| format!("{CERTIFICATE}: {error}"))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

type Pems = (Vec<u8>, Vec<u8>);

fn kept(disk: &Disk) -> Option<Pems> {
    let read = |path| disk.read(&Who::root(), path).ok().map(|bytes| bytes.to_vec());
    read(CERTIFICATE).zip(read(KEY))
}

fn made(disk: &mut Disk) -> Result<Pems, String> {
    let made = rcgen::generate_simple_self_signed(vec![disk.hostname.clone()])
        .map_err(|error| format!("cannot make a certificate: {error}"))?;
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    disk.put(CERTIFICATE, certificate.clone(), 0o644);
    disk.put(KEY, key.clone(), 0o640);
    Ok((certificate.into_bytes(), key.into_bytes()))
}
