//! crypt(3) strings of the SHA kinds (`$5$`, `$6$`), which is what the orchestrator sets.

use sha_crypt::{Algorithm, Params, PasswordHasher, PasswordVerifier, ShaCrypt};

/// The longest password that is looked at; longer ones fit nothing.
const PASSWORD_BYTES_MAX: usize = 512;

/// More rounds than this would hold up the other guests; such a hash fits nothing.
const ROUNDS_MAX: u32 = 500_000;

/// The longest salt of the SHA kinds.
const SALT_BYTES_MAX: usize = 16;

/// A SHA-512 crypt string for a new password.
pub(super) fn hash(password: &str) -> Result<String, String> {
    let salt: [u8; 12] = rand::random();
    let crypt = ShaCrypt::new(Algorithm::Sha512Crypt, Params::default());
    crypt
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map(|hash| hash.as_str().to_owned())
        .map_err(|error| format!("cannot hash the password: {error}"))
}

/// Whether the password fits the crypt string; strings of another kind fit nothing.
/// Costs some milliseconds: call it off the async threads.
pub(super) fn fits(password: &str, crypt: &str) -> bool {
    let sha = crypt.starts_with("$5$") || crypt.starts_with("$6$");
    let rounds = crypt.split('$').nth(2).and_then(|part| part.strip_prefix("rounds="));
    let cheap = rounds.is_none_or(|rounds| rounds.parse().is_ok_and(|r: u32| r <= ROUNDS_MAX));
    // Of a longer salt crypt(3) takes so much only; what it finds then is another string.
    let salt = crypt.rsplit('$').nth(1).unwrap_or_default();
    if !sha || !cheap || salt.len() > SALT_BYTES_MAX || password.len() > PASSWORD_BYTES_MAX {
        return false;
    }
    ShaCrypt::default().verify_password(password.as_bytes(), crypt).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Strings made by `openssl passwd` for "secret".
    #[test]
    fn a_password_fits_its_own_hash_only() {
        let sha512 = concat!(
            "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y",
            "77vwPZN.Pq.H91p5hVO1",
        );
        let sha256 = "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA";
        let fresh = hash("secret").expect("a password is hashed");
        assert!(fresh.starts_with("$6$"), "{fresh}");
        for hash in [sha512, sha256, &fresh] {
            assert!(fits("secret", hash), "{hash}");
            assert!(!fits("Secret", hash), "{hash}");
        }
        let long = ShaCrypt::default()
            .hash_password_with_salt(b"secret", &[7; 16])
            .expect("a password is hashed");
        assert!(!fits("secret", long.as_str()), "{}", long.as_str());
        for other in ["!", "*", "", "$y$j9T$abc$def", "$5$saltsalt$", &format!("!{fresh}")] {
            assert!(!fits("secret", other), "{other}");
        }
    }
}
