//! What people and programs may ask of the engine. Each request is one conditional write.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::Engine;
use crate::access::Role;
use crate::configurator::{Account, PasswordHash};
use crate::error::{Error, Kind, Operation, Result};
use crate::event::{NewEvent, What};
use crate::ids::{Label, Organisation, SessionId, TemplateName};
use crate::owner::Owner;
use crate::secret::{Secret, check_local_user, crypt_password};
use crate::session::{Goal, Phase, Session};
use crate::store::{Change, Filter, Inserted, NewSession, Next, Page, Sessions};
use crate::template::{Lifetime, Template};

/// How often a request is tried again when the record changed under it.
const CONFLICTS_MAX: usize = 20;
/// How often a taken session id is drawn anew.
const ID_DRAWS_MAX: usize = 4;
/// The longest idempotency key, in bytes.
const KEY_BYTES_MAX: usize = 256;
/// The longest single extension.
const EXTENSION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Their name.
    pub owner: Owner,
    /// Their organisation.
    pub organisation: Organisation,
    /// What they may do.
    pub role: Role,
    /// Their groups, by the names that their realm has, in lower case.
    pub groups: BTreeSet<String>,
}

/// A wish for a desktop.
#[derive(Debug, Clone)]
pub struct Ask {
    /// From which template.
    pub template: TemplateName,
    /// What its owner calls it.
    pub label: Option<Label>,
    /// The local account's name.
    pub session_user: Option<String>,
    /// The local account's password.
    pub session_password: Option<Secret<String>>,
    /// Whether it outlives its use; absent: as the template says.
    pub lifetime: Option<Lifetime>,
    /// Not made before this.
    pub not_before: Option<Timestamp>,
    /// Ends at this.
    pub not_after: Option<Timestamp>,
    /// The same owner's second wish with the same key is the first one.
    pub idempotency_key: Option<String>,
}

impl Ask {
    /// A wish for a desktop of `template` and nothing more.
    pub fn for_template(template: TemplateName) -> Self {
        Self {
            template,
            label: None,
            session_user: None,
            session_password: None,
            lifetime: None,
            not_before: None,
            not_after: None,
            idempotency_key: None,
        }
    }
}

/// The answer to a wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The session.
    pub session: Session,
    /// Whether it is new; else the idempotency key was used before.
    pub new: bool,
}

impl Engine {
    /// Asks for a desktop.
    pub async fn ask(&self, caller: &Caller, ask: Ask) -> Result<Asked> {
        let now = self.clock().now();
        let template = self.template(caller, &ask.template)?.clone();
        check_times(&ask, now)?;
        if ask.idempotency_key.as_ref().is_some_and(|k| k.is_empty() || k.len() > KEY_BYTES_MAX) {
            let why = "is empty or longer than 256 bytes";
            return Err(Error::invalid(Operation::Request, "Idempotency-Key", why));
        }
        let account = account(ask.session_user, ask.session_password, &template).await?;
        let owner = Some(caller.owner.clone());
        let id = SessionId::mint(&self.0.parts.settings.prefix);
        let mut session = Session::new(id, template, owner, caller.organisation.clone(), now);
        session.label = ask.label;
        session.account = account;
        session.lifetime = ask.lifetime.unwrap_or(session.lifetime);
        session.not_before = ask.not_before;
        session.not_after = ask.not_after;
        let what = What::Requested { template: session.template.name.to_string() };
        let new = NewSession {
            session,
            quotas: self.0.parts.settings.quotas,
            events: vec![NewEvent { at: now, what }],
            idempotency_key: ask.idempotency_key,
        };
        let (session, new) = match self.insert(new).await? {
            Inserted::New(session) => (*session, true),
            Inserted::Before(session) => (*session, false),
        };
        if new {
            self.0.estimates.note(&session.id, &session.template.name);
        }
        self.0.poke(&session.id);
        Ok(Asked { session, new })
    }

