//! Secrets: values that never show themselves, and the tokens and hashes made from them.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::error::{Error, Operation, Result};
use crate::ids::SessionId;

/// The longest password, in bytes (DESIGN 9).
const PASSWORD_BYTES_MAX: usize = 104;

/// The last letter that XRDP before 0.10 takes for one.
pub(crate) const LAST_OF_XRDP: char = '\u{ffff}';

/// A value that prints `[redacted]`, is wiped when dropped and cannot be serialised.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    /// Hides `value`.
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value, for the one place that needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T: Zeroize> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<'de> Deserialize<'de> for Secret<String> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl From<&str> for Secret<String> {
    fn from(text: &str) -> Self {
        Self::new(text.to_owned())
    }
}

/// The deployment's key, from which guests' tokens are derived: they are never stored.
#[derive(Clone, Debug)]
pub struct DeploymentKey(Secret<Vec<u8>>);

impl DeploymentKey {
    /// A key of at least 32 bytes; fewer are refused.
    pub fn new(bytes: Vec<u8>) -> Result<Self> {
        if bytes.len() < 32 {
            return Err(Error::invalid(
                Operation::Check,
                "deployment key",
                format!("{} bytes; 32 are needed", bytes.len()),
            ));
        }
        Ok(Self(Secret::new(bytes)))
    }

    /// A new random key.
    pub fn mint() -> Self {
        let bytes: [u8; 32] = rand::random();
        Self(Secret::new(bytes.to_vec()))
    }

    /// The key's bytes, to be kept in a file of mode 0600.
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    /// The token with which a guest speaks for `session`:
    /// HMAC-SHA256 over the id and the generation, in hexadecimal.
    pub fn guest_token(&self, session: &SessionId, generation: u32) -> Secret<String> {
        Secret::new(hex(&self.mac(session, generation).finalize().into_bytes()))
    }

    /// Whether `token` speaks for `session`; compared in constant time.
    pub fn verify_guest_token(&self, session: &SessionId, generation: u32, token: &str) -> bool {
        unhex(token).is_some_and(|bytes| self.mac(session, generation).verify_slice(&bytes).is_ok())
    }

    /// A key of 32 bytes for one purpose alone: HMAC-SHA256 over its name. Keys of different
    /// purposes tell nothing of each other, nor of this one.
    pub fn derive(&self, purpose: &str) -> Secret<Vec<u8>> {
        let mut mac = self.keyed();
        mac.update(b"daas derived key\0");
        mac.update(purpose.as_bytes());
        Secret::new(mac.finalize().into_bytes().to_vec())
    }

    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    fn keyed(&self) -> Hmac<Sha256> {
        Hmac::<Sha256>::new_from_slice(self.0.expose()).expect("any key length")
    }

    fn mac(&self, session: &SessionId, generation: u32) -> Hmac<Sha256> {
        let mut mac = self.keyed();
        mac.update(b"daas guest token\0");
        mac.update(session.as_str().as_bytes());
        mac.update(&generation.to_be_bytes());
        mac
    }
}

/// SHA-256 in hexadecimal: how API keys rest. They are 256 random bits, so no salt or stretching
/// would add anything.
pub fn sha256_hex(bytes: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(bytes.as_ref()))
}

/// A new random token of 256 bits in hexadecimal.
pub fn random_token() -> Secret<String> {
    let bytes: [u8; 32] = rand::random();
    Secret::new(hex(&bytes))
}

/// `password` as a crypt(3) string (SHA-512, `$6$`): what is kept and set in the guest.
///
/// Takes some milliseconds of processor time; call it off the event loop.
pub fn crypt_password(password: &Secret<String>) -> Result<String> {
    use sha_crypt::{PasswordHasher, ShaCrypt};
    check_password(password)?;
    // 16 letters: of a longer salt crypt(3) takes the first 16 and then finds another string.
    let salt: [u8; 12] = rand::random();
    let hashed: Result<sha_crypt::PasswordHash, _> =
        ShaCrypt::SHA512.hash_password_with_salt(password.expose().as_bytes(), &salt);
    hashed.map(|hash| hash.to_string()).map_err(|e| {
        Error::new(
            crate::error::Kind::Internal,
            Operation::Check,
            "session_password",
            format!("could not be hashed: {e}"),
        )
    })
}

