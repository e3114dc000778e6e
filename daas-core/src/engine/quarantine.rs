//! Ending a quarantined machine: it gets a record again, and goes the way of all others.

use tracing::info;

use super::orphans::{Standing, reservation_of, standing};
use super::{Caller, Engine};
use crate::error::{Error, Kind, Operation, Result};
use crate::event::{NewEvent, What};
use crate::ids::{BackendName, SessionId, TemplateName};
use crate::machine::Listed;
use crate::session::{Goal, Phase, Session};
use crate::store::NewSession;
use crate::store::quota::Quotas;
use crate::template::Template;

/// What stands for the template in the record of a machine that was in quarantine.
const TEMPLATE: &str = "quarantined";

impl Engine {
    /// Ends the quarantined machine whose mark names `id`: our mark, and no record at all. For
    /// operators; nothing else ever ends it.
    ///
    /// The hypervisor is asked anew, and the machine gets a record whose goal is gone: what removes
    /// it has the proofs, tries and events of every other removal, and survives a crash. Asking
    /// again answers that record.
    pub async fn end_quarantined(&self, caller: &Caller, id: &SessionId) -> Result<Session> {
        if let Some(session) = self.store().get(id).await? {
            return already(session);
        }
        let (provisioner, machine) = self.find_quarantined(id).await?;
        let session = self.adopted(caller, &provisioner, &machine)?;
        let at = session.created_at;
        let (holder, place) = (&machine.machine, &machine.place);
        let text = format!("machine {holder} on {place} was in quarantine: it had no record");
        let events = vec![
            NewEvent { at, what: What::Note { text } },
            NewEvent {
                at,
                what: What::Goal {
                    goal: Goal::Gone,
                    by: caller.owner.to_string(),
                    reason: session.reason.clone(),
                    evidence: None,
                },
            },
        ];
        let new = NewSession { session, quotas: Quotas::default(), events, idempotency_key: None };
        let session = match self.store().insert(new).await {
            Ok(inserted) => inserted.into_session(),
            // Somebody else asked at the same moment.
            Err(error) if error.kind() == Kind::Conflict => match self.store().get(id).await? {
                Some(session) => return already(session),
                None => return Err(error),
            },
            Err(error) => return Err(error),
        };
        info!(session = %id, machine = %machine.machine, by = %caller.owner, "ended from quarantine");
        self.0.note_held(&session);
        self.0.poke(id);
        Ok(session)
    }

    /// The one machine, on all platforms, that bears the mark of `id` by right.
    async fn find_quarantined(&self, id: &SessionId) -> Result<(BackendName, Listed)> {
        let deadline = self.0.limits().observe_deadline;
        let mut found = Vec::new();
        for provisioner in self.0.listing() {
            let name = provisioner.name();
            let listed = tokio::time::timeout(deadline, provisioner.list()).await;
            let listed = listed.map_err(|_| {
                let why = format!("no answer within {} s", deadline.as_secs());
                Error::new(Kind::Unavailable, Operation::List, name, why)
            })??;
            for machine in listed.into_iter().filter(|l| &l.session == id) {
                if standing(&self.0, name, &machine).await? == Standing::Quarantined {
                    found.push((name.clone(), machine));
                }
            }
        }
        let one = found.pop().ok_or_else(|| {
            Error::new(Kind::NotFound, Operation::Request, id, "no machine in quarantine bears it")
        })?;
        if found.is_empty() {
            return Ok(one);
        }
        let why = format!(
            "{} machines bear it; remove by hand, on the hypervisor, those that are not wanted",
            found.len() + 1
        );
        Err(Error::new(Kind::Conflict, Operation::Request, id, why))
    }

    /// The record that a quarantined machine gets.
    fn adopted(
        &self,
        caller: &Caller,
        provisioner: &BackendName,
        machine: &Listed,
    ) -> Result<Session> {
        let now = self.clock().now();
        let template = Template::new(TemplateName::new(TEMPLATE)?, provisioner.clone(), TEMPLATE);
        let id = machine.session.clone();
        let mut session = Session::new(id, template, None, caller.organisation.clone(), now);
        session.phase = Phase::Parked;
        session.goal = Goal::Gone;
        session.seen = true;
        session.reason = "an operator ends a machine without a record".to_owned();
        session.reservation = Some(reservation_of(provisioner, machine));
        Ok(session)
    }
}

/// What is answered when there is a record.
fn already(session: Session) -> Result<Session> {
    if session.template.name.as_str() == TEMPLATE {
        return Ok(session);
    }
    let why = format!("it is not in quarantine: its record says {}", session.phase);
    Err(Error::new(Kind::Conflict, Operation::Request, &session.id, why))
}