    /// Adds a session. Ids are drawn from some 27 thousand million: one that is taken is drawn anew,
    /// any other conflict is the caller's.
    async fn insert(&self, mut new: NewSession) -> Result<Inserted> {
        for _ in 0..ID_DRAWS_MAX {
            match self.store().insert(new.clone()).await {
                Err(error) if error.kind() == Kind::Conflict => {
                    if self.store().get(&new.session.id).await?.is_none() {
                        return Err(error);
                    }
                    new.session.id = SessionId::mint(&self.0.parts.settings.prefix);
                }
                answer => return answer,
            }
        }
        self.store().insert(new).await
    }

    /// The session, if the caller may see it; to others it does not exist.
    pub async fn session(&self, caller: &Caller, id: &SessionId) -> Result<Session> {
        let session = self.store().get(id).await?;
        session.filter(|s| may_see(caller, s)).ok_or_else(|| {
            Error::new(Kind::NotFound, Operation::Request, id, "there is no such session")
        })
    }

    /// A page of the sessions that the caller may see.
    pub async fn sessions(
        &self,
        caller: &Caller,
        mut filter: Filter,
        page: &Page,
    ) -> Result<Sessions> {
        if caller.role == Role::User {
            filter.owner = Some(caller.owner.clone());
        }
        self.store().list(&filter, page).await
    }

    /// The templates that the caller may use.
    pub fn templates_for(&self, caller: &Caller) -> Vec<&Template> {
        self.templates().iter().filter(|t| may_use(caller, t)).collect()
    }

    /// Asks for the end of a session. Asking again is no error.
    pub async fn destroy(&self, caller: &Caller, id: &SessionId, reason: &str) -> Result<Session> {
        self.change(caller, id, |session, now| {
            let by = caller.owner.to_string();
            Ok(session.wish(Goal::Gone, by, reason, None, now).into_iter().collect())
        })
        .await
    }

    /// Asks for a session to lose power and keep its disk. For personal sessions.
    pub async fn stop(&self, caller: &Caller, id: &SessionId) -> Result<Session> {
        self.change(caller, id, |session, now| {
            usable(session)?;
            if session.lifetime == Lifetime::Ephemeral {
                let why = "an ephemeral session cannot be stopped; destroy it instead";
                return Err(Error::new(Kind::Conflict, Operation::Request, &session.id, why));
            }
            let by = caller.owner.to_string();
            Ok(session.wish(Goal::Stopped, by, "asked for", None, now).into_iter().collect())
        })
        .await
    }

    /// Asks for a session to get power; also wakes one that the engine gave up.
    pub async fn start_session(&self, caller: &Caller, id: &SessionId) -> Result<Session> {
        self.change(caller, id, |session, now| {
            usable(session)?;
            let by = caller.owner.to_string();
            let mut events: Vec<_> =
                session.wish(Goal::Running, by, "asked for", None, now).into_iter().collect();
            if session.phase == Phase::Parked {
                session.started_at = Some(now);
                events.extend(session.enter(Phase::Creating, "tried once more", now)?);
            }
            Ok(events)
        })
        .await
    }

    /// Asks for one restart.
    pub async fn restart(&self, caller: &Caller, id: &SessionId) -> Result<Session> {
        self.change(caller, id, |session, now| {
            usable(session)?;
            if session.phase != Phase::Ready && session.phase != Phase::Restarting {
                let why = format!("it is {}; only a ready session can be restarted", session.phase);
                return Err(Error::new(Kind::Conflict, Operation::Request, &session.id, why));
            }
            session.restarts.wanted = session.restarts.done + 1;
            let text = format!("a restart was asked for by {}", caller.owner);
            Ok(vec![NewEvent { at: now, what: What::Note { text } }])
        })
        .await
    }

