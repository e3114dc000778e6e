//! The cookie that holds a sign-in's token: no script can read it, no other site can send it along
//! with what changes anything, and over TLS nobody but this host can have set it.

use std::time::Duration;

use daas_core::secret::Secret;
use http::{HeaderMap, HeaderValue, header};

/// The name over TLS: browsers take this prefix from the host itself alone, and `Secure`.
const OVER_TLS: &str = "__Host-daas";
/// The name without: on this machine itself.
const IN_CLEAR: &str = "daas";
/// A token's length: 256 bits in hexadecimal.
const TOKEN_BYTES: usize = 64;

fn name(secure: bool) -> &'static str {
    if secure { OVER_TLS } else { IN_CLEAR }
}

/// The token that a request carries; what cannot be one is none.
pub(crate) fn token(headers: &HeaderMap, secure: bool) -> Option<Secret<String>> {
    let cookies = headers.get_all(header::COOKIE).iter();
    let mut pairs = cookies.flat_map(|value| value.to_str().unwrap_or_default().split(';'));
    let value = pairs.find_map(|pair| {
        let (given, value) = pair.trim().split_once('=')?;
        (given == name(secure)).then_some(value)
    })?;
    let is_token = value.len() == TOKEN_BYTES && value.bytes().all(|b| b.is_ascii_hexdigit());
    is_token.then(|| Secret::new(value.to_owned()))
}

/// What gives the browser its token for `lifetime`.
pub(crate) fn give(token: &Secret<String>, secure: bool, lifetime: Duration) -> HeaderValue {
    set(token.expose(), secure, lifetime.as_secs())
}

/// What takes it away again.
pub(crate) fn take_away(secure: bool) -> HeaderValue {
    set("", secure, 0)
}

#[expect(clippy::expect_used, reason = "hexadecimal digits and fixed text make a header")]
fn set(token: &str, secure: bool, seconds: u64) -> HeaderValue {
    let name = name(secure);
    let end = if secure { "; Secure" } else { "" };
    let text = format!("{name}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{end}");
    let mut value = HeaderValue::try_from(text).expect("a header");
    value.set_sensitive(true);
    value
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
    }

    #[test]
    fn what_is_given_says_how_it_is_kept() {
        let token = Secret::new("a1".repeat(32));
        let value = give(&token, true, Duration::from_secs(60));
        let text = value.to_str().expect("text");
        for part in ["__Host-daas=a1", "; Path=/;", "HttpOnly", "SameSite=Lax", "; Secure"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(value.is_sensitive());
        assert!(take_away(false).to_str().expect("text").contains("daas=; Path=/; Max-Age=0"));
    }
}
