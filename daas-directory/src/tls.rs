//! Whom we trust: the authorities of a file, or the system's.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use crate::error::{DirectoryError, Settings};
use crate::reach::Reach;

pub(crate) fn client_config(
    of: &'static Settings,
    reach: &Reach,
) -> Result<Arc<ClientConfig>, DirectoryError> {
    let roots = match &reach.ca_file {
        Some(path) => {
            let unusable =
                |source| DirectoryError::File { of, field: "ca_file", path: path.clone(), source };
            let pem = std::fs::read(path).map_err(unusable)?;
            from_pem(&pem).map_err(unusable)?
        }
        None => from_system(of)?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| of.wrong("servers", error.to_string()))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

fn from_pem(pem: &[u8]) -> std::io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in rustls_pemfile::certs(&mut &pem[..]) {
        roots.add(certificate?).map_err(std::io::Error::other)?;
    }
    if roots.is_empty() {
        return Err(std::io::Error::other("there is no certificate in it"));
    }
    Ok(roots)
}

fn from_system(of: &'static Settings) -> Result<RootCertStore, DirectoryError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // One that rustls cannot read does not make the others less trusted.
    let (_, refused) = roots.add_parsable_certificates(found.certs);
    tracing::debug!(trusted = roots.len(), refused, errors = found.errors.len(), "system's roots");
    if roots.is_empty() {
        let why = "is not set, and the system trusts no authority; set it to a PEM file";
        return Err(of.wrong("ca_file", why));
    }
    Ok(roots)
}
