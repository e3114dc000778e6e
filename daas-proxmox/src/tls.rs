//! Whom we trust: a certificate authority, one certificate by its fingerprint, or the system.

use std::fmt::Write;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

use crate::config::ProxmoxConfig;
use crate::error::ProxmoxError;

/// The TLS settings for `config`; `None` leaves it to the system's certificate store.
pub(crate) fn client_config(config: &ProxmoxConfig) -> Result<Option<ClientConfig>, ProxmoxError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    // A second call is refused by rustls and changes nothing.
    let _ = CryptoProvider::install_default((*provider).clone());
    let builder = || {
        ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| ProxmoxError::Config { field: "url", why: e.to_string() })
    };
    let pinned = match (&config.fingerprint, config.insecure) {
        (Some(text), _) => Some(parse_fingerprint(text)?),
        (None, true) => {
            tracing::warn!(url = %config.url, "proxmox.insecure is set: ANY server is trusted");
            None
        }
        (None, false) => match &config.ca_file {
            None => return Ok(None),
            Some(_) => {
                return Ok(Some(
                    builder()?.with_root_certificates(roots(config)?).with_no_client_auth(),
                ));
            }
        },
    };
    let verifier = Arc::new(Pinned { fingerprint: pinned, provider: Arc::clone(&provider) });
    let config =
        builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    Ok(Some(config))
}

fn roots(config: &ProxmoxConfig) -> Result<RootCertStore, ProxmoxError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = &config.ca_file else { return Ok(roots) };
    let unusable = |source| ProxmoxError::File { field: "ca_file", path: path.clone(), source };
    let pem = std::fs::read(path).map_err(unusable)?;
    for certificate in rustls_pemfile::certs(&mut pem.as_slice()) {
        let certificate = certificate.map_err(unusable)?;
        roots.add(certificate).map_err(|e| unusable(std::io::Error::other(e)))?;
    }
    if roots.is_empty() {
        return Err(unusable(std::io::Error::other("there is no certificate in it")));
    }
    Ok(roots)
}

fn parse_fingerprint(text: &str) -> Result<[u8; 32], ProxmoxError> {
    let digits: String = text.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
    let bytes: Option<Vec<u8>> = digits
        .is_ascii()
        .then(|| {
            (0..digits.len())
                .step_by(2)
                .map(|i| u8::from_str_radix(digits.get(i..i + 2)?, 16).ok())
                .collect()
        })
        .flatten();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| ProxmoxError::Config {
        field: "fingerprint",
        why: "is not a SHA-256 fingerprint (32 bytes in hexadecimal, AA:BB:…)".to_owned(),
    })
}

/// SHA-256 of a certificate as Proxmox shows it, `AA:BB:…`.
fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let digest = Sha256::digest(certificate.as_ref());
    let mut text = String::with_capacity(95);
    for (i, byte) in digest.iter().enumerate() {
        if i > 0 {
            text.push(':');
        }
        let _ = write!(text, "{byte:02X}");
    }
    text
}

/// Trusts one certificate; without a fingerprint any.
#[derive(Debug)]
struct Pinned {
    fingerprint: Option<[u8; 32]>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let seen: [u8; 32] = Sha256::digest(end_entity.as_ref()).into();
        if self.fingerprint.is_none_or(|pinned| pinned == seen) {
            return Ok(ServerCertVerified::assertion());
        }
        let text = format!("its fingerprint is {}, not the pinned one", fingerprint(end_entity));
        Err(rustls::Error::General(text))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
