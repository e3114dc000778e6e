//! Secrets that programs may repeat, kept out of errors and logs.

use daas_core::secret::Secret;

/// Shorter values cannot be told from ordinary words, and would blot out half of every message.
const BYTES_MIN: usize = 4;
/// The same for values that only the name of their environment variable makes a secret.
const GUESSED_BYTES_MIN: usize = 8;
/// Words in the names of environment variables whose values never show.
const NAMES: [&str; 4] = ["TOKEN", "PASSWORD", "SECRET", "KEY"];

/// What must not show.
#[derive(Debug, Default)]
pub(crate) struct Hidden(Vec<Secret<String>>);

impl Hidden {
    /// `secrets`, and what the environment holds under a name that tells of a secret.
    pub(crate) fn new(secrets: impl Iterator<Item = Secret<String>>) -> Self {
        let told = secrets.filter(|secret| secret.expose().len() >= BYTES_MIN);
        let guessed = std::env::vars()
            .filter(|(name, value)| {
                let name = name.to_uppercase();
                value.len() >= GUESSED_BYTES_MIN && NAMES.iter().any(|word| name.contains(word))
            })
            .map(|(_, value)| Secret::new(value));
        Self(told.chain(guessed).collect())
    }

    /// `text` without any of them, as they are or as JSON writes them.
    pub(crate) fn scrub(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| {
            let quoted = serde_json::Value::from(secret.expose().as_str()).to_string();
            let written = &quoted[1..quoted.len() - 1];
            text.replace(secret.expose().as_str(), "[redacted]").replace(written, "[redacted]")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_both_spellings() {
        let hidden = Hidden::new(["a  \"b\\", "abc"].into_iter().map(Secret::from));
        assert_eq!(hidden.scrub("<a  \"b\\>"), "<[redacted]>");
        assert_eq!(hidden.scrub(r#"{"x":"a  \"b\\"}"#), r#"{"x":"[redacted]"}"#);
        assert_eq!(hidden.scrub("abc"), "abc", "too short to be told from a word");
    }
}
