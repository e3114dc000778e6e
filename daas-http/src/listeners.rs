//! The sockets and their certificates, before anybody answers on them: the engine needs to know
//! the guests' address and certificate, and the server needs the engine.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::net::TcpListener;
use tracing::warn;

use crate::config::{HttpConfig, PublicUrl, Tls};
use crate::tls::{self, Identity};

/// Why the server cannot start, or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be had.
    #[error("cannot listen on {address}; is something else listening there?")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// Keys would travel in clear.
    #[error(
        "{address} can be reached from elsewhere and has no TLS; set tls, or \
         plain_http_beyond_loopback = true if a proxy of yours speaks TLS before it"
    )]
    Plain {
        /// Which address.
        address: SocketAddr,
    },
    /// Browsers would be sent in a circle.
    #[error("redirect_listen sends browsers to TLS, and there is none; set tls or public_url")]
    Redirect,
    /// A file of a certificate cannot be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A certificate is no good.
    #[error("the certificate {} cannot be used: {why}", path.display())]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
}

/// Where is being listened, with the ports that were really given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The API.
    pub main: SocketAddr,
    /// Whether it speaks TLS.
    pub main_tls: bool,
    /// The compatible API alone, in plain HTTP.
    pub compat: Option<SocketAddr>,
    /// What sends browsers to the API's.
    pub redirect: Option<SocketAddr>,
    /// What guests call.
    pub guests: Option<SocketAddr>,
    /// Whether it speaks TLS.
    pub guests_tls: bool,
}

impl Addresses {
    /// The API's address as a URL.
    pub fn url(&self) -> String {
        url(self.main_tls, self.main)
    }

    /// The guests' address as a URL. Where they are told another one (a name, an address behind a
    /// translation), it is not this.
    pub fn guest_url(&self) -> Option<String> {
        self.guests.map(|address| url(self.guests_tls, address))
    }
}

/// Bound sockets and loaded certificates.
#[derive(Debug)]
pub struct Listeners {
    pub(crate) main: Bound,
    pub(crate) compat: Option<Bound>,
    pub(crate) redirect: Option<Bound>,
    pub(crate) guests: Option<Bound>,
    addresses: Addresses,
}

/// One socket and its certificate.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) socket: TcpListener,
    pub(crate) identity: Option<Identity>,
}

impl Listeners {
    /// Binds all that `config` names and loads, or makes, its certificates.
    pub async fn bind(config: &HttpConfig) -> Result<Self, ServeError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let plain = config.tls == Tls::None && !config.listen.ip().is_loopback();
        if plain && !config.plain_http_beyond_loopback {
            return Err(ServeError::Plain { address: config.listen });
        }
        if plain {
            warn!(address = %config.listen, "API keys travel in clear: no TLS on this address");
        }
        check_directories(&config.tls, &config.guest_tls)?;
        let main = bound(config.listen, &config.tls).await?;
        let compat = match config.compat.listen.filter(|_| config.compat.enabled) {
            Some(address) => Some(bound(address, &Tls::None).await?),
            None => None,
        };
        let redirect = match config.redirect_listen {
            Some(address) => {
                check_redirect(config)?;
                Some(bound(address, &Tls::None).await?)
            }
            None => None,
        };
        let guests = match config.guest_listen {
            Some(address) => Some(bound(address, &config.guest_tls).await?),
            None => None,
        };
        let address = |bound: &Bound| {
            bound
                .socket
                .local_addr()
                .map_err(|source| ServeError::Bind { address: config.listen, source })
        };
        let addresses = Addresses {
            main: address(&main)?,
            main_tls: main.identity.is_some(),
            compat: compat.as_ref().map(address).transpose()?,
            redirect: redirect.as_ref().map(address).transpose()?,
            guests: guests.as_ref().map(address).transpose()?,
            guests_tls: guests.as_ref().is_some_and(|g| g.identity.is_some()),
        };
        if let Some(address) = addresses.guests.filter(|_| !addresses.guests_tls)
            && !address.ip().is_loopback()
        {
            warn!(%address, "guests' tokens travel in clear: no TLS on this address");
        }
        Ok(Self { main, compat, redirect, guests, addresses })
    }

    /// Where is being listened.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// SHA-256 of the API's certificate, `AA:BB:…`; absent without TLS.
    pub fn fingerprint(&self) -> Option<&str> {
        self.main.identity.as_ref().map(|i| i.fingerprint.as_str())
    }

    /// The certificate that guests must be told to trust: there is one when it is self-signed.
    pub fn guest_certificate_pem(&self) -> Option<&str> {
        self.guests.as_ref()?.identity.as_ref()?.own_authority_pem.as_deref()
    }
}

/// Refuses to send browsers to where there is no TLS either.
fn check_redirect(config: &HttpConfig) -> Result<(), ServeError> {
    let is_secure = config.public_url.as_ref().is_some_and(PublicUrl::is_secure);
    if config.tls == Tls::None && !is_secure {
        return Err(ServeError::Redirect);
    }
    Ok(())
}

/// Refuses two certificates in one directory: each start would remake the other's.
fn check_directories(main: &Tls, guests: &Tls) -> Result<(), ServeError> {
    if let (
        Tls::SelfSigned { directory, names },
        Tls::SelfSigned { directory: other, names: others },
    ) = (main, guests)
        && directory == other
        && names != others
    {
        let why = "tls and guest_tls name this directory for different names; give them the same \
                   names, or a directory each";
        return Err(ServeError::Certificate { path: directory.clone(), why: why.to_owned() });
    }
    Ok(())
}

async fn bound(address: SocketAddr, tls: &Tls) -> Result<Bound, ServeError> {
    let identity = tls::load(tls)?;
    let socket = TcpListener::bind(address).await;
    let socket = socket.map_err(|source| ServeError::Bind { address, source })?;
    Ok(Bound { socket, identity })
}

fn url(tls: bool, address: SocketAddr) -> String {
    format!("{}://{address}", if tls { "https" } else { "http" })
}
