//! From a name and a password, or from whom a provider knows, to a sign-in; and back from its token.

use std::net::IpAddr;
use std::time::Duration;

use daas_core::access::{Role, SignIn, SignInStore};
use daas_core::identity::{PasswordSource, Person, Refusal, Verdict};
use daas_core::ids::Organisation;
use daas_core::owner::Owner;
use daas_core::secret::{Secret, random_token, sha256_hex};
use daas_core::{Error, Kind, Operation, Result};
use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};

use super::attempts::Counted;
use super::waiting::Waiting;
use super::{Denied, Entered, Identity, Means, Others, Presented};
use crate::audit;

/// The longest name and password taken, in bytes; longer ones are wrong.
const TEXT_BYTES_MAX: usize = 1_024;
/// How long a source may take, whatever deadlines it keeps itself.
const SOURCE_DEADLINE: Duration = Duration::from_secs(20);
/// A sign-in's use is noted so often at most.
const SEEN_PERIOD: SignedDuration = SignedDuration::from_secs(60);
/// How many sign-ins that are over are removed when another is made.
const PRUNED_AT_ONCE: u32 = 100;
/// How much of what a browser calls itself is kept, in letters.
const AGENT_MAX: usize = 200;
/// How many sign-ins somebody may have; the oldest end when there are more.
const OF_ONE_MAX: usize = 50;

impl Identity {
    /// Signs somebody in by their password, or lets them wait for their second factor.
    pub(crate) async fn sign_in(
        &self,
        presented: Presented<'_>,
        means: &Means<'_>,
    ) -> Result<Entered, Denied> {
        let Presented { next, address, agent, .. } = presented;
        let person = self.known(presented).await?;
        let role = self.entitled(&person, address)?;
        let factor = means.factors.second_factor_of(&person.owner).await.map_err(|error| {
            warn!(error = error.chain(), "nobody can sign in");
            Denied::Away
        })?;
        if factor.is_some() || self.requires_second_factor(role) {
            let Owner { name, realm } = &person.owner;
            audit::not_signed_in(Some(name), realm, "waits for the second factor");
            let waiting = Waiting { person, role, next: next.to_owned() };
            return Ok(Entered::Waits(self.waiting.enter(waiting)));
        }
        self.enter(person, role, address, agent, means).await.map(|(token, _)| Entered::In(token))
    }

    /// Whose name and password these are.
    async fn known(&self, presented: Presented<'_>) -> Result<Person, Denied> {
        let Presented { name, password, realm, address, .. } = presented;
        let Some((source, name)) = self.source(name, realm) else { return Err(Denied::Wrong) };
        let counted = [Counted::account(source.realm(), &name), Counted::address(address)];
        if let Err(wait) = self.attempts.take(&counted) {
            warn!(%address, realm = source.realm(), "sign-in refused: too many tries");
            return Err(Denied::TooMany(wait));
        }
        if password.expose().is_empty() || password.expose().len() > TEXT_BYTES_MAX {
            return Err(Denied::Wrong);
        }
        let asked = tokio::time::timeout(SOURCE_DEADLINE, source.sign_in(&name, &password)).await;
        let person = match asked {
            Ok(Ok(Verdict::Known(person))) => person,
            Ok(Ok(Verdict::Refused(why))) => {
                // A name that nobody has may be a password, written in the wrong field.
                let name = if why == Refusal::Unknown { "" } else { &name };
                let why = why.as_str();
                audit::not_signed_in(Some(name).filter(|n| !n.is_empty()), source.realm(), why);
                info!(name, realm = source.realm(), %address, why, "sign-in refused");
                return Err(Denied::Wrong);
            }
            Ok(Err(error)) if error.kind() == Kind::Unsupported => {
                audit::not_signed_in(Some(&name), source.realm(), "needs more");
                info!(name, realm = source.realm(), %address, why = %error, "sign-in refused");
                return Err(Denied::NeedsMore);
            }
            Ok(Err(error)) => {
                // No wrong password was given, as far as is known.
                self.attempts.give_back(&counted);
                warn!(realm = source.realm(), error = error.chain(), "nobody can sign in");
                return Err(Denied::Away);
            }
            Err(_) => {
                self.attempts.give_back(&counted);
                warn!(realm = source.realm(), "nobody can sign in: the source does not answer");
                return Err(Denied::Away);
            }
        };
        self.attempts.give_back(&counted);
        Ok(person)
    }

    /// What somebody may do here, if they may do anything.
    pub(super) fn entitled(&self, person: &Person, address: IpAddr) -> Result<Role, Denied> {
        self.role(person).ok_or_else(|| {
            let Owner { name, realm } = &person.owner;
            audit::not_signed_in(Some(name), realm, "in no group that is let in");
            info!(owner = %person.owner, %address, "sign-in refused: in no group that is let in");
            Denied::NotEntitled
        })
    }

