//! Settings of an OpenID Connect provider.

use std::path::PathBuf;
use std::time::Duration;

use daas_core::secret::Secret;
use serde::Deserialize;
use url::Url;

use super::claims::ClaimNames;

/// How people of an OpenID Connect provider sign in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcConfig {
    /// The provider's issuer, `https://login.school.test/realms/school`: what is before
    /// `/.well-known/openid-configuration`.
    pub issuer: Url,
    /// The name that we have there.
    pub client_id: String,
    /// Our secret there, from the environment; better in `client_secret_file`.
    #[serde(default)]
    pub client_secret: Option<Secret<String>>,
    /// A file with our secret there; without any, PKCE alone protects the code.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// What the button on the sign-in page says; absent: the realm's name.
    #[serde(default)]
    pub label: Option<String>,
    /// What is asked for beside `openid`. Default `profile`; some need `groups`.
    #[serde(default = "default_scopes")]
    pub scopes: Vec<String>,
    /// Which claims of the identity token tell who somebody is.
    #[serde(default)]
    pub claims: ClaimNames,
    /// A file with the certificate authorities to trust, in PEM; absent: the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How long the provider may take for each of the two steps. Default 10 s.
    #[serde(default = "default_deadline", with = "humantime_serde")]
    pub deadline: Duration,
}

fn default_scopes() -> Vec<String> {
    vec!["profile".to_owned()]
}

fn default_deadline() -> Duration {
    Duration::from_secs(10)
}

impl OidcConfig {
    /// A provider with all that can be by default.
    pub fn new(issuer: Url, client_id: &str) -> Self {
        Self {
            issuer,
            client_id: client_id.to_owned(),
            client_secret: None,
            client_secret_file: None,
            label: None,
            scopes: default_scopes(),
            claims: ClaimNames::default(),
            ca_file: None,
            deadline: default_deadline(),
        }
    }
}
