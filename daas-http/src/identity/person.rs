//! What the claims of a token say of somebody: the token was verified before.

use std::collections::BTreeSet;

use daas_core::identity::{Person, Refusal, Verdict};
use daas_core::owner::Realms;
use daas_core::{Error, Kind, Operation, Result};
use serde_json::Value;

use super::claims::ClaimNames;

/// Groups of one person; more are an error, as none may be left out in silence.
const GROUPS_MAX: usize = 2000;
/// The longest display name, in characters; more is cut off.
const DISPLAY_MAX: usize = 256;

impl ClaimNames {
    /// Who `claims` tell of, in `realm`. `of` is the section of the settings.
    ///
    /// # Errors
    /// `Invalid`: a claim is missing or of another sort; the settings name the wrong one.
    pub(crate) fn person(&self, claims: &Value, realm: &str, of: &str) -> Result<Verdict> {
        let wrong = |why: String| {
            let subject = format!("realm {realm}");
            Err(Error::new(Kind::Invalid, Operation::Check, subject, why))
        };
        let Some(name) = claims.get(&self.name).and_then(Value::as_str) else {
            let claim = &self.name;
            return wrong(format!("the token has no {claim:?}; check {of}.claims.name and scopes"));
        };
        let name = match (&self.name_domain, name.rsplit_once('@')) {
            (Some(ours), Some((name, domain))) if ours.eq_ignore_ascii_case(domain) => name,
            _ => name,
        };
        // No aliases: a token tells of people of this realm and of no other.
        let owner = match Realms::default().owner_in(realm, name) {
            Ok(owner) => owner,
            Err(error) => {
                tracing::warn!(%error, realm, "a name that no desktop takes");
                return Ok(Verdict::Refused(Refusal::Restricted));
            }
        };
        let groups = match claims.get(&self.groups) {
            Some(Value::Array(groups)) if groups.len() <= GROUPS_MAX => groups
                .iter()
                .filter_map(Value::as_str)
                .map(|group| group.trim().to_lowercase())
                .collect(),
            None => BTreeSet::new(),
            Some(_) => {
                let claim = &self.groups;
                return wrong(format!("{claim:?} in the token is no list of at most {GROUPS_MAX}"));
            }
        };
        let display_name = claims.get(&self.display_name).and_then(Value::as_str);
        let display_name = display_name.and_then(displayed);
        Ok(Verdict::Known(Person { owner, display_name, groups }))
    }
}

/// A name for people's eyes, on one line and within bounds.
fn displayed(name: &str) -> Option<String> {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    let name: String = name.chars().take(DISPLAY_MAX).map(shown).collect();
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}