    /// Grants more time beyond every limit of the template.
    pub async fn extend(&self, caller: &Caller, id: &SessionId, by: Duration) -> Result<Session> {
        if by.is_zero() || by > EXTENSION_MAX {
            let why = "is not between 1 s and 24 h";
            return Err(Error::invalid(Operation::Request, "seconds", why));
        }
        self.change(caller, id, |session, now| {
            usable(session)?;
            session.extension = session.extension.saturating_add(by);
            session.not_after = session.not_after.map(|end| crate::clock::later(end, by));
            session.evidence = None;
            let text = format!("extended by {} s by {}", by.as_secs(), caller.owner);
            Ok(vec![NewEvent { at: now, what: What::Note { text } }])
        })
        .await
    }

    async fn change(
        &self,
        caller: &Caller,
        id: &SessionId,
        act: impl Fn(&mut Session, Timestamp) -> Result<Vec<NewEvent>>,
    ) -> Result<Session> {
        for _ in 0..CONFLICTS_MAX {
            let mut session = self.session(caller, id).await?;
            let before = session.clone();
            let now = self.clock().now();
            let events = act(&mut session, now)?;
            if events.is_empty() && session == before {
                self.0.poke(id);
                return Ok(session);
            }
            session.updated_at = now;
            let change =
                Change { session: session.clone(), fence: None, events, next: Next::DueNow };
            match self.store().update(change).await {
                Ok(version) => {
                    session.version = version;
                    self.0.poke(id);
                    return Ok(session);
                }
                Err(error) if error.kind() == Kind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        let why = "it keeps changing; try again";
        Err(Error::new(Kind::Conflict, Operation::Request, id, why))
    }

    fn template(&self, caller: &Caller, name: &TemplateName) -> Result<&Template> {
        let known = self.templates().iter().find(|t| &t.name == name && may_use(caller, t));
        known.ok_or_else(|| {
            let names: Vec<_> =
                self.templates_for(caller).iter().map(|t| t.name.to_string()).collect();
            let why = format!("there is no template {name}; there are: {}", names.join(", "));
            Error::invalid(Operation::Request, "template", why)
        })
    }
}

fn may_use(caller: &Caller, template: &Template) -> bool {
    caller.role >= Role::Operator
        || (template.allows(&caller.organisation) && template.admits(&caller.owner, &caller.groups))
}

fn may_see(caller: &Caller, session: &Session) -> bool {
    caller.role >= Role::Operator || session.owner.as_ref() == Some(&caller.owner)
}

fn usable(session: &Session) -> Result<()> {
    if session.goal != Goal::Gone && session.is_live() {
        return Ok(());
    }
    let why = "it has ended or is about to";
    Err(Error::new(Kind::Conflict, Operation::Request, &session.id, why))
}

fn check_times(ask: &Ask, now: Timestamp) -> Result<()> {
    if ask.not_after.is_some_and(|end| end <= now) {
        return Err(Error::invalid(Operation::Request, "not_after", "lies in the past"));
    }
    if let (Some(start), Some(end)) = (ask.not_before, ask.not_after)
        && end <= start
    {
        return Err(Error::invalid(Operation::Request, "not_after", "lies before not_before"));
    }
    Ok(())
}

async fn account(
    user: Option<String>,
    password: Option<Secret<String>>,
    template: &Template,
) -> Result<Option<Account>> {
    let Some(user) = user else {
        return match password {
            None => Ok(None),
            Some(_) => Err(Error::invalid(
                Operation::Request,
                "session_user",
                "is missing, though there is a session_password",
            )),
        };
    };
    check_local_user(&user)?;
    if template.configurator.is_none() {
        let why = format!("template {} has no configurator to make it", template.name);
        return Err(Error::invalid(Operation::Request, "session_user", why));
    }
    let password_hash = match password {
        None => None,
        Some(password) => {
            let hashed = tokio::task::spawn_blocking(move || crypt_password(&password)).await;
            let hashed = hashed.map_err(|e| {
                Error::new(Kind::Internal, Operation::Request, "session_password", e.to_string())
            })??;
            Some(PasswordHash(hashed))
        }
    };
    Ok(Some(Account { user, password_hash }))
}
