//! What others keep for us, or what rests in the store, and nobody else can read or change: sealed
//! with a key made from the deployment's (ChaCha20-Poly1305, RFC 8439).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use daas_core::secret::{DeploymentKey, Secret};
use daas_core::{Error, Kind, Operation, Result};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

/// Seals and opens for one purpose.
pub(crate) struct Seal(LessSafeKey);

impl Seal {
    /// The seal of `purpose`; what another one sealed it does not open.
    #[expect(clippy::expect_used, reason = "a derived key has the length that is asked for")]
    pub(crate) fn new(key: &DeploymentKey, purpose: &str) -> Self {
        let key = key.derive(purpose);
        let key = UnboundKey::new(&CHACHA20_POLY1305, key.expose()).expect("32 bytes");
        Self(LessSafeKey::new(key))
    }

    /// `plain`, sealed, as letters, digits, `-` and `_`. It opens again with the same `about` alone.
    pub(crate) fn close(&self, plain: &[u8], about: &str) -> Result<String> {
        let nonce: [u8; NONCE_LEN] = random()?;
        let mut sealed = plain.to_vec();
        let about = Aad::from(about.as_bytes());
        let done = self.0.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            about,
            &mut sealed,
        );
        done.map_err(|_| broken("could not be sealed"))?;
        Ok(URL_SAFE_NO_PAD.encode([nonce.as_slice(), &sealed].concat()))
    }

    /// What was sealed about `about`; nothing, when it was not by this seal, or was changed since.
    pub(crate) fn open(&self, sealed: &str, about: &str) -> Option<Secret<Vec<u8>>> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut opened = sealed.to_vec();
        let plain = self.0.open_in_place(nonce, Aad::from(about.as_bytes()), &mut opened).ok()?;
        Some(Secret::new(plain.to_vec()))
    }
}

/// Random bytes.
///
/// # Errors
/// `Internal`: the system gives none.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| broken("the system gives no random bytes"))?;
    Ok(bytes)
}

fn broken(why: &str) -> Error {
    Error::new(Kind::Internal, Operation::Check, "seal", why)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps an error has failed")]
    use super::*;

    #[test]
    fn what_is_sealed_opens_whole_for_its_purpose_and_subject_alone() {
        let key = DeploymentKey::mint();
        let seal = Seal::new(&key, "this");
        let sealed = seal.close(b"secret", "alice@lab").unwrap();
        assert_eq!(seal.open(&sealed, "alice@lab").unwrap().expose(), b"secret");
        assert_ne!(sealed, seal.close(b"secret", "alice@lab").unwrap(), "no two look alike");
        assert!(seal.open(&sealed, "bob@lab").is_none());
        assert!(Seal::new(&key, "that").open(&sealed, "alice@lab").is_none());
        assert!(Seal::new(&DeploymentKey::mint(), "this").open(&sealed, "alice@lab").is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(seal.open(&changed, "alice@lab").is_none(), "letter {at}");
        }
        for rubbish in ["", "A", "é", &sealed[..sealed.len() - 2], &"A".repeat(15)] {
            assert!(seal.open(rubbish, "alice@lab").is_none(), "{rubbish}");
        }
    }
}
