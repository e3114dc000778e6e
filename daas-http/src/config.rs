//! The settings of the HTTP face. What is absent has a default that is safe on one machine.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use daas_core::ids::TemplateName;
use daas_core::{Error, Operation};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::gateway::GatewayConfig;
use crate::rate::CallRate;

/// The port that clients of the earlier orchestrator know.
const PORT: u16 = 5000;

/// The settings of the HTTP face.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Where the API and the compatible API are served. Default `127.0.0.1:5000`.
    pub listen: SocketAddr,
    /// Its certificate. Default none.
    pub tls: Tls,
    /// Under which address browsers reach the pages, `https://desk.school.test`: where a provider of
    /// OpenID Connect sends them back to. Absent: on this machine alone, as the browser calls it.
    pub public_url: Option<PublicUrl>,
    /// Whether `listen` may be reached from elsewhere without TLS: keys travel in clear then.
    pub plain_http_beyond_loopback: bool,
    /// One more listener, plain HTTP, that sends browsers to the address with TLS, and serves nothing:
    /// port 80 as a rule. Never those who call the compatible API. Default none.
    pub redirect_listen: Option<SocketAddr>,
    /// For how long browsers are told to come by TLS alone (Strict-Transport-Security), when `tls`
    /// names files; it counts for every port of the host. `0s`: not told. Default 180 days.
    #[serde(with = "humantime_serde")]
    pub hsts: Duration,
    /// Where guests report their use; absent: nowhere.
    pub guest_listen: Option<SocketAddr>,
    /// Its certificate. Default none.
    pub guest_tls: Tls,
    /// The API of the earlier orchestrator.
    pub compat: CompatConfig,
    /// From where `/metrics` and `/api/metrics` need no key. Default loopback.
    pub monitoring_networks: Vec<Network>,
    /// Proxies whose `X-Forwarded-For`, `-Proto` and `-Host` are believed. Default none.
    pub trusted_proxies: Vec<Network>,
    /// The pages for people.
    pub portal: PortalConfig,
    /// The way to desktops' screens.
    pub gateway: GatewayConfig,
    /// The bounds.
    pub limits: HttpLimits,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
            tls: Tls::None,
            public_url: None,
            plain_http_beyond_loopback: false,
            redirect_listen: None,
            hsts: Duration::from_hours(180 * 24),
            guest_listen: None,
            guest_tls: Tls::None,
            compat: CompatConfig::default(),
            monitoring_networks: Network::loopback(),
            trusted_proxies: Vec::new(),
            portal: PortalConfig::default(),
            gateway: GatewayConfig::default(),
            limits: HttpLimits::default(),
        }
    }
}

/// The pages for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PortalConfig {
    /// What they are called, in every title. Default `Desktops`.
    pub name: String,
}

impl Default for PortalConfig {
    fn default() -> Self {
        Self { name: "Desktops".to_owned() }
    }
}

/// Where a listener's certificate comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Tls {
    /// Plain HTTP.
    #[default]
    None,
    /// PEM files.
    Files {
        /// The certificate, then its chain.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// Made at the first start, and whenever its names change, and kept.
    SelfSigned {
        /// Where `certificate.pem`, `key.pem` and `names` are kept.
        directory: PathBuf,
        /// DNS names and addresses it is for, besides `localhost` and loopback.
        #[serde(default)]
        names: Vec<String>,
    },
}

/// The API that clients of the earlier Flask orchestrator know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompatConfig {
    /// Whether it is served. Default yes.
    pub enabled: bool,
    /// One more listener, plain HTTP, that serves nothing else: for clients that cannot speak TLS.
    pub listen: Option<SocketAddr>,
    /// Who may call it, without a key. Default loopback.
    pub networks: Vec<Network>,
    /// How long a create may block before the desktop is given up. Default 570 s.
    #[serde(with = "humantime_serde")]
    pub create_deadline: Duration,
    /// The template of a create that names none; absent: the only one there is.
    pub default_template: Option<TemplateName>,
}

impl Default for CompatConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: None,
            networks: Network::loopback(),
            create_deadline: Duration::from_secs(570),
            default_template: None,
        }
    }
}

