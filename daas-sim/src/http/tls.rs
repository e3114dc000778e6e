//! The cluster's own certificate authority and the certificate all nodes show.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::PrivateKeyDer;
use sha2::{Digest as _, Sha256};
use tokio_rustls::TlsAcceptor;

/// What a client needs to trust the cluster, and what a node needs to be trusted.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) ca_pem: String,
    pub(crate) leaf_pem: String,
    /// SHA-256 of the leaf, `AA:BB:..`.
    pub(crate) fingerprint: String,
    pub(crate) acceptor: TlsAcceptor,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It could not be made.
    #[error("make a certificate")]
    Make(#[from] rcgen::Error),
    /// It could not be used.
    #[error("use the certificate")]
    Use(#[from] rustls::Error),
}

impl Identity {
    /// A fresh authority and a certificate for `names` and loopback addresses.
    pub(crate) fn new(names: &[Arc<str>]) -> Result<Self, TlsError> {
        // Somebody else may have installed it; then it is the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "Proxmox Virtual Environment (simulated)");
        let ca_certificate = ca.self_signed(&ca_key)?;
        let issuer = Issuer::new(ca, ca_key);
        let mut subjects: Vec<String> = names.iter().map(|n| n.to_string()).collect();
        subjects.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
        let mut leaf = CertificateParams::new(subjects)?;
        leaf.distinguished_name.push(DnType::CommonName, names.first().map_or("pve", |n| &**n));
        leaf.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        leaf.use_authority_key_identifier_extension = true;
        let leaf_key = KeyPair::generate()?;
        let leaf = leaf.signed_by(&leaf_key, &issuer)?;
        let key = PrivateKeyDer::Pkcs8(leaf_key.serialize_der().into());
        let chain = vec![leaf.der().clone(), ca_certificate.der().clone()];
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let digest = Sha256::digest(leaf.der());
        let parts: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        Ok(Self {
            ca_pem: ca_certificate.pem(),
            leaf_pem: leaf.pem(),
            fingerprint: parts.join(":"),
            acceptor: TlsAcceptor::from(Arc::new(config)),
        })
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}