/// Refuses what no login takes: nothing at all, more than 104 bytes, NUL, CR and LF, and letters
/// beyond U+FFFF, of which XRDP before 0.10 takes each half of a pair for a letter.
pub fn check_password(password: &Secret<String>) -> Result<()> {
    let text = password.expose();
    let why = if text.is_empty() {
        "is empty"
    } else if text.len() > PASSWORD_BYTES_MAX {
        "is longer than 104 bytes"
    } else if text.contains(['\0', '\r', '\n']) {
        "holds a NUL, carriage return or line feed"
    } else if text.chars().any(|c| c > LAST_OF_XRDP) {
        "holds a letter beyond U+FFFF, an emoji as a rule, which does not pass XRDP"
    } else {
        return Ok(());
    };
    Err(Error::invalid(Operation::Check, "session_password", why))
}

/// Refuses what DESIGN 9 does not allow as a local user's name: `[a-z_][a-z0-9_-]{0,31}`.
pub fn check_local_user(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    let rest =
        bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
    if first && rest && name.len() <= 32 {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    Err(Error::invalid(
        Operation::Check,
        "session_user",
        format!(
            "{shown:?} is not a lower-case letter or _, then letters, digits, _ or -; 32 at most"
        ),
    ))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() || text.len() > 128 {
        return None;
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SessionPrefix;

    #[test]
    fn secrets_do_not_show() {
        let secret = Secret::from("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "[redacted] [redacted]");
    }

    #[test]
    fn a_guest_token_speaks_for_its_own_session_and_generation_only() {
        let key = DeploymentKey::mint();
        let (mine, other) = (
            SessionId::mint(&SessionPrefix::default()),
            SessionId::mint(&SessionPrefix::default()),
        );
        let token = key.guest_token(&mine, 1);
        assert!(key.verify_guest_token(&mine, 1, token.expose()));
        assert!(!key.verify_guest_token(&other, 1, token.expose()));
        assert!(!key.verify_guest_token(&mine, 2, token.expose()));
        assert!(!DeploymentKey::mint().verify_guest_token(&mine, 1, token.expose()));
        for rubbish in ["", "zz", "abc", "é", &"0".repeat(4000)] {
            assert!(!key.verify_guest_token(&mine, 1, rubbish), "{rubbish:?}");
        }
    }

    #[test]
    fn derived_keys_differ_by_purpose_and_deployment() {
        let key = DeploymentKey::new(vec![7; 32]).expect("long enough");
        let derived = |purpose: &str| key.derive(purpose).expose().clone();
        assert_eq!(derived("a"), derived("a"));
        assert_eq!(derived("a").len(), 32);
        assert_ne!(derived("a"), derived("b"));
        assert_ne!(derived("a"), DeploymentKey::mint().derive("a").expose().clone());
    }

    #[test]
    fn passwords_and_names_outside_the_rules_are_refused() {
        let password = |text: &str, valid: bool| {
            assert_eq!(check_password(&Secret::from(text)).is_ok(), valid, "{text:?}");
        };
        password("p a'ß\"$\\:-", true);
        password(&"a".repeat(104), true);
        password(&"a".repeat(105), false);
        password(&"é".repeat(53), false);
        password("", false);
        password("a\nb", false);
        password("a\0b", false);
        password("日本", true);
        password("a🦀", false);
        let user = |text: &str, valid: bool| {
            assert_eq!(check_local_user(text).is_ok(), valid, "{text:?}");
        };
        user("alice", true);
        user("_a-1", true);
        user(&"a".repeat(32), true);
        user(&"a".repeat(33), false);
        user("1a", false);
        user("Alice", false);
        user("-a", false);
        user("a b", false);
        user("", false);
    }

    #[test]
    fn a_password_is_kept_as_a_crypt_string() {
        let hash = crypt_password(&Secret::from("correct horse")).expect("hashes");
        assert!(hash.starts_with("$6$"), "{hash}");
        assert!(!hash.contains("horse"));
        let salt = hash.rsplit('$').nth(1).expect("a salt");
        assert_eq!(salt.len(), 16, "crypt(3) takes no more of a salt: {hash}");
    }
}
