//! The key with which heads are signed: Ed25519 (RFC 8032).

use std::fmt;
use std::str::FromStr;

use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Operation, Result};
use crate::secret::{Secret, hex, unhex};

/// A signing key. It belongs outside the store: who has both can write any history.
pub struct AuditKey {
    pair: Ed25519KeyPair,
    pkcs8: Secret<Vec<u8>>,
}

impl AuditKey {
    /// A new key.
    pub fn mint() -> Result<Self> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| {
            Error::new(Kind::Internal, Operation::Start, "audit key", "no randomness to make one")
        })?;
        Self::from_pkcs8(document.as_ref().to_vec())
    }

    /// The key of a PKCS#8 document, as [`Self::pkcs8`] gave it.
    pub fn from_pkcs8(pkcs8: Vec<u8>) -> Result<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|why| {
            let why = format!("is no Ed25519 key in PKCS#8 ({why})");
            Error::invalid(Operation::Start, "audit key", why)
        })?;
        Ok(Self { pair, pkcs8: Secret::new(pkcs8) })
    }

    /// What to keep, in a file of mode 0600.
    pub fn pkcs8(&self) -> &[u8] {
        self.pkcs8.expose()
    }

    /// What signatures are checked with.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.pair.public_key().as_ref().to_vec())
    }

    pub(crate) fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.pair.sign(bytes).as_ref().to_vec()
    }
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AuditKey").field(&self.public()).finish()
    }
}

/// The public half; 64 hexadecimal digits as text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    pub(crate) fn verify(&self, bytes: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(bytes, signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for PublicKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bytes = unhex(text.trim()).filter(|bytes| bytes.len() == 32);
        bytes.map(Self).ok_or_else(|| {
            Error::invalid(Operation::Check, "audit key", "is not 64 hexadecimal digits")
        })
    }
}

impl TryFrom<String> for PublicKey {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_file_and_does_not_show() {
        let key = AuditKey::mint().expect("made");
        let again = AuditKey::from_pkcs8(key.pkcs8().to_vec()).expect("reads");
        assert_eq!(again.public(), key.public());
        let public: PublicKey = key.public().to_string().parse().expect("reads");
        assert!(public.verify(b"text", &key.sign(b"text")));
        assert!(!public.verify(b"other", &key.sign(b"text")));
        assert!(!format!("{key:?}").contains(&hex(&key.pkcs8()[16..48])));
        assert!(AuditKey::from_pkcs8(vec![0; 85]).is_err());
    }
}
