//! `daas key`: API keys of the deployment on this machine, written straight into its store.

use std::future::Future;
use std::sync::Arc;

use daas_compose::Settings;
use daas_core::access::Role;
use daas_core::audit::{Act, Note, Stage};
use daas_core::store::SessionStore;
use daas_core::{Error, Kind, Operation};
use serde_json::json;

use super::serve::{compose, settings};
use crate::args::{KeyCommand, RoleArg, ServeArgs};
use crate::exit::{Code, Failure, Outcome};
use crate::output::{Output, print, tell};

/// What to do while the server has the store open.
const WAY: &str = "while the server runs, make keys with its API: POST /api/v1/keys";

pub(crate) async fn run(output: Output, command: KeyCommand) -> Outcome {
    match command {
        KeyCommand::Add { name, owner, role, organisation, serve } => {
            let (settings, store) = store(&serve, WAY).await?;
            let realms = &settings.realms;
            let wrong = |e: daas_core::Error| Failure::new(Code::Usage, e.to_string());
            let role = match role {
                RoleArg::User => Role::User,
                RoleArg::Operator => Role::Operator,
                RoleArg::Admin => Role::Admin,
            };
            let owner = realms.owner(&owner).map_err(wrong)?;
            let organisation = organisation.parse().map_err(wrong)?;
            let now = jiff::Timestamp::now();
            let (key, at_rest) =
                daas_http::mint_key(&name, owner, organisation, role, now).map_err(wrong)?;
            let keys = store.keys();
            let done = keys.add_key(&at_rest);
            audited(&settings, &store, Act::KeyCreate, &name, done).await?;
            tell("this key is shown once; keep it in a file that only its user can read");
            if output.json {
                let owner = at_rest.owner.to_string();
                let made = json!({"name": at_rest.name, "owner": owner, "key": key.expose()});
                return output.print_json(&made);
            }
            print(key.expose())
        }
        KeyCommand::List { serve } => {
            let keys = store(&serve, WAY).await?.1.keys().keys().await.map_err(failed)?;
            let rows = keys.iter().map(|k| {
                let role = format!("{:?}", k.role).to_lowercase();
                vec![k.name.clone(), k.owner.to_string(), role, k.created_at.to_string()]
            });
            output.rows(&keys, &["name", "owner", "role", "made"], rows)
        }
        KeyCommand::Revoke { name, serve } => {
            let (settings, store) = store(&serve, WAY).await?;
            let done = async {
                if store.keys().revoke_key(&name).await? {
                    return Ok(());
                }
                let why = format!("there is no key {name}");
                Err(Error::new(Kind::NotFound, Operation::Store, &name, why))
            };
            audited(&settings, &store, Act::KeyRevoke, &name, done).await
        }
    }
}

/// Does it between its two entries in the audit log: who is at this machine answers for it too.
pub(super) async fn audited(
    settings: &Settings,
    store: &Arc<dyn SessionStore>,
    act: Act,
    subject: &str,
    work: impl Future<Output = daas_core::Result<()>>,
) -> Outcome {
    let log = daas_compose::open_audit(settings, store.as_ref()).await.map_err(compose)?;
    let note = Note {
        known_by: daas_compose::shell_user(),
        subject: Some(subject.to_owned()),
        ..Note::of(act, Stage::Asked)
    };
    let asked = log.write(note.clone()).await.map_err(failed)?;
    let done = work.await;
    let (status, reason) = match &done {
        Ok(()) => (200, None),
        Err(error) => (error.kind().http_status(), Some(error.kind().as_str().to_owned())),
    };
    let (stage, answers, status) = (Stage::Done, Some(asked), Some(status));
    log.leave(Note { stage, answers, status, reason, ..note }).await;
    log.close().await;
    done.map_err(|error| match error.kind() {
        Kind::NotFound => Failure::new(Code::NotFound, error.message().to_owned()),
        _ => failed(error),
    })
}

/// The store on this machine, which nobody has open; `way` is what to do when somebody has.
pub(super) async fn store(
    args: &ServeArgs,
    way: &str,
) -> Outcome<(Settings, Arc<dyn SessionStore>)> {
    let settings = settings(args)?;
    let store = daas_compose::open_store(&settings).await.map_err(|e| compose(e).hint(way))?;
    Ok((settings, store))
}

fn failed(error: daas_core::Error) -> Failure {
    Failure::new(Code::Failed, error.to_string())
}
