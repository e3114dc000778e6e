//! Chains: what is hashed, the heads, and what a signature says of one.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::key::{AuditKey, PublicKey};
use crate::error::{Error, Operation, Result};
use crate::ids::{DeploymentId, Holder};
use crate::secret::{hex, unhex};

/// A SHA-256; hexadecimal in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bytes = unhex(text).and_then(|bytes| bytes.try_into().ok());
        // One spelling: capitals would be the same digest and another text.
        let bytes = bytes.filter(|_| !text.bytes().any(|b| b.is_ascii_uppercase()));
        bytes.map(Self).ok_or_else(|| {
            Error::invalid(Operation::Check, "hash", "is not 64 lower-case hexadecimal digits")
        })
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// The writer of a chain: one run of one process. Never used again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Writer(pub String);

impl Writer {
    /// A writer that no other run is.
    pub fn mint() -> Self {
        Self(Holder::mint().0)
    }

    /// What the first entry of its chain follows.
    pub(crate) fn genesis(&self, deployment: &DeploymentId) -> Digest {
        let mut bytes = Canonical::new("daas audit chain 1");
        bytes.text(deployment.as_str());
        bytes.text(&self.0);
        bytes.digest()
    }
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An entry by its place in its chain and its hash: with it, all before it is pinned down.
/// As text `writer:number:hash`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The chain.
    pub writer: Writer,
    /// The entry's number; 0 before the first.
    pub number: u64,
    /// Its hash.
    pub hash: Digest,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.writer, self.number, self.hash)
    }
}

impl FromStr for Head {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.trim().splitn(3, ':');
        let head = (|| {
            let (writer, number, hash) = (parts.next()?, parts.next()?, parts.next()?);
            let number = number.parse().ok()?;
            Some(Self { writer: Writer(writer.to_owned()), number, hash: hash.parse().ok()? })
        })();
        head.ok_or_else(|| Error::invalid(Operation::Check, "head", "is not writer:number:hash"))
    }
}

/// A head, signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedHead {
    /// What is signed.
    pub head: Head,
    /// When it was.
    pub at: Timestamp,
    /// By which key.
    pub key: PublicKey,
    /// Ed25519 over deployment, head and time; hexadecimal.
    pub signature: String,
}

impl SignedHead {
    /// Signs `head`.
    pub(crate) fn new(
        key: &AuditKey,
        deployment: &DeploymentId,
        head: Head,
        at: Timestamp,
    ) -> Self {
        let signature = hex(&key.sign(&signed_bytes(deployment, &head, at)));
        Self { head, at, key: key.public(), signature }
    }

    /// Whether its key signed it, for this deployment.
    pub fn is_genuine(&self, deployment: &DeploymentId) -> bool {
        let bytes = signed_bytes(deployment, &self.head, self.at);
        unhex(&self.signature).is_some_and(|signature| self.key.verify(&bytes, &signature))
    }
}

fn signed_bytes(deployment: &DeploymentId, head: &Head, at: Timestamp) -> Vec<u8> {
    let mut bytes = Canonical::new("daas audit head 1");
    bytes.text(deployment.as_str());
    bytes.text(&head.writer.0);
    bytes.text(&head.number.to_string());
    bytes.text(&head.hash.to_string());
    bytes.text(&at.as_nanosecond().to_string());
    bytes.0
}

/// Fields as bytes that cannot be read in two ways: each with its length (32 bits, big-endian)
/// before it, an absent one as the length 2^32 - 1 alone.
pub(crate) struct Canonical(Vec<u8>);

impl Canonical {
    /// Begins with what is written and in which version, so that nothing passes for something else.
    pub(crate) fn new(what: &str) -> Self {
        let mut new = Self(Vec::with_capacity(512));
        new.text(what);
        new
    }

    pub(crate) fn text(&mut self, text: &str) {
        // No field is anywhere near as long; texts are cut before they come here.
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX - 1);
        self.0.extend(length.to_be_bytes());
        self.0.extend(text.as_bytes());
    }

    pub(crate) fn maybe(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.0.extend(u32::MAX.to_be_bytes()),
        }
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest(Sha256::digest(&self.0).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_cannot_be_moved_into_each_other() {
        let of = |fields: &[Option<&str>]| {
            let mut bytes = Canonical::new("test");
            fields.iter().for_each(|field| bytes.maybe(*field));
            bytes.digest()
        };
        let all = [
            of(&[Some("ab"), Some("c")]),
            of(&[Some("a"), Some("bc")]),
            of(&[Some("abc"), Some("")]),
            of(&[Some("abc"), None]),
            of(&[Some("abc")]),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|other| one != other), "{i}");
        }
    }

    #[test]
    fn a_head_survives_its_text_and_rubbish_does_not() {
        let head =
            Head { writer: Writer::mint(), number: 7, hash: Canonical::new("some").digest() };
        assert_eq!(head.to_string().parse::<Head>().expect("reads"), head);
        let capitals = head.to_string().to_uppercase();
        for bad in ["", "a:1", "a:x:00", "a:1:zz", &capitals] {
            assert!(bad.parse::<Head>().is_err(), "{bad}");
        }
    }
}
