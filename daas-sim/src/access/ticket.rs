//! Tickets, CSRF tokens and console tickets: who signed in, signed by the cluster's key.
//!
//! Forms as in pve-access-control: `PVE:user:TIME::SIG`, `TIME:SIG`, `PVEVNC:TIME::SIG`. Proxmox
//! signs with RSA; here it is an HMAC, whose base64 has the same awkward characters.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use sha2::Sha512;

/// A ticket may be this much ahead of the clock.
const AHEAD_MAX: i64 = 300;
/// How long a console ticket is good for.
const CONSOLE_LIFETIME: i64 = 40;
/// How much a console ticket may be ahead of the clock.
const CONSOLE_AHEAD_MAX: i64 = 20;

/// What a user name escapes within a ticket, whose fields are separated by colons.
const ESCAPED: &AsciiSet = &CONTROLS.add(b':').add(b'%').add(b' ').add(b'"').add(b';');

/// Makes and checks tickets.
#[derive(Debug)]
pub(crate) struct Tickets {
    key: [u8; 32],
    lifetime: i64,
}

impl Tickets {
    pub(crate) fn new(lifetime: Duration) -> Self {
        let lifetime = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        Self { key: rand::random(), lifetime }
    }

    pub(crate) fn issue(&self, user: &str, now: i64) -> String {
        let plain = format!("PVE:{}:{now:08X}", utf8_percent_encode(user, ESCAPED));
        let signature = self.sign(&[&plain]);
        format!("{plain}::{signature}")
    }

    /// The user a ticket is for, if it is ours and still good.
    pub(crate) fn user(&self, ticket: &str, now: i64) -> Option<String> {
        let (plain, signature) = ticket.split_once("::")?;
        if !self.signed(&[plain], signature) {
            return None;
        }
        let mut fields = plain.strip_prefix("PVE:")?.split(':');
        let (user, time) = (fields.next()?, fields.next()?);
        let age = now.checked_sub(i64::from_str_radix(time, 16).ok()?)?;
        if age < -AHEAD_MAX || age >= self.lifetime {
            return None;
        }
        Some(percent_decode_str(user).decode_utf8().ok()?.into_owned())
    }

    pub(crate) fn csrf(&self, user: &str, now: i64) -> String {
        let time = format!("{now:08X}");
        let signature = self.sign(&["csrf", &time, user]);
        format!("{time}:{signature}")
    }

    pub(crate) fn csrf_good(&self, token: &str, user: &str, now: i64) -> bool {
        let Some((time, signature)) = token.split_once(':') else { return false };
        let Ok(issued) = i64::from_str_radix(time, 16) else { return false };
        let age = now.saturating_sub(issued);
        (-AHEAD_MAX..self.lifetime).contains(&age) && self.signed(&["csrf", time, user], signature)
    }

    /// A console ticket for `who` (with the token's name, if any) on `path`; `bound` is whatever
    /// else it holds for only (its port, on releases that bind it).
    pub(crate) fn console(&self, who: &str, path: &str, bound: &str, now: i64) -> String {
        let plain = format!("PVEVNC:{now:08X}");
        let signature = self.sign(&[&plain, who, path, bound]);
        format!("{plain}::{signature}")
    }

    pub(crate) fn console_good(
        &self,
        ticket: &str,
        who: &str,
        path: &str,
        bound: &str,
        now: i64,
    ) -> bool {
        let Some((plain, signature)) = ticket.split_once("::") else { return false };
        let time = plain.strip_prefix("PVEVNC:").and_then(|t| i64::from_str_radix(t, 16).ok());
        time.is_some_and(|t| {
            (-CONSOLE_AHEAD_MAX..=CONSOLE_LIFETIME).contains(&now.saturating_sub(t))
        }) && self.signed(&[plain, who, path, bound], signature)
    }

    fn sign(&self, parts: &[&str]) -> String {
        BASE64.encode(self.mac(parts).finalize().into_bytes())
    }

    fn signed(&self, parts: &[&str], signature: &str) -> bool {
        BASE64.decode(signature).is_ok_and(|s| self.mac(parts).verify_slice(&s).is_ok())
    }

    fn mac(&self, parts: &[&str]) -> Hmac<Sha512> {
        #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
        let mut mac = Hmac::<Sha512>::new_from_slice(&self.key).expect("a key of any length");
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tickets() -> Tickets {
        Tickets::new(Duration::from_secs(7200))
    }

    #[test]
    fn a_ticket_names_its_user_until_it_ends() {
        let tickets = tickets();
        let ticket = tickets.issue("a b:c@pve", 1_000_000);
        let user = |now| tickets.user(&ticket, now);
        assert_eq!(user(1_000_000).as_deref(), Some("a b:c@pve"));
        assert_eq!(user(1_007_199).as_deref(), Some("a b:c@pve"));
        assert_eq!(user(1_007_200), None);
        assert_eq!(user(1_000_000 - 301), None);
        assert_eq!(tickets.user(&ticket.replace("PVE:", "PVE:x"), 1_000_000), None);
        assert_eq!(super::tests::tickets().user(&ticket, 1_000_000), None, "another cluster's key");
    }

    #[test]
    fn csrf_tokens_are_bound_to_their_user() {
        let tickets = tickets();
        let token = tickets.csrf("a@pve", 500);
        assert!(tickets.csrf_good(&token, "a@pve", 600));
        assert!(!tickets.csrf_good(&token, "b@pve", 600));
        assert!(!tickets.csrf_good(&token, "a@pve", 7700));
        assert!(!tickets.csrf_good("nonsense", "a@pve", 600));
    }

    #[test]
    fn console_tickets_are_bound_to_everything() {
        let tickets = tickets();
        let ticket = tickets.console("a@pve!t", "/vms/100", "5900", 500);
        let good = |who, path, bound, now| tickets.console_good(&ticket, who, path, bound, now);
        assert!(good("a@pve!t", "/vms/100", "5900", 540));
        assert!(!good("a@pve!t", "/vms/100", "5900", 541));
        assert!(!good("a@pve", "/vms/100", "5900", 510));
        assert!(!good("a@pve!t", "/vms/101", "5900", 510));
        assert!(!good("a@pve!t", "/vms/100", "5901", 510));
    }
}
