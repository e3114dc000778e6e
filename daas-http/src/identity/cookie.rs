//! The cookies, a sign-in's token foremost: no script can read them, no other site can send them along
//! with what changes anything, and over TLS nobody but this host can have set them.

use std::time::Duration;

use daas_core::secret::Secret;
use http::{HeaderMap, HeaderValue, header};

/// What a cookie of ours holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cookie {
    /// A sign-in's token.
    SignIn,
    /// A sign-in that was begun at a provider, sealed.
    Begun,
    /// The token of a sign-in that waits for its second factor.
    Waiting,
}

impl Cookie {
    /// Its name. Over TLS browsers take the prefix from the host itself alone, and `Secure`.
    fn name(self, secure: bool) -> &'static str {
        match (self, secure) {
            (Self::SignIn, true) => "__Host-daas",
            (Self::SignIn, false) => "daas",
            (Self::Begun, true) => "__Host-daas-begun",
            (Self::Begun, false) => "daas-begun",
            (Self::Waiting, true) => "__Host-daas-waiting",
            (Self::Waiting, false) => "daas-waiting",
        }
    }

    /// What the request carries of it.
    pub(crate) fn value(self, headers: &HeaderMap, secure: bool) -> Option<&str> {
        let cookies = headers.get_all(header::COOKIE).iter();
        let mut pairs = cookies.flat_map(|value| value.to_str().unwrap_or_default().split(';'));
        pairs.find_map(|pair| {
            let (given, value) = pair.trim().split_once('=')?;
            (given == self.name(secure)).then_some(value)
        })
    }

    /// What gives the browser `value` for `lifetime`. The value is letters, digits, `-` and `_`.
    pub(crate) fn give(
        self,
        value: &Secret<String>,
        secure: bool,
        lifetime: Duration,
    ) -> HeaderValue {
        self.set(value.expose(), secure, lifetime.as_secs())
    }

    /// What takes it away again.
    pub(crate) fn take_away(self, secure: bool) -> HeaderValue {
        self.set("", secure, 0)
    }

    #[expect(clippy::expect_used, reason = "plain letters and fixed text make a header")]
    fn set(self, value: &str, secure: bool, seconds: u64) -> HeaderValue {
        let name = self.name(secure);
        let end = if secure { "; Secure" } else { "" };
        let text =
            format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{end}");
        let mut value = HeaderValue::try_from(text).expect("a header");
        value.set_sensitive(true);
        value
    }
}

/// A token's length: 256 bits in hexadecimal.
const TOKEN_BYTES: usize = 64;

/// The token of a sign-in that a request carries; what cannot be one is none.
pub(crate) fn token(headers: &HeaderMap, secure: bool) -> Option<Secret<String>> {
    let value = Cookie::SignIn.value(headers, secure)?;
    let is_token = value.len() == TOKEN_BYTES && value.bytes().all(|b| b.is_ascii_hexdigit());
    is_token.then(|| Secret::new(value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_among_others_and_nothing_else_is() {
        let good = "a1".repeat(32);
        let check = |cookies: &[&str], secure: bool, found: bool| {
            let mut headers = HeaderMap::new();
            for cookie in cookies {
                headers.append(header::COOKIE, cookie.parse().expect("a header"));
            }
            let token = token(&headers, secure);
            assert_eq!(
                token.map(|t| t.expose().clone()),
                found.then(|| good.clone()),
                "{cookies:?}"
            );
        };
        check(&[&format!("a=b; daas={good}")], false, true);
        check(&["a=b", &format!("daas={good}; c")], false, true);
        check(&[&format!("__Host-daas={good}")], true, true);
        // Over TLS a cookie that any neighbour could have set is none.
        check(&[&format!("daas={good}")], true, false);
        check(&[&format!("daas={good}0")], false, false);
        check(&[&format!("daas={}", "é".repeat(32))], false, false);
        check(&["daas=", "daas", ""], false, false);
        // What a sign-in is begun with, or waits with, opens nothing.
        check(&[&format!("daas-begun={good}; daas-waiting={good}")], false, false);
    }

    #[test]
    fn what_is_given_says_how_it_is_kept() {
        let token = Secret::new("a1".repeat(32));
        let value = Cookie::SignIn.give(&token, true, Duration::from_secs(60));
        let text = value.to_str().expect("text");
        for part in ["__Host-daas=a1", "; Path=/;", "HttpOnly", "SameSite=Lax", "; Secure"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(value.is_sensitive());
        assert!(
            Cookie::SignIn
                .take_away(false)
                .to_str()
                .expect("text")
                .contains("daas=; Path=/; Max-Age=0")
        );
    }
}
