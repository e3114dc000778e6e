//! The guest's host key: the one pinned, or the first one seen; no other is ever trusted.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};
use tokio::process::Command;
use tokio::time::{Instant, timeout};

use crate::error::AnsibleError;

/// The pause between two looks at a guest that does not answer yet.
const PAUSE: Duration = Duration::from_millis(200);
/// How long one look may take.
const LOOK: Duration = Duration::from_secs(10);
/// What `ssh-keyscan` may print; a key has less than 1 KiB.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// A host key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostKey {
    /// `ssh-ed25519`.
    kind: String,
    /// Its base64.
    blob: String,
    /// `SHA256:…`, as OpenSSH writes it.
    pub(crate) fingerprint: String,
}

impl HostKey {
    /// A line of `known_hosts` that trusts this key alone.
    pub(crate) fn known_hosts(&self, at: SocketAddr) -> String {
        format!("{} {} {}\n", host(at), self.kind, self.blob)
    }

    fn parse(line: &str) -> Option<Self> {
        if line.starts_with('#') {
            return None;
        }
        let mut words = line.split_whitespace().skip(1);
        let (kind, blob) = (words.next()?, words.next()?);
        let digest = Sha256::digest(STANDARD.decode(blob).ok()?);
        let fingerprint = format!("SHA256:{}", STANDARD_NO_PAD.encode(digest));
        Some(Self { kind: kind.to_owned(), blob: blob.to_owned(), fingerprint })
    }

    /// What is taken where none is pinned: the best first.
    fn rank(&self) -> u8 {
        match self.kind.as_str() {
            "ssh-ed25519" => 0,
            kind if kind.starts_with("ecdsa-") => 1,
            _ => 2,
        }
    }
}

/// The form in which `known_hosts` names a host.
fn host(at: SocketAddr) -> String {
    if at.port() == 22 { at.ip().to_string() } else { format!("[{}]:{}", at.ip(), at.port()) }
}

/// The key of the guest at `at`, as soon as it answers.
///
/// # Errors
/// It does not answer within `deadline`, or shows others than the one pinned.
pub(crate) async fn learn(
    at: SocketAddr,
    pinned: Option<&str>,
    deadline: Duration,
) -> Result<HostKey, AnsibleError> {
    let begun = Instant::now();
    loop {
        let (mut keys, why) = match timeout(LOOK, scan(at.ip(), at.port())).await {
            Ok(scanned) => scanned?,
            Err(_) => (Vec::new(), "no answer".to_owned()),
        };
        keys.sort_by_key(HostKey::rank);
        match pinned {
            None if keys.is_empty() => {}
            Some(_) if keys.is_empty() => {}
            None => return Ok(keys.swap_remove(0)),
            Some(pinned) => {
                let shown: Vec<_> = keys.iter().map(|key| key.fingerprint.clone()).collect();
                let known = keys.into_iter().find(|key| key.fingerprint == pinned);
                return known.ok_or_else(|| AnsibleError::HostKey {
                    at: at.to_string(),
                    shown: shown.join(", "),
                    pinned: pinned.to_owned(),
                });
            }
        }
        if begun.elapsed() >= deadline {
            return Err(AnsibleError::NoAnswer { at: at.to_string(), within: deadline, why });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// All keys that are shown, and what `ssh-keyscan` complains of.
async fn scan(address: IpAddr, port: u16) -> Result<(Vec<HostKey>, String), AnsibleError> {
    let program = PathBuf::from("ssh-keyscan");
    let mut command = Command::new(&program);
    command.args(["-T", "5", "-t", "ed25519,ecdsa,rsa", "-p"]).arg(port.to_string());
    command.arg(address.to_string()).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            AnsibleError::NoProgram { program, way_out: "install openssh-client" }
        }
        _ => AnsibleError::NotStarted { program, why: error.to_string() },
    })?;
    let text = |bytes: &[u8]| {
        String::from_utf8_lossy(&bytes[..bytes.len().min(OUTPUT_BYTES_MAX)]).into_owned()
    };
    let keys = text(&output.stdout).lines().filter_map(HostKey::parse).collect();
    let said = text(&output.stderr);
    let why = said.lines().rfind(|line| !line.starts_with('#')).unwrap_or("no answer");
    Ok((keys, why.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_ssh_keyscan_is_a_key_with_its_fingerprint() {
        let line = "[127.0.0.1]:2222 ssh-ed25519 \
                    AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
        let key = HostKey::parse(line).expect("a key");
        // GitHub's, which it publishes.
        assert_eq!(key.fingerprint, "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU");
        let at = |text: &str| key.known_hosts(text.parse().expect("an address"));
        assert!(at("10.0.0.9:22").starts_with("10.0.0.9 ssh-ed25519 AAAA"));
        assert!(at("[fd00::1]:2222").starts_with("[fd00::1]:2222 ssh-ed25519 "));
        assert_eq!(HostKey::parse("# 127.0.0.1:2222 SSH-2.0-x"), None);
    }
}