/// The bounds of the HTTP face.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpLimits {
    /// The longest request body, in bytes. Default 64 KiB.
    pub body_bytes: usize,
    /// Connections at once, for each listener. Default 2,048.
    pub connections: usize,
    /// Calls from one address, this machine's own left aside; of IPv6 from one network of 64 bits. A
    /// school may be behind one. Default 500 a second, 5,000 at once.
    pub calls_of_address: CallRate,
    /// Calls of one caller, who has a key or has signed in. Default 100 a second, 1,000 at once.
    pub calls_of_caller: CallRate,
    /// Event streams at once. Default 512.
    pub streams: usize,
    /// Event streams at once of one owner. Default 64.
    pub streams_of_one: usize,
    /// How long a TLS handshake, a request's head or its body may take, and how long a connection
    /// stays open without a request. Default 20 s.
    #[serde(with = "humantime_serde")]
    pub header_time: Duration,
    /// How often certificate files are looked at for new ones. Default 10 s.
    #[serde(with = "humantime_serde")]
    pub reload_time: Duration,
    /// How long a client may take for 16 KiB of an answer that is there. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub take_time: Duration,
    /// How long a call that does not block by design may take. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub call_time: Duration,
    /// How long open calls may go on after the server was told to stop. Default 10 s.
    #[serde(with = "humantime_serde")]
    pub stop_time: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            body_bytes: 64 * 1024,
            connections: 2_048,
            calls_of_address: CallRate { per_second: 500, burst: 5_000 },
            calls_of_caller: CallRate { per_second: 100, burst: 1_000 },
            streams: 512,
            streams_of_one: 64,
            header_time: Duration::from_secs(20),
            reload_time: Duration::from_secs(10),
            take_time: Duration::from_secs(30),
            call_time: Duration::from_secs(30),
            stop_time: Duration::from_secs(10),
        }
    }
}

/// The address of this server for browsers: scheme, host and port, and nothing more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicUrl(Url);

impl PublicUrl {
    /// Whether it is reached by TLS.
    pub fn is_secure(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The address of `path`, which begins with a slash.
    pub fn at(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(path);
        url
    }
}

impl FromStr for PublicUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let url = text.parse::<Url>().ok().filter(|url| {
            let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
            let nobody = url.username().is_empty() && url.password().is_none();
            matches!(url.scheme(), "http" | "https") && url.has_host() && bare && nobody
        });
        url.map(Self).ok_or_else(|| {
            let why = format!("{text:?} is not of the form https://host or https://host:port");
            Error::invalid(Operation::Check, "public_url", why)
        })
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<PublicUrl> for String {
    fn from(url: PublicUrl) -> Self {
        url.0.into()
    }
}

/// A network in CIDR notation, or one address: `10.0.0.0/8`, `::1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(IpNet);

impl Network {
    /// The networks of this machine alone.
    pub fn loopback() -> Vec<Self> {
        let v4 = IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8);
        vec![Self(v4), Self(IpNet::from(IpAddr::V6(Ipv6Addr::LOCALHOST)))]
    }

    /// Whether `address` is in it; an IPv4 address in IPv6 clothes counts as itself.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        net.map(Self).map_err(|_| {
            let why = format!("{text:?} is neither a network (10.0.0.0/8) nor an address");
            Error::invalid(Operation::Check, "network", why)
        })
    }
}

impl TryFrom<String> for Network {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses_in_either_clothes() {
        let check = |network: &str, address: &str, inside: bool| {
            let network: Network = network.parse().expect(network);
            assert_eq!(network.contains(address.parse().expect(address)), inside, "{address}");
        };
        check("10.1.0.0/16", "10.1.255.1", true);
        check("10.1.0.0/16", "10.2.0.1", false);
        check("10.1.2.3", "::ffff:10.1.2.3", true);
        check("::1", "::1", true);
        check("fd00::/8", "10.1.2.3", false);
        assert!("10.0.0.0/33".parse::<Network>().is_err());
        assert!("everywhere".parse::<Network>().is_err());
    }

    #[test]
    fn a_public_url_is_a_host_and_nothing_more() {
        for good in ["https://desk.school.test", "https://desk.school.test:8443/", "http://[::1]:5"]
        {
            let url: PublicUrl = good.parse().expect(good);
            assert!(url.at("/a/b").as_str().ends_with("/a/b"), "{good}");
        }
        for bad in [
            "desk.school.test",
            "ftp://desk",
            "https://desk/a",
            "https://a:b@desk",
            "https://desk?a",
        ] {
            assert!(bad.parse::<PublicUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn settings_are_read_from_their_written_form_and_nothing_unknown_passes() {
        let text = r#"{"tls":{"mode":"self-signed","directory":"keys"},
            "compat":{"networks":["10.0.0.0/8"],"create_deadline":"2m"}}"#;
        let config: HttpConfig = serde_json::from_str(text).expect("reads");
        assert_eq!(config.compat.create_deadline, Duration::from_secs(120));
        let again: HttpConfig =
            serde_json::from_str(&serde_json::to_string(&config).expect("writes")).expect("reads");
        assert_eq!(again, config);
        assert!(serde_json::from_str::<HttpConfig>(r#"{"listen":"x"}"#).is_err());
    }
}
