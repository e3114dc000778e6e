//! How a directory is reached, and as whom: what computer accounts and sign-in have in common.

use std::path::{Path, PathBuf};
use std::time::Duration;

use daas_core::secret::Secret;
use serde::Deserialize;
use url::Url;

use crate::error::{DirectoryError, Settings};

/// The largest page a server may be asked for: what Active Directory gives by default.
const PAGE_SIZE_MAX: u16 = 1000;

/// How a directory is reached, and as whom.
#[derive(Debug, Clone, Deserialize)]
pub struct Reach {
    /// The domain controllers, `ldaps://dc1.lab.test`, tried in this order from the one that
    /// answered last. The port is 636 unless said.
    pub servers: Vec<Url>,
    /// The account we bind as: `svc-join@lab.test`, `LAB\svc-join` or a distinguished name.
    pub bind_user: String,
    /// A file with that account's password; a line break at its end is left out. It is read anew
    /// for each connection, so that a password can be changed without a restart.
    pub bind_password_file: PathBuf,
    /// A file with the certificate authorities to trust, in PEM; absent: the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How long a server may take until we are bound; then the next is tried. Default 5 s.
    #[serde(default = "default_connect", with = "humantime_serde")]
    pub connect_deadline: Duration,
    /// How long one request may take. Default 10 s.
    #[serde(default = "default_request", with = "humantime_serde")]
    pub request_deadline: Duration,
    /// How many entries are asked for at once, 1 to 1000. Default 500.
    #[serde(default = "default_page")]
    pub page_size: u16,
    /// Connections at once. Default 8.
    #[serde(default = "default_connections")]
    pub connections: usize,
}

impl Reach {
    /// These servers, with all that can be by default.
    pub fn new(
        servers: Vec<Url>,
        bind_user: impl Into<String>,
        bind_password_file: impl Into<PathBuf>,
    ) -> Self {
        Self {
            servers,
            bind_user: bind_user.into(),
            bind_password_file: bind_password_file.into(),
            ca_file: None,
            connect_deadline: default_connect(),
            request_deadline: default_request(),
            page_size: default_page(),
            connections: default_connections(),
        }
    }

    pub(crate) fn check(&self, of: &'static Settings) -> Result<(), DirectoryError> {
        let refuse = |field, why: &str| Err(of.wrong(field, why));
        let secure =
            |url: &Url| url.scheme() == "ldaps" && url.host_str().is_some_and(|h| !h.is_empty());
        if self.servers.is_empty() || !self.servers.iter().all(secure) {
            // Without TLS the directory takes no password, neither ours nor anybody's.
            return refuse("servers", "is not a list of ldaps://host");
        }
        if self.bind_user.is_empty() {
            return refuse("bind_user", "is empty; write it as user@domain");
        }
        if !(1..=PAGE_SIZE_MAX).contains(&self.page_size) {
            return refuse("page_size", "is not between 1 and 1000");
        }
        if self.connections == 0 || self.connections > 1000 {
            return refuse("connections", "is not between 1 and 1000");
        }
        if self.connect_deadline.is_zero() || self.request_deadline.is_zero() {
            return refuse("connect_deadline", "or request_deadline is zero");
        }
        Ok(())
    }

    pub(crate) fn password(&self, of: &'static Settings) -> Result<Secret<String>, DirectoryError> {
        read_password(of, &self.bind_password_file)
    }
}

fn read_password(of: &'static Settings, path: &Path) -> Result<Secret<String>, DirectoryError> {
    let field = "bind_password_file";
    let text = std::fs::read_to_string(path).map_err(|source| DirectoryError::File {
        of,
        field,
        path: path.to_owned(),
        source,
    })?;
    let text = Secret::new(text);
    let line = text.expose().strip_suffix('\n').unwrap_or(text.expose());
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        // A bind with an empty password succeeds, as nobody (RFC 4513, 5.1.2).
        return Err(of.wrong(field, format!("({}) is empty", path.display())));
    }
    Ok(Secret::new(line.to_owned()))
}

fn default_connect() -> Duration {
    Duration::from_secs(5)
}

fn default_request() -> Duration {
    Duration::from_secs(10)
}

fn default_page() -> u16 {
    500
}

fn default_connections() -> usize {
    8
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::error::COMPUTERS;

    #[test]
    fn only_what_can_work_is_taken() {
        let reach = |servers: &[&str]| {
            let servers = servers.iter().map(|url| Url::parse(url).unwrap()).collect();
            Reach::new(servers, "u@b", "/nowhere")
        };
        let check = |reach: Reach, valid: bool| {
            assert_eq!(reach.check(&COMPUTERS).is_ok(), valid, "{reach:?}");
        };
        check(reach(&["ldaps://dc1.lab.test", "ldaps://10.0.0.1:6360"]), true);
        check(reach(&[]), false);
        check(reach(&["ldap://dc1.lab.test"]), false);
        check(reach(&["ldaps://dc1", "https://dc2"]), false);
        let good = || reach(&["ldaps://dc1"]);
        check(Reach { page_size: 0, ..good() }, false);
        check(Reach { page_size: 1001, ..good() }, false);
        check(Reach { connections: 0, ..good() }, false);
        check(Reach { request_deadline: Duration::ZERO, ..good() }, false);
        check(Reach { bind_user: String::new(), ..good() }, false);
    }

    #[test]
    fn a_password_keeps_its_blanks_and_loses_one_line_break() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let check = |text: &str, wished: Option<&str>| {
            std::fs::write(file.path(), text).unwrap();
            let password = read_password(&COMPUTERS, file.path());
            assert_eq!(password.ok().as_ref().map(|p| p.expose().as_str()), wished, "{text:?}");
        };
        check(" a b ", Some(" a b "));
        check("a\n", Some("a"));
        check("a\r\n", Some("a"));
        check("a\n\n", Some("a\n"));
        check("", None);
        check("\n", None);
    }
}
