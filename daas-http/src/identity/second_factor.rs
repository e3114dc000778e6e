//! The second factor: codes of six digits that change every half minute (TOTP, RFC 6238), and recovery
//! codes for who has lost the telephone.
//!
//! A secret on offer is kept by the page that shows it, sealed, until a code proves that somebody has
//! it; from then on it rests in the store, sealed with another key.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use daas_core::access::{Role, SecondFactor, SignIn};
use daas_core::owner::Owner;
use daas_core::secret::{Secret, sha256_hex};
use daas_core::{Error, Kind, Operation, Result};
use jiff::Timestamp;
use totp_rs::{Algorithm, Builder, Totp};
use tracing::{info, warn};

use super::attempts::Counted;
use super::seal::{Seal, random};
use super::waiting::Waiting;
use super::{Denied, Identity, Means};
use crate::audit;

/// The length of a secret, in bytes: that of the hash (RFC 4226, 4).
const SECRET_BYTES: usize = 20;
/// How long a code is the present one.
const STEP_SECONDS: u64 = 30;
/// How long a secret is on offer.
const OFFERED_SECONDS: i64 = 900;
/// How many recovery codes there are.
const RECOVERY_CODES: usize = 10;
/// What recovery codes are made of: letters and digits that look like no other. 32 of them.
const ALPHABET: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";
/// The letters of a recovery code: 80 bits, which nobody finds from its hash.
const RECOVERY_LETTERS: usize = 16;
/// The longest code that is looked at, in bytes.
const CODE_BYTES_MAX: usize = 64;

/// A secret on offer.
pub(crate) struct Offer {
    /// The secret, as people type it.
    pub(crate) secret: String,
    /// The same for an app: `otpauth://totp/…`.
    pub(crate) url: String,
    /// The same, sealed, for the form to bring back.
    pub(crate) sealed: String,
}

/// Why a second factor was not proved, or not enrolled.
#[derive(Debug)]
pub(crate) enum NotProved {
    /// The code is wrong, was used before, or its time is over.
    Wrong,
    /// Too many wrong codes; after this there may be another.
    TooMany(Duration),
    /// The offer is not for them, or its time is over; or they have a second factor by now.
    Stale,
    /// There is none.
    Absent,
    /// The store does not answer, or the secret cannot be opened.
    Away,
}

impl From<Error> for NotProved {
    fn from(error: Error) -> Self {
        warn!(error = error.chain(), "a second factor cannot be looked at");
        Self::Away
    }
}

impl Identity {
    /// Whether a second factor is asked of `owner` at sign-in, if they have one: of who comes by a
    /// password. A provider sees to its people itself.
    pub(crate) fn takes_second_factor(&self, owner: &Owner) -> bool {
        self.realms().any(|realm| realm == owner.realm)
    }

    /// Whether somebody with `role` must have one.
    pub(crate) fn requires_second_factor(&self, role: Role) -> bool {
        self.config.second_factor.requires(role)
    }

    /// A new secret for `owner`. `issuer` is what the app shows beside their name.
    pub(crate) fn offer(&self, owner: &Owner, issuer: &str, means: &Means<'_>) -> Result<Offer> {
        let secret: Secret<Vec<u8>> = Secret::new(random::<SECRET_BYTES>()?.to_vec());
        let until = means.clock.now().as_second() + OFFERED_SECONDS;
        let plain = Secret::new([secret.expose().as_slice(), &until.to_be_bytes()].concat());
        let sealed = offered(means).close(plain.expose(), &owner.to_string())?;
        shown(owner, issuer, &secret, sealed)
    }

    /// The same offer once more, as long as it is good.
    pub(crate) fn offer_again(
        &self,
        owner: &Owner,
        issuer: &str,
        sealed: &str,
        means: &Means<'_>,
    ) -> Option<Offer> {
        let secret = open_offer(owner, sealed, means)?;
        shown(owner, issuer, &secret, sealed.to_owned()).ok()
    }

