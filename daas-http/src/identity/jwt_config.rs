//! Settings of an issuer of bearer tokens.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::claims::ClaimNames;

/// How programs show that they speak for people: by tokens that an issuer signs (RFC 7519, RFC 9068).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtConfig {
    /// What the tokens have as `iss`, to the letter.
    pub issuer: String,
    /// What they have as `aud`, or among it: this server, and none of the issuer's other clients.
    pub audience: String,
    /// Where the issuer's keys are, a JSON Web Key Set; or `jwks_file`.
    #[serde(default)]
    pub jwks_url: Option<Url>,
    /// A file with them; it is read anew when there is a key that is not known.
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    /// Which claims of the token tell who somebody is.
    #[serde(default)]
    pub claims: ClaimNames,
    /// A file with the certificate authorities to trust, in PEM; absent: the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How long the issuer may take to give its keys. Default 10 s.
    #[serde(default = "default_deadline", with = "humantime_serde")]
    pub deadline: Duration,
    /// After how long a key that is not known makes us ask for the keys once more. Default 1 min.
    #[serde(default = "default_pause", with = "humantime_serde")]
    pub pause: Duration,
}

fn default_deadline() -> Duration {
    Duration::from_secs(10)
}

fn default_pause() -> Duration {
    Duration::from_mins(1)
}

impl JwtConfig {
    /// An issuer with all that can be by default; where its keys are is still to be said.
    pub fn new(issuer: &str, audience: &str) -> Self {
        Self {
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            jwks_url: None,
            jwks_file: None,
            claims: ClaimNames::default(),
            ca_file: None,
            deadline: default_deadline(),
            pause: default_pause(),
        }
    }
}