    /// Makes the sign-in of somebody who is known and entitled.
    pub(super) async fn enter(
        &self,
        person: Person,
        role: Role,
        address: IpAddr,
        agent: &str,
        means: &Means<'_>,
    ) -> Result<(Secret<String>, SignIn), Denied> {
        let (store, now) = (means.sign_ins.as_ref(), means.clock.now());
        let made = self.keep(person, role, address, agent, store, now).await;
        made.map_err(|error| {
            warn!(error = error.chain(), "nobody can sign in");
            Denied::Away
        })
    }

    /// The source that knows the realm of `name`, and the name in it. A realm that nobody knows is
    /// taken for a part of the name.
    fn source(&self, text: &str, chosen: Option<&str>) -> Option<(&dyn PasswordSource, String)> {
        if text.trim().is_empty() || text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let of = |realm: &str| self.passwords.iter().find(|source| source.realm() == realm);
        let spelt = text.contains(['\\', '@']).then(|| self.realms.owner(text).ok()).flatten();
        if let Some(owner) = spelt
            && let Some(source) = of(&owner.realm)
        {
            return Some((source.as_ref(), owner.name));
        }
        let source = match chosen {
            Some(realm) => of(realm),
            None => self.passwords.first(),
        };
        source.map(|source| (source.as_ref(), text.trim().to_owned()))
    }

    /// The most that their groups make of somebody.
    pub(super) fn role(&self, person: &Person) -> Option<Role> {
        let of_group = |(group, role): (&String, &Role)| {
            let (name, realm) = group.rsplit_once('@')?;
            let is_in = realm == person.owner.realm && person.groups.contains(&name.to_lowercase());
            is_in.then_some(*role)
        };
        let others = (self.config.others == Others::User).then_some(Role::User);
        self.config.roles.iter().filter_map(of_group).chain(others).max()
    }

    async fn keep(
        &self,
        person: Person,
        role: Role,
        address: IpAddr,
        agent: &str,
        store: &dyn SignInStore,
        now: Timestamp,
    ) -> Result<(Secret<String>, SignIn)> {
        let (token, id) = (random_token(), random_token());
        let sign_in = SignIn {
            id: id.expose()[..16].to_owned(),
            hash: sha256_hex(token.expose()),
            owner: person.owner,
            display_name: person.display_name,
            organisation: Organisation::default(),
            role,
            groups: person.groups,
            address,
            agent: agent.chars().filter(|c| !c.is_control()).take(AGENT_MAX).collect(),
            created_at: now,
            seen_at: now,
            ends_at: after(now, self.config.lifetime)?,
        };
        store.add_sign_in(&sign_in).await?;
        info!(owner = %sign_in.owner, %address, id = sign_in.id, "signed in");
        audit::signed_in(&sign_in);
        // Housekeeping must not keep anybody out.
        if let Err(error) = self.tidy(&sign_in, store, now).await {
            warn!(error = error.chain(), "sign-ins that are over stay in the store");
        }
        Ok((token, sign_in))
    }

    async fn tidy(&self, new: &SignIn, store: &dyn SignInStore, now: Timestamp) -> Result<()> {
        let unused_since = now - signed(self.config.idle)?;
        store.prune_sign_ins(now, unused_since, PRUNED_AT_ONCE).await?;
        for old in store.sign_ins_of(&new.owner).await?.iter().skip(OF_ONE_MAX) {
            store.end_sign_in(&old.owner, &old.id).await?;
        }
        Ok(())
    }

    /// The sign-in of `token`, while it is good; notes that it was used.
    pub(crate) async fn signed_in(
        &self,
        token: &Secret<String>,
        store: &dyn SignInStore,
        now: Timestamp,
    ) -> Result<Option<SignIn>> {
        let Some(found) = store.sign_in_by_hash(&sha256_hex(token.expose())).await? else {
            return Ok(None);
        };
        if found.ends_at <= now || after(found.seen_at, self.config.idle)? <= now {
            return Ok(None);
        }
        if found.seen_at + SEEN_PERIOD <= now {
            store.see_sign_in(&found.id, now).await?;
        }
        Ok(Some(found))
    }
}

fn after(at: Timestamp, lasts: Duration) -> Result<Timestamp> {
    at.checked_add(signed(lasts)?).map_err(too_long)
}

fn signed(lasts: Duration) -> Result<SignedDuration> {
    SignedDuration::try_from(lasts).map_err(too_long)
}

fn too_long(error: impl std::fmt::Display) -> Error {
    Error::new(Kind::Invalid, Operation::Check, "identity.lifetime", error.to_string())
}