    /// Enrols `owner` with the secret of an offer, which `code` proves that they have; the recovery
    /// codes, which nobody can show again.
    pub(crate) async fn enrol(
        &self,
        owner: &Owner,
        (sealed, code): (&str, &str),
        address: IpAddr,
        means: &Means<'_>,
    ) -> Result<Vec<Secret<String>>, NotProved> {
        let secret = open_offer(owner, sealed, means).ok_or(NotProved::Stale)?;
        let counted = self.count(owner, address)?;
        let now = means.clock.now();
        let step = step_of(&totp(owner, "", &secret)?, &plain(code), now);
        let step = step.ok_or(NotProved::Wrong)?;
        self.attempts.give_back(&counted);
        let (codes, hashes) = recovery_codes(owner)?;
        let factor = SecondFactor {
            owner: owner.clone(),
            sealed: at_rest(means).close(secret.expose(), &owner.to_string())?,
            last_step: step,
            recovery_codes: hashes,
            created_at: now,
        };
        match means.factors.add_second_factor(&factor).await {
            Ok(()) => {}
            Err(error) if error.kind() == Kind::Conflict => return Err(NotProved::Stale),
            Err(error) => return Err(error.into()),
        }
        info!(%owner, %address, "a second factor was enrolled");
        Ok(codes)
    }

    /// Whether `code` is one of `owner`'s second factor, or a recovery code. It is used up.
    pub(crate) async fn prove(
        &self,
        owner: &Owner,
        code: &str,
        address: IpAddr,
        means: &Means<'_>,
    ) -> Result<(), NotProved> {
        let factor = means.factors.second_factor_of(owner).await?.ok_or(NotProved::Absent)?;
        let counted = self.count(owner, address)?;
        let code = plain(code);
        let right = if code.len() == RECOVERY_LETTERS {
            let left = means.factors.use_recovery_code(owner, &hash(owner, &code)).await?;
            if left {
                audit::remark("by a recovery code");
                warn!(%owner, %address, "a recovery code was used");
            }
            left
        } else {
            let secret = at_rest(means).open(&factor.sealed, &owner.to_string());
            let secret = secret.ok_or_else(|| {
                let why = "its secret cannot be opened: deployment.key is another one than when it \
                           was enrolled; take it away by daas user reset-second-factor";
                let subject = format!("second factor of {owner}");
                Error::new(Kind::Internal, Operation::Check, subject, why)
            })?;
            match step_of(&totp(owner, "", &secret)?, &code, means.clock.now()) {
                // Each step once, whoever saw its code on the way here.
                Some(step) => means.factors.use_step(owner, step).await?,
                None => false,
            }
        };
        if !right {
            audit::not_signed_in(Some(&owner.name), &owner.realm, "wrong code");
            info!(%owner, %address, "a wrong code was given, or one that was used before");
            return Err(NotProved::Wrong);
        }
        self.attempts.give_back(&counted);
        Ok(())
    }

    /// New recovery codes in the place of those that are left.
    pub(crate) async fn renew_recovery_codes(
        &self,
        owner: &Owner,
        means: &Means<'_>,
    ) -> Result<Vec<Secret<String>>, NotProved> {
        let (codes, hashes) = recovery_codes(owner)?;
        if !means.factors.replace_recovery_codes(owner, &hashes).await? {
            return Err(NotProved::Absent);
        }
        info!(%owner, "new recovery codes were made");
        Ok(codes)
    }

    /// Who waits with the token of their browser.
    pub(crate) fn waiting(&self, token: Option<&str>) -> Option<Waiting> {
        self.waiting.of(token?)
    }

    /// Signs in somebody who waited and has proved their second factor. Once.
    pub(crate) async fn waited(
        &self,
        token: &str,
        waiting: Waiting,
        from: (IpAddr, &str),
        means: &Means<'_>,
    ) -> Result<(Secret<String>, SignIn), Denied> {
        if !self.waiting.leave(token) {
            return Err(Denied::NotBegun);
        }
        self.enter(waiting.person, waiting.role, from.0, from.1, means).await
    }

    fn count(&self, owner: &Owner, address: IpAddr) -> Result<[Counted; 2], NotProved> {
        let counted = [Counted::code(owner), Counted::address(address)];
        self.attempts.take(&counted).map_err(|wait| {
            warn!(%owner, %address, "a code was refused: too many tries");
            NotProved::TooMany(wait)
        })?;
        Ok(counted)
    }
}

fn at_rest(means: &Means<'_>) -> Seal {
    Seal::new(means.key, "second factor at rest")
}

fn offered(means: &Means<'_>) -> Seal {
    Seal::new(means.key, "second factor on offer")
}

/// The secret of an offer that is for `owner` and still good.
fn open_offer(owner: &Owner, sealed: &str, means: &Means<'_>) -> Option<Secret<Vec<u8>>> {
    let plain = offered(means).open(sealed, &owner.to_string())?;
    let (secret, until) = plain.expose().split_at_checked(SECRET_BYTES)?;
    let until = i64::from_be_bytes(until.try_into().ok()?);
    (means.clock.now().as_second() < until).then(|| Secret::new(secret.to_vec()))
}

fn shown(owner: &Owner, issuer: &str, secret: &Secret<Vec<u8>>, sealed: String) -> Result<Offer> {
    let totp = totp(owner, issuer, secret)?;
    let url = totp.to_url().map_err(broken)?;
    Ok(Offer { secret: totp.secret().to_base32(), url, sealed })
}

fn totp(owner: &Owner, issuer: &str, secret: &Secret<Vec<u8>>) -> Result<Totp> {
    // A colon ends the issuer in what the app reads; owners have none.
    let issuer = issuer.replace(':', " ");
    let issuer = (!issuer.trim().is_empty()).then_some(issuer);
    // What every app can do: many take no notice of anything else.
    let builder = Builder::new().with_algorithm(Algorithm::SHA1).with_digits(6);
    let builder = builder.with_step_duration(STEP_SECONDS).with_skew(1);
    let builder = builder.with_account_name(owner.to_string()).with_issuer(issuer);
    builder.with_secret(secret.expose().as_slice()).build().map_err(broken)
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::new(Kind::Internal, Operation::Check, "second factor", error.to_string())
}

/// The time step that `code` is of: this one, the one before, or the next.
fn step_of(totp: &Totp, code: &str, now: Timestamp) -> Option<u64> {
    let digits = code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| totp.check(code, u64::try_from(now.as_second()).ok()?)).flatten()
}

/// A code without what people write between its letters.
fn plain(code: &str) -> String {
    let kept = code.bytes().take(CODE_BYTES_MAX).filter(u8::is_ascii_alphanumeric);
    kept.map(|b| char::from(b.to_ascii_lowercase())).collect()
}

fn hash(owner: &Owner, code: &str) -> String {
    sha256_hex(format!("{owner}\0{code}"))
}

/// New recovery codes, and their hashes.
fn recovery_codes(owner: &Owner) -> Result<(Vec<Secret<String>>, BTreeSet<String>)> {
    let mut codes = Vec::new();
    for _ in 0..RECOVERY_CODES {
        let letters = random::<RECOVERY_LETTERS>()?;
        let letters = letters.map(|b| char::from(ALPHABET[usize::from(b % 32)]));
        codes.push(letters.iter().collect::<String>());
    }
    let hashes = codes.iter().map(|code| hash(owner, code)).collect();
    let written = |code: &String| {
        let parts = [&code[..4], &code[4..8], &code[8..12], &code[12..]];
        Secret::new(parts.join("-"))
    };
    Ok((codes.iter().map(written).collect(), hashes))
}
